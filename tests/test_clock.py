"""Means over steps: time without pauses, losses without the steps that changed nothing."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import pytest
import torch

from nmt.training.clock import LONG, SPAN, Clock
from nmt.training.learner import Outcome


def outcome(loss: float, norm: float = 1.0, *, changed: bool = True) -> Outcome:
    return Outcome(torch.tensor(loss), torch.tensor(norm), tokens=100, pairs=8, changed=changed)


def test_means_begin_anew_once_they_are_read() -> None:
    clock = Clock()
    for loss in (2.0, 4.0):
        clock.add(outcome(loss, norm=loss / 2))
    assert clock.peek()[:2] == clock.read()[:2] == (3.0, 2.0)
    clock.add(outcome(7.0))
    assert clock.peek().loss == 7.0
    assert clock.pairs_per_step == 8


def test_a_step_that_changed_nothing_counts_in_time_alone() -> None:
    clock = Clock()
    clock.add(outcome(math.nan, math.nan, changed=False))
    assert math.isnan(clock.peek().loss)
    clock.add(outcome(2.0))
    time.sleep(0.02)
    loss, norm, speed, seconds = clock.peek()
    assert (loss, norm) == (2.0, 1.0)
    assert speed * seconds == pytest.approx(100, rel=0.1)


def test_the_pace_is_that_of_most_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("nmt.training.clock.time", SimpleNamespace(monotonic=lambda: now))
    clock = Clock()
    assert clock.pace == 0
    for seconds, pace in ((0.25, 0.25), (90, 45.125), (0.5, 0.5), (0.25, 0.375)):
        for _ in range(1 if seconds > LONG else SPAN):
            now += seconds
            clock.add(outcome(1.0))
            clock.read()
        assert clock.pace == pace


def test_a_pause_is_in_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("nmt.training.clock.time", SimpleNamespace(monotonic=lambda: now))
    clock = Clock()
    for step in range(2 * SPAN):
        now += 0.25
        clock.add(outcome(1.0))
        if step == 3:
            now += 600
            clock.pause(600)
    assert clock.pace == 0.25


def test_pauses_are_left_out() -> None:
    clock = Clock()
    clock.add(outcome(1.0))
    time.sleep(0.05)
    whole = clock.peek().seconds_per_step
    clock.pause(0.04)
    assert whole >= 0.05
    assert clock.peek().seconds_per_step == pytest.approx(whole - 0.04, abs=0.03)
