"""SIGINT, SIGTERM and SIGHUP while training: a step is finished first, all else is left at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

WANTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked to leave; raised only where the state is consistent and can be saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Interrupt:
    """Turns the first signal into one `Interrupted`, within its `with`; a second one kills the process at once."""

    def __init__(self) -> None:
        self._depth = self._pending = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # nohup and the background jobs of shells ignore some of them: they stay ignored.
        wanted = [number for number in WANTED if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in wanted}
        return self

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)
        if not self._depth:
            raise Interrupted(number)
        self._pending = number

    def taken(self) -> int:
        """Return the number of the signal that is waiting, or 0; obeying it is the caller's from here on."""
        number, self._pending = self._pending, 0
        return number

    def ignore(self) -> None:
        """Obey no signal from now on, because the process is ending and has something to say."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._before, self._pending = {}, 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish what is inside, and what that is itself inside of, before a signal that came meanwhile is obeyed."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending and not self._depth:
            number, self._pending = self._pending, 0
            raise Interrupted(number)
