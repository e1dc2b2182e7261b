"""What the parts of the matrix are made of: rows, each of which holds or raises an AssertionError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from world import World

MODULES = ("fuzz", "lines", "data", "crashes", "damage", "leaving", "hostile", "doors", "processes")  # with parts


class Row(NamedTuple):
    """One thing that is tried."""

    name: str  # of the fault or input, with whatever it takes to repeat it
    check: Callable[[Path], None]  # told an empty folder of its own


class Part(NamedTuple):
    """All that is tried for one promise."""

    promise: str
    rows: Callable[[World, float], Iterator[Row]]  # of a share of them, 1 being all


def spread(wanted: int, share: float) -> int:
    """Return how many of `wanted` rows a share is, one at least."""
    return max(1, round(wanted * share))
