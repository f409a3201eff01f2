"""The tokenizer inside `tf.data`: the same ids, from tensorflow-text.

Imported by `CodeGemmaTokenizer.to_tensorflow` alone, so that nothing else needs the `tf` extra.
"""

from typing import TYPE_CHECKING, Any

from keras_codegemma.fim import Sentinel

if TYPE_CHECKING:
    from keras_codegemma.tokenizer import CodeGemmaTokenizer

try:
    import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    import tensorflow_text as tf_text  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError(
        "A tokenizer for tf.data must have tensorflow and tensorflow-text installed; importing them failed: "
        f"{error}. Install the extra keras-codegemma[tf], or call encode, which needs neither."
    ) from error

# The sentinels, first character apart. Of the characters that are special in RE2 they hold only "|".
_SPELLED = "<(" + "|".join(sentinel[1:].replace("|", r"\|") for sentinel in Sentinel) + ")"

# Marks where a spelled sentinel is cut. This byte occurs nowhere in UTF-8, hence in no text.
_CUT = b"\xff"


class TensorFlowTokenizer:
    """Encodes and decodes string tensors as `CodeGemmaTokenizer` does, in graph mode too.

    Text that spells a sentinel stays text here as well: it is cut inside before SentencePiece sees it.
    Strings that are not UTF-8, and ids outside the vocabulary, fail when the graph runs (tf.errors.OpError).

    Args:
        tokenizer: where the model and the ids of the control pieces come from.
    """

    def __init__(self, tokenizer: "CodeGemmaTokenizer") -> None:
        out_type: Any = tf.int32  # TensorFlow has two names for the class of its dtypes
        self._model = tf_text.SentencepieceTokenizer(model=tokenizer.model_bytes, out_type=out_type)
        self._control_ids = tf.constant(sorted(tokenizer.vocabulary.control_ids), dtype=tf.int32)

    def __call__(self, texts: Any) -> Any:
        """See `tokenize`."""
        return self.tokenize(texts)

    def tokenize(self, texts: Any) -> Any:
        """Encodes strings, without <bos> or <eos>.

        Args:
            texts: string tensor, scalar or [B].

        Returns:
            int32 [tokens] for a scalar, else a ragged int32 [B, tokens].
        """
        texts = tf.convert_to_tensor(texts, dtype=tf.string)
        if texts.shape.rank == 0:
            return self._tokenize_batch(texts[tf.newaxis])[0]
        return self._tokenize_batch(texts)

    def detokenize(self, ids: Any) -> Any:
        """Decodes ids to strings, control pieces left out.

        Args:
            ids: int32 tensor [tokens], or [B, tokens], dense or ragged.

        Returns:
            A string tensor, scalar or [B].
        """
        if isinstance(ids, tf.RaggedTensor):
            return self._detokenize_batch(ids)
        ids = tf.convert_to_tensor(ids, dtype=tf.int32)
        if ids.shape.rank == 1:
            return self._detokenize_batch(ids[tf.newaxis])[0]
        return self._detokenize_batch(ids)

    def _tokenize_batch(self, texts: Any) -> Any:
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="strict")
        cut = tf.strings.regex_replace(texts, _SPELLED, b"<" + _CUT + rb"\1")
        pieces = tf.strings.split(cut, sep=_CUT)  # [B, pieces], ragged
        ids: Any = self._model.tokenize(pieces)  # [B, pieces, tokens], ragged
        return ids.merge_dims(1, 2)

    def _detokenize_batch(self, ids: Any) -> Any:
        kept = tf.ragged.boolean_mask(ids, tf.ragged.map_flat_values(self._is_text, ids))
        return self._model.detokenize(kept)

    def _is_text(self, ids: Any) -> Any:
        return tf.reduce_all(ids[..., tf.newaxis] != self._control_ids, axis=-1)
