"""Sentence pairs from corpora of every format, aligned and counted; it knows nothing of tokens.

A corpus is named by two plain text files (source first), `train.{lang}`, a TSV or JSONL file, a Parquet or Arrow file
or folder, or `hf:NAME[:CONFIG][@REVISION][#SPLIT]`; several are read one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import NamedTuple

from nmt import cleaning
from nmt.cleaning import Cleaner, Usual
from nmt.config import DataConfig
from nmt.errors import DataError, OptionError
from nmt.formats import Languages
from nmt.specs import languages, parts, resolve, turned
from nmt.text import AS_UTF8, Place, TextOptions, Warnings, is_blank, open_text, read_blocks

__all__ = ["Dropped", "Languages", "Pair", "ParallelCorpus", "Statistics", "languages", "read_lines", "resolve"]

BYTES, EMPTY = "invalid UTF-8", "empty side"  # pairs that are no pairs, however they are cleaned


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Dropped(NamedTuple):
    """Pairs that were left out for one reason."""

    pairs: int
    first: Place


@dataclass
class Statistics:
    """What was found in one pass over a corpus."""

    read: int = 0  # pairs
    identical: int = 0  # pairs with the same text on both sides
    dropped: dict[str, Dropped] = field(default_factory=dict)  # by reason
    notes: list[str] = field(default_factory=list)  # other things the user should know
    corpora: int = 1  # that were read one after the other

    @property
    def kept(self) -> int:
        """Return the number of usable pairs."""
        return self.read - sum(dropped.pairs for dropped in self.dropped.values())

    def drop(self, reason: str, place: Place) -> None:
        """Count a pair that is left out."""
        pairs, first = self.dropped.get(reason, Dropped(0, place))
        self.dropped[reason] = Dropped(pairs + 1, first)

    def messages(self) -> list[str]:
        """Return one line for each thing the user should know, each to be shown once."""
        drops = []
        for reason, (pairs, first) in self.dropped.items():
            told = f"dropped {pairs} of {self.read} pairs: {reason}"
            one = f"{first.file}: {told} (first: line {first.line})"
            drops.append(one if self.corpora == 1 else f"{told} (first: {first.file}, line {first.line})")
        share = self.identical / max(1, self.kept)
        same = [f"source and target are identical in {share:.0%} of lines"] if share > 0.5 else []
        return [*self.notes, *drops, *same]

    def require_pairs(self, where: str) -> None:
        """Raise DataError if nothing is left."""
        if self.kept == 0:
            reasons = "; ".join(f"{reason}: {dropped.pairs}" for reason, dropped in self.dropped.items())
            counts = f"{self.read} read, {self.read - self.kept} dropped{reasons and f' ({reasons})'}"
            advice = "give a corpus with text on both sides"
            if set(self.dropped) - {BYTES, EMPTY}:
                advice = "give a corpus of translations, or keep these with --set data.clean=false"
            raise DataError(f"{where}: no usable pairs: {counts}; {advice}")


class ParallelCorpus:
    """The usable pairs of some corpora, streamed from disk at every pass."""

    def __init__(self, specs: Sequence[str], config: DataConfig, *, is_cleaned: bool = False) -> None:
        """Find the corpora; with `is_cleaned` the pairs that nmt.cleaning finds fault with are dropped, too."""
        if not specs:
            raise OptionError("no corpus: name two aligned files, or set data.train; see nmt train --help")
        self.specs = tuple(specs)  # as given
        self.languages = languages((*config.train, *specs), config)
        self._config, self._is_cleaned = config, is_cleaned
        self._statistics: Statistics | None = None
        self._usable: bytearray | None = None  # a byte for each pair as it stands there, once a whole pass was made
        self._parts = parts(self.specs, self.languages, config)

    @property
    def names(self) -> list[str]:
        """Return the name of each corpus: of two aligned files the first."""
        return [part.name for part in self._parts]

    @property
    def tagged(self) -> frozenset[int]:
        """Return the numbers in `names` of the corpora whose sources get a tag: somebody wrote them for training."""
        return frozenset(number for number, tag in enumerate(self._config.tags) if tag)

    def __iter__(self) -> Iterator[Pair]:
        """Yield every usable pair; raises DataError for bad bytes, unequal sides, and at the end if there was none."""
        return (pair for _, pair in self.placed())

    def placed(self) -> Iterator[tuple[Place, Pair]]:
        """Yield every usable pair and where it stands."""
        return ((place, pair) for _, place, pair in self._rows())

    def numbered(self) -> Iterator[tuple[int, Pair]]:
        """Yield every usable pair with the number of its corpus in `names`."""
        return ((number, pair) for number, _, pair in self._rows())

    def _rows(self) -> Iterator[tuple[int, Place, Pair]]:
        return self._judged() if self._usable is None else self._known(self._usable)

    def _known(self, usable: bytearray) -> Iterator[tuple[int, Place, Pair]]:
        """Yield the pairs that a pass found usable: the next ones need not look at them again."""
        marks, nothing = iter(usable), Warnings(lambda line: None)
        for number, part in enumerate(self._parts):
            for line, source, target in compress(part.rows(nothing), marks):
                yield number, Place(part.name, line), Pair(source, target)  # type: ignore[arg-type]

    def _judged(self) -> Iterator[tuple[int, Place, Pair]]:
        """Yield the usable pairs, and count the others."""
        statistics, usable = Statistics(corpora=len(self._parts)), bytearray()
        warnings = Warnings(statistics.notes.append)
        cleaner = Cleaner(self._usual) if self._is_cleaned else None
        for number, part in enumerate(self._parts):
            for line, source, target in part.rows(warnings):
                statistics.read += 1
                usable.append(0)
                place = Place(part.name, line)
                if source is None or target is None:
                    statistics.drop(BYTES, place)
                elif is_blank(source) or is_blank(target):
                    statistics.drop(EMPTY, place)
                elif cleaner and (fault := cleaner.reason(source, target)):
                    statistics.drop(fault, place)
                else:
                    statistics.identical += source == target
                    usable[-1] = 1
                    yield number, place, Pair(source, target)
        warnings.finish()
        statistics.require_pairs(", ".join(self.specs))
        self._statistics, self._usable = statistics, usable

    def statistics(self) -> Statistics:
        """Return what the last whole pass found, after making one if there was none yet."""
        if self._statistics is None:
            for _ in self._rows():
                pass
        assert self._statistics is not None
        return self._statistics

    def sides(self) -> tuple[list[str], list[str]]:
        """Return all sources and all targets, blank ones included: a test set is scored whole."""
        warnings = Warnings(lambda line: None)
        rows = [row for part in self._parts for row in part.rows(warnings)]
        kept = [(row.source, row.target) for row in rows if row.source is not None and row.target is not None]
        if not kept:
            raise DataError(f"{', '.join(self.specs)}: has no pairs; give a corpus with text on both sides")
        return [source for source, _ in kept], [target for _, target in kept]

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name, of the text where `datasets` reads it."""
        return dict(self._digests)

    def fingerprint(self) -> str:
        """Return one SHA-256 that changes with the pairs: of the fingerprints and of how they are read."""
        how = (self.languages, self._config.columns, self._config.encoding, self._config.bad_utf8)
        what = [digest for _, digest in self._digests]
        cleaned = [cleaning.identity()] if self._is_cleaned else []
        # What is named as having its target first holds other pairs than under another name.
        order = turned(self.specs, self.languages)
        return hashlib.sha256(json.dumps([how, what, *cleaned, *([order] * any(order))]).encode()).hexdigest()

    @cached_property
    def _usual(self) -> Usual:
        warnings = Warnings(lambda line: None)
        rows = (row for part in self._parts for row in part.rows(warnings))
        sides = ((source, target) for _, source, target in rows if source is not None and target is not None)
        return cleaning.learn(pair for pair in sides if not any(map(is_blank, pair)))

    @cached_property
    def _digests(self) -> list[tuple[str, str]]:
        return [item for part in self._parts for item in part.fingerprints().items()]


def read_lines(path: str | Path, options: TextOptions = AS_UTF8, warnings: Warnings | None = None) -> list[str]:
    """Return all lines of a file that is found as a corpus is, blank lines included."""
    with open_text(resolve(path)) as stream:
        return [line for block in read_blocks(stream, str(path), options, warnings) for line in block]
