"""Runs a command and measures it from outside: seconds from start to end, and the memory of it and its children."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SHARE = 0.04  # of the time may go into looking at memory
PAUSE = 0.03  # seconds between two looks, at least


class Failed(Exception):
    """A command ended with an error; the text is its last line."""


class Usage(NamedTuple):
    """What a command took."""

    seconds: float  # from shell to end
    peak: float  # MiB of memory (PSS: what is shared counts once), summed over the process and its children


class Command(NamedTuple):
    """What is run, and where."""

    words: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path
    log: Path  # takes stdout and stderr
    stdin: Path | None = None


def run(command: Command, enough: Callable[[], bool] | None = None) -> Usage:
    """Run the command to its end, or until `enough` says so; then it is ended at once.

    Raises Failed where it ends badly by itself.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("wb") as log, open(command.stdin or os.devnull, "rb") as stdin:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command.words],
            stdin=stdin, stdout=log, stderr=subprocess.STDOUT, env=command.environment, cwd=command.folder,
            start_new_session=True,
        )  # fmt: skip
        watch = Watch(process.pid)
        try:
            stopped = enough is not None and _stop(process, enough)
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            watch.end()
        seconds = time.perf_counter() - begun
    if code and not stopped:
        raise Failed(f"exit {code}: {last_line(command.log)}")
    return Usage(seconds, watch.peak)


def _stop(process: subprocess.Popen[bytes], enough: Callable[[], bool]) -> bool:
    """Wait until it is enough and end the process; say whether that was needed."""
    while process.poll() is None:
        if enough():
            process.kill()
            return True
        time.sleep(0.5)
    return False


def last_line(path: Path) -> str:
    """Return the last line of a log that says anything."""
    lines = [line.strip() for line in path.read_text(errors="replace").split("\n") if line.strip()]
    return lines[-1][:200] if lines else "no word why"


class Watch:
    """Looks at the memory of a process and its children, again and again, from a thread."""

    def __init__(self, root: int) -> None:
        self.peak = 0.0  # MiB
        self._root, self._ended = root, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            begun = time.perf_counter()
            self.peak = max(self.peak, sum(map(_pss, _tree(self._root))) / 1024)
            pause = max(PAUSE, (time.perf_counter() - begun) / SHARE)


def _tree(root: int) -> Iterator[int]:
    """Yield a process and all that come from it."""
    yield root
    for file in Path(f"/proc/{root}/task").glob("*/children"):
        for child in _read(file).split():
            yield from _tree(int(child))


def _pss(process: int) -> int:
    """Return the KiB of a process; none where it is gone."""
    for line in _read(Path(f"/proc/{process}/smaps_rollup")).split("\n"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it ended meanwhile
        return ""
