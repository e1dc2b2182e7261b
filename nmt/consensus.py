"""Which of several translations agrees best with the others; it knows nothing of models or search.

Minimum Bayes risk decoding (Kumar & Byrne 2004, N04-1022) with drawn translations as candidates and as references at
once (Eikema & Aziz, arXiv 2108.04718). Likenesses are sacreBLEU's scores of a sentence, computed for all pairs at once
from n-grams that are counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.config import SearchConfig
from nmt.evaluate import sentence_tokenizer
from nmt.translation import Output

CHARACTERS, BETA = 6, 2  # chrF2's longest n-gram and weight of recall, W15-3049
WORDS = 4  # BLEU's longest n-gram

Matrix = NDArray[np.float64]
Bag = Counter[Hashable]  # n-grams of one length


class Counts(NamedTuple):
    """What texts have in common, for every pair and every length of n-grams."""

    totals: Matrix  # (length, text)
    matches: Matrix  # (length, text, text)


def drawing(options: SearchConfig) -> SearchConfig:
    """Return the options that candidates are drawn with; where nothing is chosen among them, the options themselves."""
    if options.mbr == "none":
        return options
    return options.model_copy(update={"sample": True, "n_best": options.candidates})


def decide(drawn: Sequence[Output], options: SearchConfig, target_lang: str) -> tuple[Output, ...]:
    """Return the `n_best` of the drawn that agree best with the others, each text once, scored by how well.

    Where nothing is to be chosen they are returned as they are.
    """
    if options.mbr == "none":
        return tuple(drawn)
    scores = agreement([output.text for output in drawn], LIKENESS[options.mbr], target_lang)
    ranked = sorted(zip(scores, drawn, strict=True), key=lambda pair: -pair[0])  # of equals the likelier comes first
    best = dict[str, Output]()
    for score, output in ranked:
        best.setdefault(output.text, output._replace(score=score))
    return tuple(best.values())[: options.n_best]


Likeness = Callable[[Sequence[str], str], Matrix]


def agreement(texts: Sequence[str], likeness: Likeness, target_lang: str) -> list[float]:
    """Return for each text the mean of its scores against all others, in percent; 0 where there is no other.

    A text that stands there twice is a reference twice.
    """
    times = Counter(texts)
    pairs = likeness(list(times), target_lang)  # (hypothesis, reference)
    often = np.array([*times.values()], np.float64)
    sums = pairs @ often - pairs.diagonal()  # but for itself
    means = dict(zip(times, (sums / max(1, len(texts) - 1)).tolist(), strict=True))
    return [means[text] for text in texts]


def chrf(texts: Sequence[str], target_lang: str = "") -> Matrix:
    """Return sacreBLEU's sentence chrF2 of every text (row) with every text (column) as reference, in percent."""
    counts = _count([_grams("".join(text.split()), CHARACTERS) for text in texts], CHARACTERS)
    own, other = counts.totals[:, :, None], counts.totals[:, None, :]
    lengths = np.maximum(((own > 0) & (other > 0)).sum(0), 1)  # of which both have n-grams
    precision = (counts.matches / np.maximum(own, 1)).sum(0) / lengths
    recall = (counts.matches / np.maximum(other, 1)).sum(0) / lengths
    divisor = BETA**2 * precision + recall
    return np.asarray(100 * (1 + BETA**2) * precision * recall / np.where(divisor, divisor, 1))


def bleu(texts: Sequence[str], target_lang: str = "") -> Matrix:
    """Return sacreBLEU's sentence BLEU of every text (row) with every text (column) as reference, in percent.

    Precisions without a match are smoothed exponentially, and lengths that a text is too short for are left out.
    """
    tokenize = sentence_tokenizer(target_lang)
    words = [tuple(tokenize(text).split()) for text in texts]
    counts = _count([_grams(each, WORDS) for each in words], WORDS)
    totals = counts.totals[:, :, None]
    doublings = 2.0 ** np.cumsum((counts.matches == 0) & (totals > 0), axis=0)
    matches = np.where(counts.matches > 0, counts.matches, 1 / doublings)
    logs = np.where(totals > 0, np.log(matches / np.maximum(totals, 1)), 0).sum(0)
    lengths = np.array([len(each) for each in words], np.float64)
    brevity = np.minimum(0, 1 - lengths / np.maximum(lengths, 1)[:, None])  # (hypothesis, reference)
    scores = 100 * np.exp(brevity + logs / np.maximum((totals > 0).sum(0), 1))
    return np.where(counts.matches.any(0), scores, 0)


LIKENESS: dict[str, Likeness] = {"chrf": chrf, "bleu": bleu}


def _grams(symbols: Sequence[Any], longest: int) -> list[Bag]:
    """Return the n-grams of a string or tuple, by length."""
    return [
        Counter(symbols[at : at + length] for at in range(len(symbols) - length + 1))
        for length in range(1, longest + 1)
    ]


def _count(texts: Sequence[Sequence[Bag]], longest: int) -> Counts:
    lengths = [[bags[length] for bags in texts] for length in range(longest)]
    totals = [[float(bag.total()) for bag in bags] for bags in lengths]
    return Counts(np.array(totals), np.stack([_overlaps(bags) for bags in lengths]))


def _overlaps(bags: Iterable[Bag]) -> Matrix:
    """Return (text, text) how many n-grams two texts have in common, the smaller count of each.

    The second of a kind in a text is a column of its own: the product of rows of 0 and 1 then is a sum of minima.
    """
    columns = dict[tuple[Hashable, int], int]()
    held = [
        [columns.setdefault((gram, nth), len(columns)) for gram, count in bag.items() for nth in range(count)]
        for bag in bags
    ]
    rows = np.zeros((len(held), len(columns)), np.float32)
    for row, places in zip(rows, held, strict=True):
        row[places] = 1
    return np.asarray(rows @ rows.T, np.float64)
