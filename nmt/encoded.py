"""A parallel corpus as token ids in memory-mapped files, encoded once; it knows nothing of files of text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmt.corpus_cache import cache_folder, kept
from nmt.encoding import ABOUT, SIDES, Counts, Encoding
from nmt.errors import DataError
from nmt.ragged import Index, Ragged, joined, spans
from nmt.recasing import recase
from nmt.tokenizer import Tokenizer

__all__ = ["Counts", "EncodedCorpus", "Encoding"]

HELD = 2**26  # bytes of each file that are mapped before they are let go: reading from a larger one takes longer
AROUND = 2**16  # bytes that Linux maps around those that are read


class EncodedCorpus:
    """Sentence pairs as ids, read at random from disk; `build` makes one, `epoch_batches` reads it."""

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        about = json.loads((folder / ABOUT).read_bytes())
        self.folder = folder
        self.encoding = encoding
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
        folder = kept(pairs, encoding, cache_folder() if cache is None else cache, fingerprint)
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
        sources, targets = (flat.texts(indices) for flat in self._texts)
        if self.encoding.recased:
            sources, targets = recase(sources, targets, self.encoding.recased, seed)
        return self._drawn(0, sources, source, seed), self._drawn(1, targets, target, seed + 1)

    def pairs(
        self, indices: Index, *, seed: int | None = None
    ) -> list[tuple[NDArray[np.integer], NDArray[np.integer]]]:
        """Return what `take` does as one pair of arrays of ids for each index."""
        source, target = self.take(indices, seed=seed)
        return list(zip(source.sequences(), target.sequences(), strict=True))

    def texts(self, indices: Index) -> list[tuple[str, str]]:
        """Return the texts of the pairs at the indices; they are kept where ids are drawn from them."""
        source, target = (flat.texts(indices) for flat in self._texts)
        return list(zip(source, target, strict=True))

    def _drawn(self, side: int, texts: list[str], usual: Ragged, seed: int) -> Ragged:
        tokenizer: Tokenizer = self.encoding.tokenizers[side]
        if self.encoding.sampling:
            drawn = tokenizer.sample_ragged(texts, self.encoding.sampling, seed)
        else:
            drawn = tokenizer.encode_ragged(texts)
        if drawn.lengths.max(initial=0) < self.encoding.max_length:  # the EOS counts
            return drawn
        rows = np.arange(len(texts))
        fits = drawn.lengths < self.encoding.max_length
        return joined(drawn, usual).take(np.where(fits, rows, rows + len(texts)))


class _Mapped:
    """The numbers in a file, read at random; pages of a large one do not stay in this process for as long as it runs.

    The system keeps what it has room for, so that reading them again costs some microseconds.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        with path.open("rb") as file:  # an empty one cannot be mapped
            self._pages = mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else None
        self._numbers = np.frombuffer(self._pages or b"", dtype)
        self._mapped = 0  # bytes at most

    def take(self, places: Index, reads: int) -> NDArray[np.integer]:
        """Return the numbers at the places (..., n), which lie together but for so many `reads`."""
        if self._pages is None or len(self._pages) <= HELD:
            return self._numbers[places]
        parts = np.array_split(places, 1 + reads * AROUND // HELD, axis=-1)
        return np.concatenate([self._read(part, reads // len(parts)) for part in parts], axis=-1)

    def _read(self, places: Index, reads: int) -> NDArray[np.integer]:
        self._mapped += reads * AROUND
        if self._pages and self._mapped > HELD:
            self._pages.madvise(MADV_DONTNEED)
            self._mapped = reads * AROUND
        return self._numbers[places]


class _Flat:
    """Sequences end to end in one file and where each begins in another."""

    def __init__(self, values: Path, offsets: Path, dtype: str) -> None:
        self._offsets, self._values = _Mapped(offsets, "i8"), _Mapped(values, dtype)

    def lengths(self, indices: Index) -> Index:
        return self._starts(indices)[1]

    def take(self, indices: Index) -> Ragged:
        starts, lengths = self._starts(indices)
        return Ragged(self._values.take(spans(starts, lengths), len(indices)), lengths)

    def _starts(self, indices: Index) -> tuple[Index, Index]:
        places = self._offsets.take(np.stack([indices, indices + 1]), len(indices))
        return places[0], places[1] - places[0]

    def texts(self, indices: Index) -> list[str]:
        joined, lengths = self.take(indices)
        ends = np.cumsum(lengths)
        buffer = joined.tobytes()
        return [buffer[start:end].decode("utf-8", "replace") for start, end in zip(ends - lengths, ends, strict=True)]
