"""Draws maps in a terminal: shades of grey, and the columns' names on a stair; it knows nothing of models."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nmt.inspect.maps import Sheet

SHADES = (" ", "░", "▒", "▓", "█")
LEVELS = (0.05, 0.2, 0.45, 0.75)  # weights from which on the next shade is drawn
CELL = 2  # columns of a cell: about as wide as it is high
LEGEND = "  ".join(f"{shade * CELL} {level:g}" for shade, level in zip(SHADES[1:], LEVELS, strict=True))
NARROWEST = 10  # cells in a band, however narrow the terminal


def blocks(found: Sheet, columns: int) -> Iterator[str]:
    """Yield the lines of a map for a terminal of so many columns; what is wider goes on below, in bands."""
    names = max(map(width, found.rows))
    most = max(NARROWEST, (columns - names - 2) // CELL - 1)
    count = -(-len(found.columns) // most)
    size = -(-len(found.columns) // count)  # bands of one width
    for number, start in enumerate(range(0, len(found.columns), size)):
        if number:
            yield ""
        yield from _stair(found.columns[start : start + size], names, columns)
        for name, weights in zip(found.rows, found.weights[:, start : start + size].tolist(), strict=True):
            yield f"{' ' * (names - width(name))}{name} ▕{''.join(map(shade, weights))}▏"


def _stair(labels: Sequence[str], indent: int, columns: int) -> Iterator[str]:
    """Yield a line per label, which stands readable to the right of its column."""
    for place, text in enumerate(labels):
        room = columns - indent - CELL * (place + 2)
        yield f"{' ' * (indent + 2)}{'│ ' * place}╭ {cut(text, max(room, CELL))}"


def shade(weight: float) -> str:
    """Return the cell of a weight from 0 to 1."""
    return SHADES[sum(weight >= level for level in LEVELS)] * CELL


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian letters two, combining marks none."""
    return sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, room: int) -> str:
    """Return a text that takes at most `room` columns, with dots where something is missing."""
    if width(text) <= room:
        return text
    kept = ""
    for letter in text:
        if width(kept + letter) >= room:
            break
        kept += letter
    return f"{kept}…"
