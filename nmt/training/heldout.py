"""Takes validation pairs out of a training corpus that came without any."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from nmt.corpus import Pair, ParallelCorpus

SHARE, MOST = 50, 1000  # one pair in 50, at most 1,000
FEWEST = 50  # a smaller corpus is validated on itself: it cannot spare a pair


class HeldOut:
    """A corpus without some of its pairs, streamed like the corpus itself."""

    def __init__(self, corpus: ParallelCorpus, without: frozenset[int]) -> None:
        self.corpus, self.without = corpus, without

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs that stay."""
        return (pair for number, pair in enumerate(self.corpus) if number not in self.without)

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with the corpus and with what is held out."""
        return hashlib.sha256(f"{self.corpus.fingerprint()} {sorted(self.without)}".encode()).hexdigest()


def hold_out(corpus: ParallelCorpus, seed: int) -> tuple[HeldOut, list[Pair]]:
    """Return the corpus without 2 % of its pairs (at most 1,000), and those pairs."""
    count = corpus.statistics().kept
    if count < FEWEST:
        return HeldOut(corpus, frozenset()), list(corpus)
    without = frozenset(random.Random(seed).sample(range(count), min(MOST, count // SHARE)))
    return HeldOut(corpus, without), [pair for number, pair in enumerate(corpus) if number in without]
