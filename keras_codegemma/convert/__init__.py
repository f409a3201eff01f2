"""Published weights to ours and back: names and layouts, files tensor by tensor, and a comparison.

| to | read |
| --- | --- |
| see what a weight is called in each format | `names.py` |
| read weight files | `stores.py`, `safetensors_store.py`, `h5_store.py`, then `weights.py` |
| read or write a whole folder | `keras_preset.py` with `keras_objects.py`, `hugging_face.py` |
| convert one folder into another | `conversion.py` |
"""

from keras_codegemma.convert.checkpoint import Checkpoint, checkpoint_of
from keras_codegemma.convert.conversion import (
    WeightDifference,
    check_equal,
    convert_folder,
    differences,
    export_to_transformers,
    layout_of,
    open_folder,
    same_architecture,
)
from keras_codegemma.convert.files import HASHES_FILE, MODEL_CARD_FILE, check_hashes, recorded_hashes
from keras_codegemma.convert.hugging_face import read_hugging_face, write_hugging_face
from keras_codegemma.convert.keras_preset import read_keras_hub, write_keras_hub
from keras_codegemma.convert.names import Layout, WeightNames, dry_run, weight_names
from keras_codegemma.convert.weights import ModelWeights, StreamedWeights, Weights

__all__ = [
    "HASHES_FILE",
    "MODEL_CARD_FILE",
    "Checkpoint",
    "Layout",
    "ModelWeights",
    "StreamedWeights",
    "WeightDifference",
    "WeightNames",
    "Weights",
    "check_equal",
    "check_hashes",
    "checkpoint_of",
    "convert_folder",
    "differences",
    "dry_run",
    "export_to_transformers",
    "layout_of",
    "open_folder",
    "read_hugging_face",
    "read_keras_hub",
    "recorded_hashes",
    "same_architecture",
    "weight_names",
    "write_hugging_face",
    "write_keras_hub",
]
