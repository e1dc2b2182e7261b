"""What trainings came to as tables in Markdown; it trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OURS = "nmt"
METRICS = {"bleu": "BLEU", "lc-norm-tok": "lc-norm-tok", "chrf": "chrF2"}


class Result(NamedTuple):
    """One system, trained once."""

    corpus: str
    pairs: int
    system: str
    setting: str
    weights: str  # those that count: "averaged", "best", or "" where there are no others
    steps: int
    seconds: float  # of training, all of the command
    scores: dict[str, float]


def table(results: Iterable[Result]) -> str:
    """Return a row for each."""
    header = ["corpus", "pairs", "system", "setting", "steps", *METRICS.values()]
    rows = [header, ["---"] * len(header)]
    for each in results:
        setting = f"{each.setting}, {each.weights}" if each.weights else each.setting
        scores = [f"{each.scores[metric]:.2f}" if metric in each.scores else "" for metric in METRICS]
        rows.append([each.corpus, f"{each.pairs:,}", each.system, setting, f"{each.steps:,}", *scores])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def differences(results: Sequence[Result]) -> list[str]:
    """Return a line for each corpus: how far nmt is from the peer with the highest BLEU."""
    lines = []
    for corpus, pairs in dict.fromkeys((each.corpus, each.pairs) for each in results):
        same = [each for each in results if (each.corpus, each.pairs) == (corpus, pairs)]
        ours = [each for each in same if each.system == OURS]
        peers = [each for each in same if each.system != OURS]
        if ours and peers:
            best = leading(peers)
            known = {key: name for key, name in METRICS.items() if key in best.scores}
            gaps = [f"{name} {ours[0].scores[key] - best.scores[key]:+.2f}" for key, name in known.items()]
            peer = f"the best peer ({best.system}, {best.setting})"
            lines.append(f"{pairs:,} pairs of {corpus}, nmt less {peer}: {', '.join(gaps)}")
    return lines


def leading(results: Iterable[Result]) -> Result:
    """Return the one with the highest BLEU."""
    return max(results, key=lambda each: each.scores["bleu"])
