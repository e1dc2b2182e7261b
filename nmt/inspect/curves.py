"""Draws trainings over one another, as a picture or in a terminal; it does not know where their numbers come from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from nmt.inspect.blocks import cut, width
from nmt.inspect.courses import CURVES, LOSS, OVER, Course, Curve, Points, points
from nmt.inspect.drawing import Picture, saved
from nmt.inspect.fonts import find
from nmt.text import without_surrogates
from nmt.training.curves import short

COLORS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ccbb44", "#555555")  # Paul Tol's bright ones
DASHES = ("solid", "dashed", "dotted", "dashdot")  # once more than seven are drawn
PANELS = {LOSS: CURVES[:2], **{curve.label: (curve,) for curve in CURVES[2:]}}
BARS = " ▁▂▃▄▅▆▇█"
NAME, VALUE = 24, 9  # columns of a terminal
DPI = 130


# ---- picture ------------------------------------------------------------------------------------------------------


def picture(courses: Sequence[Course], over: str, form: str) -> Picture:
    """Draw loss, BLEU, learning rate and speed of all trainings as `png` or `svg`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display is needed, no global state is touched
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    fonts = find("".join(course.name for course in courses))
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (label, curves) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        axes.set_title(label, loc="left", fontsize=10)
        for number, course in enumerate(courses):
            for curve in curves:
                _draw(axes, points(course, curve, over), curve, number)
        axes.set_xlabel(OVER[over], color="0.4")
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
        if label != LOSS:
            axes.set_ylim(bottom=0)
    lines = [
        Line2D([], [], **_style(number), label=without_surrogates(course.name)) for number, course in enumerate(courses)
    ]
    kinds = [
        Line2D([], [], color="0.4", label="training, with smoothing and R-Drop"),
        Line2D([], [], color="0.4", marker="o", markersize=3, label="validation"),
    ]
    legend = figure.legend(
        handles=[*lines, *kinds], loc="outside upper left", ncols=3, frameon=False, prop={"family": fonts.families}
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar is a dollar
    with warnings.catch_warnings():
        if fonts.missing:  # which the caller tells, once
            warnings.filterwarnings("ignore", "Glyph .* missing from")
        return Picture(saved(figure, form, DPI), fonts.missing)


def _style(number: int) -> dict[str, Any]:
    return {"color": COLORS[number % len(COLORS)], "linestyle": DASHES[number // len(COLORS) % len(DASHES)]}


def _draw(axes: Any, found: Points, curve: Curve, number: int) -> None:
    """Draw one curve with its last value beside it; a curve of one point is a point."""
    if not found:
        return
    is_dotted = curve.kind == "valid" or len(found) == 1
    marker = {"marker": "o", "markersize": 3} if is_dotted else {}
    axes.plot(*zip(*found, strict=True), linewidth=1.3, alpha=0.9, **marker, **_style(number))
    place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
    axes.annotate(short(found[-1][1]), found[-1], color=_style(number)["color"], **place)


# ---- terminal -----------------------------------------------------------------------------------------------------


def lines(courses: Sequence[Course], over: str, columns: int) -> Iterator[str]:
    """Yield a small view of all curves for a terminal of so many columns, each training below the other."""
    names = [cut(course.name, NAME) for course in courses]
    indent = max(map(width, names))
    room = max(10, columns - indent - VALUE - 3)
    end = max(
        (place for course in courses for curve in CURVES for place, _ in points(course, curve, over)), default=0.0
    )
    for curve in CURVES:
        found = [points(course, curve, over) for course in courses]
        values = [value for each in found for _, value in each]
        if not values:
            continue
        yield f"{curve.label}, {short(min(values))} to {short(max(values))}"
        for name, each in zip(names, found, strict=True):
            *above, last = _bars(_resampled(each, end, room), min(values), max(values), 1 if len(courses) > 1 else 3)
            yield from (f"{' ' * indent} {row}" for row in above)
            latest = short(each[-1][1]) if each else ""
            yield f"{name}{' ' * (indent - width(name))} {last} {latest}"
    yield f"{' ' * indent} 0{f'{short(end)} {OVER[over]}':>{room - 1}}"
    for name, course in zip(names, courses, strict=True):
        yield f"{name}{' ' * (indent - width(name))} {state(course)}"


def _resampled(found: Points, end: float, room: int) -> list[float | None]:
    """Return for each column the latest value until there; none before the first and after the last."""
    columns = list[float | None]()
    for column in range(room):
        until, since = end * (column + 1) / room, end * column / room
        known = [value for place, value in found if place <= until + 1e-9 * end]
        is_over = not found or found[-1][0] < since
        columns.append(None if is_over or not known else known[-1])
    return columns


def _bars(values: Sequence[float | None], low: float, high: float, rows: int) -> list[str]:
    """Return rows of blocks, the top one first."""
    levels = len(BARS) - 1
    heights = [
        0 if value is None else 1 + round((value - low) / ((high - low) or 1) * (rows * levels - 1)) for value in values
    ]
    return [
        "".join(BARS[min(max(height - row * levels, 0), levels)] for height in heights) for row in reversed(range(rows))
    ]


def state(course: Course) -> str:
    """Return how far a training is, in words."""
    if not course.records:
        return "nothing recorded yet"
    parts = [f"step {course.records[-1]['step']:,}"]
    validations = [record for record in course.records if record["kind"] == "valid" and record.get("best") is not None]
    if validations:
        metric, best, step = (validations[-1][name] for name in ("metric", "best", "best_step"))
        parts.append(f"best {metric} {short(best)} at step {step:,}")
    return ", ".join([*parts, *(["finished"] if course.is_finished else [])])
