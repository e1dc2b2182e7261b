"""What a hypothesis sees of a cache is what it has read, whatever is left out of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nmt.models import past as module
from nmt.models.interface import select, take
from nmt.models.past import Past, write

BATCH, BEAM, HEADS, WIDTH = 3, 4, 2, 5


def started(length: int = 30) -> Past:
    return Past.begin(torch.zeros(BATCH, HEADS, 1, WIDTH), 2, BEAM, length)


def written(past: Past, token: Tensor) -> Past:
    """Take a step in which each hypothesis reads a number of `token` (batch, beam) and writes it to all its entries."""
    past, entries = past.extended()
    for cache in past.cache.tensors:
        write(cache, entries, token[:, None, :, None].expand(-1, HEADS, -1, WIDTH))
    return past


def seen(past: Past, row: int, hypothesis: int) -> list[list[float]]:
    """Return what each tensor of the cache has for a hypothesis, once it is the same in all heads."""
    found = []
    for cache in past.cache.tensors:
        entries = cache[row, :, past.visible[row, hypothesis]]  # (head, entry, width)
        assert (entries == entries[:1, :, :1]).all()
        found.append(entries[0, :, 0].tolist())
    return found


@pytest.mark.parametrize("growth", [1, 4, 100, 0])
def test_each_hypothesis_sees_its_own_past_in_its_order(growth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache grows by so many steps, and where it has room for all, as on a GPU."""
    monkeypatch.setattr(module, "GROWTH", growth)
    monkeypatch.setattr(module, "GROWING", {"cpu"} if growth else set())
    drawn = torch.Generator().manual_seed(growth)
    past = select(started(), torch.zeros(BATCH, 1, dtype=torch.int64))  # as a search begins: with one hypothesis
    histories: list[list[list[float]]] = [[[]] for _ in range(BATCH)]
    for step in range(25):
        tokens = torch.rand(len(histories), len(histories[0]), generator=drawn)
        past = written(past, tokens)
        histories = [
            [old + [token] for old, token in zip(row, new, strict=True)]
            for row, new in zip(histories, tokens.tolist(), strict=True)
        ]
        for row, hypotheses in enumerate(histories):
            for hypothesis, expected in enumerate(hypotheses):
                assert seen(past, row, hypothesis) == [expected, expected]
        parents = torch.randint(len(histories[0]), (len(histories), BEAM), generator=drawn)
        past = select(past, parents)
        histories = [[row[k] for k in ks] for row, ks in zip(histories, parents.tolist(), strict=True)]
        if step == 12:  # a sentence leaves the batch
            past, histories = take(past, torch.tensor([2, 0])), [histories[2], histories[0]]


def test_what_none_sees_is_left_out() -> None:
    past = started()
    for step in range(40):
        past = written(past, torch.full((BATCH, BEAM), float(step)))
        past = select(past, torch.zeros(BATCH, BEAM, dtype=torch.int64))  # all descend from the first
    room = past.cache.tensors[0].shape[2]
    assert room == past.visible.shape[2] <= 40 + (module.GROWTH + 1) * BEAM + module.MULTIPLE
    assert (past.visible.sum(2) == 40).all()


def test_the_cache_is_written_in_place_while_there_is_room() -> None:
    past = started(length=4)
    places = [cache.data_ptr() for cache in past.cache.tensors]
    for step in range(4):
        past = written(past, torch.full((BATCH, BEAM), float(step)))
    assert [cache.data_ptr() for cache in past.cache.tensors] == places
    assert all(cache.shape == (BATCH, HEADS, 4 * BEAM, WIDTH) for cache in past.cache.tensors)


def test_what_is_handed_on_is_not_what_was_given() -> None:
    past = started()
    before = past.visible.clone()
    past.extended()
    assert torch.equal(past.visible, before)
