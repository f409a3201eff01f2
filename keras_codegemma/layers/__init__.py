"""The Keras layers of one Gemma decoder, each a thin class around pure functions on arrays."""

from keras_codegemma.layers.attention import GemmaAttention
from keras_codegemma.layers.decoder_block import GemmaDecoderBlock
from keras_codegemma.layers.embedding import ReversibleEmbedding
from keras_codegemma.layers.projection import Projection
from keras_codegemma.layers.rms_norm import RMSNormalization
from keras_codegemma.layers.rotary import RotaryEmbedding
from keras_codegemma.layers.sequence_index import SequenceIndex

__all__ = [
    "GemmaAttention",
    "GemmaDecoderBlock",
    "Projection",
    "RMSNormalization",
    "ReversibleEmbedding",
    "RotaryEmbedding",
    "SequenceIndex",
]
