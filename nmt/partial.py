"""Long work that survives a kill: its finished blocks lie beside the output until all are there.

It knows nothing of what is done. The folder OUT.parts beside a file OUT has

    task.json        what is done, with which options, to which text: other work is refused in its place
    block-00000000   a finished block: a line of JSON (counts, SHA-256 of the rest), then its lines of OUT

and goes when OUT is there as a whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nmt.errors import DataError, OptionError, ResourceError
from nmt.lock import locked
from nmt.output import check_output
from nmt.sealed import assemble_file, canonical, remove_file, remove_folder, replace_file, sweep

TASK, LOCK, WHOLE = "task.json", "lock", "whole"
SHOWN = 40  # characters of a value in an error
PAUSE = 10.0  # seconds between two words on how far it is


class Finished(NamedTuple):
    """What was made of one block."""

    lines: bytes  # of the output
    counts: Counter[str]


class Partial:
    """The finished blocks of one output."""

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()  # through a symbolic link, which stays
        self.folder = self.output.with_name(f"{self.output.name}.parts")

    def has(self, number: int) -> bool:
        """Say whether a block is there; one that is damaged is not."""
        return self._read(number) is not None

    def lacks(self, number: int) -> bool:
        """Say whether a block is still to be made; none is when the output is there and the folder gone."""
        return not self._path(number).exists() and self.folder.exists()

    def count(self) -> int:
        """Return how many blocks are there, damaged or not."""
        return len(self._numbers())

    def weed(self) -> int:
        """Remove damaged blocks, and return how many are left."""
        for number in self._numbers():
            if not self.has(number):
                remove_file(self._path(number))
        return self.count()

    def add(self, number: int, block: Finished) -> None:
        """Keep a finished block: after a kill it is there as a whole or not at all."""
        about = {"counts": block.counts, "sha256": hashlib.sha256(block.lines).hexdigest()}
        replace_file(self._path(number), json.dumps(about).encode() + b"\n" + block.lines)

    def finish(self, numbers: Sequence[int]) -> Counter[str]:
        """Put the blocks together as the output, remove what lies beside it, and return the sum of all counts."""
        total = Counter[str]()
        assemble_file(self.output, self.folder / WHOLE, self._lines(numbers, total))
        remove_folder(self.folder)
        return total

    def begin(self, task: Mapping[str, Any]) -> None:
        """Go on with what is there, or make the folder; raise OptionError if another task was begun here."""
        sweep(self.folder.parent, f"{self.folder.name}.")  # of one that was killed while it removed the folder
        path = self.folder / TASK
        if path.exists():
            self.compare(task)
            sweep(self.folder)
            return
        sweep(self.folder)  # of a task that was killed while it was written
        if self.folder.is_dir() and any(child.name != LOCK for child in self.folder.iterdir()):
            raise OptionError(f"{self.folder}: is in the way, and not of nmt; remove it, or give another -o")
        replace_file(path, canonical(task))

    def is_begun(self) -> bool:
        """Say whether work was begun here: the output may be replaced then."""
        return (self.folder / TASK).exists()

    def compare(self, task: Mapping[str, Any]) -> None:
        """Raise OptionError, which names a difference, if it is another task that was begun here."""
        path = self.folder / TASK
        try:
            before, now = _flat(json.loads(path.read_bytes())), _flat(json.loads(canonical(task)))
        except (ValueError, AttributeError):
            raise DataError(f"{path}: is damaged; remove {self.folder}, and the work begins anew") from None
        for key in {**now, **before}:
            if before.get(key) != now.get(key):
                values = f"{before.get(key)!s:.{SHOWN}}, now {now.get(key)!s:.{SHOWN}}"
                advice = f"repeat it, give another -o, or remove {self.folder.name} to begin anew"
                raise OptionError(f"{self.folder}: was begun with another {key} ({values}); {advice}")

    def _lines(self, numbers: Iterable[int], total: Counter[str]) -> Iterator[bytes]:
        for number in numbers:
            block = self._read(number)
            if block is None:
                raise ResourceError(f"{self._path(number)}: was damaged meanwhile; run the same command again")
            total += block.counts
            yield block.lines

    def _read(self, number: int) -> Finished | None:
        try:
            head, _, lines = self._path(number).read_bytes().partition(b"\n")
            about = json.loads(head)
            return Finished(lines, Counter(about["counts"])) if about["sha256"] == _digest(lines) else None
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            return None

    def _numbers(self) -> list[int]:
        return [int(path.name[-8:]) for path in self.folder.glob(f"block-{8 * '[0-9]'}")]

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:08d}"


class Pace:
    """Says now and then how far the work is."""

    def __init__(self, total: int, there: int, lines: float, say: Callable[[str], None]) -> None:
        """Begin with so many of all blocks `there` already; a block has so many `lines`, in the mean."""
        self._total, self._first, self._lines, self._say = total, there, lines, say
        self._begun = self._said = time.monotonic()
        if there:
            say(f"going on: {there:,} of {total:,} blocks are there")

    def tell(self, there: int) -> None:
        """Say how many blocks are there by now, if it was not said just before."""
        now, made = time.monotonic(), there - self._first
        if now - self._said < PAUSE or not made:
            return
        self._said = now
        speed, left = made / (now - self._begun), self._total - there  # blocks per second, blocks
        lines, minutes = speed * self._lines, left / speed / 60
        self._say(f"block {there:,} of {self._total:,}, {lines:,.0f} lines/s, {minutes:,.0f} min left")


def check(output: Path, inputs: Iterable[str | Path | int], *, force: bool = False) -> None:
    """Raise OptionError where an output cannot be written, or exists, unless forced or begun here."""
    partial = Partial(output)
    check_output(output, inputs, force=force or partial.is_begun())
    if output.exists() and not output.is_file():
        raise OptionError(f"{output}: is no regular file; name one with -o")
    if not partial.output.parent.is_dir():
        raise OptionError(f"{output}: there is no folder {output.parent}; create it first")


@contextmanager
def open_partial(
    output: Path, inputs: Iterable[str | Path | int], task: Mapping[str, Any], *, force: bool = False
) -> Iterator[Partial]:
    """Give the place where an output's blocks are kept, to one process at a time.

    Raises OptionError where `check` does, and where another task was begun.
    """
    partial = Partial(output)
    check(output, inputs, force=force)
    with locked(partial.folder / LOCK, "another process is working", "give another -o", before="remove it, or "):
        partial.begin(task)
        yield partial


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping of mappings as one, with dotted keys."""
    flat = dict[str, Any]()
    for key, value in tree.items():
        flat |= {f"{key}.{inner}": it for inner, it in value.items()} if isinstance(value, dict) else {key: value}
    return flat
