"""One decoder block: x + attention(norm(x)), then + feed-forward(norm(.))."""

import jax
import keras

from keras_codegemma import distribution
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.kernels.geglu import geglu
from keras_codegemma.layers.attention import GemmaAttention
from keras_codegemma.layers.projection import Projection, kernel_initializers, project
from keras_codegemma.layers.rms_norm import RMSNormalization


class GemmaDecoderBlock(keras.layers.Layer):
    """A decoder block of Gemma 1.

    The class name and the attribute names are part of the weight file format that we share with KerasHub, the layer
    names are its weight paths: do not rename any.

    Args:
        config: the architecture.
        initializer_for: from a weight's path within the block to its initializer, or None for Keras's defaults.
        weight_policy: dtype policy of the projections where they are quantised; None for the block's own.
        **options: passed to `keras.layers.Layer`.
    """

    def __init__(self, config: CodeGemmaConfig, *, initializer_for=None, weight_policy=None, **options):
        super().__init__(**options)
        self._weight_policy = weight_policy
        self.config = config
        self._initializer_for = initializer_for
        self.remat: str | None = None
        """What the backward pass computes again; see `CodeGemmaBackbone.remat`."""

    def build(self, input_shape):
        config = self.config
        self.partition = distribution.active_partition()
        self.pre_attention_norm = self._norm("pre_attention_norm")
        self.attention = GemmaAttention(
            num_query_heads=config.num_query_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            initializer_for=self._within("attention"),
            weight_policy=self._weight_policy,
            dtype=self.dtype_policy,
            name="attention",
        )
        self.pre_ffw_norm = self._norm("pre_ffw_norm")
        self.gating_ffw = self._dense("btd,df->btf", config.feedforward_dim, name="ffw_gating")
        self.gating_ffw_2 = self._dense("btd,df->btf", config.feedforward_dim, name="ffw_gating_2")
        self.ffw_linear = self._dense("btf,fd->btd", config.hidden_dim, name="ffw_linear")
        for layer in (
            self.pre_attention_norm,
            self.attention,
            self.pre_ffw_norm,
            self.gating_ffw,
            self.gating_ffw_2,
        ):
            layer.build(input_shape)
        self.ffw_linear.build((*input_shape[:-1], config.feedforward_dim))
        self.built = True

    def _within(self, name: str):
        outer = self._initializer_for
        return None if outer is None else lambda path: outer(f"{name}/{path}")

    def _norm(self, name: str) -> RMSNormalization:
        options = {} if self._initializer_for is None else {"scale_initializer": self._initializer_for(f"{name}/scale")}
        return RMSNormalization(self.config.layer_norm_epsilon, dtype=self.dtype_policy, name=name, **options)

    def _dense(self, equation: str, width: int, *, name: str) -> Projection:
        policy = self._weight_policy or self.dtype_policy
        return Projection(
            equation, (None, width), dtype=policy, name=name, **kernel_initializers(self._initializer_for, name)
        )

    def call(self, x, sin, cos, segment_ids=None, cache=None):
        """Arguments and result as in `GemmaAttention.call`."""
        if self.remat is None or cache is not None:
            return self._run(x, sin, cos, segment_ids, cache)
        return jax.checkpoint(self._run)(x, sin, cos, segment_ids, None)

    def _run(self, x, sin, cos, segment_ids, cache):
        attended = self.attention(self.pre_attention_norm(x), sin, cos, segment_ids=segment_ids, cache=cache)
        if cache is not None:
            attended, cache = attended
        x, normed = self.pre_ffw_norm(x, residual=attended)
        gate, up = project([self.gating_ffw, self.gating_ffw_2], normed)
        x = x + self.ffw_linear(geglu(gate, up, is_split=distribution.may_split()))
        if self.partition is not None:
            x = self.partition.rows(x)
        return x if cache is None else (x, cache)

    def compute_output_spec(self, x, sin, cos, segment_ids=None, cache=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "config": CodeGemmaConfig.from_dict(config["config"])})
