"""How the pieces of a tokenizer are shown, and which words they make up; it knows nothing of attention."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from nmt.inspect.maps import Axis
from nmt.tokenizer import SPACE
from nmt.vocabulary import SPECIALS

BEGIN, END = "<s>", "</s>"
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")  # scripts without spaces


def axis(pieces: Sequence[str], decode: Callable[[Sequence[int]], str]) -> Axis:
    """Return the axis of a sentence's pieces and of its end; `decode` makes text of the pieces at the given places.

    Words are what spaces separate, as in `nmt translate --alignments`; in scripts without spaces each piece is one.
    """
    groups, shown = list[list[int]](), list[str]()
    for place, piece in enumerate(pieces):
        is_first = place == 0 or _begins(pieces[place - 1], piece)
        if is_first:
            groups.append([])
        groups[-1].append(place)
        shown.append(label(piece, is_first=is_first or pieces[place - 1] == SPACE))
    words = [decode(group).strip() or shown[group[0]] for group in groups]
    owners = [number for number, group in enumerate(groups) for _ in group]
    return Axis((*shown, END), (*words, END), (*owners, len(words)))


def _begins(before: str, piece: str) -> bool:
    """Say whether a piece begins a word; where all pieces are words, `<unk>` is one too."""
    if piece.startswith(SPACE) or piece in SPECIALS or before in SPECIALS:
        return True
    return before != SPACE and (is_unspaced(before[-1]) or is_unspaced(piece[0]))


def is_unspaced(character: str) -> bool:
    """Say whether the character's script puts no spaces between words."""
    return unicodedata.name(character, "").startswith(UNSPACED)


def label(piece: str, *, is_first: bool) -> str:
    """Return a piece as people read it; a dot marks letters that go on with a word begun before."""
    if is_first:
        return piece.removeprefix(SPACE) or SPACE
    return f"\u00b7{piece}" if piece[0].isalnum() else piece


def read_before(produced: Axis) -> Axis:
    """Return the axis of what a decoder has read when it produces the tokens of `produced`: the same, a step late."""
    tokens, words, owners = produced
    return Axis((BEGIN, *tokens[:-1]), (BEGIN, *words[:-1]), (0, *(owner + 1 for owner in owners[:-1])))
