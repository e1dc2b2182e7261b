"""What a function launches on a GPU, recorded once and launched again in one call; it knows nothing of what that is.

A launch takes the CPU longer than most small operations take the GPU, which then waits for the next one. A CUDA graph
launches hundreds of them at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

DEVICES = set[str]()  # where launches are recorded: not on a GPU either, until tests/bench/gpu.py has seen it there


def is_recorded(device: torch.device) -> bool:
    """Say whether launches are recorded there."""
    return device.type in DEVICES


class _Room:
    """The memory that all recordings of a thread compute in: one after the other, none needs what another left."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()
        self._anchor = torch.cuda.CUDAGraph()  # keeps the pool when all other recordings are gone
        with self.recording(self._anchor):
            self._held = torch.zeros(1, device=device)

    @contextmanager
    def recording(self, graph: Any) -> Iterator[None]:
        """Record into `graph` what is launched meanwhile, which is not run."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                yield
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(self.stream)


class _Own(threading.local):
    def __init__(self) -> None:
        self.rooms = dict[torch.device, _Room]()


_own = _Own()


def record(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what does again all that `function` does on the device, without being run; elsewhere the function itself.

    What it reads and writes must stay where it is. What it allocates is overwritten by other recordings of this thread.
    It may not wait for the device, and shall have run before: first calls of kernels cannot be recorded.
    """
    if device.type != "cuda":
        return function
    if device not in _own.rooms:
        _own.rooms[device] = _Room(device)
    graph = torch.cuda.CUDAGraph()
    with _own.rooms[device].recording(graph):
        function()
    replay: Callable[[], None] = graph.replay
    return replay
