"""sacreBLEU's metrics for reports: of a whole test set, of some lines, of each line; it knows nothing of why some.

What sacreBLEU counts in a sentence (n-grams that match, edits) is counted once per system, then summed over any lines,
as its own resampling does: a score of some lines is the one that it gives to a file of just these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RESAMPLES = 1000  # of `sacrebleu --confidence`, whose seed is 12345, else $SACREBLEU_SEED


@dataclass(frozen=True)
class Interval:
    """One metric of one system with its confidence interval, from bootstrap resampling (Koehn 2004, W04-3250)."""

    score: float  # percent
    mean: float  # of the resamples
    margin: float  # half of the width of the 95 % interval
    record: dict[str, Any]  # what `sacrebleu --confidence --format json` prints, not rounded


class Scorer:
    """One of sacreBLEU's metrics with the references of a test set."""

    def __init__(self, metric: Any, references: Sequence[Sequence[str]]) -> None:
        self.metric, self.references = metric, references
        self._count = metric._extract_corpus_statistics
        self._counted = dict[tuple[str, ...], Any]()
        # TER takes milliseconds per sentence: tests of significance, which ask the metric itself, count nothing anew.
        metric._extract_corpus_statistics = self._statistics

    def whole(self, hypotheses: Sequence[str]) -> Interval:
        """Return the score of a system with its interval."""
        from sacrebleu.significance import _bootstrap_resample, estimate_ci

        result = self.metric.corpus_score(hypotheses, self.references)
        # Not by corpus_score itself, which fails where only some resamples have a match: a float is no numpy.float32.
        seed, resamples = _bootstrap_resample(self._statistics(hypotheses, self.references), self.metric, RESAMPLES)
        mean, margin = map(float, estimate_ci([float(resample.score) for resample in resamples]))
        signature = self.metric.get_signature()
        signature.update("bs", RESAMPLES)
        signature.update("seed", seed)
        record = json.loads(result.format(width=15, signature=str(signature), is_json=True))
        interval = {"confidence_mean": mean, "confidence_var": margin, "confidence": f"μ = {mean:.2f} ± {margin:.2f}"}
        return Interval(float(result.score), mean, margin, record | {"score": float(result.score)} | interval)

    def part(self, hypotheses: Sequence[str], rows: Sequence[int]) -> float:
        """Return the score of some lines, at least one, numbered from 0."""
        counted = self._statistics(hypotheses, self.references)
        return float(self.metric._aggregate_and_compute([counted[row] for row in rows]).score)

    def length_ratio(self, hypotheses: Sequence[str]) -> float:
        """Return the tokens of the hypotheses per token of the closest references; only BLEU knows it."""
        return float(self.metric.corpus_score(hypotheses, self.references).ratio)

    def sentences(self, hypotheses: Sequence[str]) -> list[float]:
        """Return the score of each line by itself."""
        counted = self._statistics(hypotheses, self.references)
        return [float(self.metric._aggregate_and_compute([sentence]).score) for sentence in counted]

    def _statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Any:
        key = tuple(hypotheses)
        if key not in self._counted:
            self._counted[key] = self._count(hypotheses, references)
        return self._counted[key]
