"""The benchmark files: read from a folder that the user gives, checked against pinned hashes, never shipped.

The folder holds gzipped JSON Lines, written with modification time 0, no file name and level 9, so that the hash of
the compressed file is reproducible. Sources: openai/human-eval at 6d43fb9, openai/human-eval-infilling at 88062ff,
google-research/google-research (mbpp) at 2f9fd85, and google-research/babelcode at e8314f6, whose scripts made the
`bc_` files.
"""

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

PINNED = {
    "babelcode/bc_humaneval_cpp.jsonl.gz": (161, "859e220605e500ada7476ccd39399f323bf1336d39b760673c1bf63db4fcf9e2"),
    "babelcode/bc_humaneval_cs.jsonl.gz": (161, "98dd49ab89c675cf706e3053517d34522054ffbdc47a3a79b2271ff889991a75"),
    "babelcode/bc_humaneval_go.jsonl.gz": (161, "46dcab8911c79b48d97d7b0781f2c5ade9e24e10afe2b30408e708cfe01c4537"),
    "babelcode/bc_humaneval_java.jsonl.gz": (161, "696d9a6d4cc57fa5f5d976b9090a4d91a3b634438d82f4607fdda1da096834f4"),
    "babelcode/bc_humaneval_js.jsonl.gz": (161, "b291d8ac114386b972e88d6bc06f0bd4003cd21468f3c2a65b66039ce0c87907"),
    "babelcode/bc_humaneval_kt.jsonl.gz": (161, "fb8f60032fe8c8081960fabe8e870dd6deefc7a2aaea10e012966f20103d986a"),
    "babelcode/bc_humaneval_py.jsonl.gz": (161, "ed8ae8228d644d20ff55afc2fd6f42050345ae3aa172d39afd1781c94fd6c78d"),
    "babelcode/bc_humaneval_rs.jsonl.gz": (161, "6ace146e90bdf9183143325f9397e517f6a7b91ab2cfe4b43197a085aab20383"),
    "babelcode/bc_sanitized_mbpp_cpp.jsonl.gz": (
        342,
        "2ef25cdf0391751775de483ba6bad4c93ce4da8e379dfd4f4972de5060eaff53",
    ),
    "babelcode/bc_sanitized_mbpp_cs.jsonl.gz": (
        342,
        "8fffa42543458d0181263a70480e46e88bd73af382be9ccf833cd7ab70f5d491",
    ),
    "babelcode/bc_sanitized_mbpp_go.jsonl.gz": (
        342,
        "7d876bc43bd558d4086064a315bd514e22d191f0b64e7871174e5394bce693aa",
    ),
    "babelcode/bc_sanitized_mbpp_java.jsonl.gz": (
        342,
        "f754ca6110e654ff15452df17b5e17e7f6f13718ad62a2e844d9a392ef263f54",
    ),
    "babelcode/bc_sanitized_mbpp_js.jsonl.gz": (
        342,
        "708e50e383a2fec97fc45a30f41225389488195956ad96842c4e97f62858e7e5",
    ),
    "babelcode/bc_sanitized_mbpp_kt.jsonl.gz": (
        342,
        "c386427acde9e3aeca09620495c1fba12681366bde784cb7536762817ab16cd1",
    ),
    "babelcode/bc_sanitized_mbpp_py.jsonl.gz": (
        342,
        "f411e0009c6fc81cd85cd195cd28c24c0ac100056142748ab42d5ede52c5975e",
    ),
    "babelcode/bc_sanitized_mbpp_rs.jsonl.gz": (
        342,
        "a2771b49c3a34acede6acb0a5cb53ca1f45787325ad920e9a72940763baa8f8a",
    ),
    "babelcode/golden_human_eval.jsonl.gz": (161, "b7974ce484ea7a5528a0865e4038c70c46e5fc7027cd65bce911d0e840f62205"),
    "babelcode/golden_sanitized_mbpp.jsonl.gz": (
        361,
        "165ca1f2bf4b5b7a844908e046f8a52cf01b8513a70e87bde05d2cd8c971b3c3",
    ),
    "babelcode/language_stop_words.jsonl.gz": (11, "21a907d28a299a273a0b3cad172880701817e92a43bd6ab043d02d5f129b7bc3"),
    "human_eval/HumanEval.jsonl.gz": (164, "ac4e91943afe24984653da41df3abfbaa028b0097907d380cc1644ff04e1604f"),
    "human_eval_infilling/HumanEval-MultiLineInfilling.jsonl.gz": (
        5815,
        "a2bc6d5047153ad9088c443a6d85ce22f7e1001382c01cdff5ef82eb1f8c9528",
    ),
    "human_eval_infilling/HumanEval-RandomSpanInfilling.jsonl.gz": (
        1640,
        "997e9056703380c5f685814558f88b1cec70d06d4f0db40297cb0970f5f7b60e",
    ),
    "human_eval_infilling/HumanEval-RandomSpanInfillingLight.jsonl.gz": (
        164,
        "5096c1970c51455573262c926593d27e28c5d9b79d965ab47eb24b92c982c7c7",
    ),
    "human_eval_infilling/HumanEval-SingleLineInfilling.jsonl.gz": (
        1033,
        "95d4de04ab6a23fa731b1e22af7911d7b6a3c6f62581469ae579f4ac18ac1e13",
    ),
    "mbpp/mbpp.jsonl.gz": (974, "29845b0dc86965fbbab7505194f48ab10913fb473fe1c8283672002d2cd7ee94"),
    "mbpp/sanitized-mbpp.jsonl.gz": (427, "dbe7f188325ac3f1d6e867bba7f3b61a22582c801bcca3cf8e48396545352ce5"),
}
"""File -> (rows, sha256 of the gz)."""


def read_rows(folder: str | os.PathLike[str], name: str) -> list[dict[str, Any]]:
    """The rows of one benchmark file.

    Args:
        folder: where the files lie.
        name: a key of `PINNED`.

    Raises:
        FileNotFoundError: the folder does not have it.
        ValueError: it is not the pinned file.
    """
    path = Path(folder, name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The benchmark file {name} must lie in the data folder; {path} does not exist. "
            "Pass the folder that has it (python -m keras_codegemma.evaluation problems --data FOLDER)."
        )
    count, expected = PINNED[name]
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(
            f"{name} must have the sha256 {expected}; {path} has {found}. "
            "Fetch it again from its source: other bytes are another benchmark."
        )
    rows = [json.loads(line) for line in gzip.decompress(data).decode("utf-8").splitlines()]
    assert len(rows) == count, (name, len(rows))
    return rows
