"""A parallel corpus as token ids in memory-mapped files, encoded once and kept; it knows nothing of files of text.

The files of a corpus lie in a folder of the cache that is named by the SHA-256 of text, tokenizers and options:

    source.ids  source.offsets  target.ids  target.offsets     ids end to end, and where each sequence begins
    source.text source.places   target.text target.places      the same of the texts, for subword sampling
    corpus.json                                                counts and the size of each file
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from nmt.errors import DataError, ResourceError
from nmt.ragged import Index, Ragged, joined, spans
from nmt.tokenizer import Tokenizer, Tokenizers

FORMAT = 1  # changes whenever the files or what is written into them change
PAIRS = 8_192  # pairs that are hashed, encoded and written at a time
SIDES = ("source", "target")
ABOUT = "corpus.json"


class Encoding(NamedTuple):
    """How text becomes training pairs."""

    tokenizers: Tokenizers
    max_length: int  # tokens with EOS; a pair with a longer side is dropped
    sampling: float = 0.0  # alpha of subword sampling; above 0 the texts are kept beside their ids


class Counts(NamedTuple):
    """What became of the pairs of a corpus."""

    kept: int
    too_long: int
    empty: int


def cache_folder() -> Path:
    """Return $NMT_CACHE, else $XDG_CACHE_HOME/nmt, else ~/.cache/nmt, else a folder that goes when the process ends."""
    candidates = [
        os.environ.get("NMT_CACHE"),
        os.environ.get("XDG_CACHE_HOME") and os.path.join(os.environ["XDG_CACHE_HOME"], "nmt"),
        os.path.expanduser("~/.cache/nmt"),
    ]
    for folder in map(Path, filter(None, candidates)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    temporary = tempfile.mkdtemp(prefix="nmt-cache-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


class EncodedCorpus:
    """Sentence pairs as ids, read at random from disk; `build` makes one, `epoch_batches` reads it."""

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        about = json.loads((folder / ABOUT).read_bytes())
        self.folder = folder
        self.encoding = encoding
        self.sampling = encoding.sampling > 0  # whether segmentations can be drawn
        self.counts = Counts(**about["counts"])
        self._ids = [_Flat(folder / f"{side}.ids", folder / f"{side}.offsets", about["dtype"]) for side in SIDES]
        self._texts = [_Flat(folder / f"{side}.text", folder / f"{side}.places", "u1") for side in about["texts"]]

    @classmethod
    def build(
        cls,
        pairs: Iterable[tuple[str, str]],
        encoding: Encoding,
        *,
        cache: Path | None = None,
        fingerprint: str | None = None,
    ) -> EncodedCorpus:
        """Return the corpus of the pairs out of the cache, encoded first if it is not there.

        `pairs` is gone through twice: to hash the text and, unless it is cached, to encode it. A `fingerprint` that
        changes with the text saves the first pass. Raises DataError if no pair is left, ResourceError if the disk is
        full.
        """
        cache = cache_folder() if cache is None else cache
        folder = cache / _key(fingerprint or _digest(pairs), encoding)
        if not _whole(folder):
            try:
                _build(pairs, encoding, folder)
            except OSError as error:
                raise ResourceError(
                    f"{folder}: the encoded corpus cannot be written: {error.strerror}; make room or set NMT_CACHE"
                ) from None
        corpus = cls(folder, encoding)
        if corpus.counts.kept == 0:
            _, too_long, empty = corpus.counts
            raise DataError(
                f"training corpus: no pair is left, {empty} have an empty side, {too_long} one of more than "
                f"{encoding.max_length} tokens; raise data.max_length or give more text"
            )
        return corpus

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.counts.kept

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        """Return the tokens of both sides of the pairs at the indices, without BOS and EOS."""
        source, target = self._ids
        return source.lengths(indices), target.lengths(indices)

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        """Return the ids of the pairs at the indices; with a seed the segmentation is drawn with it.

        A drawn segmentation longer than `max_length` is replaced by the usual one.
        """
        source, target = (flat.take(indices) for flat in self._ids)
        if seed is None:
            return source, target
        return self._drawn(0, indices, source, seed), self._drawn(1, indices, target, seed + 1)

    def pairs(
        self, indices: Index, *, seed: int | None = None
    ) -> list[tuple[NDArray[np.integer], NDArray[np.integer]]]:
        """Return what `take` does as one pair of arrays of ids for each index."""
        source, target = self.take(indices, seed=seed)
        return list(zip(source.sequences(), target.sequences(), strict=True))

    def texts(self, indices: Index) -> list[tuple[str, str]]:
        """Return the texts of the pairs at the indices; they are kept with subword sampling only."""
        source, target = (flat.texts(indices) for flat in self._texts)
        return list(zip(source, target, strict=True))

    def _drawn(self, side: int, indices: Index, usual: Ragged, seed: int) -> Ragged:
        tokenizer: Tokenizer = self.encoding.tokenizers[side]
        drawn = tokenizer.sample_ragged(self._texts[side].texts(indices), self.encoding.sampling, seed)
        if drawn.lengths.max(initial=0) < self.encoding.max_length:  # the EOS counts
            return drawn
        rows = np.arange(len(indices))
        fits = drawn.lengths < self.encoding.max_length
        return joined(drawn, usual).take(np.where(fits, rows, rows + len(indices)))


class _Flat:
    """Sequences end to end in one file and where each begins in another."""

    def __init__(self, values: Path, offsets: Path, dtype: str) -> None:
        self.offsets = np.memmap(offsets, np.int64, "r")
        # An empty file cannot be mapped.
        self.values = np.memmap(values, dtype, "r") if values.stat().st_size else np.empty(0, dtype)

    def lengths(self, indices: Index) -> Index:
        return np.asarray(self.offsets[indices + 1] - self.offsets[indices])

    def take(self, indices: Index) -> Ragged:
        lengths = self.lengths(indices)
        return Ragged(np.asarray(self.values[spans(np.asarray(self.offsets[indices]), lengths)]), lengths)

    def texts(self, indices: Index) -> list[str]:
        joined, lengths = self.take(indices)
        ends = np.cumsum(lengths)
        buffer = joined.tobytes()
        return [buffer[start:end].decode("utf-8", "replace") for start, end in zip(ends - lengths, ends, strict=True)]


def _chunks(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
    stream = iter(pairs)
    while chunk := list(islice(stream, PAIRS)):
        yield [source for source, _ in chunk], [target for _, target in chunk]


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of the texts and of where each of them ends."""
    digest = hashlib.sha256()
    for chunk in _chunks(pairs):
        for side in chunk:
            digest.update(np.fromiter(map(len, side), np.int64, len(side)).tobytes())
            digest.update("".join(side).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _key(fingerprint: str, encoding: Encoding) -> str:
    source, target = encoding.tokenizers
    facts = [FORMAT, fingerprint, source.sha256, target.sha256, encoding.max_length, encoding.sampling > 0]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _whole(folder: Path) -> bool:
    """Say whether the folder holds a corpus all of whose files have the size they were written with."""
    try:
        sizes = json.loads((folder / ABOUT).read_bytes())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def _build(pairs: Iterable[tuple[str, str]], encoding: Encoding, folder: Path) -> None:
    """Write the corpus beside its folder and rename it, so that two processes at once cannot harm each other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{folder.name[:16]}-", dir=folder.parent))
    try:
        _write(pairs, encoding, building)
        if folder.exists() and not _whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            building.rename(folder)
        except OSError:
            if not _whole(folder):  # else another process was quicker
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(pairs: Iterable[tuple[str, str]], encoding: Encoding, folder: Path) -> None:
    dtype = "<u2" if max(tokenizer.size for tokenizer in encoding.tokenizers) <= 2**16 else "<i4"
    sampled = SIDES if encoding.sampling else ()
    with ExitStack() as stack:
        ids = [
            stack.enter_context(_Writer(folder / f"{side}.ids", folder / f"{side}.offsets", dtype)) for side in SIDES
        ]
        texts = [stack.enter_context(_Writer(folder / f"{s}.text", folder / f"{s}.places", "u1")) for s in sampled]
        counts = _encode(pairs, encoding, ids, texts)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    about = {"counts": counts._asdict(), "dtype": dtype, "texts": sampled, "sizes": sizes}
    (folder / ABOUT).write_text(json.dumps(about))


def _encode(pairs: Iterable[tuple[str, str]], encoding: Encoding, ids: list[_Writer], texts: list[_Writer]) -> Counts:
    """Write the usable pairs, block by block; `texts` is empty unless segmentations are to be drawn."""
    counts = Counts(0, 0, 0)
    for chunk in _chunks(pairs):
        sides = [tokenizer.encode_ragged(lines) for tokenizer, lines in zip(encoding.tokenizers, chunk, strict=True)]
        source, target = (side.lengths for side in sides)
        empty = np.minimum(source, target) == 0
        too_long = ~empty & (np.maximum(source, target) >= encoding.max_length)  # the EOS counts
        rows = np.flatnonzero(~empty & ~too_long)
        for writer, side in zip(ids, sides, strict=True):
            writer.add(side.take(rows))
        for writer, lines in zip(texts, chunk, strict=False):
            writer.add(_as_bytes([lines[row] for row in rows]))
        found = Counts(len(rows), int(too_long.sum()), int(empty.sum()))
        counts = Counts(*map(sum, zip(counts, found, strict=True)))
    return counts


def _as_bytes(texts: list[str]) -> Ragged:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(text) for text in encoded], np.int64))


class _Writer:
    """Appends sequences to a file and the place where each ends to another."""

    def __init__(self, values: Path, offsets: Path, dtype: str) -> None:
        self._dtype, self._end = dtype, 0
        self._values: BinaryIO = values.open("wb")
        self._offsets: BinaryIO = offsets.open("wb")
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
