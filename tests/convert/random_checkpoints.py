"""Small random models as `convert` reads them, and the means to damage their folders."""

import json
from pathlib import Path

from keras_codegemma import convert
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.stores import numpy_dtype
from tests.parity.cases import small
from tests.parity.recipe import random_weight

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"
LIKE_2B = small(vocabulary_size=8192, hidden_dim=32, num_query_heads=2, feedforward_dim=48)
LIKE_7B = small(vocabulary_size=8192, hidden_dim=24, num_key_value_heads=4, head_dim=8, feedforward_dim=40)


class RandomWeights:
    """The recipe's weights as `convert` reads them."""

    def __init__(self, dtype: str = "float32"):
        self.dtype = dtype

    def __call__(self, path, shape, dtype=None):
        return random_weight(path, shape, seed=1).astype(numpy_dtype(dtype or self.dtype))

    def stored_dtype(self, path):
        return self.dtype

    def close(self):
        pass


def random_checkpoint(config: CodeGemmaConfig, dtype: str = "float32", *, tokenizer: bool = False):
    model = (TINY / "assets/tokenizer/vocabulary.spm").read_bytes() if tokenizer else None
    return convert.Checkpoint(config=config, dtype=dtype, weights=RandomWeights(dtype), tokenizer_model=model)


def change_json(path: Path, **changes) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))
