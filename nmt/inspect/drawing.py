"""Draws maps as pictures in the manner of figure 3 of Bahdanau et al. (arXiv 1409.0473); it knows nothing of models.

Source across, target down, one cell for each pair: black is a weight of 0, white of 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from math import cos, radians, sin
from typing import Any, NamedTuple

from nmt.inspect.fonts import find
from nmt.inspect.maps import Sheet
from nmt.inspect.pieces import is_unspaced

CELL, GAP, MARGIN, PAD = 0.3, 0.35, 0.12, 0.07  # inches; PAD between names and cells
LONGEST = 40.0  # inches of a map's side: larger maps have smaller cells
DPI, MOST_PIXELS = 150, 20_000  # of a picture's side
FONT, SMALL, LINE = 10.0, 8.0, 1.3  # points, points, and the height of a line in sizes of its font
SLANT = radians(45)  # by which names of columns are turned
INCH = 72.0  # points


class Panel(NamedTuple):
    """A map and the line below it."""

    sheet: Sheet
    caption: str


class Box(NamedTuple):
    """The room that a panel takes, in inches."""

    cell: float
    left: float  # names of rows
    top: float  # names of columns
    right: float  # by which these stand out
    caption: float  # its width
    rows: int
    columns: int

    @property
    def font(self) -> float:
        """Return the size of the names, in points."""
        return min(FONT, self.cell * INCH / LINE)

    @property
    def width(self) -> float:
        """Return the width of all."""
        return max(self.left + self.columns * self.cell + self.right, self.caption)

    @property
    def height(self) -> float:
        """Return the height of all."""
        return self.top + self.rows * self.cell + 2 * SMALL * LINE / INCH


class Picture(NamedTuple):
    """What was drawn."""

    data: bytes
    missing: str  # letters that no font has


def draw(grid: Sequence[Sequence[Panel]], form: str) -> Picture:
    """Draw rows of panels as `png` or `svg`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display is needed, no global state is touched
    from matplotlib.figure import Figure

    panels = [panel for row in grid for panel in row]
    texts = [text for panel in panels for text in (panel.caption, *panel.sheet.rows, *panel.sheet.columns)]
    fonts = find("".join(texts))
    with warnings.catch_warnings():
        if fonts.missing:  # which the caller tells, once
            warnings.filterwarnings("ignore", "Glyph .* missing from")
        boxes = [[_box(panel, fonts.families) for panel in row] for row in grid]
        width = max(sum(box.width + GAP for box in row) for row in boxes) - GAP + 2 * MARGIN
        height = sum(max(box.height for box in row) + GAP for row in boxes) - GAP + 2 * MARGIN
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        top = height - MARGIN
        for row, places in zip(grid, boxes, strict=True):
            left = MARGIN
            for panel, box in zip(row, places, strict=True):
                _draw_panel(figure, panel, box, (left, top), fonts.families)
                left += box.width + GAP
            top -= max(box.height for box in places) + GAP
        return Picture(saved(figure, form, min(DPI, MOST_PIXELS / max(width, height))), fonts.missing)


def saved(figure: Any, form: str, dpi: float) -> bytes:
    """Return the bytes of a figure's file; the same figure is the same bytes, which SVG's date and ids would spoil."""
    from matplotlib import rc_context

    data = BytesIO()
    with rc_context({"svg.hashsalt": "nmt"}):
        figure.savefig(data, format=form, dpi=dpi, metadata={"Date": None} if form == "svg" else None)
    return data.getvalue()


def _box(panel: Panel, families: list[str]) -> Box:
    """Measure a panel."""
    rows, columns, _ = panel.sheet
    caption = _length(panel.caption, SMALL, families)
    box = Box(min(CELL, LONGEST / max(len(rows), len(columns))), 0, 0, 0, caption, len(rows), len(columns))
    line = box.font * LINE / INCH
    left = max(_length(name, box.font, families) for name in rows) + 2 * PAD
    lengths = [_length(name, box.font, families) for name in columns]
    turned = [0.0 if _stands(name, length, box.cell) else length for name, length in zip(columns, lengths, strict=True)]
    top = max(line, max(turned) * sin(SLANT) + line * cos(SLANT)) + 2 * PAD
    # A name begins above the middle of its cell.
    ends = [(number + 0.5) * box.cell + length * cos(SLANT) + line / 2 for number, length in enumerate(turned)]
    return box._replace(left=left, top=top, right=max(0.0, max(ends) - len(columns) * box.cell))


def _length(text: str, size: float, families: list[str]) -> float:
    """Return how long a text is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    plain = text.replace("$", "S")  # about as wide, and no formula
    return float(TextPath((0, 0), plain, size=size, prop=FontProperties(family=families)).get_extents().x1) / INCH


def _stands(name: str, length: float, cell: float) -> bool:
    """Say whether the name of a column needs no turning: a few letters of a script that is read upright."""
    return length <= cell and any(map(is_unspaced, name))


def _draw_panel(figure: Any, panel: Panel, box: Box, corner: tuple[float, float], families: list[str]) -> None:
    """Draw a panel whose upper left corner is there, in inches from the figure's lower left one."""
    (width, height), (left, top) = figure.get_size_inches(), corner
    rows, columns, weights = panel.sheet
    bottom = top - box.top - box.rows * box.cell
    size = (box.columns * box.cell / width, box.rows * box.cell / height)
    axes = figure.add_axes(((left + box.left) / width, bottom / height, *size))
    axes.pcolormesh(weights, cmap="gray", vmin=0, vmax=1, edgecolors="0.3", linewidth=0.4)
    axes.set_xlim(0, box.columns)
    axes.set_ylim(box.rows, 0)
    axes.set_axis_off()
    text = {"fontfamily": families, "fontsize": box.font, "parse_math": False}  # a dollar is a dollar
    line = box.font * LINE / INCH
    for number, name in enumerate(rows):
        place = (left + box.left - PAD, bottom + (box.rows - number - 0.5) * box.cell)
        figure.text(place[0] / width, place[1] / height, name, ha="right", va="center_baseline", **text)
    for number, name in enumerate(columns):
        is_turned = not _stands(name, _length(name, box.font, families), box.cell)
        middle = left + box.left + (number + 0.5) * box.cell
        across = (middle + line / 4 if is_turned else middle) / width
        turn = {"rotation": 45, "ha": "left"} if is_turned else {"ha": "center"}
        up = (top - box.top + PAD) / height
        figure.text(across, up, name, va="baseline", rotation_mode="anchor", **turn, **text)
    grey = {"fontfamily": families, "fontsize": SMALL, "color": "0.4", "parse_math": False}
    figure.text(left / width, (bottom - PAD) / height, panel.caption, va="top", **grey)
