"""Takes validation and test pairs out of a training corpus that came without any, and keeps them in the run folder.

No side of a held-out pair stays in training, unless the text repeats itself too much for that, so that scores are those
of unseen sentences.
"""

from __future__ import annotations

import hashlib
import random
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

from nmt.config import DataConfig
from nmt.corpus import Pair, ParallelCorpus, read_lines
from nmt.errors import DataError, OptionError
from nmt.sealed import remove_file, replace_file
from nmt.text import clean

SHARE, MOST = 50, 1000  # one pair in 50, at most 1,000
FEWEST = 50  # a smaller corpus is validated on itself: it cannot spare a pair
FEWEST_WITH_TEST = 5_000  # with 100 pairs of a smaller one no two systems could be told apart
DRAWN = 3  # times as many pairs as a test set has, of which those are taken that share nothing
SPARED = 10  # of as many pairs one may be left out because of a held-out one: more is text that repeats itself
STAYS, HELD, SIDE, SAME = 1, 0, 2, 3  # a pair: in training, held out, with a side of a held-out one, with both

Part = Literal["valid", "test"]
PARTS: tuple[Part, Part] = ("valid", "test")


class HeldOut:
    """A corpus without some of its pairs, streamed like the corpus itself."""

    def __init__(self, corpus: ParallelCorpus, stays: bytes | None = None) -> None:
        """Leave out the pairs for which `stays` has a zero byte; None: none of them."""
        self.corpus, self.stays = corpus, stays

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs that stay."""
        return iter(self.corpus) if self.stays is None else compress(self.corpus, self.stays)

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with the corpus and with what is left out."""
        without = hashlib.sha256(self.stays or b"").hexdigest()
        return hashlib.sha256(f"{self.corpus.fingerprint()} {without}".encode()).hexdigest()

    def apart(self) -> list[OneOf]:
        """Return each corpus by itself, without those of its pairs that are left out."""
        return [OneOf(self, number) for number in range(len(self.corpus.names))]


class OneOf:
    """One of the corpora, as it is among the others: what is repeated or usual was seen in all of them."""

    def __init__(self, whole: HeldOut, number: int) -> None:
        self.whole, self.number = whole, number

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs of this corpus that stay; the others are read as well. Raises DataError if there are none."""
        corpus, stays = self.whole.corpus.numbered(), self.whole.stays
        kept = 0
        for number, pair in corpus if stays is None else compress(corpus, stays):
            if number == self.number:
                kept += 1
                yield pair
        if not kept:
            name = self.whole.corpus.names[self.number]
            raise DataError(f"{name}: no pair is left of this corpus; leave it out")

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes with all the corpora and with which of them this is."""
        return hashlib.sha256(f"{self.whole.fingerprint()} {self.number}".encode()).hexdigest()


class Split(NamedTuple):
    """A corpus in parts."""

    training: HeldOut
    valid: list[Pair]  # empty where none are held out
    test: list[Pair]
    notes: list[str]  # what the user should know


class _Drawn(NamedTuple):
    """The numbers of the pairs that may be held out, from 0."""

    valid: frozenset[int]
    test: list[int]  # more than are needed
    size: int  # pairs that a test needs
    all: frozenset[int]


def hold_out(
    corpus: ParallelCorpus, seed: int, *, has_valid: bool = True, has_test: bool = False, is_strict: bool = True
) -> Split:
    """Split 2 % of the pairs (at most 1,000) off for validation, and as many for a test; the same ones for a seed.

    Of corpora with a tag, which are synthetic, none are held out. Pairs that share a side with a held-out one are left
    out of training, too, unless they are more than a tenth of all; without `is_strict` they stay.
    """
    count, notes = corpus.statistics().kept, list[str]()
    places = _places(corpus, count, notes) if has_valid or has_test else range(count)
    if has_test and len(places) < FEWEST_WITH_TEST:
        few = f"{len(places):,}, fewer than {FEWEST_WITH_TEST:,}"
        notes.append(f"no test pairs are held out of {few}; give a test corpus")
        has_test = False
    if len(places) < FEWEST or not (has_valid or has_test):
        return Split(HeldOut(corpus), [], [], notes)
    drawn = _draw(places, random.Random(seed), has_valid=has_valid, has_test=has_test)
    pairs = {number: pair for number, pair in enumerate(corpus) if number in drawn.all}
    test_places = _apart(drawn, pairs)
    held = {number: pair for number, pair in pairs.items() if number in drawn.valid or number in test_places}
    valid, test = ([pair for number, pair in held.items() if number in part] for part in (drawn.valid, test_places))
    marks = _marks(corpus, count, held, is_strict=is_strict)
    return Split(HeldOut(corpus, _staying(marks, notes)), valid, test, notes)


def _places(corpus: ParallelCorpus, count: int, notes: list[str]) -> Sequence[int]:
    """Return the numbers of the pairs that are no synthetic ones, or of all where those are too few."""
    tagged = corpus.tagged
    if not tagged:
        return range(count)
    places = array("q", (number for number, (part, _) in enumerate(corpus.numbered()) if part not in tagged))
    if len(places) >= FEWEST:
        return places
    notes.append(f"{len(places)} pairs have no tag, too few: tagged ones are held out, too; validate on real pairs")
    return range(count)


def _draw(places: Sequence[int], chance: random.Random, *, has_valid: bool, has_test: bool) -> _Drawn:
    size = min(MOST, len(places) // SHARE)
    valid = frozenset(chance.sample(places, size)) if has_valid else frozenset[int]()
    drawn = chance.sample(places, DRAWN * size) if has_test else []
    test = [number for number in drawn if number not in valid]
    return _Drawn(valid, test, size, valid.union(test))


def _apart(drawn: _Drawn, pairs: Mapping[int, Pair]) -> frozenset[int]:
    """Return the pairs for a test: they share no side with others that are held out, if there are enough."""
    sources, targets = ({_keys(pairs[number])[side] for number in drawn.valid} for side in (0, 1))
    apart, others = list[int](), list[int]()
    for number in drawn.test:
        source, target = _keys(pairs[number])
        (others if source in sources or target in targets else apart).append(number)
        sources.add(source)
        targets.add(target)
    return frozenset([*apart, *others][: drawn.size])


def _marks(corpus: ParallelCorpus, count: int, held: Mapping[int, Pair], *, is_strict: bool) -> bytearray:
    """Return a byte for each pair: what it is to those that are held out, by their numbers."""
    marks = bytearray([STAYS]) * count
    if is_strict:
        same = set(map(_keys, held.values()))
        sources, targets = ({key[side] for key in same} for side in (0, 1))
        for number, pair in enumerate(corpus):
            source, target = key = _keys(pair)
            if source in sources or target in targets:
                marks[number] = SAME if key in same else SIDE
    for number in held:
        marks[number] = HELD
    return marks


def _staying(marks: bytearray, notes: list[str]) -> bytes:
    """Return a byte for each pair, 0 if it is left out, and note what is left out with the held-out pairs."""
    same = marks.count(SAME)
    shared, most = same + marks.count(SIDE), len(marks) // SPARED
    if shared <= most:
        out: tuple[int, ...] = (SIDE, SAME)
        if shared:
            notes.append(f"left out {shared:,} training pairs that share a side with a held-out pair")
    else:
        out = (SAME,) if same <= most else ()
        left = f"only the {same:,} that share both are left out" if out else "they stay in training"
        notes.append(
            f"the text repeats itself: {shared:,} of {len(marks):,} training pairs share a side with a held-out pair; "
            f"{left}"
        )
    return bytes(marks).translate(bytes(mark not in (HELD, *out) for mark in range(256)))


def _keys(pair: Pair) -> tuple[str, str]:
    """Return what the sides of a pair have in common with the same text in other case, between other spaces."""
    source, target = pair
    return source.strip().casefold(), target.strip().casefold()


# ---- in the run folder ------------------------------------------------------------------------------------------


def paths(run: Path, part: Part, data: DataConfig) -> tuple[Path, Path]:
    """Return where source and target of held-out pairs lie in a run, whether they are there or not."""
    languages = data.source_lang, data.target_lang
    are_names = len(set(languages)) == 2 and all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in languages)
    source, target = languages if are_names else ("source", "target")
    return run / f"heldout.{part}.{source}", run / f"heldout.{part}.{target}"


def is_saved(run: Path, part: Part, data: DataConfig) -> bool:
    """Say whether the pairs of a part lie in the run folder."""
    return any(path.exists() for path in paths(run, part, data))


def save(run: Path, split: Split, data: DataConfig) -> None:
    """Write what is held out as plain text into a run folder; what another start of the run left there goes."""
    parts: dict[Part, list[Pair]] = {"valid": split.valid, "test": split.test}
    for part, pairs in parts.items():
        for side, path in enumerate(paths(run, part, data)):
            if pairs:
                replace_file(path, "".join(f"{clean(pair[side])}\n" for pair in pairs).encode())
            else:
                remove_file(path)


def again(run: Path, corpus: ParallelCorpus, data: DataConfig, seed: int) -> Split:
    """Return the split that a run began with; raise OptionError where it has saved other pairs than are held out now.

    What that was its folder tells: the option data.test may change, and runs begun before pairs with a side of a
    held-out one were left out of training have no files of them.
    """
    has_valid, has_test = (is_saved(run, part, data) for part in PARTS)
    split = hold_out(corpus, seed, has_valid=not data.valid, has_test=has_test, is_strict=has_valid or has_test)
    check(run, split, data)
    return split


def check(run: Path, split: Split, data: DataConfig) -> None:
    """Raise OptionError where a run has saved other pairs than are held out now: it may have learnt from these."""
    parts: dict[Part, list[Pair]] = {"valid": split.valid, "test": split.test}
    for part, pairs in parts.items():
        if not is_saved(run, part, data):
            continue
        then = list(zip(*load(run, part, data), strict=True))
        if [tuple(map(_as_read, pair)) for pair in pairs] != [tuple(map(_as_read, pair)) for pair in then]:
            name = paths(run, part, data)[0]
            raise OptionError(f"{name}: other pairs are held out now; was it changed? choose another folder with -o")


def _as_read(text: str) -> str:
    return clean(text).removeprefix("\ufeff")  # a mark at the beginning of a file is not read


def load(run: Path, part: Part, data: DataConfig) -> tuple[list[str], list[str]]:
    """Return sources and targets as they were saved; raises DataError if a file is missing, or lines of it."""
    source, target = paths(run, part, data)
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise DataError(f"{target}: {len(targets)} lines, {source.name} has {len(sources)}; copy the folder again")
    return sources, targets
