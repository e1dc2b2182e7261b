import hashlib
import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from corpora import multi30k
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt import batches
from nmt.batches import BOS, EOS, PAD, Batch, Position, blocks, collate, epoch_batches, pack, pad, shares, spread
from nmt.config import TokenizerConfig
from nmt.ragged import Index, Ragged
from nmt.tokenizer import Tokenizers

torch.set_num_threads(1)

lengths = st.integers(0, 40)
pairs_of_lengths = st.lists(st.tuples(lengths, lengths), max_size=120)


class Numbers:
    """A corpus of pairs of random lengths; the first token of each side says which pair it is."""

    def __init__(self, pairs: int) -> None:
        chance = np.random.default_rng(1)
        self._lengths = chance.integers(1, 30, (2, pairs))

    def __len__(self) -> int:
        return self._lengths.shape[1]

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        source, target = self._lengths[:, indices]
        return source, target

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        source, target = (side + (0 if seed is None else seed % 3) for side in self.lengths(indices))
        return tuple(  # type: ignore[return-value]
            Ragged(np.repeat(indices + 4, side) + 0 * np.arange(side.sum()), side) for side in (source, target)
        )


def members(batch: Batch) -> list[int]:
    """Return which pairs of Numbers are in a batch."""
    return (batch.source.ids[:, 0] - 4).tolist()


def rows(side: Ragged) -> list[int]:
    """Return which pairs of Numbers the sequences are of."""
    return [int(sequence[0]) - 4 for sequence in side.sequences()]


def same(first: Batch, second: Batch) -> bool:
    return torch.equal(first.source.ids, second.source.ids) and torch.equal(first.target.ids, second.target.ids)


# ---- a part of a corpus ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [np.add, np.multiply])
def test_of_many_pairs_some_are_read_evenly_spread(cost: Callable[[Index, Index], Index]) -> None:
    corpus = Numbers(3_000)
    whole = int(cost(*corpus.lengths(np.arange(3_000))).sum())
    source, target = spread(corpus, cost, -(-whole // 4))
    assert rows(source) == rows(target) == [*range(0, 3_000, 4)]
    assert int(cost(source.lengths, target.lengths).sum()) == pytest.approx(whole / 4, rel=0.1)
    assert rows(spread(corpus, cost, whole)[0]) == [*range(3_000)]
    assert rows(spread(corpus, cost, whole - 1)[0]) == [*range(0, 3_000, 2)]


def test_a_limit_below_one_pair_reads_one_pair_and_none_of_none() -> None:
    assert rows(spread(Numbers(2), np.add, 1)[0]) == [0]
    assert rows(spread(Numbers(0), np.add, 1)[0]) == []


def test_of_very_many_pairs_not_even_all_lengths_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LOOKED_AT", 11)
    assert rows(spread(Numbers(1_001), np.add, 10**9)[0]) == [*range(0, 1_001, 100)]


# ---- padding --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12), st.integers(1, 5))
def test_shares_of_a_batch_are_its_rows_without_needless_padding(sizes: list[tuple[int, int]], count: int) -> None:
    whole = collate([([4] * source, [5] * target) for source, target in sizes])
    parts = shares(whole, count)
    assert len(parts) == min(count, len(sizes))
    assert sum(part.tokens for part in parts) == whole.tokens
    rows = [len(part.source.lengths) for part in parts]
    assert sum(rows) == len(sizes)
    assert max(rows) - min(rows) <= 1
    for side in ("source", "target"):
        padded = [getattr(part, side) for part in parts]
        assert torch.equal(torch.cat([each.lengths for each in padded]), getattr(whole, side).lengths)
        assert all(each.ids.shape[1] == int(each.lengths.max()) or count == 1 for each in padded)
        found = [row[row != PAD].tolist() for each in padded for row in each.ids]
        assert found == [row[row != PAD].tolist() for row in getattr(whole, side).ids]


def test_padding_stands_after_the_end_only() -> None:
    padded = pad([[5, 6, 7], [], [8]])
    assert padded.ids.tolist() == [[5, 6, 7], [PAD] * 3, [8, PAD, PAD]]
    assert padded.lengths.tolist() == [3, 0, 1]
    assert padded.ids.dtype == padded.lengths.dtype == torch.int64


def test_nothing_is_padded_to_nothing() -> None:
    assert pad([]).ids.shape == (0, 0)


def test_a_batch_has_bos_and_eos_where_they_belong() -> None:
    batch = collate([([5, 6], [7]), ([8], [9, 10, 11])])
    assert batch.source.ids.tolist() == [[5, 6, EOS], [8, EOS, PAD]]
    assert batch.target.ids.tolist() == [[BOS, 7, EOS, PAD, PAD], [BOS, 9, 10, 11, EOS]]
    assert batch.source.lengths.tolist() == [3, 2]
    assert batch.target.lengths.tolist() == [3, 5]


def test_tokens_are_the_labels_that_count() -> None:
    batch = collate([([5, 6], [7]), ([8], [9, 10, 11])])
    assert batch.tokens == int((batch.target.ids[:, 1:] != PAD).sum())


# ---- packing --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(pairs_of_lengths, st.integers(1, 300))
def test_every_pair_is_in_one_batch_and_no_batch_over_the_budget(pairs: list[tuple[int, int]], budget: int) -> None:
    source, target = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    batches = pack(source, target, budget)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(len(pairs)))
    for rows in batches:
        batch = collate([([5] * source[row], [5] * target[row]) for row in rows])
        longest_side = max(batch.source.ids.shape[1], batch.target.ids.shape[1] - 1)
        assert len(rows) * longest_side <= budget or len(rows) == 1


def test_rows_are_rounded_where_there_are_many() -> None:
    chance = np.random.default_rng(1)
    source, target = chance.integers(1, 40, (2, 5_000))
    batches = pack(source, target, 4096)
    assert sum(len(rows) % 8 != 0 for rows in batches) <= 1  # the rest of the block


@pytest.mark.slow
@pytest.mark.parametrize("size", [4_000, 8_000])
def test_padding_is_under_five_percent_on_real_text(size: int) -> None:
    pairs = multi30k("train")
    tokenizer = Tokenizers.train(pairs, TokenizerConfig(type="bpe", vocab_size=size)).source
    source, target = (tokenizer.encode_ragged([pair[side] for pair in pairs]).lengths + 1 for side in (0, 1))
    batches = pack(source - 1, target - 1, 4096)
    cells = sum(len(rows) * int(source[rows].max() + target[rows].max()) for rows in batches)
    assert 1 - int((source + target).sum()) / cells < 0.045
    full = sum(np.maximum(source, target)) / 4096
    assert len(batches) < 1.2 * full  # few small batches, which would pad even less


# ---- order ----------------------------------------------------------------------------------------------------


def test_blocks_are_one_permutation_in_parts_of_nearly_equal_size() -> None:
    parts = list(blocks(1_000, seed=1, epoch=2, size=300))
    assert {len(part) for part in parts} == {250}
    assert sorted(np.concatenate(parts)) == list(range(1_000))


def test_order_is_decided_by_seed_and_epoch() -> None:
    orders = {key: np.concatenate(list(blocks(500, *key))).tolist() for key in [(1, 0), (1, 1), (2, 0)]}
    assert len({tuple(order) for order in orders.values()}) == 3
    for key in reversed(orders):
        np.random.default_rng().random()
        assert np.concatenate(list(blocks(500, *key))).tolist() == orders[key]


@pytest.mark.parametrize(("count", "digest"), [(1_000, "f683f1d0fecc448c"), (70_000, "c5b3737f538c4551")])
def test_the_order_of_a_corpus_is_that_of_every_version(count: int, digest: str) -> None:
    """Else a run that goes on after an update would see some pairs twice and others not at all."""
    order = np.concatenate(list(blocks(count, 1, 2, 300)))
    assert hashlib.sha256(order.tobytes()).hexdigest()[:16] == digest


@pytest.fixture
def very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred pairs are taken for more than an order of all is drawn of."""
    monkeypatch.setattr("nmt.batches.WHOLE", 300)
    monkeypatch.setattr("nmt.batches.CHUNK", 8)


@pytest.mark.usefixtures("very_many")
@pytest.mark.parametrize("count", [301, 4_096, 10_007])
def test_of_very_many_pairs_each_is_seen_once(count: int) -> None:
    parts = list(blocks(count, seed=1, epoch=2, size=500))
    assert len(parts) == -(-count // 500)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * 8
    again, other = (np.concatenate(list(blocks(count, 1, epoch, 500))) for epoch in (2, 3))
    assert np.array_equal(np.concatenate(parts), again)
    assert not np.array_equal(again, other)


@pytest.mark.usefixtures("very_many")
def test_of_very_many_pairs_neighbours_are_parted() -> None:
    parts = list(blocks(50_000, seed=1, epoch=2, size=5_000))
    steps = np.abs(np.diff(np.concatenate(parts)))
    assert (steps == 1).mean() < 0.01  # one in 5,000 has a given neighbour beside it
    for part in parts:  # and every block is from all over the corpus
        assert np.histogram(part, 10, (0, 50_000))[0].min() > 250


@pytest.mark.usefixtures("very_many")
def test_the_order_of_a_billion_pairs_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.batches.CHUNK", 256)
    tracemalloc.start()
    first = next(blocks(10**9, 1, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(first.tolist())) == len(first) > 60_000
    assert first.max() > 9 * 10**8
    assert peak < 64 * 2**20


@pytest.mark.usefixtures("small_blocks", "very_many")
def test_an_epoch_of_very_many_pairs_sees_each_once_and_goes_on_anywhere() -> None:
    corpus = Numbers(1_000)
    seen = list(epoch_batches(corpus, 1, 30, Position(3)))
    assert Counter(pair for batch, _ in seen for pair in members(batch)) == Counter(range(1_000))
    assert seen[-1][1] == Position(4, 0, 0)
    rest = list(epoch_batches(corpus, 1, 30, seen[40][1]))
    assert [members(batch) for batch, _ in rest] == [members(batch) for batch, _ in seen[41:]]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.batches.BLOCK", 300)


@pytest.mark.usefixtures("small_blocks")
def test_an_epoch_sees_every_pair_once_and_ends_where_the_next_begins() -> None:
    corpus = Numbers(1_000)  # in blocks of at most 8 * 30 = 300 pairs
    seen = [(members(batch), position) for batch, position in epoch_batches(corpus, 1, 30, Position(3))]
    assert Counter(itertools.chain.from_iterable(rows for rows, _ in seen)) == Counter(range(1_000))
    assert seen[-1][1] == Position(4, 0, 0)
    assert {position.block for _, position in seen[:-1]} == {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("sampling", [False, True])
def test_training_goes_on_from_any_position_with_the_very_next_batch(sampling: bool) -> None:
    corpus = Numbers(700)
    whole = list(epoch_batches(corpus, 5, 30, Position(1), sampling=sampling))
    for number in [*range(0, len(whole) - 1, 17), len(whole) - 2]:
        position = Position(*json.loads(json.dumps(whole[number][1])))
        rest = list(epoch_batches(corpus, 5, 30, position, sampling=sampling))
        assert len(rest) == len(whole) - number - 1
        assert [place for _, place in rest] == [place for _, place in whole[number + 1 :]]
        assert all(same(one, other) for (one, _), (other, _) in zip(rest, whole[number + 1 :], strict=True))


def test_a_position_reads_no_pair_of_the_batches_before_it() -> None:
    class Watched(Numbers):
        read = 0

        def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
            self.read += len(indices)
            return super().take(indices, seed=seed)

    corpus = Watched(1_000)
    *_, (_, position), (last, _) = epoch_batches(corpus, 1, 200, Position())
    corpus.read = 0
    next(epoch_batches(corpus, 1, 200, position))
    assert corpus.read == len(members(last))


def test_epochs_differ_in_their_batches_and_not_in_their_shapes() -> None:
    corpus = Numbers(2_000)
    first, second = (list(epoch_batches(corpus, 1, 400, Position(epoch))) for epoch in (0, 1))
    assert [members(batch) for batch, _ in first] != [members(batch) for batch, _ in second]
    shapes = [
        Counter((batch.source.ids.shape, batch.target.ids.shape) for batch, _ in epoch) for epoch in (first, second)
    ]
    assert shapes[0] == shapes[1]


def test_long_and_short_batches_come_in_mixed_order() -> None:
    widths = [batch.source.ids.shape[1] for batch, _ in epoch_batches(Numbers(2_000), 1, 400, Position())]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3


def test_sampling_is_seeded_anew_in_each_epoch_and_block() -> None:
    seeds = []

    class Watched(Numbers):
        def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
            seeds.append(seed)
            return super().take(indices, seed=seed)

    for epoch in (0, 1, 0):
        list(epoch_batches(Watched(50), 1, 400, Position(epoch), sampling=True))
    assert seeds[0] == seeds[2] != seeds[1]


def test_the_budget_holds_for_sampled_lengths() -> None:
    for batch, _ in epoch_batches(Numbers(500), 2, 100, Position(), sampling=True):
        longest_side = max(batch.source.ids.shape[1], batch.target.ids.shape[1] - 1)
        assert len(members(batch)) * longest_side <= 100
