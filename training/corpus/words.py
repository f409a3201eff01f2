"""Cuts text into words and hashes them, as arrays: what near duplicates and benchmark overlap are both found by.

A word is a run of ASCII letters, digits, "_" and whatever is not ASCII; all else stands between words and does not
count, as in the near-deduplication of The Stack (Kocetkov et al. 2022, arXiv 2211.15533). ASCII letters are lowered.
"""

from dataclasses import dataclass

import numpy as np

LONGEST_HASHED_BYTES = 256
"""Of a longer word, this many bytes and the length are hashed: such words are data, and equal ones stay equal."""

_WORD_BYTES = np.zeros(256, dtype=bool)
_WORD_BYTES[list(b"abcdefghijklmnopqrstuvwxyz0123456789_")] = True
_WORD_BYTES[0x80:] = True
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], dtype=np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, made odd: the usual multiplier for spreading integers."""
_MIXER = np.uint64(0xD6E8FEB86659FD93)
"""The constant of the `rrxmrrxmsx` family's plain form, a bijection of 64 bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """The words of a text.

    Attributes:
        hashes: one a word, uint64.
        starts: first byte of each word in `data`.
        ends: one past its last byte.
        data: the text in UTF-8, as it was written.
    """

    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    data: bytes

    def text(self, first: int, count: int) -> str:
        """What stands from word `first` on, `count` words long, with all between them."""
        return self.data[self.starts[first] : self.ends[first + count - 1]].decode("utf-8", "replace")


def words(text: str) -> Words:
    """Finds and hashes the words of a text; the hash of a word depends on nothing but its lowered bytes."""
    data = text.encode("utf-8", "surrogatepass")
    padded = np.frombuffer(data.lower() + bytes(8), dtype=np.uint8)
    inside = np.concatenate(([False], _WORD_BYTES[padded]))
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[0::2], edges[1::2]
    return Words(hashes=_hashes(padded, starts, ends - starts), starts=starts, ends=ends, data=data)


def runs(hashes: np.ndarray, length: int) -> np.ndarray:
    """Hashes of all runs of `length` neighbouring words, in order; empty if the text has fewer words."""
    count = len(hashes) - length + 1
    if count < 1:
        return hashes[:0]
    joined = hashes[:count].copy()
    for offset in range(1, length):
        joined *= _ODD
        joined += hashes[offset : offset + count]
    return mixed(joined)


def mixed(values: np.ndarray) -> np.ndarray:
    """Spreads uint64 values over all bits, one to one; the array itself is changed."""
    for _ in range(2):
        values ^= values >> np.uint64(32)
        values *= _MIXER
    values ^= values >> np.uint64(32)
    return values


def _hashes(padded: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Takes eight bytes of every word at once, then the next eight of those that are longer."""
    eights = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded.data, strides=(1,))
    hashes = lengths.astype(np.uint64) * _ODD
    left = np.arange(len(starts))
    for offset in range(0, LONGEST_HASHED_BYTES, 8):
        piece = eights[starts[left] + offset] & _MASKS[np.minimum(lengths[left] - offset, 8)]
        hashes[left] = mixed(hashes[left] ^ piece)
        left = left[lengths[left] > offset + 8]
        if not left.size:
            break
    return hashes
