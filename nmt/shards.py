"""Text that several processes translate, each some blocks of it; all that they share is a folder.

Blocks, and the numbers of their lines, are those of one process, so that what is batched together, what is drawn and
every score are, too. In OUT.parts lie, beside what `nmt.partial` keeps there,

    claims        byte n + 1 is locked by the process that is at block n, byte 0 by rank 0 while it lives
    rank-00001    rank 1 has come

Locks go with their process, however it ends: what one leaves undone another does, and nobody waits for the dead.
"""

from __future__ import annotations

import fcntl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from nmt.errors import ResourceError
from nmt.output import Writer
from nmt.partial import Finished, Pace, Partial, open_partial
from nmt.ranks import Rank
from nmt.stream import Block, Desk, Job, Stats, blocks_of, tell
from nmt.text import Warnings
from nmt.translate import Translator

LOOK = 0.1  # seconds between two looks at what others do
PATIENCE = 600.0  # seconds in which all processes must have begun
MILLISECONDS = "milliseconds"  # the count of what a block took, beside those of Stats

Say = Callable[[str], None]


class Shared(NamedTuple):
    """What is done together, and by whom."""

    files: Sequence[Path]  # regular ones, which all processes read
    output: Path
    task: Mapping[str, Any]
    rank: Rank
    force: bool = False


def translate_shards(translator: Translator, shared: Shared, job: Job, say: Say, warn: Say) -> Stats | None:
    """Translate the blocks that no other process does.

    The first process ends when the output is there, and returns what all have done, their seconds being those of one;
    the others end, and return None, when there is nothing left to begin. Raises DataError for a text that cannot be
    read, ResourceError where the first process does not come or the disk has no locks, OptionError as `open_partial`.
    """
    desk, read = Desk(translator, job, warn), partial(blocks_of, shared.files, job.text)
    if shared.rank.rank:
        with _joined(shared) as (place, claims):
            for _ in _work(read(Warnings(_nobody)), place, claims, desk):
                pass
        return None
    begun = time.monotonic()
    with (
        open_partial(shared.output, shared.files, shared.task, force=shared.force) as place,
        closing(Claims.lead(place.folder)) as claims,
    ):
        there, sizes = place.weed(), _sizes(read, warn)
        pace = Pace(len(sizes), there, sum(sizes) / max(1, len(sizes)), say)
        missing = [*range(len(sizes))]
        while missing := [number for number in missing if place.lacks(number)]:
            if any(claims.is_free(number) and place.lacks(number) for number in missing):
                for _ in _work(read(Warnings(_nobody)), place, claims, desk):
                    pace.tell(place.count())
            else:
                time.sleep(LOOK)
                pace.tell(len(sizes) - len(missing))
        _await(shared, place, begun + PATIENCE, say)
        done = _sum(place.finish(range(len(sizes))), shared.rank.size)
    tell(done, warn)
    return done


class Claims:
    """Which block which living process is at."""

    def __init__(self, folder: Path) -> None:
        """Raise FileNotFoundError where no first process was yet."""
        self._folder = folder
        # A process that closes such a file loses all its locks there: each opens it once.
        self._file = (folder / "claims").open("r+b", buffering=0)

    @classmethod
    def lead(cls, folder: Path) -> Claims:
        """Be the first process, which others wait for."""
        for path in folder.glob("rank-*"):  # of processes before
            path.unlink(missing_ok=True)
        (folder / "claims").touch()
        claims = cls(folder)
        claims._lock(fcntl.LOCK_EX, 0)  # waits for those who look just now whether it is held
        return claims

    def is_led(self) -> bool:
        """Say whether the first process is there."""
        if not self._lock(fcntl.LOCK_SH | fcntl.LOCK_NB, 0):
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
        return False

    def take(self, number: int) -> bool:
        """Begin with a block, or say that another process is at it."""
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, number + 1)

    def free(self, number: int) -> None:
        """Be done with a block."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number + 1)

    def is_free(self, number: int) -> bool:
        """Say whether no process is at a block."""
        if not self.take(number):
            return False
        self.free(number)
        return True

    def close(self) -> None:
        """Give up all locks."""
        self._file.close()

    def _lock(self, how: int, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, how, 1, byte)
        except (BlockingIOError, PermissionError):  # either may say that another process has it
            return False
        except OSError as error:
            self.close()
            what = f"{self._folder}: its disk cannot lock files ({error.strerror})"
            raise ResourceError(f"{what}; give an -o on another, or translate in one process") from error
        return True


def _sizes(read: Callable[[Warnings], Iterable[Block]], warn: Say) -> list[int]:
    """Return how many lines each block has; what is wrong with the text is said, or raised, here."""
    warnings = Warnings(warn)
    try:
        return [len(block.lines) for block in read(warnings)]
    finally:
        warnings.finish()


def _work(blocks: Iterable[Block], place: Partial, claims: Claims, desk: Desk) -> Iterator[None]:
    """Make each block that is not there and that no other process is at, and yield after it."""
    before = 0  # lines
    for number, block in enumerate(blocks):
        if place.lacks(number) and claims.take(number):
            if place.lacks(number):  # still: another may just have finished it
                place.add(number, _translated(desk, block, before))
                yield
            claims.free(number)
        before += len(block.lines)


def _translated(desk: Desk, block: Block, before: int) -> Finished:
    counts, begun, out = Counter(_counts(desk.stats)), time.perf_counter(), BytesIO()
    Writer(out, block.name).write(desk.answers(block, before))
    made = Counter(_counts(desk.stats))
    made.subtract(counts)
    made[MILLISECONDS] = round(1000 * (time.perf_counter() - begun))
    return Finished(out.getvalue(), made)


def _counts(stats: Stats) -> dict[str, int]:
    return {name: count for name, count in asdict(stats).items() if name != "seconds"}


def _sum(counts: Counter[str], processes: int) -> Stats:
    names = _counts(Stats())
    return Stats(**{name: counts[name] for name in names}, seconds=counts[MILLISECONDS] / 1000 / processes)


@contextmanager
def _joined(shared: Shared) -> Iterator[tuple[Partial, Claims]]:
    """Wait for the first process, and give what it has opened."""
    place, end = Partial(shared.output), time.monotonic() + PATIENCE
    while (claims := _found(place.folder)) is None:
        if time.monotonic() > end:
            what = f"{place.folder}: rank 0 has not begun there within {PATIENCE:.0f} seconds"
            raise ResourceError(f"{what}; see what it said, and give an -o in a folder that all processes share")
        time.sleep(LOOK)
    with closing(claims):
        place.compare(shared.task)
        _sign(place, shared.rank.rank).touch()
        yield place, claims


def _found(folder: Path) -> Claims | None:
    try:
        claims = Claims(folder)
    except FileNotFoundError:
        return None
    if claims.is_led():
        return claims
    claims.close()
    return None


def _await(shared: Shared, place: Partial, end: float, say: Say) -> None:
    """Wait until all processes have come: one that comes later would find nothing of all this, and wait."""
    absent = [*range(1, shared.rank.size)]
    while absent := [number for number in absent if not _sign(place, number).exists()]:
        if time.monotonic() > end:
            say(f"rank {absent[0]} of {shared.rank.size} has not come; the others have done its share")
            return
        time.sleep(LOOK)


def _sign(place: Partial, number: int) -> Path:
    return place.folder / f"rank-{number:05d}"


def _nobody(text: str) -> None:
    """Hear what another process says, or what was said before."""
