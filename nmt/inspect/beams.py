"""What a wider beam buys: quality, model score and time by beam width, as a table and a picture; knows no files read.

Wider beams always find likelier translations, yet not always better ones (Koehn and Knowles 2017, arXiv 1706.03872,
section 3.6): this is where one sees it for a model of one's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from nmt.config import SearchConfig
from nmt.evaluate import Score
from nmt.text import without_surrogates

if TYPE_CHECKING:
    from pathlib import Path

    from nmt.translation import Translation

Translate = Callable[[Sequence[str], SearchConfig], Sequence["Translation"]]
Judge = Callable[[Sequence[str]], list[Score]]

WARM_UP = 8  # sentences translated before the clock runs, so that the first width does not pay for lazy start-up


class Width(NamedTuple):
    """What one beam width gave on a test set."""

    beam_size: int  # hypotheses kept per sentence
    scores: list[Score]
    log_probability: float  # nats, mean over the sentences' best hypotheses
    model_score: float  # what the search maximises, log-probability over length penalty: mean over sentences
    seconds: float  # to translate the test set, without loading and scoring


def sweep(
    translate: Translate, sources: Sequence[str], search: SearchConfig, widths: Iterable[int], judge: Judge
) -> Iterator[Width]:
    """Translate the sources once per beam width and yield what came of each as soon as it is known.

    `translate` is a translator's `translate_block`, `judge` scores a whole set of hypotheses. Blank lines, which no
    model sees, and lines for which nothing was found have no part in the means.
    """
    translate(sources[:WARM_UP], search)
    for width in widths:
        options = search.in_beam(width)
        start = time.perf_counter()
        best = translate(sources, options)
        seconds = time.perf_counter() - start
        found = [translation for translation in best if translation.tokens and isfinite(translation.score)]
        yield Width(
            width,
            judge([translation.text for translation in best]),
            _mean([translation.log_probability for translation in found]),
            _mean([translation.score for translation in found]),
            seconds,
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def header(metrics: Sequence[str]) -> str:
    """Return the head of the table, whose log p and model score are means over sentences; metrics are names."""
    return "  ".join(["beam", *(f"{name:>6}" for name in metrics), "log p (nats)", "model score", "   time", "sent/s"])


def line(width: Width, sentences: int) -> str:
    """Return one row of the table."""
    quality = [f"{score.score:6.2f}" for score in width.scores]
    nats = [f"{width.log_probability:12.3f}", f"{width.model_score:11.4f}"]
    return "  ".join(
        [f"{width.beam_size:4}", *quality, *nats, f"{width.seconds:5.1f} s", f"{sentences / width.seconds:6.1f}"]
    )


def records(width: Width) -> list[dict[str, Any]]:
    """Return sacreBLEU's own object per metric with what belongs to the beam width added."""
    added = {
        "beam_size": width.beam_size,
        "log_probability": width.log_probability,
        "model_score": width.model_score,
        "seconds": width.seconds,
    }
    return [score.record | added for score in width.scores]


def plot(rows: Sequence[Width], path: Path, title: str) -> None:
    """Draw quality, model score and time by beam width as PNG, SVG or PDF by the path's end, over an older one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display is needed, no global state is touched
    from matplotlib.figure import Figure

    widths = [row.beam_size for row in rows]
    curves = [
        (f"{score.name} (0 to 100)", [row.scores[i].score for row in rows]) for i, score in enumerate(rows[0].scores)
    ]
    curves.append(("model score (nats per sentence,\nover the length penalty)", [row.model_score for row in rows]))
    curves.append(("time (seconds)", [row.seconds for row in rows]))
    figure = Figure(figsize=(3.6 * len(curves), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(without_surrogates(title), parse_math=False)
    for axes, (label, values) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        _draw(axes, widths, values, label)
    figure.savefig(path, dpi=150)


def _draw(axes: Any, widths: Sequence[int], values: Sequence[float], label: str) -> None:
    """Draw one curve; widths are usually near doublings, so the axis is logarithmic and names just these."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    axes.plot([widths[i] for i in order], [values[i] for i in order], marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, labels=[str(width) for width in widths])
    axes.minorticks_off()
    axes.set_xlabel("beam width (hypotheses)")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.ticklabel_format(axis="y", useOffset=False)
    if label.startswith("time"):
        axes.set_ylim(bottom=0)
    elif max(values) - min(values) < 1e-6:  # a flat line needs a scale that does not show rounding errors
        axes.set_ylim(values[0] - 1, values[0] + 1)
