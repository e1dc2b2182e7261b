"""Lines go out as UTF-8, to stdout or to a file that appears whole or not at all; it knows nothing of their meaning."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Protocol, cast

from nmt.errors import OptionError, ResourceError
from nmt.text import clean, reason

STDOUT = 1  # its file descriptor


class ByteWriter(Protocol):
    """A binary stream that takes bytes, perhaps not all at once."""

    def write(self, data: bytes, /) -> int | None:
        """Return how many bytes were taken, None where the stream would have to wait."""
        ...

    def flush(self) -> None:
        """Hand on what was taken."""
        ...


def standard_output(inputs: Iterable[str | Path | int] = ()) -> ByteWriter:
    """Return stdout without its buffer: nothing is left in it when a pipe closes or a disk is full.

    Raises OptionError where it is a file that is read too (0: stdin): what is written would be read, without end.
    """
    if sys.stdout is None:
        raise ResourceError("stdout is closed; name a file with -o")
    if stat.S_ISREG(os.fstat(STDOUT).st_mode) and _is_among(STDOUT, inputs):
        raise OptionError("stdout: input and output are the same file; name another with -o")
    buffer = sys.stdout.buffer
    return cast(ByteWriter, buffer.raw if isinstance(buffer, BufferedWriter) else buffer)


class Writer:
    """Writes lines as UTF-8 whatever the locale; `lines` counts those that left."""

    def __init__(self, stream: ByteWriter, name: str, *, unbuffered: bool = False) -> None:
        self.lines = 0
        self._stream, self._name, self._unbuffered = stream, name, unbuffered

    def write(self, lines: Iterable[str]) -> None:
        """Write a block of lines, one by one if unbuffered; BrokenPipeError is the caller's to handle."""
        encoded = (f"{clean(line)}\n".encode() for line in lines)
        for data in encoded if self._unbuffered else (b"".join(encoded),):
            self.write_bytes(data)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are: a picture, or lines that are encoded; `lines` counts the ends of lines in them."""
        try:
            self._send(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ResourceError(f"{self._name}: {reason(error)} after {self.lines} lines") from error

    def _send(self, data: bytes) -> None:
        while data:
            taken = self._stream.write(data)
            if taken is None:  # a pipe or terminal that some other program made non-blocking, and that is full
                time.sleep(0.01)
                continue
            self.lines += data.count(b"\n", 0, taken)
            data = data[taken:]
        self._stream.flush()


@contextmanager
def open_output(
    path: Path, inputs: Iterable[str | Path | int] = (), *, force: bool = False, unbuffered: bool = False
) -> Iterator[Writer]:
    """Give a Writer to a file that takes its place at the end, if all goes well; `inputs` must be others (0: stdin)."""
    check_output(path, inputs, force=force)
    final = path.resolve()  # through a symbolic link, which stays
    is_device = path.exists() and not path.is_file()  # /dev/null or a FIFO: nothing there to replace
    if is_device:
        with _create(path, path) as stream:
            yield Writer(stream, str(path), unbuffered=unbuffered)
        return
    beside = final.with_name(f".nmt-{secrets.token_hex(8)}.tmp")
    try:
        with _create(beside, path) as stream:
            yield Writer(stream, str(path), unbuffered=unbuffered)
        if final.exists():
            shutil.copymode(final, beside)
        beside.replace(final)
    finally:
        beside.unlink(missing_ok=True)


def check_output(path: Path, inputs: Iterable[str | Path | int], *, force: bool) -> None:
    """Raise OptionError for a file that exists, unless forced, or is read too, for a folder, and for a name in .gz."""
    if path.suffix == ".gz":
        raise OptionError(f"{path}: what is written is not compressed; name it {path.stem}, and gzip it afterwards")
    if not path.exists():
        return
    if _is_among(path, inputs):
        raise OptionError(f"{path}: input and output are the same file; name another with -o")
    if path.is_dir():
        raise OptionError(f"{path}: is a directory; name a file with -o")
    if path.is_file() and not force:
        raise OptionError(f"{path}: exists; use --force")


def _is_among(output: Path | int, inputs: Iterable[str | Path | int]) -> bool:
    return any(os.path.exists(known) and os.path.samefile(known, output) for known in inputs)


def _create(place: Path, name: Path) -> FileIO:
    """Open `place` without a buffer; messages speak of `name`."""
    try:
        return FileIO(place, "wb")
    except FileNotFoundError as error:
        raise OptionError(f"{name}: there is no folder {name.parent}; create it first") from error
    except OSError as error:
        raise ResourceError(f"{name}: {reason(error)}; name another file with -o") from error
