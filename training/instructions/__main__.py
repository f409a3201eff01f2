"""Builds files of chats: `python -m training.instructions sample`, `code` or `mathematics`; `--help` on each.

Exit codes: 0 done, 1 failed with the reason, 2 wrong use.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras_codegemma as kcg
from keras_codegemma.evaluation.execution import Executor
from keras_codegemma.evaluation.sandbox import Bubblewrap, SandboxUnavailableError
from training.instructions import code, mathematics, sampling
from training.instructions.chats import benchmarks_of, write_lines

DONE, FAILED, WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parser().parse_args(arguments)
    if options.what == "code" and not options.run_untrusted_programs:
        sys.stderr.write(
            "The answers' programs were written by a model and must be run to be judged, in a box without network. "
            "Pass --run-untrusted-programs.\n"
        )
        return WRONG_USE
    try:
        report = {"sample": _sample, "code": _code, "mathematics": _mathematics}[options.what](options)
    except (OSError, ValueError, SandboxUnavailableError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    sys.stdout.write(json.dumps(report) + "\n")
    return DONE


def _sample(options: argparse.Namespace) -> dict[str, object]:
    settings = sampling.SamplingSettings(
        **{
            name: getattr(options, name)
            for name in ("samples", "form", "max_new_tokens", "temperature", "top_p", "seed")
        }
    )
    tasks = sampling.read_tasks(options.file)
    lm = kcg.CodeGemmaCausalLM.from_preset(options.preset, dtype=options.dtype, quantization=options.quantization)
    drawn = sampling.sample(lm, tasks, options.to, settings=settings, progress=partial(_show, of="prompts"))
    return {"prompts": len(tasks), "drawn": drawn}


def _code(options: argparse.Namespace) -> dict[str, object]:
    answers = code.read_answers(options.file)
    benchmarks = benchmarks_of(options.benchmarks)
    with Executor(Bubblewrap(), workers=options.workers, allow_execution=True) as executor:
        verdicts = code.judge(
            answers,
            executor,
            benchmarks=benchmarks,
            seconds=options.seconds,
            folder=options.to,
            progress=_show,
        )
    return code.write_results(answers, verdicts, options.to)


def _show(done: int, total: int, of: str = "programs") -> None:
    sys.stderr.write(f"\r{done} of {total} {of}" + "\n" * (done == total))


def _mathematics(options: argparse.Namespace) -> dict[str, object]:
    counts = mathematics.Counts()
    found = mathematics.conversations(
        options.file, options.set, benchmarks=benchmarks_of(options.benchmarks), counts=counts
    )
    kept = write_lines(options.to, found)
    return {"chats": kept, **dict(sorted(counts.found.items()))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.instructions", description="Builds files of chats.")
    kinds = parser.add_subparsers(dest="what", required=True)
    of_samples = kinds.add_parser("sample", help="answers of a preset, for `code` to judge")
    of_samples.add_argument("file", type=Path, metavar="PROMPTS", help="JSON lines with prompt and tests")
    of_samples.add_argument("--to", type=Path, required=True, metavar="ANSWERS", help="is added to; the same goes on")
    of_samples.add_argument("--preset", default="code_gemma_instruct_7b_en", help="that answers")
    of_samples.add_argument("--dtype", default="bfloat16", help="of its weights")
    of_samples.add_argument("--quantization", help="int8 or int4 of its weights")
    of_samples.add_argument("--form", choices=("chat", "code"), default="chat", help="code: prompts begin programs")
    of_samples.add_argument("--samples", type=int, default=4, help="answers of each prompt")
    of_samples.add_argument("--max-new-tokens", type=int, default=512, help="of an answer")
    of_samples.add_argument("--temperature", type=float, default=0.8)
    of_samples.add_argument("--top-p", type=float, default=0.95)
    of_samples.add_argument("--seed", type=int, default=0)
    of_code = kinds.add_parser("code", help="generated code that passes its tests")
    of_code.add_argument("file", type=Path, metavar="ANSWERS", help="JSON lines with prompt, response and tests")
    of_code.add_argument("--to", type=Path, required=True, metavar="DIR", help="of the results; the same goes on")
    of_code.add_argument("--run-untrusted-programs", action="store_true", help="needed: see the evaluation's sandbox")
    of_code.add_argument("--seconds", type=int, default=5, help="of processor time for each program")
    of_code.add_argument("--workers", type=int, default=2, help="programs at a time")
    of_maths = kinds.add_parser("mathematics", help="GSM8K, MATH or MathQA")
    of_maths.add_argument("set", choices=list(mathematics.KINDS))
    of_maths.add_argument("file", type=Path, metavar="FILE", help="the set's JSON lines")
    of_maths.add_argument("--to", type=Path, required=True, metavar="FILE", help="of chats")
    for one in (of_code, of_maths):
        one.add_argument(
            "--benchmarks", type=Path, nargs="*", default=[], metavar="PATH", help="nothing of these may be learned"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
