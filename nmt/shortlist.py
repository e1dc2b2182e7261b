"""A lexical shortlist: the target tokens that source tokens are likely to become; it knows nothing of text.

The output matrix is the largest of a small model, and of its thousands of rows the translations of a batch need a few
hundred: likely translations of its tokens, and what is frequent anywhere. Which are likely is learnt from training
pairs as the translation probabilities of IBM Model 1 (Brown et al. 1993), by expectation maximisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from nmt.batches import EOS
from nmt.frozen import FrozenLinear
from nmt.models.ensemble import Ensemble
from nmt.models.weights import with_output
from nmt.ragged import Index, Ragged

LIKELY = 10  # target tokens kept for each source token
FREQUENT = 256  # target tokens that may stand in any translation
MULTIPLE = 256  # of ids that a batch is given: products of a new shape take longer
ROUNDS = 4  # of expectation maximisation
LINKS = 4_000_000  # that `learn` should be given at most, each of two tokens of one pair: two seconds' work


class Shortlist(NamedTuple):
    """What `learn` found."""

    likely: Tensor  # (source vocabulary, LIKELY) int32, likeliest first, filled up with EOS
    frequent: Tensor  # (FREQUENT or less,) int32, with the ids up to EOS

    def of(self, source: Tensor) -> Tensor:
        """Return the ids that translations of the source ids (any shape) may hold, (size,) int64, ascending."""
        words = torch.cat((self.frequent, self.likely[source.flatten()].flatten()))
        return cast(Tensor, words.unique().long())  # type: ignore[no-untyped-call]


class Shortener:
    """Cuts the output layer of a model down to the likely words of a batch."""

    def __init__(self, shortlist: Shortlist, weight: Tensor) -> None:
        """Take the weight (vocab, features) of the model's output layer."""
        self._shortlist, self._weight = shortlist, weight.detach()

    def shorten(self, model: Any, source: Tensor, prefixes: Sequence[int]) -> tuple[Any, Tensor]:
        """Return the model for source ids, and the ids (size,) that its logits stand for, `prefixes` among them."""
        wanted = torch.zeros(len(self._weight), dtype=torch.bool, device=source.device)
        wanted[self._shortlist.of(source)] = True
        wanted[torch.tensor(prefixes, dtype=torch.int64, device=source.device)] = True
        missing = -int(wanted.sum()) % MULTIPLE
        wanted[(~wanted).nonzero()[:missing, 0]] = True  # tokenizers have the frequent ids first
        ids = wanted.nonzero()[:, 0]
        return with_output(model, FrozenLinear(self._weight[ids])), ids


class Shorteners:
    """Those of an ensemble's members, all by one shortlist: they find the same words."""

    def __init__(self, members: Sequence[Shortener]) -> None:
        self._members = members

    def shorten(self, model: Any, source: Tensor, prefixes: Sequence[int]) -> tuple[Ensemble, Tensor]:
        """Return the ensemble for source ids, and the ids (size,) that its logits stand for."""
        pairs = zip(self._members, model.members, strict=True)
        found = [shortener.shorten(member, source, prefixes) for shortener, member in pairs]
        return Ensemble([member for member, _ in found]), found[0][1]


def learn(source: Ragged, target: Ragged, source_size: int, target_size: int) -> Shortlist:
    """Return the shortlist of pairs of ids without BOS and EOS, for vocabularies of these sizes."""
    words, tokens, starts = _links(source, target)
    keys, link = np.unique(words * target_size + tokens, return_inverse=True)
    words = keys // target_size
    probability = np.ones(len(keys))
    for _ in range(ROUNDS):
        share = probability[link]
        share /= np.repeat(np.add.reduceat(share, starts), np.diff(starts, append=len(share)))
        counts = np.bincount(link, share, len(keys))
        probability = counts / np.bincount(words, counts, source_size)[words]
    order = np.lexsort((-probability, words))
    rank = np.arange(len(order)) - np.searchsorted(words, words)  # sorted by word, they stand where they stood
    kept = rank < LIKELY
    likely = np.full((source_size, LIKELY), EOS, np.int32)
    likely[words[kept], rank[kept]] = keys[order[kept]] % target_size
    counts = np.bincount(target.ids, minlength=target_size).astype(np.float64)
    counts[: EOS + 1] = np.inf
    frequent = np.argsort(-counts, kind="stable")[:FREQUENT].astype(np.int32)
    return Shortlist(torch.from_numpy(likely), torch.from_numpy(frequent))


def _links(source: Ragged, target: Ragged) -> tuple[Index, Index, Index]:
    """Return the source and the target id of every link, and where the links of each target token begin."""
    sizes = np.repeat(source.lengths, target.lengths)  # links of each target token
    starts = np.cumsum(sizes) - sizes
    first = np.repeat(np.cumsum(source.lengths) - source.lengths, target.lengths)  # token of its source sentence
    places = np.repeat(first - starts, sizes) + np.arange(int(sizes.sum()))
    return source.ids[places].astype(np.int64), np.repeat(target.ids, sizes).astype(np.int64), starts[sizes > 0]
