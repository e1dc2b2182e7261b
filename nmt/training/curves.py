"""Draws how a training went, from the lines of its metrics.jsonl; it knows nothing of where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nmt.text import without_surrogates

Records = Sequence[Mapping[str, Any]]


class Series(NamedTuple):
    """One curve: a number of one kind of record."""

    kind: str  # train or valid
    name: str
    label: str
    color: str


BLUE, RED, GREEN, GREY = "#3465a4", "#cc3311", "#228833", "#666666"
LOSS = "loss, nats per target token"
PANELS = {
    LOSS: (
        Series("train", "loss", "train, with smoothing and R-Drop", BLUE),
        Series("valid", "loss", "valid", RED),
    ),
    "score of the validation set": (Series("valid", "bleu", "BLEU", RED), Series("valid", "chrf", "chrF", GREEN)),
    "learning rate": (Series("train", "learning_rate", "", GREY),),
    "target tokens per second": (Series("train", "tokens_per_second", "", GREY),),
}


def draw_curves(records: Records, title: str, path: Path) -> None:
    """Write a picture of loss, scores, learning rate and speed; nothing where there is no record yet."""
    if not records:
        return
    from matplotlib.figure import Figure  # half a second: only at the end of a run

    figure = Figure(figsize=(10, 6.5))
    figure.subplots_adjust(left=0.07, right=0.96, bottom=0.08, top=0.9, hspace=0.28, wspace=0.18)
    steps = max(record["step"] for record in records)
    for number, (label, series) in enumerate(PANELS.items(), 1):
        panel = figure.add_subplot(2, 2, number)
        panel.set_title(label, loc="left", fontsize=10)
        _draw_series(panel, records, series)
        panel.set_xlim(0, 1.13 * max(steps, 1))  # room for the last values
        if label != LOSS:
            panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        if number > 2:
            panel.set_xlabel("optimizer steps", color=GREY)
    # A dollar is a dollar.
    figure.suptitle(without_surrogates(title), x=0.07, ha="left", weight="bold", parse_math=False)
    figure.savefig(path, dpi=120)


def _draw_series(panel: Any, records: Records, series: tuple[Series, ...]) -> None:
    """Draw curves with their last values beside them; a curve of one point is a point."""
    for kind, name, label, color in series:
        points = [(record["step"], record[name]) for record in records if record["kind"] == kind and name in record]
        if points:
            marker = "o" if kind == "valid" or len(points) == 1 else None
            panel.plot(*zip(*points, strict=True), label=label, color=color, marker=marker, markersize=3, linewidth=1.3)
            place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
            panel.annotate(short(points[-1][1]), points[-1], color=color, **place)
    if len(panel.lines) > 1:
        panel.legend(frameon=False, fontsize=9)


def short(value: float) -> str:
    """Return a number in few digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
