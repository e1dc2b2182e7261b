"""Sequences of unequal length end to end in one array; it knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Index = NDArray[np.int64]


class Ragged(NamedTuple):
    """Sequences of integers, end to end."""

    ids: NDArray[np.integer]  # (sum of lengths,)
    lengths: Index  # (sequences,)

    @classmethod
    def of(cls, sequences: Sequence[ArrayLike]) -> Ragged:
        """Join sequences end to end."""
        arrays = [np.asarray(sequence, np.int64) for sequence in sequences]
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int64), lengths)

    def take(self, rows: Index) -> Ragged:
        """Return the sequences at the rows, in their order."""
        starts = np.cumsum(self.lengths) - self.lengths
        return Ragged(self.ids[spans(starts[rows], self.lengths[rows])], self.lengths[rows])

    def sequences(self) -> list[NDArray[np.integer]]:
        """Return each sequence by itself."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def begun(sequences: Ragged, first: int) -> Ragged:
    """Return the sequences with one more integer before each."""
    starts = np.cumsum(sequences.lengths) - sequences.lengths
    return Ragged(np.insert(sequences.ids, starts, first), sequences.lengths + 1)


def spans(starts: Index, lengths: Index) -> Index:
    """Return the positions start, start + 1, ... of every span, end to end."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def joined(*parts: Ragged) -> Ragged:
    """Return the sequences of all, one or more."""
    return Ragged(np.concatenate([part.ids for part in parts]), np.concatenate([part.lengths for part in parts]))
