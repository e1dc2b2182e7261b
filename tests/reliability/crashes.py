"""A crash costs at most one save interval and never a saved checkpoint; the same command ends in the same weights."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from faults import BROKEN, FULL, QUOTA, count_into, fail_at, kill_at, no_larger_than, small_disk
from nursery import Command, Ended, run
from rows import Part, Row, spread
from trainings import digest
from world import World

from nmt.training import checkpoint

PAGE = 4096  # bytes: a disk has whole ones
KILLS = 3  # of one training at most
MOMENTS = {  # what a training says before a moment that is easily got wrong
    "the tokenizer is there": r"tokenizer trained",
    "the first step": r"step 1 \|",
    "a save": r"step 3 \|",
    "an epoch's border": r"\| epoch 2 \|",
    "a validation": r"valid at step 4",
    "the last step": r"step 12 \|",
    "the last save": r"training ended",
    "the card": r" finished in",
}


def _random(world: World, share: float) -> Iterator[Row]:
    for seed in range(spread(100, share)):

        def check(folder: Path, seed: int = seed) -> None:
            chance, reached = random.Random(seed), 0
            for _ in range(chance.randint(1, KILLS)):
                command = Command(world.words(folder), folder)
                command.wait_for(lambda told: "pairs, cpu" in told)  # training begins
                command.wait_for(_after(chance.uniform(0, 0.6)))
                command.signal(signal.SIGKILL)
                if command.wait().code == 0:
                    break
                reached = _kept(folder / "run", reached)
            _ends_the_same(world, folder)

        yield Row(f"kill -9 at random moments, seed {seed}", check)


def _after(seconds: float) -> Callable[[str], bool]:
    end = time.monotonic() + seconds
    return lambda told: time.monotonic() > end


def _aimed(world: World, share: float) -> Iterator[Row]:
    counted = world.folder / "moments"
    folder = world.folder / "counted"
    folder.mkdir(exist_ok=True)
    assert run(world.words(folder), folder, count_into(counted)).code == 0
    moments = int(counted.read_text())
    wanted = spread(200, share)
    for number in range(wanted):
        moment = 1 + number * moments // wanted

        def check(folder: Path, moment: int = moment) -> None:
            ended = run(world.words(folder), folder, kill_at(moment))
            assert ended.code == -signal.SIGKILL, ended
            _kept(folder / "run", 0)
            _ends_the_same(world, folder)

        yield Row(f"kill -9 at write {moment} of {moments}", check)
    for number in range(spread(30, share)):
        moment, error = 1 + number * moments // spread(30, share), (FULL, QUOTA, BROKEN)[number % 3]

        def fails(folder: Path, moment: int = moment, error: int = error) -> None:
            _is_refused(run(world.words(folder), folder, fail_at(moment, error)))
            _kept(folder / "run", 0)
            _ends_the_same(world, folder)

        yield Row(f"error {error} at write {moment} of {moments}", fails)


def _chosen(world: World, share: float) -> Iterator[Row]:
    for name, pattern in MOMENTS.items():

        def check(folder: Path, pattern: str = pattern) -> None:
            command = Command(world.words(folder), folder)
            command.wait_for(re.compile(pattern, re.M).search)
            command.signal(signal.SIGKILL)
            command.wait()
            again = Command(world.words(folder), folder)  # and once more while it resumes
            again.wait_for(lambda told: "resuming" in told or "pairs, cpu" in told)
            again.signal(signal.SIGKILL)
            again.wait()
            _ends_the_same(world, folder)

        yield Row(f"kill -9 at {name}, and while resuming", check)


def _full(world: World, share: float) -> Iterator[Row]:
    largest = max(file.stat().st_size for file in world.finished.rglob("*") if file.is_file())
    wanted = spread(50, share)
    for number in range(wanted):
        size = 1 + number * largest // wanted

        def check(folder: Path, size: int = size) -> None:
            _is_refused(run(world.words(folder), folder, no_larger_than(size)))
            _kept(folder / "run", 0)
            _ends_the_same(world, folder)

        yield Row(f"disk full at {size} bytes of a file", check)


def _small(world: World, share: float) -> Iterator[Row]:
    """Disks that are too small, and then large enough; nothing where this process may not make them."""
    if not _may_mount(world.folder / "disk"):
        return
    whole = sum(file.stat().st_size for file in world.finished.rglob("*") if file.is_file())
    for number in range(spread(20, share)):
        size = PAGE * (1 + number * 2 * whole // PAGE // spread(20, share))

        def check(folder: Path, size: int = size) -> None:
            disk = folder / "disk"
            disk.mkdir()
            with small_disk(disk, size) as resize:
                ended = run(world.words(disk), folder)
                _is_refused(ended)
                if ended.code:
                    _kept(disk / "run", 0)
                resize(10 * whole)
                _ends_the_same(world, disk)

        yield Row(f"a disk of {size} bytes", check)


def _may_mount(disk: Path) -> bool:
    disk.mkdir()
    with suppress(OSError), small_disk(disk, PAGE):
        return True
    return False


def _is_refused(ended: Ended) -> None:
    """A fault of the disk ends with 5 and one line, unless it was one that nothing depends on."""
    assert ended.code in (0, 5), ended
    assert "Traceback" not in ended.told, ended.told
    if ended.code == 5:
        assert ended.told.rstrip().rsplit("\n", 1)[-1].startswith("nmt train: error: "), ended.told


def _kept(run_folder: Path, reached: int) -> int:
    """Return the newest sound step; all checkpoints but those being written are sound, and none is lost."""
    warnings = list[str]()
    newest = checkpoint.latest(run_folder, warnings.append)
    assert not warnings, warnings
    step = checkpoint.steps(run_folder)[-1] if newest else 0
    assert step >= reached, f"step {step} after step {reached}"
    return step


def _ends_the_same(world: World, folder: Path) -> None:
    ended = run(world.words(folder), folder)
    assert ended.code == 0, ended
    assert digest(folder / "run") == world.digest
    left = [path.name for path in (folder / "run").rglob("*.tmp-*")]
    assert not left, left


PARTS = (
    Part("kill -9 at random moments ends in the same weights", _random),
    Part("kill -9 and errors at every write", _aimed),
    Part("kill -9 at chosen moments", _chosen),
    Part("files that may not grow", _full),
    Part("a small disk", _small),
)
