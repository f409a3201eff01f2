"""Log-probabilities of given ids: one forward pass, and logits for a few positions at a time."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_codegemma.axes import Array, Bool, Float, Int
from keras_codegemma.backbone import CodeGemmaBackbone

LENGTH_MULTIPLE = 64  # rows are padded to it, so that few lengths compile
LOGIT_POSITIONS = 64  # logits of this many positions a row exist at a time: 64 MiB a row at 256,000 ids


class Scorer:
    """The compiled scoring program of one backbone."""

    def __init__(self, backbone: CodeGemmaBackbone):
        self.backbone = backbone
        self._program = jax.jit(self._score_program)

    def log_probs(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Of each id but the first of each row, its log-probability in nats given the ids before it.

        Args:
            rows: ids, each row at least two.

        Returns:
            One float32 array of length len(row) - 1 per row.

        Raises:
            ValueError: a row too short, or an id outside the vocabulary.
        """
        size = self.backbone.config.vocabulary_size
        for index, row in enumerate(rows):
            if len(row) < 2:
                raise ValueError(
                    f"A row to score needs at least two ids, the first only as context; row {index} has {len(row)}. "
                    "Leave empty texts out."
                )
            if min(row) < 0 or max(row) >= size:
                bad = next(i for i in row if not 0 <= i < size)
                raise ValueError(
                    f"Ids must lie in [0, {size}); row {index} holds {bad}. "
                    "Use the tokenizer that belongs to this model."
                )
        longest = max(map(len, rows))
        length = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        batch = 1 << (len(rows) - 1).bit_length()
        token_ids = np.zeros((batch, length), np.int32)
        mask = np.zeros((batch, length), bool)
        for index, row in enumerate(rows):
            token_ids[index, : len(row)] = row
            mask[index, : len(row)] = True
        scores = np.asarray(self._program([v.value for v in self.backbone.variables], token_ids, mask))
        return [scores[index, : len(row) - 1] for index, row in enumerate(rows)]

    def _score_program(
        self, weights: list[Array], token_ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T"]:
        mapping = list(zip(self.backbone.variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            hidden = self.backbone({"token_ids": token_ids, "padding_mask": mask})  # B T D
            targets = jnp.pad(token_ids[:, 1:], ((0, 0), (0, 1)))
            batch, length, width = hidden.shape
            pieces = length // LOGIT_POSITIONS
            hidden = hidden.reshape(batch, pieces, LOGIT_POSITIONS, width).swapaxes(0, 1)
            targets = targets.reshape(batch, pieces, LOGIT_POSITIONS).swapaxes(0, 1)
            scores = jax.lax.map(self._score_piece, (hidden, targets))  # pieces B positions
        return scores.swapaxes(0, 1).reshape(batch, length)

    def _score_piece(self, piece: tuple[Array, Array]) -> Float[Array, "B T"]:
        hidden, targets = piece
        logits = self.backbone.token_embedding(hidden, reverse=True)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)
