"""Padded tensors and batches: which pairs stand together, in which order; knows nothing of text or models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nmt.ragged import Index, Ragged

PAD, UNK, BOS, EOS = 0, 1, 2, 3  # ids of every tokenizer of this project
BLOCK = 65_536  # pairs, at least, that are sorted by length and cut into batches together
CHUNK = 256  # pairs side by side on the disk, which stay together on their way into a block where there are very many
WHOLE = 2**24  # pairs whose whole order is drawn, 64 MiB; of more, that of the chunks
LOOKED_AT = 200_000  # pairs, of which as many are taken as there is time to learn from
BATCH_COST = 0.15  # what a batch costs beside its cells, in full batches: more makes fewer batches and more padding


class Padded(NamedTuple):
    """Sequences of token ids of unequal length in one tensor."""

    ids: Tensor  # (batch, length) int64, PAD after the end
    lengths: Tensor  # (batch,) int64, on the CPU: known when the batch was made, so nothing waits for the device


class Batch(NamedTuple):
    """Sentence pairs that are trained on together."""

    source: Padded  # w1 .. wn EOS
    target: Padded  # BOS w1 .. wm EOS; inputs are ids[:, :-1], labels ids[:, 1:]
    tokens: int  # labels that count, of all processes together: the loss divisor, known without a sync


class Position(NamedTuple):
    """The next batch of a training run; a run that goes on from it sees what it would have seen."""

    epoch: int = 0
    block: int = 0
    batch: int = 0


class Corpus(Protocol):
    """What batches need of an encoded corpus."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        ...

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        """Return the tokens of both sides of the pairs at the indices, without BOS and EOS."""
        ...

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        """Return the pairs at the indices; with a seed their segmentation is drawn with it."""
        ...


def spread(corpus: Corpus, cost: Callable[[Index, Index], Index], most: int) -> tuple[Ragged, Ragged]:
    """Return pairs that stand evenly spread over the corpus, as many as cost about `most` together, or one.

    `cost` of the lengths of both sides, (pairs,) each, says what each pair costs.
    """
    rows = np.linspace(0, len(corpus) - 1, min(len(corpus), LOOKED_AT)).astype(np.int64)
    every = max(1, -(-int(cost(*corpus.lengths(rows)).sum()) // most))
    return corpus.take(rows[::every])


def pad(sequences: Ragged | Sequence[ArrayLike], *, bos: bool = False, eos: bool = False) -> Padded:
    """Return the sequences in one tensor with PAD after the end, on request between BOS and EOS."""
    ragged = sequences if isinstance(sequences, Ragged) else Ragged.of(sequences)
    lengths = ragged.lengths + (bos + eos)
    columns = np.arange(lengths.max(initial=bos + eos))
    ids = np.full((len(lengths), len(columns)), PAD, np.int64)  # (batch, length)
    ids[(columns >= bos) & (columns < (ragged.lengths + bos)[:, None])] = ragged.ids
    if bos:
        ids[:, 0] = BOS
    if eos:
        ids[np.arange(len(lengths)), lengths - 1] = EOS
    return Padded(torch.from_numpy(ids), torch.from_numpy(lengths))


def assemble(source: Ragged, target: Ragged) -> Batch:
    """Return the batch of the pairs, with EOS after the source and BOS and EOS around the target."""
    padded = pad(target, bos=True, eos=True)
    return Batch(pad(source, eos=True), padded, tokens=int(target.lengths.sum()) + len(target.lengths))


def shares(batch: Batch, count: int) -> list[Batch]:
    """Cut a batch into `count` of nearly as many rows, or one a row, each no wider than it must be."""
    rows = len(batch.source.lengths)
    places = np.array_split(np.arange(rows), min(count, rows))
    return [_share(batch, slice(int(share[0]), int(share[-1]) + 1)) for share in places] if count > 1 else [batch]


def _share(batch: Batch, rows: slice) -> Batch:
    source, target = (
        Padded(side.ids[rows, : int(side.lengths[rows].max())].contiguous(), side.lengths[rows])
        for side in (batch.source, batch.target)
    )
    return Batch(source, target, tokens=int(target.lengths.sum()) - len(target.lengths))


def collate(pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> Batch:
    """Return the batch of pairs of ids that have neither BOS nor EOS."""
    return assemble(Ragged.of([source for source, _ in pairs]), Ragged.of([target for _, target in pairs]))


def pack(source_lengths: ArrayLike, target_lengths: ArrayLike, batch_tokens: int) -> list[Index]:
    """Cut the pairs into batches of nearly equal lengths on both sides; every pair is in exactly one.

    Lengths are tokens without BOS and EOS. Rows times the longest side (one more than its longest sequence: the EOS)
    never exceed `batch_tokens`, but for a pair that exceeds it alone and then is a batch alone. Rows are multiples of
    8, where sentences are long of 4 or any number, so that few shapes occur.
    """
    source, target = (np.asarray(lengths, np.int64) + 1 for lengths in (source_lengths, target_lengths))
    if len(source) == 0:
        return []
    order = _neighbours(source, target, batch_tokens)
    source, target = source[order], target[order]
    starts = _groups(np.maximum(source, target), batch_tokens)  # (G,) groups of rows that stay together
    ends = np.append(starts[1:], len(order))
    cuts = _cuts(np.maximum.reduceat(source, starts), np.maximum.reduceat(target, starts), ends, batch_tokens)
    return np.split(order, cuts)


def _neighbours(source: Index, target: Index, batch_tokens: int) -> Index:
    """Return an order in which neighbours are alike on both sides: a serpentine through bands of the longer side.

    Within a band the pairs go up, in the next one down, by the difference of their sides. The number of bands is
    measured: of 1 to 8 times the root of the number of batches, 4 times pads least.
    """
    longest, difference = np.maximum(source, target), source - target
    order = np.lexsort((difference, longest))
    cells = np.cumsum(longest[order])
    bands = 1 + int(4 * np.sqrt(cells[-1] / batch_tokens))
    band = np.empty_like(order)
    band[order] = (cells - 1) * bands // cells[-1]
    # With the longest as last key the lengths of neighbours, and so the shapes, are the same in every epoch.
    return np.lexsort((longest, np.where(band % 2, difference, -difference), band))


def _groups(widths: Index, batch_tokens: int) -> Index:
    """Return where groups of 8 (or 4, or 1) rows begin; a group that is over the budget is broken up."""
    usual = batch_tokens / widths.mean()  # rows of a batch
    rows = 8 if usual >= 32 else 4 if usual >= 12 else 1
    starts = np.arange(0, len(widths), rows)
    broken = starts[np.maximum.reduceat(widths, starts) * rows > batch_tokens]
    inside = (broken[:, None] + np.arange(rows)).ravel()
    return np.union1d(starts, inside[inside < len(widths)])


def _cuts(source: Index, target: Index, ends: Index, batch_tokens: int) -> Index:
    """Return after which rows to cut so that cells and batches together cost least, by dynamic programming.

    `source`, `target` and `ends` are (G,): widths and last row of each group. A batch costs BATCH_COST of a full one
    beside its cells, else there would be many small ones.
    """
    starts = np.concatenate([[0], ends])
    cost, back = np.zeros(len(starts)), np.zeros(len(starts), np.int64)
    for last in range(1, len(starts)):  # the batch that ends with group `last - 1`
        room = starts[last] - batch_tokens // max(source[last - 1], target[last - 1])
        first = min(last - 1, int(np.searchsorted(starts, room)))
        wide, high = (np.maximum.accumulate(side[first:last][::-1])[::-1] for side in (source, target))
        rows = starts[last] - starts[first:last]
        total = cost[first:last] + rows * (wide + high) + BATCH_COST * batch_tokens
        total[(rows * np.maximum(wide, high) > batch_tokens) & (rows > 1)] = np.inf
        back[last] = first + int(total.argmin())
        cost[last] = total[back[last] - first]
    cuts = [len(ends)]
    while cuts[-1]:
        cuts.append(int(back[cuts[-1]]))
    return starts[cuts[-2:0:-1]]


def _generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def blocks(count: int, seed: int, epoch: int, size: int = BLOCK) -> Iterator[Index]:
    """Yield a permutation of `count` pairs in blocks of nearly equal size, decided by (seed, epoch) alone.

    Of very many pairs chunks are permuted, and within a block of hundreds of chunks the pairs: a billion take 16 MiB,
    not 4 GiB, and neighbours in a batch are from all over the corpus all the same.
    """
    chunk = CHUNK if count > WHOLE else 1
    order = np.arange(-(-count // chunk), dtype=np.int32 if count < 2**31 else np.int64)
    _generator(seed, epoch).shuffle(order)
    for number, part in enumerate(np.array_split(order, max(1, -(-count // size)))):
        block = part.astype(np.int64)
        if chunk > 1:
            block = (block[:, None] * chunk + np.arange(chunk)).ravel()
            block = block[block < count]  # the last chunk may be shorter
            _generator(seed, epoch, number, chunk).shuffle(block)
        yield block


def epoch_batches(
    corpus: Corpus,
    seed: int,
    batch_tokens: int,
    start: Position,
    *,
    sampling: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Batch, Position]]:
    """Yield the batches from `start` to the end of its epoch, each with the position that comes after it.

    Which they are is decided by the corpus and the arguments alone. `sampling` draws the segmentation of the texts
    anew in each epoch. Of n processes number k asks for `part` (k, n): its rows of each batch, of which a small one may
    have none for it.
    """
    size = max(BLOCK, 8 * batch_tokens)  # some 150 batches of sentences: with fewer, mates would differ more
    count = -(-len(corpus) // size)
    for number, indices in enumerate(blocks(len(corpus), seed, start.epoch, size)):
        if number < start.block:
            continue
        block = _draw(corpus, indices, (seed, start.epoch, number), sampling)
        batches = block.shuffled(batch_tokens)
        after = Position(start.epoch, number + 1) if number + 1 < count else Position(start.epoch + 1)
        for turn in range(start.batch if number == start.block else 0, len(batches)):
            position = Position(start.epoch, number, turn + 1) if turn + 1 < len(batches) else after
            yield block.batch(batches[turn], part), position


class _Block(NamedTuple):
    """Pairs that are cut into batches together."""

    corpus: Corpus
    indices: Index
    chance: np.random.Generator
    drawn: tuple[Ragged, Ragged] | None  # the pairs, where their segmentation is drawn

    def shuffled(self, batch_tokens: int) -> list[Index]:
        """Return the batches, as rows of the block, in the order they are seen."""
        source, target = (side.lengths for side in self.drawn) if self.drawn else self.corpus.lengths(self.indices)
        batches = pack(source, target, batch_tokens)
        return [batches[number] for number in self.chance.permutation(len(batches))]

    def batch(self, rows: Index, part: tuple[int, int]) -> Batch:
        """Return part (number, count) of the batch of some rows, with the tokens of the whole batch."""
        own = np.array_split(rows, part[1])[part[0]]
        if self.drawn:
            source, target = (side.take(own) for side in self.drawn)
            lengths = self.drawn[1].lengths[rows]
        else:
            source, target = self.corpus.take(self.indices[own])
            _, lengths = self.corpus.lengths(self.indices[rows])
        return assemble(source, target)._replace(tokens=int(lengths.sum()) + len(rows))


def _draw(corpus: Corpus, indices: Index, words: tuple[int, int, int], sampling: bool) -> _Block:
    """Return a block whose random choices are decided by (seed, epoch, block)."""
    chance = _generator(*words)
    seed = int(chance.integers(2**32 - 1))
    return _Block(corpus, indices, chance, corpus.take(indices, seed=seed) if sampling else None)
