"""What every weight is called and how it lies in each published format: pure tables, from the config alone.

Three formats hold the same numbers under other names:

| format | name of layer 0's query weight | layout |
| --- | --- | --- |
| ours, and KerasHub's `variable.path` | `decoder_block_0/attention/query/kernel` | N D H |
| KerasHub's `.weights.h5` key | `layers/gemma_decoder_block/attention/query_dense/vars/0` | the same |
| Hugging Face safetensors | `model.layers.0.self_attn.q_proj.weight` | (N H) D |

Layouts are written in the axis letters of `axes.py`; in Hugging Face's, letters that stand together are one
axis.

Sources: KerasHub `utils/transformers/convert_gemma.py` and
`tools/checkpoint_conversion/convert_gemma_checkpoints.py`; the h5 keys were listed from a backbone saved by
KerasHub 0.32. Rotary halves lie alike in both, so nothing is permuted.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from keras_codegemma.config import CodeGemmaConfig

_BAND_ROWS = 16

Layout = Literal["keras_hub", "hugging_face"]

_BLOCK_WEIGHTS = (
    # ours                              ours   Hugging Face                       Hugging Face  KerasHub h5
    ("pre_attention_norm/scale", "D", "input_layernorm", "D", "pre_attention_norm"),
    ("attention/query/kernel", "NDH", "self_attn.q_proj", "NH D", "attention/query_dense"),
    ("attention/key/kernel", "KDH", "self_attn.k_proj", "KH D", "attention/key_dense"),
    ("attention/value/kernel", "KDH", "self_attn.v_proj", "KH D", "attention/value_dense"),
    ("attention/attention_output/kernel", "NHD", "self_attn.o_proj", "D NH", "attention/output_dense"),
    # The norm before the feed-forward in Gemma 1; in Gemma 2 the same Hugging Face name is another norm.
    ("pre_ffw_norm/scale", "D", "post_attention_layernorm", "D", "pre_ffw_norm"),
    ("ffw_gating/kernel", "DF", "mlp.gate_proj", "F D", "gating_ffw"),
    ("ffw_gating_2/kernel", "DF", "mlp.up_proj", "F D", "gating_ffw_2"),
    ("ffw_linear/kernel", "FD", "mlp.down_proj", "D F", "ffw_linear"),
)


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """One weight in all formats.

    Attributes:
        path: Keras `variable.path`, ours and KerasHub's.
        shape: the shape of ours, the same in KerasHub's files.
        keras_hub_key: dataset name in KerasHub's `.weights.h5`.
        hugging_face_name: tensor name in safetensors.
        hugging_face_shape: its shape there, torch's [out, in].
        split_shape: `hugging_face_shape` with heads and head width as axes of their own.
        axes: the transposition from `split_shape` to `shape`.
    """

    path: str
    shape: tuple[int, ...]
    keras_hub_key: str
    hugging_face_name: str
    hugging_face_shape: tuple[int, ...]
    split_shape: tuple[int, ...]
    axes: tuple[int, ...]

    def name_in(self, layout: Layout) -> str:
        """The tensor's name in the weight files of this layout."""
        return self.hugging_face_name if layout == "hugging_face" else self.keras_hub_key

    def shape_in(self, layout: Layout) -> tuple[int, ...]:
        """The tensor's shape in the weight files of this layout."""
        return self.hugging_face_shape if layout == "hugging_face" else self.shape

    def view_in(self, layout: Layout, ours: np.ndarray) -> np.ndarray:
        """Our array with its axes in this layout's order (`split_shape`); a view, so it can be written to."""
        return self.split_view(ours) if layout == "hugging_face" else ours

    def split_view(self, ours: np.ndarray) -> np.ndarray:
        """Our array with Hugging Face's order of axes, `split_shape`; a view."""
        return ours.transpose(tuple(int(axis) for axis in np.argsort(self.axes)))

    def to_hugging_face(self, ours: np.ndarray) -> np.ndarray:
        """From our shape to `hugging_face_shape`."""
        view = self.split_view(ours)
        if not view.flags.c_contiguous:
            transposed = np.empty(self.split_shape, ours.dtype)
            copy_in_bands(transposed, view)
            view = transposed
        return view.reshape(self.hugging_face_shape)

    def from_hugging_face(self, theirs: np.ndarray) -> np.ndarray:
        """From `hugging_face_shape` to our shape."""
        return theirs.reshape(self.split_shape).transpose(self.axes)


def copy_in_bands(target: np.ndarray, source: np.ndarray) -> None:
    """Does `target[...] = source`, where one of them is transposed, in a third of the time.

    Widths are powers of two, so the elements of a column share a few cache lines' sets: more than some 16 rows at a
    time push each other out (16384 x 2048 in bfloat16: 2.4 GB/s in bands of 16 rows, 0.6 in bands of 1024).
    """
    for start in range(0, len(target), _BAND_ROWS):
        target[start : start + _BAND_ROWS] = source[start : start + _BAND_ROWS]


def weight_names(config: CodeGemmaConfig) -> tuple[WeightNames, ...]:
    """Every weight of a model of this shape, in the order the model creates them: 9 a layer and 2 more."""
    size = {
        "V": config.vocabulary_size,
        "D": config.hidden_dim,
        "F": config.feedforward_dim,
        "N": config.num_query_heads,
        "K": config.num_key_value_heads,
        "H": config.head_dim,
    }
    names = [
        _names(
            size,
            "token_embedding/embeddings",
            ours="VD",
            name="model.embed_tokens.weight",
            theirs="V D",
            key="reversible_embedding",
        )
    ]
    for layer in range(config.num_layers):
        block = "gemma_decoder_block" if layer == 0 else f"gemma_decoder_block_{layer}"
        names += [
            _names(
                size,
                f"decoder_block_{layer}/{path}",
                ours=ours,
                name=f"model.layers.{layer}.{name}.weight",
                theirs=theirs,
                key=f"{block}/{key}",
            )
            for path, ours, name, theirs, key in _BLOCK_WEIGHTS
        ]
    names.append(
        _names(
            size,
            "final_normalization/scale",
            ours="D",
            name="model.norm.weight",
            theirs="D",
            key="rms_normalization",
        )
    )
    return tuple(names)


def _names(size: dict[str, int], path: str, *, ours: str, name: str, theirs: str, key: str) -> WeightNames:
    letters = theirs.replace(" ", "")
    return WeightNames(
        path=path,
        shape=tuple(size[letter] for letter in ours),
        keras_hub_key=f"layers/{key}/vars/0",
        hugging_face_name=name,
        hugging_face_shape=tuple(math.prod(size[letter] for letter in axis) for axis in theirs.split()),
        split_shape=tuple(size[letter] for letter in letters),
        axes=tuple(letters.index(letter) for letter in ours),
    )


def dry_run(config: CodeGemmaConfig) -> list[dict[str, Any]]:
    """What a conversion would read and write, without allocating a weight.

    Returns:
        One row per tensor, in model order, with `hugging_face_name`, `hugging_face_shape`, `path`, `shape`,
        `keras_hub_key` and `parameters`: 164 rows for 2B, 254 for 7B.
    """
    return [
        {
            "hugging_face_name": names.hugging_face_name,
            "hugging_face_shape": names.hugging_face_shape,
            "path": names.path,
            "shape": names.shape,
            "keras_hub_key": names.keras_hub_key,
            "parameters": math.prod(names.shape),
        }
        for names in weight_names(config)
    ]
