"""Small benchmark files made for tests, in each benchmark's own format and under the names of the real ones."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROWS: dict[str, list[dict[str, Any]]] = {
    "boolq/val.jsonl.gz": [
        {"question": "do cats bark", "passage": "Cats -- Cats meow.", "idx": 0, "label": "false"},
        {"question": "do dogs bark", "passage": "Dogs -- Dogs bark." + " They do." * 60, "idx": 1, "label": "true"},
    ],
    "piqa/valid.jsonl.gz": [
        {"id": "a", "goal": "Boil water", "sol1": "Freeze it for an hour or two.", "sol2": "Heat it.", "label": 1},
        {"id": "b", "goal": "Dry a shirt", "sol1": "Hang it.", "sol2": "Put it under water.", "label": 0},
    ],
    "triviaqa/test_sample1000.jsonl.gz": [
        {"id": f"test_{number}", "question": f"What is {number} and 1?", "golden_answers": [str(number + 1), "more"]}
        for number in range(5)
    ]
    + [
        {"id": "test_5", "question": "Who wrote Emma?", "golden_answers": ["Jane Austen", "Austen, Jane"]},
        {"id": "test_6", "question": "Which city has the Louvre?", "golden_answers": ["Paris"]},
    ],
    "arc/ARC-Challenge-Test.jsonl.gz": [
        {
            "id": "M_1",
            "question": {
                "stem": "What is ice?",
                "choices": [
                    {"text": "Frozen water", "label": "A"},
                    {"text": "Fire", "label": "B"},
                    {"text": "A gas that burns", "label": "C"},
                ],
            },
            "answerKey": "A",
        },
        {
            "id": "M_2",
            "question": {
                "stem": "What is 2 + 2?",
                "choices": [{"text": "3", "label": "1"}, {"text": "4", "label": "2"}],
            },
            "answerKey": "2",
        },
    ],
    "hellaswag/val.jsonl.gz": [
        {"query": "Cooking: A man breaks an egg. he", "label": 1, "endings": ["flies away.", "fries it.", "x", "y z"]}
    ],
    "mmlu/test.jsonl.gz": [
        {"subject": "anatomy", "question": "Legs of a man? ", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"},
        {"subject": "anatomy", "question": "Eyes of a man?", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"},
        {"subject": "world_religions", "question": "Gods?", "A": "0", "B": "1", "C": "2", "D": "3", "answer": "D"},
    ],
    "mmlu/dev.jsonl.gz": [
        {"subject": subject, "question": f"Shot {n}?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "ABCDA"[n]}
        for subject in ("anatomy", "world_religions")
        for n in range(5)
    ],
    "winogrande/dev.jsonl.gz": [
        {"qID": "1-1", "sentence": "Ann beat Eve, so _ won.", "option1": "Ann", "option2": "Eve", "answer": "1"},
        {"qID": "1-2", "sentence": "Ann beat Eve, so _ lost.", "option1": "Ann", "option2": "Eve", "answer": "2"},
    ],
    "gsm8k/test.jsonl.gz": [
        {"question": "Tom has 3 hens and buys 4. How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
        {"question": "How many metres in 2 km?", "answer": "2 * 1000 = <<2*1000=2000>>2000\n#### 2,000"},
    ],
    "gsm8k/train_first200.jsonl.gz": [
        {"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = <<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}"}
        for n in range(7)
    ],
    "math/math_500_test.jsonl.gz": [
        {
            "problem": "What is $\\frac12+\\frac12$?",
            "solution": "It is $\\boxed{1}$.",
            "answer": "1",
            "subject": "Algebra",
            "level": 1,
            "unique_id": "test/algebra/1.json",
        },
        {
            "problem": "Halve $x$.",
            "solution": "Half of it: $\\boxed{\\frac{x}{2}}$.",
            "answer": "\\frac{x}{2}",
            "subject": "Algebra",
            "level": 1,
            "unique_id": "test/algebra/2.json",
        },
    ],
}
"""File -> its rows."""


def write(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]] = ROWS) -> Path:
    """Puts the files into a folder and returns it."""
    for name, lines in rows.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder
