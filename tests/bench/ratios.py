"""What runs say about each other: medians with their range, the best system of some, ratios turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from measure import Record

Of = Callable[[Record], float]
SPEED: Of = lambda record: record.figures.speed  # noqa: E731
WHOLE: Of = lambda record: record.figures.whole  # noqa: E731
PEAK: Of = lambda record: record.figures.peak  # noqa: E731
SENTENCES: Of = lambda record: record.figures.sentences / record.figures.seconds  # noqa: E731


class Spread(NamedTuple):
    """Median, least and greatest."""

    median: float
    least: float
    most: float

    def show(self, digits: int = 0) -> str:
        """Return the median with the range."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}-{self.most:,.{digits}f})"


def spread(values: Iterable[float]) -> Spread:
    """Return median and range."""
    known = list(values)
    return Spread(median(known), min(known), max(known))


def best(records: Sequence[Record], of: Of, *, is_least: bool = False) -> list[Record]:
    """Return the runs of the system that does best by the median; none where there are none."""
    groups = by_system(records)
    sign = -1 if is_least else 1
    return max(groups.values(), key=lambda group: sign * median(map(of, group)), default=[])


def by_system(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the runs of each system, in order."""
    groups = dict[str, list[Record]]()
    for record in records:
        groups.setdefault(record.system, []).append(record)
    return groups


def ratio(ours: Sequence[Record], peer: Sequence[Record], of: Of) -> Spread | None:
    """Return ours over the peer's, turn by turn."""
    theirs = {record.turn: of(record) for record in peer}
    found = [of(record) / theirs[record.turn] for record in ours if record.turn in theirs]
    return spread(found) if found else None
