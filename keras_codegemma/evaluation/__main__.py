"""The stages: `python -m keras_codegemma.evaluation problems|sample|score|report|all|toolchains`.

All files of a run lie in one folder, `--run`: problems.jsonl, samples.jsonl, results.jsonl, report.json, report.md.
Each stage goes on where it was interrupted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_codegemma.evaluation import babelcode, completion, infilling, report, runner
from keras_codegemma.evaluation.execution import Executor
from keras_codegemma.evaluation.sandbox import Bubblewrap, PlainProcesses, Sandbox, SandboxUnavailableError

TASKS = {task.name: task for task in (*completion.TASKS, *infilling.TASKS, *babelcode.TASKS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one stage; 0 for success, 1 for a stage that failed, 2 for wrong use."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return options.stage(options)
    except (OSError, ValueError, SandboxUnavailableError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def make_problems(options: argparse.Namespace) -> int:
    """Reads benchmark files and writes problems.jsonl."""
    names = list(TASKS) if options.tasks == ["all"] else options.tasks
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise ValueError(f"Tasks must be among {', '.join(TASKS)}, or all; got {', '.join(unknown)}. Correct the name.")
    problems = [problem for name in names for problem in TASKS[name].load(options.data)[: options.limit]]
    options.run.mkdir(parents=True, exist_ok=True)
    runner.write_problems(options.run / "problems.jsonl", problems)
    sys.stdout.write(f"{len(problems)} problems of {len(names)} tasks\n")
    return 0


def sample(options: argparse.Namespace) -> int:
    """Lets a model complete the problems."""
    from keras_codegemma.evaluation.model import CausalLM

    problems = runner.read_problems(options.run / "problems.jsonl")
    model = CausalLM.from_preset(options.preset, dtype=options.dtype, temperature=options.temperature)
    complete = runner.write_samples(
        model,
        problems,
        folder=options.run,
        samples=options.samples,
        batch_size=options.batch_size,
        seed=options.seed,
        process=options.process,
        processes=options.processes,
    )
    sys.stdout.write("samples.jsonl is complete\n" if complete else "this process is done; others are not yet\n")
    return 0


def score(options: argparse.Namespace) -> int:
    """Runs the programs and writes results.jsonl."""
    if not options.run_untrusted_programs:
        sys.stderr.write(
            "Scoring runs programs that a model wrote, and must be allowed; got no --run-untrusted-programs. "
            "Read the docstring of keras_codegemma/evaluation/sandbox.py, then pass it.\n"
        )
        return 2
    plain = options.sandbox == PlainProcesses.name
    sandbox: Sandbox = PlainProcesses(accept_that_nothing_is_isolated=True) if plain else Bubblewrap()
    problems = runner.read_problems(options.run / "problems.jsonl")
    try:
        with Executor(sandbox, workers=options.workers, allow_execution=True) as executor:
            count = runner.write_results(
                executor,
                problems,
                samples=options.samples_file or options.run / "samples.jsonl",
                results=options.run / "results.jsonl",
            )
    finally:
        sandbox.close()
    sys.stdout.write(f"{count} samples judged\n")
    return 0


def make_report(options: argparse.Namespace) -> int:
    """Writes report.json and report.md, and prints the table."""
    table = report.write(options.run, tasks=TASKS, preset=options.preset, toolchains=_versions())
    sys.stdout.write(table)
    return 0


def show_toolchains(_: argparse.Namespace) -> int:
    """Prints what can be compiled and run here."""
    versions = _versions()
    for language in babelcode.LANGUAGES:
        sys.stdout.write(f"{language}: {versions.get(language, 'toolchain not found')}\n")
    return 0


def _versions() -> dict[str, str]:
    found = {language: toolchain.version for language, toolchain in babelcode.find_toolchains().items()}
    return {"Python": f"Python {sys.version.split()[0]}", **found}


def run_all(options: argparse.Namespace) -> int:
    """All stages, one after another; refuses at the start what scoring would refuse at the end."""
    if not options.run_untrusted_programs:
        return score(options)
    for stage in (make_problems, sample, score, make_report):
        code = stage(options)
        if code:
            return code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_codegemma.evaluation", description="Problems, samples, results, report."
    )
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    for name, stage, says, groups in (
        ("problems", make_problems, "read benchmark files into problems.jsonl", (_problem_options,)),
        ("sample", sample, "let a model complete the problems", (_preset_option, _sample_options)),
        ("score", score, "run the programs (off unless allowed)", (_score_options,)),
        ("report", make_report, "make report.json and report.md", (_preset_option,)),
        ("all", run_all, "all four", (_problem_options, _preset_option, _sample_options, _score_options)),
    ):
        own = stages.add_parser(name, help=says)
        own.set_defaults(stage=stage)
        own.add_argument("--run", type=Path, required=True, help="folder of the run's files")
        for add_options in groups:
            add_options(own)
    stages.add_parser("toolchains", help="show the languages that can be run here").set_defaults(stage=show_toolchains)
    return parser


def _problem_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with the benchmark files")
    parser.add_argument("--tasks", nargs="+", default=["all"], help="names of tasks, or all")
    parser.add_argument("--limit", type=int, help="the first problems of each task only")


def _preset_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", required=True, help="name, handle or folder; its published figures are shown")


def _sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", help="dtype of the weights; as stored by default")
    parser.add_argument("--samples", type=int, default=1, help="completions of each problem")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 for greedy; else top-p 0.95 at this")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--process", type=int, default=0, help="number of this process, from 0")
    parser.add_argument("--processes", type=int, default=1, help="how many share the work")


def _score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run-untrusted-programs", action="store_true", help="allow it")
    parser.add_argument("--sandbox", choices=[Bubblewrap.name, PlainProcesses.name], default=Bubblewrap.name)
    parser.add_argument("--workers", type=int, default=2, help="programs at a time")
    parser.add_argument("--samples-file", type=Path, help="anybody's samples; by default those of the run")


if __name__ == "__main__":
    sys.exit(main())
