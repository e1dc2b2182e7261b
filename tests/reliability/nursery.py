"""Commands of `nmt` as processes of their own that need not wait for torch: they are forked from one that has it.

What runs is all of the command, from its arguments to its exit code; only the start of Python is missing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch

import nmt.cli
import nmt.training.run  # noqa: F401  (loaded once, for all)

torch.set_num_threads(1)

Prepare = Callable[[], object]
PATIENCE = 120.0  # seconds until a command counts as hung


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # negative: the signal that ended it
    told: str  # on stderr
    seconds: float


class Command:
    """A command that runs."""

    def __init__(self, arguments: Sequence[str], folder: Path, prepare: Prepare | None = None) -> None:
        """Start it in a folder; `prepare` is called in its process before it. What it says comes through a pipe."""
        reading, writing = os.pipe()
        self._said = bytearray()
        self._began = time.monotonic()
        self.pid = os.fork() or self._run(arguments, folder, writing, prepare)
        os.close(writing)
        self._listener = threading.Thread(target=self._listen, args=(reading,))
        self._listener.start()

    @property
    def told(self) -> str:
        """Return what it has said so far."""
        return bytes(self._said).decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Wait for its end; a command that hangs is an AssertionError."""
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() - self._began > patience:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._listener.join()
                raise AssertionError(f"still running after {patience} s; said: {self.told[-500:]}")
            time.sleep(0.002)
        self._listener.join()
        return Ended(os.waitstatus_to_exitcode(ended[1]), self.told, time.monotonic() - self._began)

    def wait_for(self, is_there: Callable[[str], object]) -> bool:
        """Wait until what was said satisfies, and return true; false where the command ended before."""
        while not is_there(self.told):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            if time.monotonic() - self._began > PATIENCE:
                raise AssertionError(f"never said it: {self.told[-500:]}")
            time.sleep(0.001)
        return True

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 16):
                self._said += data

    def _run(self, arguments: Sequence[str], folder: Path, writing: int, prepare: Prepare | None) -> NoReturn:
        code: object = 1
        try:
            torch.set_num_threads(1)  # those of the parent, if it had several, are not copied
            os.setsid()
            os.chdir(folder)
            for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                signal.signal(number, handler)
            os.dup2(writing, 2)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.close(writing)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))
            if prepare:
                prepare()
            code = nmt.cli.run(arguments)
        except SystemExit as leaving:
            code = leaving.code
        except BaseException:
            traceback.print_exc()
        finally:  # whatever happens, nothing of the parent is done twice
            os._exit(code if isinstance(code, int) else 1)


def run(arguments: Sequence[str], folder: Path, prepare: Prepare | None = None) -> Ended:
    """Run a command to its end."""
    return Command(arguments, folder, prepare).wait()
