"""A run to report on, and a strict reader of the page made from it."""

import html.parser
import json
from pathlib import Path

from keras_codegemma.evaluation import language, records, runner, settings, timing
from keras_codegemma.evaluation.problems import Problem

VOID = {"meta", "link", "br", "input"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&lt;\x00"


def write_run(folder: Path, *, preset: str = "code_gemma_2b_en", judged: bool = True) -> None:
    """4 infilling problems of 2 clusters, of which 3 pass, 2 of HumanEval, of which none does, and a missing task."""
    problems, samples, results = [], [], []
    for number in range(6):
        infilling = number < 4
        task = "infilling-single-line-psm" if infilling else "humaneval"
        problem = Problem(
            task_id=f"{task}/{number}",
            task=task,
            kind="infilling" if infilling else "completion",
            prefix=f"def f{number}():\n" + "# long\n" * (2000 if number == 0 else 0),
            suffix="\nafter" if infilling else "",
            canonical_solution="    return 1\n",
            cluster=str(number // 2),
            stop=() if infilling else ("\ndef ",),
        )
        completion = HOSTILE if number == 3 else "    return 1\n\ndef other(): pass"
        passed = number < 3
        problems.append(problem)
        samples.append(
            {"task_id": problem.task_id, "sample": 0, "completion": completion, "finish_reason": "stop", "seconds": 0.5}
        )
        results.append(
            {
                "task_id": problem.task_id,
                "sample": 0,
                "passed": passed and judged,
                "verdict": ("passed" if passed else "failed") if judged else "not_run",
                "detail": "" if passed else f"AssertionError {HOSTILE}",
                "exact_match": number == 5,
                "edit_similarity": 0.25,
                "finish_reason": "stop",
                "seconds": 0.1,
                "sampling_seconds": 0.5,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    runner.write_problems(folder / "problems.jsonl", problems)
    records.write(folder / "samples.jsonl", samples, records.SAMPLE)
    records.write(folder / "results.jsonl", results, records.RESULT)
    settings.check(folder, {"preset": preset, "seed": 0})
    records.write_json(folder / settings.LEFT_OUT, {"mbpp": "the file is missing", "boolq": "lm-eval is missing"})
    figures = {"infilling-single-line-psm": {"timed": 2, "of": 4, "mean": 0.5, "median": 0.5, "low": 0.4, "high": 0.6}}
    timing.write(folder, figures, count=2, device="a slow one", versions={"jax": "1"})
    result = language.Result(
        task="gsm8k",
        title="GSM8K",
        figures={"exact_match": language.Figure(value=0.4, standard_error=0.1)},
        problems=25,
        available=1319,
        published={"code_gemma_7b_en": 44.2},
    )
    language_file = folder / "language" / "gsm8k.json"
    language_file.parent.mkdir()
    records.write_json(language_file, json.loads(json.dumps(result, default=vars)))


class Page(html.parser.HTMLParser):
    """Reads a page, insists that every element is closed in order, and keeps what is asked about.

    Attributes:
        seen: the elements, in order.
        scripts: (type, text) of each script.
        attributes: all, as (element, name, value).
        text: outside scripts and styles.
    """

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            kind, text = self.scripts.pop()
            self.scripts.append((kind, text + data))
        elif not self._open or self._open[-1] != "style":
            self.text += data
