"""Tasks done side by side on the cores of a CPU, by threads or by processes; it knows nothing of what they are.

Many small products share cores badly, and whole batches do it well: each worker computes on cores of its own. On other
devices, where one thread keeps all busy, and with one core, tasks are done one after the other.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

import torch

from nmt.device import Compute
from nmt.errors import ResourceError
from nmt.processes import answer, begin

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class Workers:
    """Threads, for tasks that share what they change; where operations are short they wait for each other."""

    def __init__(self, on: Compute, most: int | None = None) -> None:
        """Use as many threads as there are cores, or `most` of them, each with more than one core then."""
        self.on = on
        cores = torch.get_num_threads() if on.device.type == "cpu" else 1
        self.count = min(cores, most or cores)
        each = cores // self.count
        # The number of threads that compute is set for the thread that calls it.
        self._pool = ThreadPoolExecutor(self.count, "nmt", torch.set_num_threads, (each,)) if self.count > 1 else None

    def map(self, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterator[Answer]:
        """Yield what `function` makes of each task, in order; those not begun are dropped when nobody asks on."""
        return map(function, tasks) if self._pool is None or len(tasks) < 2 else self._pool.map(function, tasks)


class Processes(Generic[Task, Answer]):
    """Copies of this process with all that it has in memory, one a core, that keep for themselves what they change.

    Python runs one thread at a time, which takes an eighth of the time of steps as short as those of a search. Where
    processes cannot be copied so (elsewhere than on Linux), threads do the tasks.
    """

    def __init__(self, function: Callable[[Task], Answer], on: Compute) -> None:
        """Answer each task by `function`; tasks and answers go by pickle, the function does not."""
        self._function, self._threads, self._pool = function, Workers(on), None
        if self._threads.count > 1 and sys.platform == "linux":
            fork = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self._threads.count, fork, _begin, (function,))

    def map(self, tasks: Sequence[Task]) -> Iterator[Answer]:
        """Yield the answers in order; those not begun are dropped when nobody asks on.

        Raises ResourceError where a process came to an end.
        """
        if self._pool is None or len(tasks) < 2:
            yield from self._threads.map(self._function, tasks)
            return
        futures = deque[Future[Answer]]()
        try:
            futures.extend(self._pool.submit(answer, task) for task in tasks)
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool as error:
            raise ResourceError("a process was killed; give it more memory, or lower --threads") from error
        except (KeyboardInterrupt, SystemExit):  # at once, and not after the tasks that are being done
            for process in multiprocessing.active_children():
                process.kill()
            raise
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _begin(function: Callable[[Any], Any]) -> None:
    begin(function)
    torch.set_num_threads(1)
