"""The command: `python -m training.corpus fetch|build|verify|report|inspect RECIPE --workdir DIR`.

    fetch    brings the packages of a recipe and checks their hashes
    build    makes the corpus; where a build was killed it goes on; flags after "--" are Apache Beam's
    verify   reads the corpus back: every document must come out exactly
    report   writes report.json and report.html into the work folder
    inspect  shows examples

Recipes are the files in training/recipes/; `--set name=value` changes one. Exit code 0: done; 1: failed; 2: wrong use.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from training import recipes
from training.corpus import store
from training.corpus.fetching import FetchError, fetch
from training.corpus.job import Job, OtherBuildError, tokenizer_of
from training.corpus.ledger import ConservationError
from training.corpus.recipe import CorpusRecipe
from training.corpus.verification import CorpusDiffersError, verify
from training.settings import with_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 for success, 1 for one that failed, 2 for wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, flags = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    options = _parser().parse_args(own)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    logging.getLogger("training").setLevel(logging.INFO)
    # What fails in a step is said once, below; Beam would log it with every frame between.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        recipe = with_settings(recipes.find(options.recipe, CorpusRecipe), options.settings)
        if flags and options.command is not run_build:
            raise ValueError(f"Flags after -- are Beam's and go with build; got {' '.join(flags)}. Leave them out.")
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options.flags = flags
    try:
        return options.command(options, recipe)
    except (OSError, ValueError, FetchError, OtherBuildError, ConservationError, CorpusDiffersError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except RuntimeError as error:  # what a step raises inside Beam arrives as one, with the whole story in its text
        sys.stderr.write(f"{_last_line(error)}\n")
        return 1


def run_fetch(options: argparse.Namespace, recipe: CorpusRecipe) -> int:
    """Brings packages."""
    count = fetch(recipe.sources, options.to)
    sys.stdout.write(f"{count} packages fetched into {options.to}\n")
    return 0


def run_build(options: argparse.Namespace, recipe: CorpusRecipe) -> int:
    """Makes the corpus, and its report."""
    from training.corpus import pipeline

    job = _job(options, recipe)
    pipeline.run(job, options.flags)
    sys.stdout.write(_write_report(job))
    return 0


def run_verify(options: argparse.Namespace, recipe: CorpusRecipe) -> int:
    """Reads the corpus back."""
    job = _job(options, recipe)
    job.look()
    found = verify(job)
    sys.stdout.write(
        f"{found.documents} documents of {found.size_bytes / 1e6:.1f} MB came back exactly from {found.examples} "
        f"examples of {found.tokens} tokens\n"
    )
    return 0


def run_report(options: argparse.Namespace, recipe: CorpusRecipe) -> int:
    """Writes the report."""
    job = _job(options, recipe)
    job.look()
    sys.stdout.write(_write_report(job))
    return 0


def run_inspect(options: argparse.Namespace, recipe: CorpusRecipe) -> int:
    """Prints examples."""
    from rich.console import Console

    from training.corpus import inspection

    job = _job(options, recipe)
    job.look()
    if options.row is not None:
        chosen = inspection.at(job.corpus, shard=options.shard, row=options.row)
    else:
        chosen = inspection.choose(job.corpus, count=options.examples, seed=options.seed)
    # A pipe has no width to wrap to.
    console = Console(highlight=False, soft_wrap=True)
    for found in chosen:
        console.print(inspection.head(found), end="")
        console.print(inspection.written(found.example, tokenizer_of(recipe.tokenizer)))
    return 0


def _write_report(job: Job) -> str:
    from training.corpus import page, report

    made = report.make(job)
    store.write_json(job.workdir / "report.json", made)
    store.write_text(job.workdir / "report.html", page.page(made))
    corpus = made["corpus"]
    return (
        f"{corpus['tokens']} tokens in {corpus['rows']} rows of {corpus['sequence_length']}, "
        f"{corpus['packing_waste_rate']:.2%} padding, in {job.corpus}\n"
        f"{made['speed']['whole']['mb_per_second']:.2f} MB of source a second and core; "
        f"all figures in {job.workdir / 'report.html'}\n"
    )


def _job(options: argparse.Namespace, recipe: CorpusRecipe) -> Job:
    workdir = options.workdir.resolve()
    return Job(recipe=recipe, workdir=workdir, sources=(options.sources or workdir / "sources").resolve())


def _last_line(error: RuntimeError) -> str:
    """The message of the step that failed; from another process Beam sends it behind a traceback."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("training.")]
    return (named or lines or ["the build failed"])[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function in (
        ("fetch", run_fetch),
        ("build", run_build),
        ("verify", run_verify),
        ("report", run_report),
        ("inspect", run_inspect),
    ):
        command = commands.add_parser(name, help=(function.__doc__ or "").rstrip("."))
        command.set_defaults(command=function)
        command.add_argument("recipe", metavar="RECIPE", help=", ".join(recipes.names(CorpusRecipe)))
        command.add_argument(
            "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="change the recipe"
        )
        if name == "fetch":
            command.add_argument("--to", type=Path, required=True, metavar="DIR", help="where the packages go")
        else:
            command.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="everything of this build")
            command.add_argument("--sources", type=Path, metavar="DIR", help="fetched packages; WORKDIR/sources")
        if name == "inspect":
            command.add_argument("--examples", type=int, default=3, help="how many, drawn at random")
            command.add_argument("--seed", type=int, default=0, help="of that draw")
            command.add_argument("--shard", type=int, default=0, help="with --row: of this shard")
            command.add_argument("--row", type=int, help="all examples of this row instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
