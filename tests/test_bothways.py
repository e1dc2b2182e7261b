"""A corpus in both directions: every pair once in each, also where its segmentation is drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from nmt.batches import Position, epoch_batches
from nmt.bothways import BothWays
from nmt.ragged import Index, Ragged

PAIRS = [(list(range(10, 11 + row % 5)), [100 + row] * (1 + row % 7)) for row in range(200)]


class Listed:
    """A corpus of PAIRS; a seed is added to every id."""

    def __len__(self) -> int:
        return len(PAIRS)

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        source, target = self.take(indices)
        return source.lengths, target.lengths

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        source, target = (Ragged.of([np.array(PAIRS[at][side]) + (seed or 0) for at in indices]) for side in (0, 1))
        return source, target


@pytest.mark.parametrize("seed", [None, 1000])
def test_pair_i_is_turned_round_at_n_plus_i(seed: int | None) -> None:
    indices = np.array([3, 203, 0, 399, 3])
    source, target = BothWays(Listed()).take(indices, seed=seed)
    for at, one, other in zip(indices, source.sequences(), target.sequences(), strict=True):
        pair = PAIRS[at] if at < 200 else PAIRS[at - 200][::-1]
        assert [(one - (seed or 0)).tolist(), (other - (seed or 0)).tolist()] == list(pair)
    assert [side.tolist() for side in BothWays(Listed()).lengths(indices)] == [
        source.lengths.tolist(), target.lengths.tolist(),
    ]  # fmt: skip


def test_an_epoch_has_every_pair_once_each_way() -> None:
    seen = Counter[tuple[tuple[int, ...], tuple[int, ...]]]()
    for batch, _ in epoch_batches(BothWays(Listed()), 1, 256, Position()):
        for row in range(len(batch.source.lengths)):
            source, target = (
                tuple(side.ids[row, start : int(side.lengths[row]) - 1].tolist())
                for side, start in ((batch.source, 0), (batch.target, 1))
            )
            seen[source, target] += 1
    expected = Counter((tuple(one), tuple(other)) for pair in PAIRS for one, other in (pair, pair[::-1]))
    assert seen == expected


def test_an_epoch_goes_on_in_its_middle() -> None:
    whole = list(epoch_batches(BothWays(Listed()), 1, 256, Position()))
    rest = list(epoch_batches(BothWays(Listed()), 1, 256, whole[3][1]))
    assert len(rest) == len(whole) - 4 > 0
    assert all(
        torch.equal(one.source.ids, other.source.ids) for (one, _), (other, _) in zip(whole[4:], rest, strict=True)
    )
