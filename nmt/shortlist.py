"""A lexical shortlist: the target tokens that source tokens are likely to become; it knows nothing of models or text.

The output matrix is the largest of a small model, and of its thousands of rows a sentence needs a few hundred: likely
translations of its tokens, and what is frequent anywhere. Which are likely is learnt from the training pairs as word
translation probabilities, by expectation maximisation (IBM Model 1, Brown et al. 1993).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batches import EOS
from nmt.ragged import Index, Ragged

LIKELY = 32  # target tokens kept for each source token
FREQUENT = 400  # target tokens that may always stand
ROUNDS = 5  # of expectation maximisation
LINKS = 10_000_000  # of a source and a target token in one pair, at most: some 50,000 pairs of usual length


class Shortlist(NamedTuple):
    """What `learn` found."""

    likely: Tensor  # (source vocabulary, LIKELY) int32, likeliest first, filled up with EOS
    frequent: Tensor  # (FREQUENT,) int32, with the ids that every tokenizer has

    def of(self, source: Tensor) -> Tensor:
        """Return the ids that translations of the source ids (any shape) may have, int64, ascending."""
        return torch.cat((self.frequent, self.likely[source.unique()].flatten())).unique().long()


def learn(source: Ragged, target: Ragged, source_size: int, target_size: int) -> Shortlist:
    """Return the shortlist of pairs of ids without BOS and EOS, for vocabularies of these sizes; the first pairs
    count that have `LINKS` links together."""
    pairs = max(1, int(np.searchsorted(np.cumsum(source.lengths * target.lengths), LINKS)))
    rows = np.arange(min(pairs, len(source.lengths)))
    source, target = source.take(rows), target.take(rows)
    left, right, starts = _links(source, target)
    keys, link = np.unique(left.astype(np.int64) * target_size + right, return_inverse=True)
    words = keys // target_size
    probability = np.ones(len(keys))
    for _ in range(ROUNDS):
        share = probability[link]
        share /= np.repeat(np.add.reduceat(share, starts), np.diff(np.append(starts, len(share))))
        counts = np.bincount(link, share, len(keys))
        probability = counts / np.bincount(words, counts, source_size)[words]
    order = np.lexsort((-probability, words))
    rank = np.arange(len(keys)) - np.searchsorted(words[order], words[order])
    chosen = order[rank < LIKELY]
    likely = np.full((source_size, LIKELY), EOS, np.int32)
    likely[words[chosen], rank[rank < LIKELY]] = keys[chosen] % target_size
    counts = np.bincount(target.ids, minlength=target_size).astype(np.float64)
    counts[: EOS + 1] = np.inf
    return Shortlist(torch.from_numpy(likely), torch.from_numpy(np.argsort(-counts, kind="stable")[:FREQUENT].astype(np.int32)))


def _links(source: Ragged, target: Ragged) -> tuple[Index, Index, Index]:
    """Return the source and the target id of every link, and where the links of each target token begin."""
    sizes = np.repeat(source.lengths, target.lengths)  # links of each target token
    starts = np.cumsum(sizes) - sizes
    begins = np.repeat(np.cumsum(source.lengths) - source.lengths, target.lengths)
    within = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
    return source.ids[np.repeat(begins, sizes) + within], np.repeat(target.ids, sizes), starts
