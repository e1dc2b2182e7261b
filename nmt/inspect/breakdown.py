"""Classes of a test set's lines: by length, by the rarest word, by what has to be copied; it knows nothing of scores.

Lines are numbered from 0. Words are what spaces separate, and each character of the scripts that write none.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple
from unicodedata import decimal

# Thai, Lao, Myanmar, Khmer, Japanese and Chinese.
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
TOKEN = re.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")
WORD = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+(?:['’-][^\W{SPACELESS}]+)*")
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
URL = re.compile(r"(?:https?://|www\.)\S*[^\s.,;:!?)\]}\"'”’»]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
SENTENCE_ENDS = tuple('.!?…:"“”„«»¿¡')

LENGTHS = (1, 6, 11, 16, 21, 31, 41, 51, 61)  # words: where each group begins
FREQUENCIES = (0, 1, 10, 100, 1000)  # occurrences in the training corpus


class Group(NamedTuple):
    """Lines that have something in common."""

    label: str
    rows: list[int]


class Kind(NamedTuple):
    """What a translation often has to take over as it stands."""

    name: str
    wanted: Callable[[str], list[str]]  # those in a source
    found: Callable[[str], list[str]]  # those in a translation


class Copied(NamedTuple):
    """How many of one kind were copied right."""

    due: int  # those of the sources that stand in a reference too
    right: int  # of these, those in the hypotheses


def words(text: str) -> list[str]:
    """Return the words without punctuation, in one case."""
    return [word.casefold() for word in WORD.findall(text)]


def numbers(text: str) -> list[str]:
    """Return the digits of each number: 1,000 and 1.000 are the same in two languages."""
    return ["".join(str(decimal(c)) for c in number if c.isdecimal()) for number in NUMBER.findall(URL.sub(" ", text))]


def names(text: str) -> list[str]:
    """Return the capitalised words of two letters or more that do not begin a sentence."""
    return [word for word in _inside(URL.sub(" ", text)) if word[0].isupper() and len(re.split("['’]", word)[0]) > 1]


def _inside(text: str) -> Iterator[str]:
    for match in WORD.finditer(text):
        before = text[: match.start()].rstrip()
        if before and not before.endswith(SENTENCE_ENDS):
            yield match[0]


KINDS = (
    Kind("numbers", numbers, numbers),
    Kind("names", names, WORD.findall),
    Kind("URLs", URL.findall, URL.findall),
)


def by_length(lines: Sequence[str]) -> list[Group]:
    """Return groups of lines by their number of words; blank lines are in none."""
    return _grouped([len(TOKEN.findall(line)) or None for line in lines], LENGTHS)


def by_rarest_word(lines: Sequence[str], occurrences: Counter[str]) -> list[Group]:
    """Return groups of lines by how often the rarest of their words was seen in training; see `count_words`."""
    rarest = [min((occurrences[word] for word in words(line)), default=None) for line in lines]
    return _grouped(rarest, FREQUENCIES)


def by_content(lines: Sequence[str]) -> list[Group]:
    """Return the lines with numbers, with names, with URLs, and those with none of these; a line can be in several."""
    groups = [Group(f"with {kind.name}", _rows(lines, kind.wanted)) for kind in KINDS]
    special = {row for group in groups for row in group.rows}
    groups.append(Group("with none of these", [row for row in range(len(lines)) if row not in special]))
    return [group for group in groups if group.rows]


def _rows(lines: Sequence[str], wanted: Callable[[str], list[str]]) -> list[int]:
    return [row for row, line in enumerate(lines) if wanted(line)]


def count_words(lines: Iterable[str], wanted: Collection[str]) -> Counter[str]:
    """Count the wanted words in lines of any number, which are read once."""
    found = Counter[str]()
    for line in lines:
        found.update(word for word in words(line) if word in wanted)
    return found


def copied(kind: Kind, sources: Sequence[str], references: Sequence[Sequence[str]], lines: Sequence[str]) -> Copied:
    """Return how many of what sources and references share are in the lines, which are hypotheses."""
    due = right = 0
    for source, line, *given in zip(sources, lines, *references, strict=True):
        known = Counter[str]()
        for reference in given:
            known |= Counter(kind.found(reference))
        wanted = Counter(kind.wanted(source)) & known
        due += wanted.total()
        right += (wanted & Counter(kind.found(line))).total()
    return Copied(due, right)


def _grouped(values: Sequence[int | None], starts: Sequence[int]) -> list[Group]:
    """Return the lines whose values lie between neighbouring starts; groups without a line are left out."""
    found = defaultdict[int, list[int]](list)
    for row, value in enumerate(values):
        if value is not None:
            found[bisect_right(starts, value) - 1].append(row)
    return [Group(_label(starts, place), rows) for place, rows in sorted(found.items())]


def _label(starts: Sequence[int], place: int) -> str:
    if place == len(starts) - 1:
        return f"{starts[place]:,}+"
    first, last = starts[place], starts[place + 1] - 1
    return f"{first}" if first == last else f"{first}-{last}"
