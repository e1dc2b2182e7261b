"""The line contract: bytes become lines, always the same ones; it knows nothing of corpora, tokens or models.

A line is the bytes up to `\\n`; one trailing `\\r` goes; a last line without `\\n` counts; nothing else ends a line.
A byte order mark at the very start of a stream goes. Warnings are handed to a collector: nothing is printed here.
"""

from __future__ import annotations

import codecs
import gzip
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

from nmt.errors import DataError, OptionError, ResourceError

FIRST_READ, LARGEST_READ = 4 * 1024, 256 * 1024  # bytes
MEBIBYTE = 1024 * 1024  # bytes
SHOWN = 5  # warnings of one kind

REFUSED = {
    codecs.BOM_UTF16_LE: "looks like UTF-16; convert with iconv -f UTF-16 -t UTF-8",
    codecs.BOM_UTF16_BE: "looks like UTF-16; convert with iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "looks gzip-compressed; use zcat",
}
BREAKS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\0]")
SURROGATES = re.compile("[\ud800-\udfff]")


class ByteReader(Protocol):
    """A binary stream that gives what it has without waiting for all that was asked for."""

    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        ...

    def fileno(self) -> int:
        """Return the number of the open file; raise OSError where there is none."""
        ...


class Place(NamedTuple):
    """Where a line stands."""

    file: str
    line: int  # from 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class TextOptions(NamedTuple):
    """How bytes are read as lines."""

    encoding: str = "utf-8"
    bad_utf8: Literal["error", "replace", "drop"] = "replace"  # drop: the line becomes None, its pair is dropped
    max_line_bytes: int = 64 * MEBIBYTE


AS_UTF8 = TextOptions()


class Warnings:
    """Shows the first warnings of each kind at once and their total at the end."""

    def __init__(self, write: Callable[[str], None], instead: str = "") -> None:
        """Tell by `write`; `instead` of a hint of who adds a warning another one is given."""
        self.counts: Counter[str] = Counter()  # by kind
        self._hints: dict[str, str] = {}
        self._write, self._instead = write, instead

    def add(self, kind: str, where: Place | str, hint: str = "") -> None:
        """Count one `kind` of warning; `hint` says what to do when there are more than a few."""
        self.counts[kind] += 1
        self._hints[kind] = f"; {self._instead or hint}" if hint else ""
        if self.counts[kind] <= SHOWN:
            self._write(f"{where}: {kind}")

    def note(self, text: str) -> None:
        """Hand on something that is said once."""
        self._write(text)

    def finish(self) -> None:
        """Write the total of each kind and forget it."""
        for kind, count in self.counts.items():
            hint = self._hints[kind] if count > SHOWN else ""
            self._write(f"{kind}: {count} {'line' if count == 1 else 'lines'} in all{hint}")
        self.counts.clear()


def is_blank(line: str) -> bool:
    """Say whether a line has nothing to translate: only white space, U+200B and U+FEFF."""
    rest = line.replace("\u200b", "").replace("\ufeff", "")
    return not rest or rest.isspace()


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold and sentencepiece refuses, by U+FFFD."""
    return SURROGATES.sub("\ufffd", text)


def clean(text: str) -> str:
    """Return `text` as one line: what some reader would take for the end of a line becomes a space."""
    return without_surrogates(BREAKS.sub(" ", text))


@contextmanager
def open_text(path: str | Path) -> Iterator[ByteReader]:
    """Open a file for reading, gzipped or not."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except PermissionError as error:
        raise ResourceError(f"{path}: permission denied; make it readable") from error
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}; name a text file") from error
    with file:
        head = file.peek(2)[:2]
        zipped = head == b"\x1f\x8b"
        if head and not zipped and str(path).endswith(".gz"):
            raise DataError(f"{path}: is not gzip-compressed; rename it without .gz")
        yield gzip.GzipFile(fileobj=file) if zipped else file


def standard_input() -> ByteReader:
    """Return the bytes of stdin."""
    if sys.stdin is None:
        raise DataError("stdin is closed; name a file or pipe text in")
    return cast(ByteReader, sys.stdin.buffer)


def read_blocks(
    stream: ByteReader, name: str, options: TextOptions = AS_UTF8, warnings: Warnings | None = None
) -> Iterator[list[str]]:
    """Yield lines in blocks as they become available, every line of the stream in order.

    The first blocks are small, so that a slow feeder and the first screen get their answers at once.
    """
    if options.bad_utf8 == "drop":
        raise OptionError("--bad-utf8 drop: every line must be kept here; use replace or error")
    for block in read_sides(stream, name, options, warnings):
        yield [line for line in block if line is not None]


def read_sides(
    stream: ByteReader, name: str, options: TextOptions, warnings: Warnings | None = None
) -> Iterator[list[str | None]]:
    """Yield blocks of lines as `read_blocks` does, None in the place of a line that is to be dropped."""
    encoding = _known(options.encoding)
    number = 0
    for block in _split(stream, name, options._replace(encoding=encoding)):
        lines: list[str | None] = []
        for number, line in enumerate(block, number + 1):  # noqa: B020
            text = line.removesuffix(b"\r")
            try:
                lines.append(text.decode(encoding))
            except UnicodeDecodeError as error:
                lines.append(_mend(error, Place(name, number), options, warnings))
        yield lines


def _known(encoding: str) -> str:
    """Return the encoding's proper name."""
    try:
        name = codecs.lookup(encoding).name
        name = "utf-8" if name == "utf-8-sig" else name  # the mark goes in any case
        splits = "\n".encode(name) == b"\n"
    except (LookupError, UnicodeError) as error:
        raise OptionError(f"--encoding {encoding}: unknown; use a name that iconv knows, such as latin-1") from error
    if not splits:
        raise OptionError(f"--encoding {encoding}: has no line ends of one byte; convert with iconv -f {encoding}")
    return name


def _mend(error: UnicodeDecodeError, place: Place, options: TextOptions, warnings: Warnings | None) -> str | None:
    """Return what stands for a line that cannot be decoded."""
    line, encoding = bytes(error.object), "UTF-8" if error.encoding == "utf-8" else error.encoding
    if options.bad_utf8 == "drop":
        return None
    if options.bad_utf8 == "error":
        column = len(line[: error.start].decode(error.encoding)) + 1  # in characters, as editors count
        what = f"invalid {encoding} (byte 0x{line[error.start]:02x} at column {column})"
        raise DataError(f"{place}: {what}; repair it, or use --bad-utf8 replace, or --encoding") from error
    if warnings:
        warnings.add(f"invalid {encoding} replaced", place, "if the text is Latin-1, use --encoding latin-1")
    return line.decode(options.encoding, "replace")


def _split(stream: ByteReader, name: str, options: TextOptions) -> Iterator[list[bytes]]:
    """Yield blocks of complete lines, without their `\\n`; the last one may have had none."""
    begun: list[bytes] = []  # pieces of the line that has not ended: joined once, so that a long line is read in O(n)
    length = number = 0  # bytes begun, lines ended
    for data in _chunks(stream, name, options.encoding):
        *ended, rest = data.split(b"\n")
        if ended:
            ended[0] = b"".join([*begun, ended[0]])
            begun, length = [], 0
        begun.append(rest)
        length += len(rest)
        for offset, size in enumerate((*map(len, ended), length), 1):
            if size > options.max_line_bytes:
                limit = f"{options.max_line_bytes} bytes".replace(f"{64 * MEBIBYTE} bytes", "64 MiB")
                raise DataError(f"{name}:{number + offset}: line longer than {limit}; use --max-line-bytes")
        number += len(ended)
        if ended:
            yield ended
    if length:
        yield [b"".join(begun)]


def _chunks(stream: ByteReader, name: str, encoding: str) -> Iterator[bytes]:
    """Yield the stream's bytes without its byte order mark; refuse what is not lines of text."""
    mark = "\ufeff".encode(encoding, "ignore")
    head, more = b"", b"-"
    is_there = _is_file(stream)
    size = LARGEST_READ if is_there else FIRST_READ
    # Only a beginning of one of the marks is worth waiting for: an answer to a first short line must not be late.
    while more and any(known != head and known.startswith(head) for known in (mark, *REFUSED)):
        more = read_bytes(stream, name, size, is_there=is_there)
        head += more
    for magic, hint in REFUSED.items():
        if head.startswith(magic):
            raise DataError(f"{name}: {hint}")
    yield head.removeprefix(mark)
    while more:  # after its end a terminal would ask for a second Ctrl-D
        size = min(2 * size, LARGEST_READ)
        more = read_bytes(stream, name, size, is_there=is_there)
        yield more


def _is_file(stream: ByteReader) -> bool:
    """Say whether all of the stream is there already, so that nobody waits for the other end of a pipe."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # it is in memory
        return False


def read_bytes(stream: ByteReader, name: str, size: int, *, is_there: bool = True) -> bytes:
    """Return the next `size` bytes, fewer at the end, or, where not all `is_there` already, what has come of them."""
    try:
        return stream.read(size) if is_there else stream.read1(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: damaged gzip data; fetch or compress the file again") from error
    except OSError as error:
        raise DataError(f"{name}: {reason(error)}; name a text file") from error


def reason(error: OSError) -> str:
    """Return what the system says of an error, to stand after a colon."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
