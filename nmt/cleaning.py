"""Which training pairs are better left out; it knows nothing of files, and changes no text.

The rules are light: of clean corpora they take next to nothing. What is usual is learnt from the corpus itself, so
that they hold for languages with and without spaces, in any script.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from nmt.scripts import LATIN, UNSPACED, is_latin, letters, main_script

RULES = 1  # changes whenever a rule does; the thresholds count by themselves


class Thresholds(NamedTuple):
    """Where the rules begin."""

    characters: int = 2_000  # of a side: more is no sentence but a page, or text that has lost its line ends
    words: int = 250  # of a side, for the same reason; tokens are at least as many, and data.max_length is 256
    ratio: float = 4.0  # by which a length may differ from the expected one; free translations stay below 3.5
    slack: int = 5  # characters added to both lengths, so that no two sides below 20 characters can differ too much
    copied_letters: int = 20  # names and addresses, the same in both languages, have fewer letters, ...
    copied_words: int = 4  # ... or fewer words
    foreign_letters: int = 10  # names and abbreviations in a foreign script (DVD, NATO) are shorter
    foreign_share: float = 0.8  # of the letters: in fewer a sentence speaks of a foreign name, which letters spell out
    usual_share: float = 0.1  # of the lines of a side: a script of fewer is noise, of more one of two it is written in


THRESHOLDS = Thresholds()
SLOTS = 2**16  # of 8 bytes, for the first pairs that are remembered
MOST_PAIRS, MOST_CHARACTERS = 200_000, 20_000_000  # of a sample, 80 MB at worst
LONGEST = 10_000  # characters of a side in a sample

TOO_LONG = f"longer than {THRESHOLDS.characters:,} characters or {THRESHOLDS.words} words"
MISMATCHED, COPIED = "one side is far longer than the other", "source and target are the same"
FOREIGN, REPEATED = "a side is in another script than usual", "the same as an earlier pair"

Row = TypeVar("Row", bound="tuple[str, str] | tuple[str, str, bool]")


class Usual(NamedTuple):
    """What is usual in a corpus."""

    ratio: float  # characters of the target for one of the source, median
    source: frozenset[str]  # scripts that a side is written in; none: it has no letters
    target: frozenset[str]


def evenly(rows: Iterable[Row]) -> list[Row]:
    """Return rows spread evenly over a stream of any length: all, else every second, fourth, ..., always the same.

    A row begins with its two texts.
    """
    kept: list[Row] = []
    step, size = 1, 0
    for number, row in enumerate(rows):
        if number % step:
            continue
        kept.append(row)
        size += len(row[0]) + len(row[1])
        while len(kept) > MOST_PAIRS or size > MOST_CHARACTERS:
            kept, step = kept[::2], 2 * step
            size = sum(len(row[0]) + len(row[1]) for row in kept)
    return kept


def learn(pairs: Iterable[tuple[str, str]]) -> Usual:
    """Return what is usual in a corpus, from a sample of its pairs."""
    sample = evenly((source[:LONGEST], target[:LONGEST]) for source, target in pairs)
    fit = [pair for pair in sample if not any(map(_is_long, pair))]
    ratio = median(len(target) / len(source) for source, target in fit) if fit else 1.0
    return Usual(ratio, _scripts(source for source, _ in fit), _scripts(target for _, target in fit))


def fault(source: str, target: str, usual: Usual) -> str | None:
    """Return why a pair, neither side of which is blank, is better left out; None: it is fine."""
    if _is_long(source) or _is_long(target):
        return TOO_LONG
    expected, found = len(source) * usual.ratio + THRESHOLDS.slack, len(target) + THRESHOLDS.slack
    if max(found / expected, expected / found) > THRESHOLDS.ratio:
        return MISMATCHED
    if _is_copy(source, target):
        return COPIED
    if _is_foreign(source, usual.source) or _is_foreign(target, usual.target):
        return FOREIGN
    return None


class Cleaner:
    """Tells, in one pass over a corpus, which pairs are left out: those with a fault and those that came before."""

    def __init__(self, usual: Usual) -> None:
        self.usual, self.repetitions = usual, Repetitions()

    def reason(self, source: str, target: str) -> str | None:
        """Return why a pair is left out; None: it stays."""
        return fault(source, target, self.usual) or (REPEATED if self.repetitions.has(source, target) else None)


class Repetitions:
    """The different pairs of one pass so far: hashes of 8 bytes in a table that is up to three quarters full."""

    def __init__(self) -> None:
        self._slots = _table(SLOTS)
        self._remembered = 0

    def has(self, source: str, target: str) -> bool:
        """Say whether the pair came before, and remember it."""
        digest = blake2b(f"{source}\0{target}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "little") or 1
        slots, last = self._slots, len(self._slots) - 1
        place = key & last
        while slot := slots[place]:
            if slot == key:
                return True
            place = (place + 1) & last
        slots[place] = key
        self._remembered += 1
        if 4 * self._remembered > 3 * len(slots):
            self._slots = _doubled(slots)
        return False


def _table(size: int) -> memoryview:
    """Return slots for hashes, a power of two; 0: free. Single ones are read faster than of an array."""
    return np.zeros(size, np.uint64).data


def _doubled(slots: memoryview) -> memoryview:
    """Return a table of twice the size with the same hashes, all put in at once: each moves on until it finds room."""
    larger = _table(2 * len(slots))
    new, old = np.asarray(larger), np.asarray(slots)
    keys = old[old > 0]
    places = keys & np.uint64(len(new) - 1)
    while len(keys):
        free = new[places] == 0
        new[places[free]] = keys[free]  # of several at one place the last stays
        out = new[places] != keys
        keys, places = keys[out], (places[out] + np.uint64(1)) & np.uint64(len(new) - 1)
    return larger


def identity() -> list[object]:
    """Return what changes whenever other pairs may be left out of the same corpus."""
    return [RULES, *THRESHOLDS, unicodedata.unidata_version]


def _is_long(text: str) -> bool:
    if len(text) <= 2 * THRESHOLDS.words:  # so many words and spaces need more
        return False
    return len(text) > THRESHOLDS.characters or len(text.split()) > THRESHOLDS.words


def _is_copy(source: str, target: str) -> bool:
    if len(source) < THRESHOLDS.copied_letters or _folded(source) != _folded(target):
        return False
    has_words = len(source.split()) >= THRESHOLDS.copied_words or main_script(source) in UNSPACED
    return has_words and sum(letters(source).values()) >= THRESHOLDS.copied_letters


def _folded(text: str) -> str:
    return "".join(text.split()).casefold()


def _is_foreign(text: str, usual: frozenset[str]) -> bool:
    """Say whether nearly all letters are of scripts that are not usual."""
    if not usual or (LATIN in usual and is_latin(text)):
        return False
    found = letters(text)
    foreign = sum(count for script, count in found.items() if script not in usual)
    return foreign >= THRESHOLDS.foreign_letters and foreign >= THRESHOLDS.foreign_share * sum(found.values())


def _scripts(texts: Iterable[str]) -> frozenset[str]:
    """Return the scripts in which more than a few lines are written."""
    lines = Counter(map(main_script, texts))
    lines.pop("", None)
    least = THRESHOLDS.usual_share * lines.total()
    return frozenset(script for script, count in lines.items() if count >= least)
