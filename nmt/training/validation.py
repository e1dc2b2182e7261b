"""Measures a model on the validation set: loss by teacher forcing, BLEU and chrF of its detokenised translations."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from nmt.batches import Padded, collate, pack
from nmt.config import Config
from nmt.device import Compute
from nmt.evaluate import quality
from nmt.frozen import freeze
from nmt.models import Model
from nmt.tokenizer import Tokenizers
from nmt.training.loss import smoothed_cross_entropy
from nmt.translate import Translator

LEAST = 8  # different sentences, for their translations to tell whether they are all alike

Pairs = Sequence[tuple[str, str]]


class Result(NamedTuple):
    """What one validation found."""

    scores: Mapping[str, float]  # loss (nats per token, without smoothing), bleu, chrf
    samples: tuple[tuple[str, str, str], ...]  # source, translation, reference
    alike: float  # share of the sources, all different, whose translations are the most frequent one
    seconds: float


class Validator:
    """Validates one model, as often as asked."""

    def __init__(self, config: Config, model: Model, tokenizers: Tokenizers, compute: Compute, pairs: Pairs) -> None:
        self.config, self.model, self.compute, self.pairs = config, model, compute, pairs
        self.tokenizers = tokenizers
        sources = tokenizers.source.encode([source for source, _ in pairs])
        targets = tokenizers.target.encode([target for _, target in pairs])
        self.encoded = [
            (source, target)
            for source, target in zip(sources, targets, strict=True)
            if max(len(source), len(target)) < config.data.max_length
        ]
        one = {"beam_size": config.training.valid_beam, "n_best": 1, "sample": False}
        self.options = config.search.model_copy(update=one)
        self.seconds = 0.0  # of the longest validation so far

    def run(self) -> Result:
        """Return the scores of the model as it is now, with sample translations."""
        before = time.monotonic()
        model = self.compute.fit(self.model).eval()  # the learner sets the mode again at its next step
        translator = Translator(self.config, self.tokenizers, freeze(model), self.compute)
        pairs = self.pairs[: self.config.training.valid_lines]
        translations = translator.translate([source for source, _ in pairs], self.options)
        references = [target for _, target in pairs]
        scores = {"loss": self._loss(model), **quality(translations, references, self.config.data.target_lang)}
        shown = zip(pairs, translations, strict=True)
        samples = tuple(
            (source, translation, reference)
            for (source, reference), translation in islice(shown, self.config.training.samples)
        )
        by_source = dict(zip((source for source, _ in pairs), translations, strict=True))
        alike = max(Counter(by_source.values()).values(), default=0) / max(len(by_source), LEAST)
        seconds = time.monotonic() - before
        self.seconds = max(self.seconds, seconds)
        return Result(scores, samples, alike, seconds)

    @torch.inference_mode()
    def _loss(self, model: Model) -> float:
        """Return the cross-entropy per target token in nats, without label smoothing."""
        total, tokens = 0.0, 0
        lengths = [[len(side) for side in pair] for pair in self.encoded]
        for indices in pack([n for n, _ in lengths], [n for _, n in lengths], 4096):
            batch = collate([self.encoded[index] for index in indices])
            device = self.compute.device
            source = Padded(batch.source.ids.to(device), batch.source.lengths)
            target = batch.target.ids.to(device)
            states = model.states(source, target[:, :-1])
            total += float(smoothed_cross_entropy(states, model.output.weight, target[:, 1:], 0.0))
            tokens += batch.tokens
        return total / tokens if tokens else math.nan

    def reserve(self, limit: float) -> float:
        """Return the seconds, of a `limit` in all, to keep for the last validation and the scores of the model card.

        The card's beam search over two whole sets takes several times as long as a validation. Before the first
        validation nothing is known, and a fourth of all the time is kept.
        """
        return 5.0 + 6.0 * self.seconds if self.seconds else limit / 4
