"""Chooses options of the search on validation pairs once the weights are known."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nmt.evaluate import quality
from nmt.translate import Translator

ALPHAS = (1.0, 0.6, 1.4, 0.2, 1.8)  # of the length penalty, in the order in which they are tried while there is time
LEAST = 0.1  # BLEU by which another one has to be better than the usual one: less is chance


def tune_length_penalty(
    translator: Translator, pairs: Sequence[tuple[str, str]], deadline: float, expected: float
) -> tuple[float, dict[float, float]]:
    """Return the length penalty with the best BLEU on (source, reference) pairs, and the BLEU of each that was tried.

    Trying ends when another one could not be done by `deadline`, of time.monotonic(); each is `expected` to take so
    many seconds. The model's own stays unless another is better by `LEAST`.
    """
    usual = translator.config.search.length_penalty
    found, longest = dict[float, float](), expected
    for alpha in dict.fromkeys((usual, *ALPHAS)):
        before = time.monotonic()
        if before + 1.2 * longest > deadline:
            break
        options = translator.config.search.model_copy(update={"length_penalty": alpha, "n_best": 1})
        translations = translator.translate([source for source, _ in pairs], options)
        references = [reference for _, reference in pairs]
        found[alpha] = quality(translations, references, translator.config.data.target_lang)["bleu"]
        longest = max(longest, time.monotonic() - before)
    best = max(found, key=lambda alpha: found[alpha], default=usual)
    return (best if found and found[best] >= found[usual] + LEAST else usual), found
