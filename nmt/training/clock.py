"""Times steps and averages what they report; it knows no model."""

from __future__ import annotations

import math
import time
from collections import deque
from statistics import median
from typing import NamedTuple

from torch import Tensor

from nmt.training.learner import Outcome

SPAN, LONG = 10, 5.0  # steps, or seconds if these are over sooner, that are timed as one
SPANS = 45  # whose median is the pace: a machine that was busy, or asleep, is fast again


class Measured(NamedTuple):
    """Means over some steps."""

    loss: float  # nats per target token; NaN where no step had a finite gradient
    norm: float  # of the gradient, of the last of these steps
    speed: float  # target tokens per second
    seconds_per_step: float


class Clock:
    """Sums what steps cost, without the pauses between them."""

    def __init__(self) -> None:
        self._all_steps = self._all_pairs = 0
        self._paces = deque[float](maxlen=SPANS)
        self.restart()

    def restart(self) -> None:
        """Begin to time steps."""
        self._begun, self._timed = time.monotonic(), 0
        self._restart(self._begun)

    def _restart(self, now: float) -> None:
        self._since, self._tokens, self._steps = now, 0, 0
        self._changes = 0
        self._loss: Tensor | None = None  # summed on the device, read only when asked for
        self._norm: Tensor | None = None

    def add(self, outcome: Outcome) -> None:
        """Count one step; one that changed nothing counts in time only."""
        self._steps, self._tokens = self._steps + 1, self._tokens + outcome.tokens
        self._all_steps, self._all_pairs = self._all_steps + 1, self._all_pairs + outcome.pairs
        self._timed, now = self._timed + 1, time.monotonic()
        if self._timed == SPAN or now - self._begun > LONG:
            self._paces.append((now - self._begun) / self._timed)
            self._begun, self._timed = now, 0
        if outcome.changed:
            self._changes += 1
            self._loss = outcome.loss if self._loss is None else self._loss + outcome.loss
            self._norm = outcome.norm

    def pause(self, seconds: float) -> None:
        """Leave out time that was not spent on steps."""
        self._since, self._begun = self._since + seconds, self._begun + seconds

    @property
    def pairs_per_step(self) -> float:
        """Return the mean over all steps that were ever counted."""
        return self._all_pairs / max(self._all_steps, 1)

    def peek(self) -> Measured:
        """Return the means since they were last read."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        # On a GPU the next line waits for the last step.
        loss = math.nan if self._loss is None else float(self._loss) / self._changes
        norm = math.nan if self._norm is None else float(self._norm)
        return Measured(loss, norm, self._tokens / seconds, seconds / max(self._steps, 1))

    @property
    def pace(self) -> float:
        """Return the seconds a step takes, the median of the last spans, or 0 before the first is over."""
        return median(self._paces) if self._paces else 0.0

    def read(self) -> Measured:
        """Return the means since they were last read, and begin anew."""
        measured = self.peek()
        self._restart(time.monotonic())
        return measured
