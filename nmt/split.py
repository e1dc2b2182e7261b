"""Texts too long for a model become parts that are not: at sentence ends, else clauses, spaces, anywhere.

It knows nothing of models; what a part costs in tokens it asks. All of it is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

Count = Callable[[Sequence[str]], list[int]]  # the number of tokens of each text

# Only look-behinds of fixed width: `[.!?]+["')]*\s+` would be quadratic on a long row of dots.
_SENTENCES = re.compile(
    r"""(?:(?<=[.!?…])|(?<=[.!?…]["'”’»)\]]))\s+|(?:(?<=[。！？])|(?<=[。！？][」』”）]))(?![」』”）。！？])"""
)
_CLAUSES = re.compile(r"(?<=[,;:])\s+|(?<=[、，；：])")
_WORDS = re.compile(r"\s+")


class Part(NamedTuple):
    """A stretch of the text."""

    text: str
    tokens: int


def split(text: str, count: Count, limit: int) -> list[str]:
    """Return parts of at most `limit` tokens, each, that joined are the text.

    Sentences stay alone, since models are trained on sentences; what is cut finer is packed up to the limit. A single
    character that has more tokens than that is left as it is.
    """
    parts = []
    for sentence in _measure(_cut(text, _SENTENCES), count):
        parts += [sentence] if sentence.tokens <= limit else _pack(_fine(sentence, count, limit), count, limit)
    return [part.text for part in parts]


def _measure(texts: Sequence[str], count: Count) -> list[Part]:
    return [Part(text, tokens) for text, tokens in zip(texts, count(texts), strict=True)]


def _cut(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Cut the text behind each match."""
    ends = [0, *(match.end() for match in pattern.finditer(text)), len(text)]
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False) if start < end]


def _fine(sentence: Part, count: Count, limit: int) -> list[Part]:
    """Return parts within the limit, cut no finer than is needed."""
    parts = _refine([sentence], lambda part: _cut(part.text, _CLAUSES), count, limit)
    parts = _refine(parts, lambda part: _cut(part.text, _WORDS), count, limit)
    while any(len(part.text) > 1 and part.tokens > limit for part in parts):
        parts = _refine(parts, lambda part: _chop(part, limit), count, limit)
    return parts


def _refine(parts: list[Part], cut: Callable[[Part], list[str]], count: Count, limit: int) -> list[Part]:
    """Cut those of the parts that are beyond the limit."""
    fine = list[Part]()
    for part in parts:
        fine += [part] if part.tokens <= limit else _measure(cut(part), count)
    return fine


def _chop(part: Part, limit: int) -> list[str]:
    """Cut into pieces of equal length, so that of a repetition many are equal, and need translating once."""
    size = max(1, min(limit * len(part.text) // part.tokens, len(part.text) // 2))
    return [part.text[start : start + size] for start in range(0, len(part.text), size)]


def _pack(parts: list[Part], count: Count, limit: int) -> list[Part]:
    """Join neighbours while they stay within the limit."""
    groups, total = list[list[str]](), 0
    for part in parts:
        if groups and total + part.tokens <= limit:
            groups[-1].append(part.text)
            total += part.tokens
        else:
            groups.append([part.text])
            total = part.tokens
    packed = _measure(["".join(group) for group in groups], count)
    # A whole can have more tokens than its parts together, if rarely.
    return _refine(packed, lambda part: _chop(part, limit), count, limit)
