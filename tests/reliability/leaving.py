"""SIGTERM and Ctrl-C save and leave within ten seconds, wherever they come; a second one leaves at once."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from nursery import Command, Ended, run
from rows import Part, Row
from trainings import digest
from world import World

from nmt.training import checkpoint

LIMIT = 10.0  # seconds
ATTEMPTS = 3
MOMENTS = {
    "while text is read": r"reading ",
    "when the tokenizer is there": r"tokenizer trained",
    "in the warm-up": r"step 2 \|",
    "at a save": r"step 3 \|",
    "at a validation": r"valid at step 4",
    "at an epoch's border": r"\| epoch 2 \|",
    "at the last step": r"step 12 \|",
    "when the card is made": r"training ended",
}
LATE = ("at the last step", "when the card is made")  # it may be through before the signal comes
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


def _training(world: World, share: float) -> Iterator[Row]:
    for number, code in CODES.items():
        for name, pattern in MOMENTS.items():
            codes = (code, 0) if name in LATE else (code,)

            def check(
                folder: Path, number: int = number, codes: tuple[int, ...] = codes, pattern: str = pattern
            ) -> None:
                for attempt in range(ATTEMPTS):
                    home = folder / str(attempt)
                    home.mkdir()
                    ended = _signalled(world.words(home), home, number, pattern)
                    if ended.code:
                        break  # else the machine is so busy that it was through before the signal came
                assert ended.code in codes, ended
                assert "Traceback" not in ended.told, ended.told
                saved = re.findall(r"interrupted: step (\d+) is saved", ended.told)
                if saved and ended.code:
                    assert checkpoint.steps(home / "run")[-1] == int(saved[0])
                assert run(world.words(home), home).code == 0
                assert digest(home / "run") == world.digest

            yield Row(f"{signal.Signals(number).name} {name}", check)


def _signalled(words: list[str], home: Path, number: int, pattern: str) -> Ended:
    """Send a signal to a training as soon as it says something, and return how it ended."""
    command = Command(words, home)
    assert command.wait_for(re.compile(pattern, re.M).search)
    began = time.monotonic()
    command.signal(number)
    ended = command.wait()
    assert time.monotonic() - began < LIMIT
    return ended


def _twice(world: World, share: float) -> Iterator[Row]:
    for number in (signal.SIGTERM, signal.SIGINT):
        for name, pattern in MOMENTS.items():

            def check(folder: Path, number: int = number, pattern: str = pattern) -> None:
                command = Command(world.words(folder), folder)
                assert command.wait_for(re.compile(pattern, re.M).search)
                command.signal(number)
                time.sleep(0.1)  # two that come together are one
                began = time.monotonic()
                command.signal(number)
                ended = command.wait()
                assert time.monotonic() - began < 1
                assert ended.code in (-number, CODES[number], 0), ended  # it may be through before
                assert run(world.words(folder), folder).code == 0
                assert digest(folder / "run") == world.digest

            yield Row(f"{signal.Signals(number).name} twice {name}", check)


def _limited(world: World, share: float) -> Iterator[Row]:
    for seconds in (5, 8):

        def check(folder: Path, seconds: int = seconds) -> None:
            changes = {"training.max_steps": 10**6, "training.max_time": seconds, "training.log_every": 100}
            began = time.monotonic()
            ended = run(world.words(folder, {**changes, "training.valid_every": 50, "training.save_every": 50}), folder)
            assert ended.code == 0, ended
            assert time.monotonic() - began < seconds
            assert checkpoint.is_finished(folder / "run")

        yield Row(f"--max-time {seconds}", check)


PARTS = (
    Part("a signal saves and leaves in time, with its code", _training),
    Part("a second signal leaves at once and harms nothing", _twice),
    Part("--max-time ends in good order within its limit", _limited),
)
