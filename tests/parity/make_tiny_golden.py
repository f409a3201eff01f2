"""Makes the tiny preset's golden file: python -m tests.parity.make_tiny_golden

transformers' Gemma computes, in float32 from the preset's weights, what `tests/presets/test_golden.py` compares with.
Needs torch and transformers, which the tests do not. The prompts are those of the file that it writes anew.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import keras_codegemma as kcg

FILE = Path(__file__).parents[1] / "data" / "tiny_golden.json"
NEW_TOKENS = 48
STOP_IDS = [1, 67, 68, 69, 70]
"""End of text, the three FIM pieces, the file separator."""


def case_of(model: Any, lm: kcg.CodeGemmaCausalLM, *, kind: str, prefix: str, suffix: str | None) -> dict[str, Any]:
    """One prompt: what transformers says of it, and how it goes on."""
    preprocessor = lm.preprocessor
    ids = (
        preprocessor.encode_prompt(prefix)
        if suffix is None
        else preprocessor.encode_infill(prefix, suffix, layout=kind, max_prompt_tokens=900).token_ids
    )
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
        log_probs = torch.log_softmax(logits[:-1], -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        greedy: list[int] = []
        while len(greedy) < NEW_TOKENS and not (greedy and greedy[-1] in STOP_IDS):
            greedy.append(int(model(torch.tensor([ids + greedy]), use_cache=False).logits[0, -1].argmax()))
    top = np.argsort(-logits[-1].numpy())[:10]
    return {
        "kind": kind,
        "prefix": prefix,
        "suffix": suffix,
        "prompt_ids": ids,
        "last_logits_top10": {"ids": top.tolist(), "values": [round(float(logits[-1, i]), 5) for i in top]},
        "logits_abs_mean": round(float(logits.abs().mean()), 6),
        "prompt_log_probs": [round(float(value), 5) for value in log_probs],
        "greedy_ids": greedy,
        "greedy_text": preprocessor.tokenizer.decode([i for i in greedy if i not in STOP_IDS]),
    }


def main() -> None:
    """Writes the file."""
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="bfloat16")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "tiny"
        lm.export_to_transformers(folder)
        model = transformers.GemmaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        hashes = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "tokenizer.model")
        }
    cases = [
        case_of(model.eval(), lm, kind=case["kind"], prefix=case["prefix"], suffix=case["suffix"])
        for case in json.loads(FILE.read_text())["cases"]
    ]
    made_with = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "dtype": "float32, weights as stored in bfloat16",
        "device": "cpu",
        "stop_ids": STOP_IDS,
    }
    FILE.write_text(json.dumps({"made_with": made_with, "sha256": hashes, "cases": cases}, indent=1) + "\n")
    for case in cases:
        print(case["kind"], repr(case["greedy_text"]))


if __name__ == "__main__":
    main()
