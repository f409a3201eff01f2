"""How sampling asks the model, by a stand-in that records the questions; and that only sampling loads one."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keras_codegemma.evaluation.model import CausalLM
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text


class StandIn:
    """One token per character, a context of 100."""

    def __init__(self):
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.preprocessor = SimpleNamespace(encode_prompt=lambda text: [2, *map(ord, text)])
        self.backbone = SimpleNamespace(config=SimpleNamespace(context_length=100))

    def infill(self, prefixes: list[str], suffixes: list[str], **options: Any) -> list[Any]:
        self.asked.append(((prefixes, suffixes), options))
        return [SimpleNamespace(text=f"{p}|{s}", finish_reason="stop") for p, s in zip(prefixes, suffixes, strict=True)]

    def generate(self, prompts: list[str], **options: Any) -> list[str]:
        self.asked.append((prompts, options))
        return ["y" * (options["max_new_tokens"] if prompt.startswith("full") else 3) for prompt in prompts]


PROBLEM = Problem(task_id="t/0", task="t", kind="completion", prefix="", stop=("\ndef",), max_new_tokens=40)


def test_infilling_passes_layout_budget_and_seed() -> None:
    lm = StandIn()
    problems = [
        dataclasses.replace(PROBLEM, kind="infilling", layout="spm", prefix=name, suffix="s", stop=()) for name in "ab"
    ]
    assert CausalLM(lm).complete(problems, seed=5) == [Text("a|s", "stop"), Text("b|s", "stop")]
    asked, options = lm.asked[0]
    assert asked == (["a", "b"], ["s", "s"])
    expected = {"layout": "spm", "max_new_tokens": 40, "details": True, "sampler": None, "seed": 5}
    assert options == {**expected, "path": None, "context_files": ()}


def test_infilling_shows_path_and_other_files_and_leaves_the_layout_to_the_preset() -> None:
    lm = StandIn()
    own = dataclasses.replace(PROBLEM, kind="infilling", stop=(), path="a.py", context=(("b.py", "text"),))
    CausalLM(lm).complete([own], seed=0)
    options = lm.asked[0][1]
    assert (options["path"], options["context_files"], options["layout"]) == ("a.py", (("b.py", "text"),), None)


def test_a_long_prompt_takes_nothing_from_its_mates() -> None:
    lm = StandIn()
    prompts = ["short", "full", "x" * 80, "x" * 100]
    texts = CausalLM(lm).complete([dataclasses.replace(PROBLEM, prefix=text) for text in prompts], seed=1)
    assert [(asked, options["max_new_tokens"]) for asked, options in lm.asked] == [
        (["short", "full"], 40),
        (["x" * 80], 19),
    ]
    assert [text.finish_reason for text in texts] == ["stop", "length", "stop", "prompt_too_long"]
    assert texts[3].completion == ""


def test_a_stop_that_is_kept_is_not_left_to_the_model() -> None:
    lm = StandIn()
    CausalLM(lm).complete([PROBLEM], seed=0)
    CausalLM(lm).complete([dataclasses.replace(PROBLEM, keep_stop=True)], seed=0)
    assert [options["stop_at"] for _, options in lm.asked] == [["\ndef"], None]


def test_only_sampling_needs_keras() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from keras_codegemma.evaluation import execution, fetching, report, repository, runner, table\n"
        "print(sorted({'keras', 'jax', 'tensorflow'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
