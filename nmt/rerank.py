"""Puts translations into an order in which a model of the other direction has its say; it knows nothing of search.

What is fluent but leaves something out, or adds it, seldom lets its source be guessed: the score of a translation is
joined by that of the source given the translation, the channel model of Yee et al. (arXiv 1908.05731) and Ng et al.
(1907.06616 section 4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from nmt.batches import PAD, Padded, collate, pack
from nmt.config import SearchConfig
from nmt.models.interface import Seq2Seq
from nmt.search.hypotheses import length_penalty
from nmt.tokenizer import Tokenizers
from nmt.translation import Output

LOGITS = 1 << 23  # numbers at most of the largest tensor there is at a time


class Reverse(NamedTuple):
    """A model from the target's language to the source's, in eval mode, on its device."""

    tokenizers: Tokenizers
    model: Seq2Seq[Any, Any]
    longest: int  # tokens beside the EOS that it reads; of longer texts the rest is left out
    device: torch.device

    def rerank(
        self, found: Sequence[Sequence[Output]], sources: Sequence[str], options: SearchConfig
    ) -> list[list[Output]]:
        """Return the `n_best` hypotheses of each source by both models, with the score that they are ranked by.

        To the score of the search comes `rerank_weight` times that of the source: its log-probability given the
        hypothesis over the same length penalty. Among equals the order of the search holds.
        """
        pairs = [(output.text, source) for outputs, source in zip(found, sources, strict=True) for output in outputs]
        scores = iter(self._scores(pairs, options.length_penalty))
        ranked = list[list[Output]]()
        for outputs in found:
            joined = [output._replace(score=output.score + options.rerank_weight * next(scores)) for output in outputs]
            ranked.append(sorted(joined, key=lambda output: -output.score)[: options.n_best])
        return ranked

    @torch.inference_mode()
    def _scores(self, pairs: Sequence[tuple[str, str]], alpha: float) -> list[float]:
        """Return the score of each second text as a translation of the first."""
        given = [ids[: self.longest] for ids in self.tokenizers.source.encode([text for text, _ in pairs])]
        wanted = [ids[: self.longest] for ids in self.tokenizers.target.encode([text for _, text in pairs])]
        scores = [0.0] * len(pairs)
        size = max(1, LOGITS // self.tokenizers.target.size)
        for rows in pack([len(ids) for ids in given], [len(ids) for ids in wanted], size):
            batch = collate([(given[row], wanted[row]) for row in rows])
            source = Padded(batch.source.ids.to(self.device), batch.source.lengths)
            target = batch.target.ids.to(self.device)
            logits = self.model(source, target[:, :-1])  # (batch, time, vocab)
            labels = target[:, 1:]
            wide = torch.promote_types(logits.dtype, torch.float32)  # sums of half precision drift
            nats = logits.log_softmax(-1, dtype=wide).gather(2, labels[..., None])[..., 0]
            for row, sum_ in zip(rows, nats.masked_fill(labels == PAD, 0).sum(1).tolist(), strict=True):
                scores[row] = sum_ / length_penalty(len(wanted[row]) + 1, alpha)
        return scores
