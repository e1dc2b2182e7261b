"""What a corpus is like, in numbers: lengths, scripts, case, words, repetitions; it knows nothing of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nmt.cleaning import LONGEST, REPEATED, Repetitions, evenly, fault, learn
from nmt.scripts import UNSPACED, main_script

SPACED = 0.1  # of the characters are white space where words are separated by it: English has 0.18, German 0.14
TOGETHER = 1_000  # texts are counted at once: a call for each would cost more than the counting
CASED = 0.5  # of the letters can be upper- or lowercase in a script that has case


@dataclass(frozen=True)
class Lengths:
    """How long the texts of one side are, in one unit."""

    mean: float
    most: float  # 95 % are at most so long


@dataclass(frozen=True)
class Side:
    """One side of a corpus; of a side without letters the script is "" and the shares are 0."""

    characters: Lengths  # a text counts as 10,000 at most
    words: Lengths  # what stands between white space
    script: str  # that most lines are written in: latin, cyrillic, han and kana, ...
    has_case: bool
    uppercase: float  # share of the letters with case
    has_spaces: bool  # between words; without them the words counted here are whole phrases
    tokens: int  # words of the sample
    types: int  # different ones
    once: float  # share of the different words that stand in the sample once

    def told(self) -> str:
        """Return script and lengths in words, and how many words there are where these can be told apart."""
        unit, lengths = ("words", self.words) if self.has_spaces else ("characters", self.characters)
        found = f"{self.script or 'no letters'}, {lengths.mean:.1f} {unit} a line, 95 % have at most {lengths.most:.0f}"
        if not self.has_spaces:
            return found
        return f"{found}; {self.types:,} different words, {100 * self.once:.0f} % of them once"


@dataclass(frozen=True)
class CorpusProfile:
    """What a corpus is like; everything but the number of pairs is measured on a sample, spread evenly over it."""

    pairs: int
    sampled: int  # pairs, all of a corpus of up to 200,000
    source: Side
    target: Side
    repeated: float  # share of the pairs that came before in the whole corpus
    identical: float  # share of the pairs with the same text on both sides
    faults: Mapping[str, float]  # share of the pairs that cleaning drops, by its reason

    @property
    def dropped(self) -> float:
        """Return the share of the pairs that cleaning drops."""
        return sum(self.faults.values())

    def lines(self) -> list[str]:
        """Return a line about each side, for people."""
        sample = "" if self.sampled == self.pairs else f", of a sample of {self.sampled:,}"
        return [f"{name}: {side.told()}{sample}" for name, side in (("source", self.source), ("target", self.target))]


def profile(pairs: Iterable[tuple[str, str]]) -> CorpusProfile:
    """Return the profile of pairs, none of whose sides is blank, in one pass; at least one pair is needed."""
    count, repetitions = 0, Repetitions()

    def rows() -> Iterable[tuple[str, str, bool]]:
        nonlocal count
        for source, target in pairs:
            count += 1
            yield source[:LONGEST], target[:LONGEST], repetitions.has(source, target)

    sample = evenly(rows())
    usual = learn((source, target) for source, target, _ in sample)
    faults = Counter(
        reason
        for source, target, is_repeated in sample
        if (reason := fault(source, target, usual) or (REPEATED if is_repeated else None))
    )
    return CorpusProfile(
        pairs=count,
        sampled=len(sample),
        source=_side([source for source, _, _ in sample]),
        target=_side([target for _, target, _ in sample]),
        repeated=sum(is_repeated for _, _, is_repeated in sample) / len(sample),
        identical=sum(source == target for source, target, _ in sample) / len(sample),
        faults={reason: number / len(sample) for reason, number in faults.items()},
    )


def _side(texts: Sequence[str]) -> Side:
    characters, words = Counter[str](), Counter[str]()
    for start in range(0, len(texts), TOGETHER):
        joined = "\n".join(texts[start : start + TOGETHER])
        characters.update(joined)
        words.update(joined.split())
    characters.pop("\n", None)  # between the texts; none has one inside
    scripts = Counter(map(main_script, texts))
    scripts.pop("", None)
    script = min(scripts, key=lambda name: (-scripts[name], name), default="")
    upper, lower, letters, blank = (
        sum(number for character, number in characters.items() if holds(character))
        for holds in (str.isupper, str.islower, str.isalpha, str.isspace)
    )
    return Side(
        characters=_lengths([len(text) for text in texts]),
        words=_lengths([len(text.split()) for text in texts]),
        script=script,
        has_case=upper + lower > CASED * letters,
        uppercase=upper / max(1, upper + lower),
        has_spaces=script not in UNSPACED or blank >= SPACED * characters.total(),
        tokens=words.total(),
        types=len(words),
        once=sum(number == 1 for number in words.values()) / max(1, len(words)),
    )


def _lengths(numbers: list[int]) -> Lengths:
    ordered = sorted(numbers)
    return Lengths(sum(ordered) / len(ordered), ordered[(19 * len(ordered) - 1) // 20])
