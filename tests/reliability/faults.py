"""Faults that are put into a process before its command: a kill, or an error, at one of all moments of writing."""

from __future__ import annotations

import errno
import os
import pathlib
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITING = (  # what a save is made of
    (os, "fsync"), (os, "replace"), (os, "rename"), (os, "mkdir"), (os, "unlink"), (shutil, "rmtree"),
)  # fmt: skip


def kill_at(moment: int) -> Callable[[], None]:
    """Return what kills the process at a moment of writing, counted from 1."""
    return lambda: _watch(moment, lambda: os.kill(os.getpid(), signal.SIGKILL))


def fail_at(moment: int, number: int) -> Callable[[], None]:
    """Return what makes the write at a moment fail with an error number of the system."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return lambda: _watch(moment, fail)


def count_into(file: Path) -> Callable[[], None]:
    """Return what writes the number of moments into a file."""

    def count() -> None:
        counted = _watch(0, lambda: None)
        leave = os._exit

        def last(code: int) -> Any:
            file.write_text(str(counted[0]))
            leave(code)

        os._exit = last  # type: ignore[assignment]

    return count


def no_larger_than(size: int) -> Callable[[], None]:
    """Return what makes the disk full for every file as soon as it has so many bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def more_memory(size: int) -> None:
    """Let this process take so many bytes more than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # of data and stack, as RLIMIT_DATA counts them
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """Make a folder a disk of so many bytes, and yield what gives it another size; OSError where one may not."""
    mount(folder, f"size={size}")
    try:
        yield lambda size: mount(folder, f"remount,size={size}")
    finally:
        subprocess.run(["umount", folder], check=True)


def mount(folder: Path, options: str) -> None:
    """Mount a disk in memory."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip())


def _watch(moment: int, happen: Callable[[], None]) -> list[int]:
    """Let something happen before or after a call that writes, or in the middle of what a file is given."""
    seen = [0]

    def look() -> None:
        seen[0] += 1
        if seen[0] == moment:
            happen()

    for module, name in WRITING:
        setattr(module, name, _wrapped(getattr(module, name), look))
    opened = pathlib.Path.open

    def watched(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        stream = opened(self, mode, *arguments, **options)
        return _InHalves(stream, look) if mode == "wb" else stream

    pathlib.Path.open = watched  # type: ignore[method-assign, assignment]
    return seen


def _wrapped(function: Callable[..., Any], look: Callable[[], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        look()
        result = function(*arguments, **options)
        look()
        return result

    return call


class _InHalves:
    """A file that is written to in two halves, with a moment between them."""

    def __init__(self, stream: Any, look: Callable[[], None]) -> None:
        self._stream, self._look = stream, look

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._stream.write(data[:half])
        self._stream.flush()
        self._look()
        self._stream.write(data[half:])
        return len(data)

    def __enter__(self) -> _InHalves:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


FULL, QUOTA, BROKEN = errno.ENOSPC, errno.EDQUOT, errno.EIO
