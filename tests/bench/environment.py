"""One virtual environment per peer, made once from the package registry; it knows nothing of what is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TORCH = "torch==2.13.0"
# Of the settings of the shell these would make starts slower, bring other packages into an environment, or, set by our
# own package when this program imported it, change how a peer waits for its threads.
UNWANTED = ("GOMP_SPINCOUNT", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class Unavailable(Exception):
    """A peer cannot be measured; the text says why, in one line."""


class Environment:
    """A folder with Python and packages; each of `steps` is what one `pip install` is given."""

    def __init__(self, folder: Path, steps: Sequence[Sequence[str]]) -> None:
        self.folder, self.steps = folder, [list(step) for step in steps]
        self.python = folder / "bin" / "python"

    def install(self) -> None:
        """Make the environment, unless it is there already.

        Raises Unavailable with what pip said last.
        """
        done = self.folder / "installed.json"
        if done.exists() and json.loads(done.read_text()) == self.steps:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        for step in self.steps:
            install(self.python, step)
        done.write_text(json.dumps(self.steps))

    def version(self, package: str) -> str:
        """Return the version of a package that is installed."""
        code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def install(python: Path, packages: Sequence[str]) -> None:
    """Run `pip install`; raises Unavailable with what it said last."""
    command: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    result = subprocess.run(command, env=variables(), capture_output=True, text=True)
    if result.returncode:
        said = [line for line in result.stderr.split("\n") if line.startswith("ERROR")] or [result.stderr.strip()]
        raise Unavailable(f"pip install {' '.join(packages)}: {said[0][:200]}")


def variables(threads: int | None = None, **others: str) -> dict[str, str]:
    """Return the environment variables for a command that is to use so many threads."""
    known = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    limits = {} if threads is None else {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**known, **limits, **others}
