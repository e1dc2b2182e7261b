"""Tasks done by copies of this process, a stream of them in bounded memory; it knows nothing of what they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from nmt.errors import ResourceError
from nmt.lifeline import end_with_parent

AHEAD = 2  # tasks a process, so that none waits for the next

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def cores() -> int:
    """Return how many cores this process may use by copies of itself: one where there can be none."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def in_order(function: Callable[[Task], Answer], tasks: Iterable[Task], count: int) -> Iterator[Answer]:
    """Yield the answer to each task, in order; no more tasks are taken than keep `count` processes busy.

    Tasks and answers go by pickle, the function does not. One task alone is done here. Raises ResourceError where a
    process came to an end.
    """
    rest = iter(tasks)
    first = list(islice(rest, 2))
    rest = chain(first, rest)
    if count < 2 or len(first) < 2:
        yield from map(function, rest)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), begin, (function,))
    waiting = deque[Future[Answer]]()
    try:
        for task in rest:
            waiting.append(pool.submit(answer, task))
            if len(waiting) > AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ResourceError("a process was killed; give the machine more memory, or fewer cores") from error
    finally:
        pool.shutdown(cancel_futures=True)


# In a copied process: what it is there for.
_function: Callable[[Any], Any]


def begin(function: Callable[[Any], Any]) -> None:
    """Make ready a copied process, which ends when its parent does, and leaves Ctrl-C to it."""
    global _function
    _function = function
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def answer(task: Any) -> Any:
    """Return what the function of this copied process makes of a task."""
    return _function(task)
