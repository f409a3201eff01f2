"""Trains a model: `python -m training.train RECIPE --workdir DIR --set name=value`.

Recipes are the files in training/recipes/ that return a `TrainingRecipe`; `--set` changes a field of one. The same
command goes on where a run was stopped or killed, to the same losses bit for bit. `run_folder.py` says what is where.

With `--distributed` this is one process of several, started by `examples/launch` for instance; the folder is one that
all of them see, and process 0 writes the log.

Exit codes:
    0    done; the model is in DIR/model or DIR/adapter.safetensors
    1    failed, with the reason: data, disk, a checkpoint of another run
    2    wrong use
    3    diverged: the loss or a weight is no number, or the loss is far above the usual; names the last good checkpoint
    75   stopped by SIGTERM or SIGINT and saved; the same command goes on
    76   another process of the job was lost or failed, and is named; the same command goes on, on as many as there are
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_codegemma import heap
from training import recipes
from training.config import TrainingRecipe
from training.settings import with_settings

DONE, FAILED, WRONG_USE, DIVERGED, STOPPED = 0, 1, 2, 3, 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        recipe = with_settings(recipes.find(options.recipe, TrainingRecipe), options.settings)
        recipe.check_complete()
    except (ValueError, TypeError) as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    import keras_codegemma as kcg
    from training.callbacks import DivergedError
    from training.checkpoint import CheckpointError
    from training.run import train

    try:
        if options.distributed:
            kcg.distribution.initialize()
        finished = train(recipe, options.workdir, report=_print_line)
    except DivergedError as error:
        sys.stderr.write(f"{error}\n")
        return DIVERGED
    except (OSError, ValueError, ImportError, CheckpointError) as error:
        sys.stderr.write(f"{error}\n")
        kcg.distribution.end_job(str(error), code=FAILED)
        return FAILED
    if not finished:
        sys.stderr.write(f"Stopped and saved in {options.workdir}; the same command goes on.\n")
        return STOPPED
    return DONE


def _print_line(line: Mapping[str, Any]) -> None:
    shown = [f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}" for name, value in line.items()]
    sys.stdout.write("  ".join(shown) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", metavar="RECIPE", help=", ".join(recipes.names(TrainingRecipe)))
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="everything of this run")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="change the recipe"
    )
    parser.add_argument("--distributed", action="store_true", help="one process of several, as the launcher says")
    return parser


if __name__ == "__main__":
    heap.keep_freed_memory()
    sys.exit(main())
