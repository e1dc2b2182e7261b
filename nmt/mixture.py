"""Encoded corpora that are trained on together, some more often than others, some tagged; it knows nothing of files.

Weights and tags are put there when pairs are read: the files of each corpus are encoded once, whatever its weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nmt.encoded import Counts, EncodedCorpus, Encoding
from nmt.ragged import Index, Ragged, begun, joined


class Text(Protocol):
    """Sentence pairs that can be gone through again and again."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield every pair."""
        ...

    def fingerprint(self) -> str:
        """Return what changes with the pairs."""
        ...


class Share(NamedTuple):
    """One corpus of a mixture."""

    corpus: EncodedCorpus
    weight: int = 1  # how often each pair is seen per epoch
    tag: int | None = None  # the id before each source

    def lengths(self, rows: Index) -> tuple[Index, Index]:
        """Return the tokens of both sides of the pairs at the rows of the corpus, the tag among them."""
        source, target = self.corpus.lengths(rows)
        return source + (self.tag is not None), target

    def take(self, rows: Index, seed: int | None) -> tuple[Ragged, Ragged]:
        """Return the pairs at the rows of the corpus, the tag before each source, segmented as ever."""
        source, target = self.corpus.take(rows, seed=seed)
        return source if self.tag is None else begun(source, self.tag), target


class Mixture:
    """Corpora end to end, each as often in a row as its weight says: what `nmt.batches` needs of a corpus.

    The numbers of its pairs are all there is to a mixture, so that an epoch is a permutation of them as of any corpus,
    decided by (seed, epoch), and holds each pair exactly as often as its weight says.
    """

    def __init__(self, shares: Sequence[Share]) -> None:
        self.shares = tuple(shares)
        self._ends = np.cumsum([len(share.corpus) * share.weight for share in shares])  # (shares,)

    @property
    def counts(self) -> Counts:
        """Return what became of the pairs of all corpora, weights not counted."""
        return Counts(*map(sum, zip(*(share.corpus.counts for share in self.shares), strict=True)))

    def __len__(self) -> int:
        """Return the number of pairs of an epoch."""
        return int(self._ends[-1])

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        """Return the tokens of both sides of the pairs at the indices, without BOS and EOS."""
        source, target = np.empty_like(indices), np.empty_like(indices)
        for number, places, rows in self._spread(indices):
            source[places], target[places] = self.shares[number].lengths(rows)
        return source, target

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        """Return the pairs at the indices; with a seed the segmentation is drawn with it, anew for each repetition."""
        order, pairs = [np.empty(0, np.int64)], [(Ragged.of([]), Ragged.of([]))]
        for number, places, rows in self._spread(indices):
            order.append(places)
            pairs.append(self.shares[number].take(rows, None if seed is None else seed + 2 * number))  # one per side
        back = np.argsort(np.concatenate(order))
        source, target = (joined(*side).take(back) for side in zip(*pairs, strict=True))
        return source, target

    def _spread(self, indices: Index) -> Iterator[tuple[int, Index, Index]]:
        """Yield number, places in `indices` and rows in its corpus for each share that is among them."""
        numbers = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            size = len(self.shares[number].corpus)
            yield number, places, (indices[places] - self._ends[number]) % size  # its end is a multiple of its size


def mix(texts: Iterable[Text], encoding: Encoding, weights: Sequence[int], tags: Sequence[str]) -> Mixture:
    """Encode each of the texts, or find it in the cache; no weights: all 1, no tags: none.

    The tag counts as a token of a pair's length. Raises OptionError for a tag that the source's tokenizer does not
    have, DataError for a text without a pair.
    """
    shares = []
    for number, text in enumerate(texts):
        tag = encoding.tokenizers.source.tag(tags[number]) if tags and tags[number] else None
        short = encoding._replace(max_length=encoding.max_length - (tag is not None))
        corpus = EncodedCorpus.build(text, short, fingerprint=text.fingerprint())
        shares.append(Share(corpus, weights[number] if weights else 1, tag))
    return Mixture(shares)
