"""Chooses options of the search on validation pairs once the weights are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from nmt.config import SearchConfig
from nmt.evaluate import quality
from nmt.translate import Translator

Pairs = Sequence[tuple[str, str]]
Found = dict[float, float]  # BLEU of each value that was tried
RESERVE = 1.2  # times as long as the longest one so far may the next one take


class Row(NamedTuple):
    """An option of the search, and what is tried in this order while there is time."""

    option: str
    values: tuple[float, ...]


LENGTH_PENALTY = Row("length_penalty", (1.0, 0.6, 1.4, 0.2, 1.8))
BEAM_SIZE = Row("beam_size", (10,))
# BLEU by which another value has to be better than the usual one. A length penalty that gained less made translations
# as long as the references of one set, and too long for those of another (docs/quality.md).
LEAST = 0.5


class Tuner:
    """Tries searches on (source, reference) pairs, as long as there is time."""

    def __init__(self, translator: Translator, pairs: Pairs, deadline: float, expected: float) -> None:
        """End by `deadline`, of time.monotonic(); the translator's own search is `expected` to take so many seconds."""
        self.translator, self.pairs, self.deadline = translator, pairs, deadline
        self.search = translator.config.search  # the best so far
        self.longest = expected
        self.known = dict[tuple[float, int], float]()

    def tune(self, row: Row) -> Found:
        """Choose a value of an option, beside what has been chosen before, and return the BLEU of each that was tried.

        The one that the search has stays unless another is better by `LEAST`.
        """
        usual, found = getattr(self.search, row.option), Found()
        narrow = self.search.n_best if row is BEAM_SIZE else 0  # a beam below that could not be searched
        for value in dict.fromkeys((usual, *(value for value in row.values if value >= narrow))):
            bleu = self._bleu(self.search.model_copy(update={row.option: value}))
            if bleu is None:
                break
            found[value] = bleu
        best = max(found, key=lambda value: found[value], default=usual)
        if found and found[best] >= found[usual] + LEAST:
            self.search = self.search.model_copy(update={row.option: best})
        return found

    def _bleu(self, search: SearchConfig) -> float | None:
        """Return the BLEU of a search, or None where there is no time to find it."""
        which = search.length_penalty, search.beam_size
        if which not in self.known:
            width = search.beam_size / self.translator.config.search.beam_size
            before = time.monotonic()
            if before + RESERVE * width * self.longest > self.deadline:
                return None
            sources, references = zip(*self.pairs, strict=True)
            translations = self.translator.translate(sources, search.model_copy(update={"n_best": 1}))
            self.known[which] = quality(translations, references, self.translator.config.data.target_lang)["bleu"]
            self.longest = max(self.longest, (time.monotonic() - before) / width)
        return self.known[which]
