"""Pairs in another case, so that headlines and careless typing are understood; it knows nothing of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def recase(sources: Sequence[str], targets: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Return the pairs, a `share` of them in another case, decided by the seed alone.

    Of these one half is in capitals on both sides, the other in small letters in the source: what is written without
    capitals is to be translated as if it had them.
    """
    draws = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1]))).random(len(sources))
    recased = [
        (source.upper(), target.upper()) if draw < share / 2 else (source.lower() if draw < share else source, target)
        for source, target, draw in zip(sources, targets, draws, strict=True)
    ]
    return [source for source, _ in recased], [target for _, target in recased]
