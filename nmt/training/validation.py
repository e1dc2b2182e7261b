"""Measures a model on the validation set: loss by teacher forcing, BLEU and chrF of its detokenised translations."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from nmt.training.world import Alone, World
from nmt.translate import Translator

BLOCK = 64  # sentences that each of several processes translates before they look for signals
FOR_CARD, FOR_TUNING = 6.0, 8.0  # times as long as a validation
AT_MOST = 0.1  # of all the time goes to both: they are left out, or cut short, rather than the training
LEAST = 5  # different sentences, for their translations to tell whether they are all alike

Pairs = Sequence[tuple[str, str]]


class Result(NamedTuple):
    """What one validation found."""

    scores: Mapping[str, float]  # loss (nats per token, without smoothing), bleu, chrf
    samples: tuple[tuple[str, str, str], ...]  # source, translation, reference
    alike: float  # share of the different sources whose translations are the most frequent one; 0 where these are few
    seconds: float


class Validator:
    """Validates a model, as often as asked; of several processes each does its share, and all know what came out."""

    def __init__(
        self,
        config: Config,
        tokenizers: Tokenizers,
        compute: Compute,
        pairs: Pairs,
        *,
        world: World | None = None,
        obey: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `obey` at moments at which several processes are at the same place, and may leave it together."""
        self.config, self.compute, self.pairs = config, compute, pairs
        self.tokenizers, self.world, self.obey = tokenizers, world or Alone(), obey
        sources = tokenizers.source.encode([source for source, _ in pairs])
        targets = tokenizers.target.encode([target for _, target in pairs])
        self.encoded = [
            (source, target)
            for source, target in zip(sources, targets, strict=True)
            if max(len(source), len(target)) < config.data.max_length
        ]
        self.options = config.search.in_beam(config.training.valid_beam)
        self.seconds = 0.0  # of the last validation: as a model learns where sentences end, they get shorter

    def run(self, model: Model) -> Result:
        """Return the scores of a model as it is now, with sample translations; it is left in eval mode."""
        before = time.monotonic()
        model = self.compute.fit(model).eval()
        translator = Translator(self.config, self.tokenizers, freeze(model), self.compute)
        pairs = self.pairs[: self.config.training.valid_lines]
        translations = self._translate(translator, [source for source, _ in pairs])
        references = [target for _, target in pairs]
        scores = {"loss": self._loss(model), **quality(translations, references, self.config.data.target_lang)}
        shown = zip(pairs, translations, strict=True)
        samples = tuple(
            (source, translation, reference)
            for (source, reference), translation in islice(shown, self.config.training.samples)
        )
        by_source = dict(zip((source for source, _ in pairs), translations, strict=True))
        most = max(Counter(by_source.values()).values(), default=0)
        alike = most / len(by_source) if len(by_source) >= LEAST else 0.0
        self.seconds = time.monotonic() - before
        return Result(scores, samples, alike, self.seconds)

    def _translate(self, translator: Translator, sources: Sequence[str]) -> list[str]:
        """Return one translation per source; several processes share them out, and between blocks obey signals."""
        rank, size = self.world.rank, self.world.size
        if size == 1:
            return translator.translate(sources, self.options)
        own, rounds = sources[rank::size], -(-len(sources) // (size * BLOCK))
        found = list[str]()
        for turn in range(rounds):
            found += translator.translate(own[turn * BLOCK : (turn + 1) * BLOCK], self.options)
            self.obey()
        parts = self.world.gather(found)
        return [parts[number % size][number // size] for number in range(len(sources))]

    @torch.inference_mode()
    def _loss(self, model: Model) -> float:
        """Return the cross-entropy per target token in nats, without label smoothing."""
        total, tokens = 0.0, 0
        lengths = [[len(side) for side in pair] for pair in self.encoded]
        batches = pack([n for n, _ in lengths], [n for _, n in lengths], 4096)
        for indices in batches[self.world.rank :: self.world.size]:
            batch = collate([self.encoded[index] for index in indices])
            device = self.compute.device
            source = Padded(batch.source.ids.to(device), batch.source.lengths)
            target = batch.target.ids.to(device)
            states = model.states(source, target[:, :-1])
            total += float(smoothed_cross_entropy(states, model.output.weight, target[:, 1:], 0.0))
            tokens += batch.tokens
        parts = self.world.gather([total, tokens])
        total, tokens = sum(part[0] for part in parts), sum(part[1] for part in parts)
        return total / tokens if tokens else math.nan

    def reserve(self, limit: float) -> float:
        """Return the seconds, of a `limit` in all, to keep for the last validation and for what comes after training.

        The card's beam search over two whole sets takes several times as long as a validation, and so does the tuning
        of the search. Before the first validation nothing is known, and a fourth of all the time is kept.
        """
        if not self.seconds:
            return limit / 4
        tunes = self.config.training.tune_length_penalty or self.config.training.tune_beam_size
        times = FOR_CARD + (FOR_TUNING if tunes else 0.0)
        return 5.0 + self.seconds + min(times * self.seconds, AT_MOST * limit)
