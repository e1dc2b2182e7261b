"""What is wrong with a translation at first sight: empty, looping, copied, unknown; it knows nothing of scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nmt.inspect.breakdown import words
from nmt.text import is_blank

LONGEST_LOOP = 8  # words
UNKNOWN = re.compile("\ufffd|⁇|<unk>")  # U+2047 is what sentencepiece shows of an unknown piece


class Line(NamedTuple):
    """A translation with what it came from and what was expected."""

    source: str  # empty where it is unknown
    hypothesis: str
    references: Sequence[str]


def is_empty(line: Line) -> bool:
    """Say whether nothing was made of something."""
    return is_blank(line.hypothesis) and not all(is_blank(text) for text in (line.source, *line.references))


def is_looping(line: Line) -> bool:
    """Say whether a word stands there three times in a row, or several words twice, and in source and reference not."""
    return _loops(line.hypothesis) and not any(_loops(text) for text in (line.source, *line.references))


def is_copy(line: Line) -> bool:
    """Say whether the words of source and translation are mostly the same, and those of the references are not.

    Mostly: the intersection is half of the union or more, numbers not counted (Ott et al. 2018, arXiv 1803.00047).
    """
    return _is_alike(line.source, line.hypothesis) and not any(_is_alike(line.source, text) for text in line.references)


def has_unknown(line: Line) -> bool:
    """Say whether characters are there that no model can write."""
    return bool(UNKNOWN.search(line.hypothesis)) and not any(UNKNOWN.search(text) for text in line.references)


SYMPTOMS: dict[str, Callable[[Line], bool]] = {
    "empty outputs": is_empty,
    "looping outputs": is_looping,
    "untranslated copies": is_copy,
    "unknown characters": has_unknown,
}


def _loops(text: str) -> bool:
    said = words(text)
    return _repeats(said, 1, 3) or any(_repeats(said, size, 2) for size in range(2, LONGEST_LOOP + 1))


def _repeats(said: Sequence[str], size: int, times: int) -> bool:
    """Say whether some n-gram of that size follows itself so many times in a row."""
    run = 0  # places in a row where the word is the one `size` places before
    for place in range(size, len(said)):
        run = run + 1 if said[place] == said[place - size] else 0
        if run == size * (times - 1):
            return True
    return False


def _is_alike(left: str, right: str) -> bool:
    one, other = ({word for word in words(text) if not word.isdecimal()} for text in (left, right))
    return bool(one & other) and 2 * len(one & other) >= len(one | other)
