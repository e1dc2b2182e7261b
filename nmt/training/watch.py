"""Sees that the processes of a training are alive, and ends this one when another is gone: nobody waits for ever.

Each process counts its beats in the store where they met. Beats come from a thread of their own, so that a process that
computes, reads or saves for long is not taken for one that is gone. Silence counts only while this process runs itself:
where the whole machine was put to sleep all fell silent, and all wake up.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from nmt.ranks import Rank

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store  # not in every build of torch

BEAT = 1.0  # seconds
LATE = 4.0  # seconds without a beat after which one is missing where a connection broke, too
SILENT = 30.0  # seconds without a beat after which a process is given up
ASLEEP = 5.0  # seconds between two looks at the clock after which a process must have slept
LEAVING = 10.0  # seconds that are left to what this process is doing, to end by itself
GONE = "gone"  # the key under which the first to fail says so


class Watch:
    """Beats, and listens to the beats of the others.

    One thread speaks with the store, which can take for ever where a network is cut; another one looks at the clock.
    """

    def __init__(self, own: Rank, store: Store, stream: TextIO) -> None:
        """Tell a stream why a process is ended; the store is for nobody else: where one waits, all do."""
        self.own, self._store, self._stream = own, store, stream
        self._store.set_timeout(timedelta(seconds=SILENT))
        self._ended, self._threads = threading.Event(), list[threading.Thread]()
        self._hosts: list[str] = []
        self._awake = 0.0  # seconds that this process ran since it began to watch
        self._answered = 0.0  # when the store last did, in seconds awake
        self._heard: list[tuple[bytes, float]] = []  # the last beat of each, and when it came
        self._said = ""  # by the first process that failed
        store.set(f"host-{own.rank}", socket.gethostname())
        store.set(f"beat-{own.rank}", "0")
        if own.rank == 0:
            store.set(GONE, "")

    def begin(self) -> None:
        """Start, once all processes are there."""
        known = self._store.multi_get([f"host-{rank}" for rank in range(self.own.size)])
        self._hosts = [host.decode() for host in known]
        self._heard = [(b"", 0.0)] * self.own.size
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._speak, self._guard)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop, because the work that is done together is done."""
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * BEAT)

    def fail(self, cause: str) -> None:
        """Tell the others why this process leaves them; what the first one says counts."""
        if not self._said:
            told = json.dumps([self.own.rank, cause])
            try:
                self._said = self._store.compare_set(GONE, "", told).decode()
            except RuntimeError:  # no store any more: they will notice by themselves
                self._said = told

    def cause(self, otherwise: str) -> str:
        """Return which process is gone, and why, or what to say where none is; waits for the beats to tell."""
        deadline = time.monotonic() + LATE + 3 * BEAT
        while time.monotonic() < deadline and not (found := self._found(LATE)):
            time.sleep(BEAT / 4)
        return found or otherwise

    def _speak(self) -> None:
        """Beat and listen until told to end."""
        beats, names = 0, [f"beat-{rank}" for rank in range(self.own.size)]
        while not self._ended.wait(BEAT):
            beats += 1
            try:
                self._store.set(names[self.own.rank], str(beats))
                *found, said = self._store.multi_get([*names, GONE])
            except RuntimeError:
                continue
            self._answered = now = self._awake
            self._said = self._said or said.decode()
            pairs = zip(self._heard, found, strict=True)
            self._heard = [before if before[0] == beat else (beat, now) for before, beat in pairs]

    def _guard(self) -> None:
        """End this process where another one is gone."""
        before = time.monotonic()
        while not self._ended.wait(BEAT):
            now = time.monotonic()
            self._awake += now - before if now - before < ASLEEP else BEAT
            before = now
            if cause := self._found(SILENT):
                self._leave(cause)

    def _found(self, patience: float) -> str:
        """Return who is gone, if it is known: who said so, or was not heard of for so many seconds."""
        if self._said:
            rank, cause = json.loads(self._said)
            return "" if rank == self.own.rank else f"rank {rank} on {self._hosts[rank]}: {cause}"
        answered = self._answered
        if self._awake - answered > patience:
            where = f"the store at {os.environ.get('MASTER_ADDR')}"
            return f"{where}: no answer for {patience:.0f} s; its host is down, cut off, or torchrun ended there"
        for rank, (_, when) in enumerate(self._heard):
            silent = answered - when
            if rank != self.own.rank and silent > patience:
                return (
                    f"rank {rank} on {self._hosts[rank]}: killed, stopped or cut off, no sign of it for {silent:.0f} s"
                )
        return ""

    def _leave(self, cause: str) -> None:
        """End this process, whatever it is doing, unless it notices by itself in time."""
        if not self._ended.wait(LEAVING):
            print(
                f"nmt train: error: {describe(self.own)}: {advice(cause)} (exit code 5)", file=self._stream, flush=True
            )
            os._exit(5)


def describe(own: Rank) -> str:
    """Return the name of a process as messages have it."""
    return f"rank {own.rank} on {socket.gethostname()}"


def advice(cause: str) -> str:
    """Return what is said where another process is gone."""
    return f"{cause}; the same command goes on from the last checkpoint"
