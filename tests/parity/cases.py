"""The models and batches on which implementations are compared, by the tests and by the golden script."""

from dataclasses import dataclass

import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from tests.parity.recipe import random_ids

SEED = 20240409


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison.

    Attributes:
        name: says what is special about it.
        config: the architecture.
        lengths: tokens of each row; for packed rows, tokens of each document of each row.
        is_packed: rows hold several documents, whose positions start again at 0.
    """

    name: str
    config: CodeGemmaConfig
    lengths: tuple[tuple[int, ...], ...]
    is_packed: bool = False

    @property
    def tokens(self) -> int:
        """Tokens in the batch, without padding."""
        return sum(sum(row) for row in self.lengths)

    @property
    def width(self) -> int:
        """Length T of the batch."""
        return max(sum(row) for row in self.lengths)

    def batch(self) -> dict[str, np.ndarray]:
        """`token_ids`, `padding_mask` [B, T], and for packed rows `segment_ids` and `positions`."""
        shape = (len(self.lengths), self.width)
        ids = random_ids(self.name, shape=shape, vocabulary_size=self.config.vocabulary_size, seed=SEED)
        segments = np.zeros(shape, np.int32)
        positions = np.zeros(shape, np.int32)
        for row, documents in enumerate(self.lengths):
            start = 0
            for number, length in enumerate(documents, start=1):
                segments[row, start : start + length] = number
                positions[row, start : start + length] = np.arange(length)
                start += length
        mask = segments > 0
        batch = {"token_ids": np.where(mask, ids, 0), "padding_mask": mask}
        return {**batch, "segment_ids": segments, "positions": positions} if self.is_packed else batch

    def documents(self) -> list[tuple[int, slice]]:
        """(row, columns) of every document."""
        found = []
        for row, documents in enumerate(self.lengths):
            start = 0
            for length in documents:
                found.append((row, slice(start, start + length)))
                start += length
        return found


def small(**changes: int) -> CodeGemmaConfig:
    """A model of 2 layers, width 64 and 4 query heads of 16; `changes` replace fields."""
    fields = {
        "vocabulary_size": 97,
        "num_layers": 2,
        "num_query_heads": 4,
        "num_key_value_heads": 1,
        "hidden_dim": 64,
        "feedforward_dim": 160,
        "head_dim": 16,
        **changes,
    }
    return CodeGemmaConfig(**fields)


_LIKE_2B = small()
_LIKE_7B = small(num_key_value_heads=4, hidden_dim=48, feedforward_dim=112)
_GROUPED = small(num_key_value_heads=2)

_WIDE_2B = CodeGemmaConfig(
    vocabulary_size=64,
    num_layers=1,
    num_query_heads=8,
    num_key_value_heads=1,
    hidden_dim=2048,
    feedforward_dim=16_384,
    head_dim=256,
)
_WIDE_7B = CodeGemmaConfig(
    vocabulary_size=64,
    num_layers=1,
    num_query_heads=16,
    num_key_value_heads=16,
    hidden_dim=3072,
    feedforward_dim=24_576,
    head_dim=256,
)

CASES = (
    Case(name="one_key_value_head", config=_LIKE_2B, lengths=((16,),)),
    Case(name="some_key_value_heads", config=_GROUPED, lengths=((16,), (16,))),
    Case(name="all_key_value_heads_and_heads_wider_than_model", config=_LIKE_7B, lengths=((16,), (16,))),
    Case(name="one_token", config=_LIKE_2B, lengths=((1,),)),
    Case(name="rows_of_one_token", config=_LIKE_7B, lengths=((1,),) * 16),
    Case(name="odd_length", config=small(num_layers=3), lengths=((37,),)),
    Case(name="longer_than_a_power_of_two", config=_LIKE_7B, lengths=((129,),)),
    Case(name="padded_batch_one_head", config=_LIKE_2B, lengths=((5,), (17,), (11,))),
    Case(name="padded_batch_all_heads", config=_LIKE_7B, lengths=((9,), (1,), (14,))),
    Case(name="packed_rows_some_heads", config=_GROUPED, lengths=((7, 4, 6), (3, 10), (15,)), is_packed=True),
    Case(name="packed_rows_all_heads", config=_LIKE_7B, lengths=((5, 8), (1, 1, 9)), is_packed=True),
    Case(name="one_layer_of_2b", config=_WIDE_2B, lengths=((9,),)),
    Case(name="one_layer_of_7b", config=_WIDE_7B, lengths=((9,),)),
)
