"""Runs the systems one after the other, again and again (A B A B), and keeps what each run gave."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from environment import Unavailable
from peers.interface import Peer
from process import Failed
from work import Figures, Mode, Work


class System(NamedTuple):
    """A toolkit in one of its modes."""

    peer: Peer
    mode: Mode

    @property
    def name(self) -> str:
        """Return how it is called in tables."""
        return f"{self.peer.name}, {self.mode.label}"


class Record(NamedTuple):
    """One run."""

    part: str  # what was measured
    toolkit: str
    mode: str
    is_shipped: bool
    turn: int  # of the rounds, from 0
    figures: Figures

    @property
    def system(self) -> str:
        """Return how it is called in tables."""
        return f"{self.toolkit}, {self.mode}"


class Found(NamedTuple):
    """All that was measured."""

    records: list[Record]
    absent: dict[str, str]  # system or toolkit: why it was not measured
    versions: dict[str, str]  # of the toolkits
    bleu: dict[str, float]  # of each system's translations of the test set
    other: dict[str, Any]  # padding, settings

    def of(self, part: str) -> list[Record]:
        """Return the runs of one part."""
        return [record for record in self.records if record.part == part]


def say(text: str) -> None:
    """Tell how it goes."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def install(peers: Sequence[Peer], work: Work, found: Found) -> list[Peer]:
    """Return the peers that could be made ready; of the others it is noted why not."""
    ready = list[Peer]()
    for peer in peers:
        say(f"making {peer.name} ready")
        try:
            found.versions[peer.name] = peer.install(work)
            ready.append(peer)
        except (Unavailable, Failed) as error:
            found.absent[peer.name] = str(error)
            say(f"{peer.name} is left out: {error}")
    return ready


def rounds(part: str, systems: Sequence[System], turns: int, run: Callable[[System], Figures], found: Found) -> None:
    """Run all systems in turn, `turns` times; one that fails is left out from then on, and it is noted why."""
    alive = list(systems)
    for turn in range(turns):
        for system in tuple(alive):
            try:
                figures = run(system)
            except (Failed, Unavailable, OSError, KeyError, ValueError) as error:
                alive.remove(system)
                found.absent[f"{part}: {system.name}"] = f"{type(error).__name__}: {error}"
                say(f"{part}: {system.name} failed: {error}")
                continue
            mode = system.mode
            found.records.append(Record(part, system.peer.name, mode.label, mode.is_shipped, turn, figures))
            say(f"{part}: {system.name}: {figures.speed:,.0f} pieces/s, {figures.whole:.1f} s, {figures.peak:,.0f} MiB")
