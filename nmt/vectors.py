"""Word vectors from files of word2vec (text or binary) and GloVe; it knows nothing of what they are for.

word2vec's files begin with a line `words numbers`; then come `word number number ...`, a line each, or in the binary
format the word, a space and the numbers as little-endian float32. GloVe's text is the same without the first line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import DataError
from nmt.text import LARGEST_READ, open_text, read_blocks, read_bytes
from nmt.tokenizer import SPACE

HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(\d{1,9})[ \t]+(\d{1,9})[ \t]*\r?")
LARGEST = np.finfo(np.float32).max

Vector = NDArray[np.float32]
Row = tuple[str, Vector | None]  # a word, and its vector if it is wanted


class Found(NamedTuple):
    """What of a file was wanted."""

    vectors: dict[str, Vector]  # (numbers,) by word; of a word that is there twice the first
    words: int  # in the file
    has_pieces: bool  # some words begin with sentencepiece's mark


class _Header(NamedTuple):
    words: int
    numbers: int  # of a vector


def read_vectors(path: Path, name: str, wanted: Collection[str], width: int) -> Found:
    """Read the vectors of the words that are wanted, one row of the file after the other, gzipped or not.

    Raises DataError, naming file and line, where the vectors have not `width` numbers, a number is none or not finite,
    or the file ends too early. The rows of other words are not looked at.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{name}: is no regular file; name a file of word vectors")
    found, words, has_pieces = dict[str, Vector](), 0, False
    for word, vector in _rows(path, name, frozenset(wanted), width):
        words += 1
        has_pieces = has_pieces or word.startswith(SPACE)
        if vector is not None:
            found.setdefault(word, vector)
    return Found(found, words, has_pieces)


def _rows(path: Path, name: str, wanted: frozenset[str], width: int) -> Iterator[Row]:
    with open_text(path) as stream:
        first, _, rest = read_bytes(stream, name, LARGEST_READ).partition(b"\n")
    match = HEADER.fullmatch(first)
    header = _Header(int(match[1]), int(match[2])) if match else None
    if header is None and not _is_text(first):
        raise DataError(f"{name}: neither of word2vec nor of GloVe; give word vectors in one of their formats")
    _check_width(f"{name}:1", header.numbers if header else len(first.split()) - 1, width)
    with open_text(path) as stream:
        if header is None or _is_text(rest.partition(b"\n")[0]):
            lines = (line for block in read_blocks(stream, name) for line in block)
            yield from _text_rows(lines, name, header, wanted, width)
        else:
            read_bytes(stream, name, len(first) + 1)
            yield from _binary_rows(iter(lambda: read_bytes(stream, name, LARGEST_READ), b""), name, header, wanted)


def _is_text(line: bytes) -> bool:
    """Say whether a row ends in two numbers as text; bytes of a binary vector hardly ever look like that."""
    fields = line.split()[-2:]
    return len(fields) == 2 and all(_number(field) is not None for field in fields)


def _number(text: str | bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_width(where: str, numbers: int, width: int) -> None:
    if numbers != width:
        advice = f"take vectors of {width}, or set model.dim (of an rnn model.embedding) to {numbers}"
        raise DataError(f"{where}: a vector of {numbers} numbers, but the model's embeddings have {width}; {advice}")


def _finite(vector: NDArray[np.floating], where: str) -> Vector:
    if not bool((np.abs(vector) <= LARGEST).all()):
        raise DataError(f"{where}: a number is not finite, or too large for a float32; train the vectors again")
    return vector.astype(np.float32)


# ---- text -------------------------------------------------------------------------------------------------------


def _text_rows(
    lines: Iterator[str], name: str, header: _Header | None, wanted: frozenset[str], width: int
) -> Iterator[Row]:
    rows, begin = 0, 2 if header else 1
    if header:
        next(lines)
    for number, line in enumerate(lines, begin):
        word, _, numbers = line.rstrip().partition(" ")
        if word:
            rows += 1
            yield word, _vector(numbers.split(), f"{name}:{number}", width) if word in wanted else None
    if header and rows < header.words:
        raise _too_short(name, rows, header)


def _vector(fields: list[str], where: str, width: int) -> Vector | None:
    numbers = [number for number in map(_number, fields) if number is not None]
    if len(numbers) < len(fields) and len(fields) > width:
        return None  # a word with a space in it, which is no piece: GloVe's largest files have some
    if len(numbers) < len(fields):
        raise DataError(f"{where}: a field is not a number; repair the line, or fetch the file again")
    _check_width(where, len(numbers), width)
    return _finite(np.array(numbers), where)


def _too_short(name: str, rows: int, header: _Header) -> DataError:
    return DataError(f"{name}: ends after {rows} of its {header.words} vectors; fetch the file again")


# ---- binary -----------------------------------------------------------------------------------------------------


def _binary_rows(chunks: Iterator[bytes], name: str, header: _Header, wanted: frozenset[str]) -> Iterator[Row]:
    size = 4 * header.numbers  # bytes of a vector
    data, at = b"", 0  # what is read, and where in it the next row begins
    for row in range(header.words):
        while (space := data.find(b" ", at)) < 0 or len(data) <= space + size:
            if space < 0 and len(data) - at > LARGEST_READ:
                raise DataError(f"{name}: vector {row + 1} has no word; give word vectors of word2vec or GloVe")
            more = next(chunks, b"")
            if not more:
                raise _too_short(name, row, header)
            data, at = data[at:] + more, 0
        word = data[at:space].lstrip(b"\n").decode("utf-8", "replace")  # word2vec ends a row with \n, others do not
        at = space + 1 + size
        where = f"{name}, vector {row + 1}"
        yield word, _finite(np.frombuffer(data[space + 1 : at], "<f4"), where) if word in wanted else None
