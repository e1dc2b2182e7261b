"""What every script that runs inside a peer's environment shares; it needs nothing but Python.

A script is given one file, the job: a JSON object. It answers with another, the job's `result`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

PAD, BOS, EOS = 0, 2, 3  # of the tokenizer


def job() -> dict[str, Any]:
    """Return what this process is to do."""
    with open(sys.argv[1], encoding="utf-8") as file:
        task: dict[str, Any] = json.load(file)
    if task.get("precision"):
        import torch

        torch.set_float32_matmul_precision(task["precision"])
    return task


def answer(task: dict[str, Any], **values: float) -> None:
    """Write what was measured."""
    Path(task["result"]).write_text(json.dumps(values), encoding="utf-8")


def lines(path: str) -> list[str]:
    """Return the lines of a text."""
    return Path(path).read_bytes().decode().removesuffix("\n").split("\n")


def write(path: str, texts: list[str]) -> None:
    """Write one line per text."""
    Path(path).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


class Meter:
    """Counts target pieces per second once the warm-up is over."""

    def __init__(self, task: dict[str, Any], parameters: int) -> None:
        self.task, self.parameters = task, parameters
        self.born = time.perf_counter()
        self.begun: float | None = None
        self.pieces = 0

    def step(self, pieces: int) -> bool:
        """Count a training step; say whether it was the last one."""
        now = time.perf_counter()
        if self.begun is None:
            self.begun = now if now - self.born >= self.task["warmup"] else None
            return False
        self.pieces += pieces
        if now - self.begun < self.task["seconds"]:
            return False
        answer(self.task, pieces=self.pieces, seconds=now - self.begun, parameters=self.parameters)
        return True
