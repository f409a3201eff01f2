"""Makes or checks transformers' golden logits: python -m tests.parity.make_transformers_golden [--check]

Needs torch and transformers, which the tests do not. Weights and inputs come from `recipe.py`, so the files
hold only logits, versions and shapes. Run from the repository's root, with KERAS_BACKEND=jax.

`--check` runs transformers and ours side by side on every case, compares transformers with the golden files,
and exchanges folders both ways for a 2B-like and a 7B-like model; it exits 1 if anything differs by more than
it may.
"""

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import keras_codegemma  # noqa: F401 (selects the backend before keras is imported)
from keras_codegemma import presets
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.convert import checkpoint_of, convert_folder, weight_names, write_keras_hub
from tests.parity.cases import CASES, SEED, Case, small
from tests.parity.recipe import random_weight

DATA = Path(__file__).parents[1] / "data"
LOGITS_FILE = DATA / "transformers_golden.npz"
ABOUT_FILE = DATA / "transformers_golden.json"
FLOAT32_TOLERANCE = 1e-5
BFLOAT16_TOLERANCE = 3e-2  # another processor may sum in another order, and then round to 8 bits


def transformers_model(config) -> Any:
    """transformers' Gemma with the recipe's weights, float32."""
    theirs = transformers.GemmaConfig(
        vocab_size=config.vocabulary_size,
        hidden_size=config.hidden_dim,
        intermediate_size=config.feedforward_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_query_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
    )
    theirs._attn_implementation = "eager"
    model = transformers.GemmaForCausalLM(theirs)
    state = model.state_dict()
    with torch.no_grad():
        for names in weight_names(config):
            weight = random_weight(names.path, names.shape, seed=SEED)
            state[names.hugging_face_name].copy_(torch.from_numpy(names.to_hugging_face(weight).copy()))
    return model.eval()


def transformers_logits(case: Case, model: Any) -> np.ndarray:
    """Logits [B, T, V] as float32. Packed rows: explicit positions and a block-diagonal causal mask."""
    batch = case.batch()
    ids = torch.from_numpy(batch["token_ids"]).long()
    if case.is_packed:
        segments = torch.from_numpy(batch["segment_ids"])
        same = segments[:, :, None] == segments[:, None, :]
        allowed = same & torch.ones(case.width, case.width, dtype=torch.bool).tril()
        lowest = torch.finfo(model.dtype).min
        mask = torch.where(allowed, 0.0, lowest).to(model.dtype)[:, None]
        options = {"attention_mask": mask, "position_ids": torch.from_numpy(batch["positions"]).long()}
    else:
        options = {"attention_mask": torch.from_numpy(batch["padding_mask"]).long()}
    with torch.no_grad():
        return model(ids, use_cache=False, **options).logits.float().numpy()


def real_rows(case: Case, logits: np.ndarray) -> np.ndarray:
    """Logits of the tokens that are no padding, [tokens, V]."""
    return logits[case.batch()["padding_mask"]]


def golden() -> dict[str, np.ndarray]:
    """Every array of the golden file: `name/float32`, and the weights rounded to bfloat16 in both types."""
    arrays = {}
    for case in CASES:
        model = transformers_model(case.config)
        arrays[f"{case.name}/float32"] = real_rows(case, transformers_logits(case, model))
        _cast_parameters(model, torch.bfloat16)
        arrays[f"{case.name}/bfloat16"] = real_rows(case, transformers_logits(case, model))
        _cast_parameters(model, torch.float32)  # the same rounded weights, computed with in float32
        arrays[f"{case.name}/bfloat16_weights"] = real_rows(case, transformers_logits(case, model))
    return arrays


def _cast_parameters(model: Any, dtype: torch.dtype) -> None:
    """Casts weights but not the rotary frequencies, which transformers keeps in float32 on loading."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def make() -> None:
    """Writes both files."""
    arrays = golden()
    about = {
        "made_by": "python -m tests.parity.make_transformers_golden",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "attention": "eager",
        "device": "cpu",
        "seed": SEED,
        "cases": {
            case.name: {"config": case.config.to_dict(), "lengths": case.lengths, "is_packed": case.is_packed}
            for case in CASES
        },
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(LOGITS_FILE, **arrays)  # type: ignore[arg-type]
    ABOUT_FILE.write_text(json.dumps(about, indent=1) + "\n")
    print(f"{len(arrays)} arrays, {LOGITS_FILE.stat().st_size:,} bytes: {LOGITS_FILE}")


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """max |difference| / max |expected|."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def our_logits(backbone: CodeGemmaBackbone, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Logits [B, T, V] of ours, float32."""
    return np.asarray(backbone.token_embedding(backbone(batch), reverse=True), np.float32)


def check() -> bool:
    """Compares everything live; prints a line each and returns whether all agree."""
    differences = {}
    stored = np.load(LOGITS_FILE)
    for name, array in golden().items():
        differences[f"golden {name}"] = relative_difference(array, stored[name])
    for case in CASES:
        model = transformers_model(case.config)
        ours = CodeGemmaBackbone(
            **case.config.to_dict(),
            dtype="float32",
            weight_source=lambda path, shape, dtype: random_weight(path, shape, seed=SEED),
        )
        differences[f"ours and transformers, {case.name}"] = relative_difference(
            real_rows(case, our_logits(ours, case.batch())), real_rows(case, transformers_logits(case, model))
        )
        del model, ours
    for kind, config in {
        "2B-like": small(vocabulary_size=8192),
        "7B-like": small(vocabulary_size=8192, num_key_value_heads=4, hidden_dim=48),
    }.items():
        differences |= {f"{kind}: {key}": value for key, value in _exchange(config).items()}
    agree = True
    for name, value in differences.items():
        is_close = value <= (BFLOAT16_TOLERANCE if name.endswith("/bfloat16") else FLOAT32_TOLERANCE)
        print(f"{'ok ' if is_close else 'BAD'} {value:.1e} {name}")
        agree = agree and is_close
    return agree


def _exchange(config) -> dict[str, float]:
    """A folder saved by transformers loads here, and ours there; tokenizers give the same ids."""
    tiny = presets.load("code_gemma_tiny")
    text = "def add(a, b):\n    return a + b\n\n\nclass A:\n\tpass  # é漢字\n"
    ids = np.asarray([tiny.preprocessor.tokenizer.encode(text)], np.int32)
    batch = {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}
    theirs = transformers_model(config)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids).long()).logits.numpy()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        # Ours, by way of a KerasHub folder, to transformers.
        source = CodeGemmaBackbone(
            **config.to_dict(),
            dtype="float32",
            weight_source=lambda path, shape, dtype: random_weight(path, shape, seed=SEED),
        )
        lm = _Model(source, tiny)
        write_keras_hub(checkpoint_of(lm), work / "ours")
        convert_folder(work / "ours", work / "exported", layout="hugging_face", max_shard_size=0.001)
        opened = transformers.AutoModelForCausalLM.from_pretrained(
            work / "exported", dtype=torch.float32, attn_implementation="eager"
        )
        with torch.no_grad():
            to_them = opened(torch.from_numpy(ids).long()).logits.numpy()
        tokenizer = transformers.AutoTokenizer.from_pretrained(work / "exported")
        same_ids = tokenizer(text, add_special_tokens=False)["input_ids"] == ids[0].tolist()
        # Theirs, saved by them, to ours.
        theirs.save_pretrained(work / "theirs", max_shard_size="1MB")
        tokenizer.save_pretrained(work / "theirs")
        loaded = presets.load(work / "theirs", dtype="float32")
        same_ids_back = loaded.preprocessor.tokenizer.encode(text) == ids[0].tolist()
        return {
            "ours to transformers": relative_difference(to_them, expected),
            "transformers to ours": relative_difference(our_logits(loaded.backbone, batch), expected),
            "tokenizer to transformers": 0.0 if same_ids else 1.0,
            "tokenizer from transformers": 0.0 if same_ids_back else 1.0,
        }


class _Model:
    """A backbone with the tiny preset's tokenizer, as far as saving looks."""

    def __init__(self, backbone: CodeGemmaBackbone, tiny: presets.LoadedPreset):
        self.backbone = backbone
        self.preprocessor = self
        self.tokenizer = tiny.preprocessor.tokenizer

    def get_config(self) -> dict[str, Any]:
        return {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare live and change no file")
    if parser.parse_args().check:
        return 0 if check() else 1
    make()
    return 0


if __name__ == "__main__":
    sys.exit(main())
