"""Sentence pairs as token ids in files, encoded on all cores; it knows nothing of where they lie or who reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np

from nmt.processes import cores, in_order
from nmt.ragged import Ragged
from nmt.tokenizer import Tokenizers

PAIRS = 8_192  # pairs that are hashed, encoded and written at a time
MOST = 16  # processes; reading the text keeps no more of them busy
SIDES = ("source", "target")
ABOUT = "corpus.json"


class Encoding(NamedTuple):
    """How text becomes training pairs."""

    tokenizers: Tokenizers
    max_length: int  # tokens with EOS; a pair with a longer side is dropped
    sampling: float = 0.0  # alpha of subword sampling
    recased: float = 0.0  # share of the pairs in another case

    @property
    def is_drawn(self) -> bool:
        """Say whether ids are drawn from texts, which are then kept beside them."""
        return self.sampling > 0 or self.recased > 0

    @property
    def dtype(self) -> str:
        """Return numpy's name of the smallest integers that hold all ids."""
        return "<u2" if max(tokenizer.size for tokenizer in self.tokenizers) <= 2**16 else "<i4"


class Counts(NamedTuple):
    """What became of the pairs of a corpus."""

    kept: int
    too_long: int
    empty: int


def chunks(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield sources and targets of so many pairs at a time."""
    stream = iter(pairs)
    while chunk := list(islice(stream, PAIRS)):
        yield [source for source, _ in chunk], [target for _, target in chunk]


def write(pairs: Iterable[tuple[str, str]], encoding: Encoding, folder: Path) -> None:
    """Write the files of a corpus into a folder; `corpus.json`, which tells that they are whole, comes last."""
    sampled = SIDES if encoding.is_drawn else ()
    with ExitStack() as stack:
        ids = [stack.enter_context(_Writer(folder, f"{s}.ids", f"{s}.offsets", encoding.dtype)) for s in SIDES]
        texts = [stack.enter_context(_Writer(folder, f"{s}.text", f"{s}.places", "u1")) for s in sampled]
        counts = _encode(pairs, encoding, ids, texts)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    about = {"counts": counts._asdict(), "dtype": encoding.dtype, "texts": sampled, "sizes": sizes}
    (folder / ABOUT).write_text(json.dumps(about))


def _encode(pairs: Iterable[tuple[str, str]], encoding: Encoding, ids: list[_Writer], texts: list[_Writer]) -> Counts:
    """Write the usable pairs, block by block; `texts` is empty unless segmentations are to be drawn."""
    counts = Counts(0, 0, 0)
    count = min(cores(), MOST)
    encode = partial(_encoded, encoding, 1 if count > 1 else None)
    for block in in_order(encode, chunks(pairs), count):
        for writer, side in zip([*ids, *texts], block.sides, strict=True):
            writer.add(side)
        counts = Counts(*map(sum, zip(counts, block.counts, strict=True)))
    return counts


class _Block(NamedTuple):
    """Some pairs, ready to be written."""

    sides: list[Ragged]  # ids of source and target, and the bytes of the texts, where they are kept
    counts: Counts


def _encoded(encoding: Encoding, threads: int | None, chunk: tuple[list[str], list[str]]) -> _Block:
    both = zip(encoding.tokenizers, chunk, strict=True)
    sides = [tokenizer.encode_ragged(lines, threads) for tokenizer, lines in both]
    source, target = (side.lengths for side in sides)
    empty = np.minimum(source, target) == 0
    too_long = ~empty & (np.maximum(source, target) >= encoding.max_length)  # the EOS counts
    rows = np.flatnonzero(~empty & ~too_long)
    texts = [_as_bytes([lines[row] for row in rows]) for lines in (chunk if encoding.is_drawn else ())]
    kept = [side.take(rows) for side in sides]
    small = [Ragged(side.ids.astype(encoding.dtype), side.lengths) for side in kept]
    return _Block([*small, *texts], Counts(len(rows), int(too_long.sum()), int(empty.sum())))


def _as_bytes(texts: list[str]) -> Ragged:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(text) for text in encoded], np.int64))


class _Writer:
    """Appends sequences to a file and the place where each ends to another."""

    def __init__(self, folder: Path, values: str, offsets: str, dtype: str) -> None:
        self._dtype, self._end = dtype, 0
        self._values: BinaryIO = (folder / values).open("wb")
        self._offsets: BinaryIO = (folder / offsets).open("wb")
        self._offsets.write(np.zeros(1, np.int64).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with self._values, self._offsets:
            pass

    def add(self, sequences: Ragged) -> None:
        self._values.write(sequences.ids.astype(self._dtype).tobytes())
        self._offsets.write((self._end + np.cumsum(sequences.lengths)).astype(np.int64).tobytes())
        self._end += int(sequences.lengths.sum())
