"""The Gemma decoder as a functional Keras model, and its forward pass, written once.

`run_decoder` is called with symbolic tensors to build the model, and with arrays and a cache by generation.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_codegemma import distribution
from keras_codegemma.cache import KVCache, from_layers
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.kernels.partition import Partition
from keras_codegemma.layers import (
    GemmaDecoderBlock,
    Projection,
    ReversibleEmbedding,
    RMSNormalization,
    RotaryEmbedding,
    SequenceIndex,
)
from keras_codegemma.layers.projection import quantization_for
from keras_codegemma.quantization import Quantization, QuantizingSource, is_quantized, split_policy_name

WeightSource = Callable[[str, tuple[int, ...], str], Any]
"""(weight path, shape, dtype) to an array of that shape; called once per weight, in model order."""

INPUT_NAMES = ("token_ids", "padding_mask", "segment_ids", "positions")
REMAT_CHOICES = (None, "block")
DEFAULT_LORA_TARGETS = ("query", "value")


@keras.saving.register_keras_serializable(package="keras_codegemma")
class CodeGemmaBackbone(keras.Model):
    """Token ids to hidden states.

    Inputs, as a dict; all but `token_ids` may be left out:
        token_ids: int32 [B, T].
        padding_mask: bool [B, T], true at real tokens.
        segment_ids: int32 [B, T], the document of each token in packed rows, 0 for padding.
        positions: int32 [B, T], when they are not to be counted from the start of each row or segment.

    Output: hidden states after the final norm, [B, T, D], in the compute dtype.

    The names of layers, classes and attributes follow KerasHub's Gemma, so weight paths and files exchange.

    Args:
        vocabulary_size, num_layers, num_query_heads, num_key_value_heads, hidden_dim, feedforward_dim, head_dim,
        layer_norm_epsilon, rope_max_wavelength, context_length: as in `CodeGemmaConfig`, which checks them.
        dtype: dtype policy or its name; None for Keras's global policy. A quantised one, such as "int8_from_bfloat16"
            or "int4/32_from_bfloat16", quantises projections and embedding as they are created, one at a time.
        weight_source: where the float weights come from, so that none is initialised at random first (see
            `WeightSource`). None initialises at random.
        **options: `name` and `trainable` of `keras.Model`.

    Raises:
        ValueError, TypeError: a number that `CodeGemmaConfig` refuses, a dtype policy that is not a float one, or a
            weight of another shape than the architecture's.
    """

    def __init__(self, *, dtype=None, weight_source: WeightSource | None = None, **options):
        model_options = {key: options.pop(key) for key in ("name", "trainable") if key in options}
        config = CodeGemmaConfig.from_dict(options)
        if (parallel := distribution.active()) is not None:
            parallel.check_model(config)
        weight_policy, policy = _policies(dtype)
        initializer_for = _initializers(config, weight_source, weight_policy)

        token_embedding = ReversibleEmbedding(
            config.vocabulary_size,
            config.hidden_dim,
            embeddings_initializer=initializer_for("token_embedding/embeddings"),
            scale_initializer=initializer_for("token_embedding/embeddings_scale"),
            dtype=weight_policy,
            name="token_embedding",
        )
        blocks = [
            GemmaDecoderBlock(
                config,
                initializer_for=_within(initializer_for, f"decoder_block_{index}"),
                weight_policy=weight_policy,
                dtype=policy,
                name=f"decoder_block_{index}",
            )
            for index in range(config.num_layers)
        ]
        final_norm = RMSNormalization(
            config.layer_norm_epsilon,
            scale_initializer=initializer_for("final_normalization/scale"),
            dtype=policy,
            name="final_normalization",
        )
        sequence_index = SequenceIndex(name="sequence_index")
        rotary = RotaryEmbedding(config.head_dim, config.rope_max_wavelength, name="rotary_embedding")

        inputs = {
            name: keras.Input(
                (None,),
                dtype="bool" if name == "padding_mask" else "int32",
                name=name,
                optional=name != "token_ids",
            )
            for name in INPUT_NAMES
        }
        positions, segment_ids = sequence_index(
            inputs["token_ids"], inputs["padding_mask"], inputs["segment_ids"], inputs["positions"]
        )
        parts = (token_embedding, blocks, final_norm, rotary)
        hidden = _run(parts, inputs["token_ids"], positions, segment_ids=segment_ids)
        super().__init__(inputs=inputs, outputs=hidden, **model_options)
        self.config = config
        self.dtype_policy = policy
        self.token_embedding = token_embedding
        self.transformer_layers = blocks
        self.layer_norm = final_norm
        self.rotary = rotary
        self._is_quantized = self.quantization is not None

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(with_optional_inputs(inputs), *args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        # Training steps come here directly, past __call__.
        inputs = with_optional_inputs(inputs)
        rows = inputs["token_ids"].shape[0]
        if self.partition is None or not isinstance(rows, int):
            return super().call(inputs, training=training, mask=mask)
        return super().call(self.partition.padded(inputs, rows), training=training, mask=mask)[:rows]

    @property
    def partition(self) -> Partition | None:
        """The mesh this was built for; None on one device."""
        return self.transformer_layers[0].partition

    @property
    def remat(self) -> str | None:
        """What training's backward pass computes again instead of keeping it: None for nothing, "block" for all of a
        decoder block but its input, which costs a third more products and keeps [B, T, D] a block.

        Set it before `compile`. It changes no value and is not saved.

        Raises:
            ValueError: set to anything else.
        """
        return self.transformer_layers[0].remat

    @remat.setter
    def remat(self, choice: str | None) -> None:
        if choice not in REMAT_CHOICES:
            raise ValueError(f"remat must be one of {REMAT_CHOICES}; got {choice!r}. Use 'block' to save memory.")
        for block in self.transformer_layers:
            block.remat = choice

    def run_decoder(self, token_ids, positions, cache: KVCache, new_lengths) -> tuple[Any, KVCache]:
        """The forward pass of T new tokens a row over a cache.

        Args:
            token_ids: int32 [B, T].
            positions: int32 [B, T].
            cache: holds what came before; `cache.lengths` are the slots these tokens go to.
            new_lengths: int32 [B], the lengths that the returned cache has. Fewer than lengths + T where the last
                tokens of a row are padding: their slots will be written again.

        Returns:
            Hidden states [B, T, D] and the cache.
        """
        parts = (self.token_embedding, self.transformer_layers, self.layer_norm, self.rotary)
        hidden, layers = _run(parts, token_ids, positions, cache=cache)
        return hidden, from_layers(layers, new_lengths=new_lengths)

    def enable_lora(
        self, rank: int, *, alpha: float | None = None, target_names: tuple[str, ...] = DEFAULT_LORA_TARGETS
    ) -> None:
        """Adds low-rank adapters to the layers of these names and freezes every other weight.

        Args:
            rank: R, columns of A and rows of B.
            alpha: the adapter's result is multiplied by alpha / rank; `rank` by default.
            target_names: layer names among query, key, value, attention_output, ffw_gating, ffw_gating_2, ffw_linear.

        Raises:
            ValueError: a rank that is not a positive integer, an unknown name, or adapters already there.
        """
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"The LoRA rank must be a positive integer; got {rank!r}. Try 4, 8 or 16.")
        projections = self.projections()
        names = {path.split("/")[-1] for path in projections}
        if unknown := sorted(set(target_names) - names):
            raise ValueError(f"LoRA targets must be among {sorted(names)}; got unknown {unknown}. Correct the names.")
        if any(layer.lora_enabled for layer in projections.values()):
            raise ValueError("LoRA is already enabled on this model. Load the preset again to choose another rank.")
        # Only the innermost layers are frozen: Keras hides all variables of a layer within a frozen one.
        norms = [norm for block in self.transformer_layers for norm in (block.pre_attention_norm, block.pre_ffw_norm)]
        for layer in (self.token_embedding, self.layer_norm, *norms, *projections.values()):
            layer.trainable = False
        for path, layer in projections.items():
            if path.split("/")[-1] in target_names:
                layer.trainable = True
                layer.enable_lora(rank, lora_alpha=alpha)

    @property
    def weight_policy(self) -> keras.DTypePolicy:
        """The dtype policy of projections and embedding; the backbone's own, or one quantised from it."""
        return self.token_embedding.dtype_policy

    @property
    def quantization(self) -> Quantization | None:
        """How projections and embedding are quantised, or None."""
        return split_policy_name(self.weight_policy.name)[0]

    def quantize(self, mode=None, config=None, **options):
        """Quantises projections and embedding in place, weights only; norms and activations stay floats.

        Memory: one weight more. To quantise a model that does not fit in floats, load it with a quantised dtype policy.

        Args:
            mode: "int8", a scale for each output; or "int4", a scale for each 128 inputs of an output.
            config: `keras.quantizers.Int4QuantizationConfig(block_size=32)` for another group size; 32, 64 or 128.
            **options: none; Keras's `filters` would leave a model that no preset describes.

        Raises:
            ValueError: another mode or group size, a group size that does not divide, LoRA adapters, an already
                quantised model, or float16 with int8.
            TypeError: an option.
        """
        if options:
            raise TypeError(
                f"A backbone is quantised whole, with a mode or a config; got {sorted(options)}. Leave them out."
            )
        quantization = quantization_for(mode, config)
        for path, shape in self.config.weight_shapes().items():
            if is_quantized(path):
                quantization.shapes(path, shape)  # raises before anything is changed
        if any(layer.lora_enabled for layer in self.projections().values()):
            raise ValueError(
                "A model must be quantised before it gets LoRA adapters; this one has some. Quantise first and call "
                "enable_lora then, or save the model, which merges them, and quantise what was saved."
            )
        for layer in (self.token_embedding, *self.projections().values()):
            layer.quantize(mode, config=config)
        self._is_quantized = True  # Keras refuses a second time
        self.train_function = self.test_function = self.predict_function = None

    def projections(self) -> dict[str, Projection]:
        """Every dense layer by its path, `decoder_block_0/attention/query` and so on, in model order."""
        found = {}
        for index, block in enumerate(self.transformer_layers):
            attention = block.attention
            dense = (
                attention.query_dense,
                attention.key_dense,
                attention.value_dense,
                attention.output_dense,
            )
            found |= {f"decoder_block_{index}/attention/{layer.name}": layer for layer in dense}
            dense = (block.gating_ffw, block.gating_ffw_2, block.ffw_linear)
            found |= {f"decoder_block_{index}/{layer.name}": layer for layer in dense}
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.weight_policy),
            **self.config.to_dict(),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)


def with_optional_inputs(inputs: Any) -> Any:
    """A dict of model inputs with None for each optional one that is left out.

    Raises:
        ValueError: a dict without `token_ids`, or with a name that is no input.
    """
    if not isinstance(inputs, dict):
        raise TypeError(
            f"The model takes a dict with {INPUT_NAMES[0]!r} and optionally {list(INPUT_NAMES[1:])}; "
            f"got {type(inputs).__name__}. Wrap the ids: {{'token_ids': ids}}."
        )
    if "token_ids" not in inputs or not set(inputs) <= set(INPUT_NAMES):
        raise ValueError(
            f"The model's inputs are {INPUT_NAMES[0]!r} and optionally {list(INPUT_NAMES[1:])}; "
            f"got {sorted(inputs)}. Add, remove or rename entries."
        )
    return {name: inputs.get(name) for name in INPUT_NAMES}


def _run(parts, token_ids, positions, *, segment_ids=None, cache: KVCache | None = None):
    """Embedding, blocks, final norm. Without a cache: hidden states. With one: those and the written layer caches."""
    token_embedding, blocks, final_norm, rotary = parts
    sin, cos = rotary(positions)
    x = token_embedding(token_ids)  # B T D
    layer_caches = []
    for index, block in enumerate(blocks):
        if cache is None:
            x = block(x, sin, cos, segment_ids=segment_ids)
        else:
            x, layer_cache = block(x, sin, cos, cache=cache.layer(index))
            layer_caches.append(layer_cache)
    hidden = final_norm(x)
    return hidden if cache is None else (hidden, layer_caches)


def _policies(dtype) -> tuple[keras.DTypePolicy, keras.DTypePolicy]:
    """The policy of weights that may be quantised, and the float policy of everything else."""
    policy = keras.dtype_policies.get(dtype if dtype is not None else keras.config.dtype_policy())
    quantization, source = split_policy_name(policy.name or "")
    allowed = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
    if source not in allowed:
        raise ValueError(
            f"The dtype policy must be one of {list(allowed)}, or quantised from one; got {policy.name!r}. "
            "Pass dtype='bfloat16', 'float32' or 'int8_from_bfloat16'."
        )
    if quantization is None:
        return policy, policy
    # Named in full, so that the group size is saved.
    return keras.dtype_policies.get(quantization.policy_name(source)), keras.dtype_policies.get(source)


def _initializers(
    config: CodeGemmaConfig, source: WeightSource | None, weight_policy: keras.DTypePolicy
) -> Callable[[str], Any]:
    """From a weight path to its initializer: random as in KerasHub, or the loader's array; quantised on the way."""
    quantization, _ = split_policy_name(weight_policy.name)
    if quantization is None:
        return _random_initializer if source is None else lambda path: _from_source(source, path)
    floats = source or (lambda path, shape, dtype: _random_initializer(path)(shape, dtype=dtype))
    dtype = weight_policy.variable_dtype
    quantized = QuantizingSource(floats, quantization, shapes=config.weight_shapes(), dtype=dtype)
    return lambda path: _from_source(quantized, path)


def _random_initializer(path: str) -> Any:
    if path.endswith("/scale"):
        return keras.initializers.Zeros()
    if path.endswith("/embeddings"):
        return keras.initializers.VarianceScaling(1.0, mode="fan_in", distribution="untruncated_normal")
    return keras.initializers.GlorotUniform()


def _from_source(source: WeightSource, path: str) -> Callable[..., Any]:
    # Where there is a layout, Keras passes it to initializers that name it. Others it calls inside a jitted function if
    # the weight is large, which would make the weight a constant of the program.
    def load(shape: tuple[int, ...], dtype: str, layout: Any = None) -> Any:
        value = source(path, tuple(shape), dtype)
        if tuple(value.shape) != tuple(shape):
            raise ValueError(
                f"The weight {path} must have shape {tuple(shape)}; its source gave {tuple(value.shape)}. "
                "Load a checkpoint of this architecture."
            )
        # Keras does not cast what an initializer returns. astype also exists on jax arrays, and copies only if it must.
        value = value.astype(dtype, copy=False) if isinstance(value, np.ndarray) else value.astype(dtype)
        return value if layout is None else distribution.place(value, layout.spec)

    return load


def _within(initializer_for: Callable[[str], Any], prefix: str) -> Callable[[str], Any]:
    return lambda path: initializer_for(f"{prefix}/{path}")
