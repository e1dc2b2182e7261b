"""A corpus read in both directions, for pre-training before one of them is learnt; it knows nothing of training."""

from __future__ import annotations

import numpy as np

from nmt.batches import Corpus
from nmt.ragged import Index, Ragged, joined


class BothWays:
    """A corpus of n pairs as one of 2 n: pair n + i is pair i with source and target in each other's place.

    Nothing tells the model which way is meant but the language it reads (arXiv 2109.07780). Ids must mean the same on
    both sides.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __len__(self) -> int:
        """Return the number of pairs, each counted twice."""
        return 2 * len(self.corpus)

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        """Return the tokens of both sides of the pairs at the indices, without BOS and EOS."""
        source, target = self.corpus.lengths(indices % len(self.corpus))
        is_turned = indices >= len(self.corpus)
        return np.where(is_turned, target, source), np.where(is_turned, source, target)

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        """Return the pairs at the indices; with a seed their segmentation is drawn with it."""
        sides = joined(*self.corpus.take(indices % len(self.corpus), seed=seed))
        rows, turned = np.arange(len(indices)), (indices >= len(self.corpus)) * len(indices)
        return sides.take(rows + turned), sides.take(rows + len(indices) - turned)
