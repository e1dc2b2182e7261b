"""Processes are seen to live, to fail and to fall silent, each in its time."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from torch.distributed import HashStore
from trainings import ROOT

from nmt.ranks import Rank
from nmt.training import watch
from nmt.training.watch import Watch

WAIT = 10.0  # seconds
SLEEPER = """
import io, sys
from torch.distributed import HashStore
from nmt.ranks import Rank
from nmt.training import watch

watch.BEAT, watch.LATE, watch.SILENT, watch.LEAVING, watch.ASLEEP = 0.02, 0.3, 1.0, 0.1, 0.5
store = HashStore()
three = [watch.Watch(Rank(rank, 3, rank, 3), store, sys.stdout) for rank in range(3)]
for each in three:
    each.begin()
print("watching", flush=True)
sys.stdin.read()
for each in three:
    each.end()
"""


class Watching(Watch):
    """A watch that notes what it would end its process for."""

    left = ""

    def _leave(self, cause: str) -> None:
        self.left = self.left or cause


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Watching]]:
    """Three processes that watch each other, with seconds that are short."""
    for name, seconds in (("BEAT", 0.02), ("LATE", 0.3), ("SILENT", 1.0), ("LEAVING", 0.1)):
        monkeypatch.setattr(watch, name, seconds)
    store = HashStore()
    three = [Watching(Rank(rank, 3, rank, 3), store, io.StringIO()) for rank in range(3)]
    for each in three:
        each.begin()
    yield three
    for each in three:
        each.end()


def wait_for(watching: Watching) -> str:
    deadline = time.monotonic() + WAIT
    while not watching.left and time.monotonic() < deadline:
        time.sleep(0.01)
    return watching.left


def test_nobody_leaves_while_all_live(watches: list[Watching]) -> None:
    time.sleep(2.0)  # two times as long as silence may last
    assert [each.left for each in watches] == ["", "", ""]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_nobody_leaves_after_a_sleep_of_all() -> None:
    command = [sys.executable, "-c", SLEEPER]
    sleeper = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sleeper.stdin is not None
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "watching\n"
    os.kill(sleeper.pid, signal.SIGSTOP)
    time.sleep(3.0)  # three times as long as silence may last
    os.kill(sleeper.pid, signal.SIGCONT)
    time.sleep(0.5)  # time to leave
    told, _ = sleeper.communicate("", timeout=WAIT)
    assert told == ""
    assert sleeper.returncode == 0


@pytest.mark.slow
def test_a_silent_one_is_given_up(watches: list[Watching]) -> None:
    watches[1].end()
    before = time.monotonic()
    assert wait_for(watches[0]).startswith("rank 1 on ")
    assert "no sign of it" in wait_for(watches[2])
    assert time.monotonic() - before >= 0.9


def test_where_a_connection_broke_less_silence_tells(watches: list[Watching]) -> None:
    assert watches[0].cause("nobody is gone") == "nobody is gone"
    watches[2].end()
    before = time.monotonic()
    assert watches[0].cause("").startswith("rank 2 on ")
    assert time.monotonic() - before < 0.9
    assert not watches[0].left


def test_what_the_first_to_fail_says_is_the_cause(watches: list[Watching]) -> None:
    watches[1].fail("corpus.txt: is gone")
    watches[2].fail("something else, later")
    assert watches[0].cause("").endswith(": corpus.txt: is gone")
    assert wait_for(watches[0]).startswith("rank 1 on ")
    assert not watches[1].left  # it leaves by itself


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_the_cause(watches: list[Watching], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("connection reset")

    monkeypatch.setattr(HashStore, "multi_get", gone)
    assert "store" in wait_for(watches[0])
