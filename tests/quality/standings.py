"""What trainings came to as tables in Markdown; it trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OURS = "nmt"
METRICS = {"bleu": "BLEU", "lc-norm-tok": "lc-norm-tok", "chrf": "chrF2"}


class Result(NamedTuple):
    """One system, trained once."""

    pairs: int
    system: str
    setting: str
    weights: str  # those that count: "averaged", "best", or "" where there are no others
    steps: int
    seconds: float  # of training, all of the command
    scores: dict[str, float]


def table(results: Iterable[Result]) -> str:
    """Return a row for each."""
    header = ["pairs", "system", "setting", "steps", *METRICS.values()]
    rows = [header, ["---"] * len(header)]
    for each in results:
        setting = f"{each.setting}, {each.weights}" if each.weights else each.setting
        scores = [f"{each.scores[metric]:.2f}" for metric in METRICS]
        rows.append([f"{each.pairs:,}", each.system, setting, f"{each.steps:,}", *scores])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def differences(results: Sequence[Result]) -> list[str]:
    """Return a line for each corpus: how far nmt is from the peer with the highest BLEU."""
    lines = []
    for pairs in dict.fromkeys(each.pairs for each in results):
        ours = [each for each in results if each.pairs == pairs and each.system == OURS]
        peers = [each for each in results if each.pairs == pairs and each.system != OURS]
        if ours and peers:
            best = leading(peers)
            gaps = [f"{name} {ours[0].scores[key] - best.scores[key]:+.2f}" for key, name in METRICS.items()]
            lines.append(f"{pairs:,} pairs, nmt less the best peer ({best.system}, {best.setting}): {', '.join(gaps)}")
    return lines


def leading(results: Iterable[Result]) -> Result:
    """Return the one with the highest BLEU."""
    return max(results, key=lambda each: each.scores["bleu"])
