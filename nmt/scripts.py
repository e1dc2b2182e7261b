"""Which script a text is written in, by the names Unicode gives its letters; it knows nothing of languages or pairs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

LATIN, EAST_ASIAN = "latin", "han and kana"
# Names of letters begin with their script; these are the scripts of what is named otherwise. Japanese writes three
# scripts in one sentence, which count as one here, and Chinese is written in one of them.
ALIASES = {
    "cjk": EAST_ASIAN, "hiragana": EAST_ASIAN, "katakana": EAST_ASIAN, "katakana-hiragana": EAST_ASIAN,
    "ideographic": EAST_ASIAN, "halfwidth": EAST_ASIAN, "vertical": EAST_ASIAN, "bopomofo": EAST_ASIAN,
    "fullwidth": LATIN, "feminine": LATIN, "masculine": LATIN, "micro": LATIN, "kelvin": LATIN, "angstrom": LATIN,
}  # fmt: skip
# Scripts without spaces between words.
UNSPACED = frozenset({EAST_ASIAN, "thai", "lao", "khmer", "myanmar", "tibetan"})

# Found in no text of Latin letters alone: these, with the usual punctuation, need no look-up of each.
BEYOND_LATIN = re.compile("[^\u0000-\u024f\u1e00-\u1eff\u2000-\u206f\u20ac]")


def is_latin(text: str) -> bool:
    """Say at once that all letters, if there are any, are Latin; False: there may be others."""
    return not BEYOND_LATIN.search(text)


def letters(text: str) -> dict[str, int]:
    """Return how many letters of each script a text has."""
    if is_latin(text):
        count = sum(map(str.isalpha, text))
        return {LATIN: count} if count else {}
    found = Counter[str]()
    for character, count in Counter(text).items():
        if script := _script(character):
            found[script] += count
    return dict(found)


def main_script(text: str) -> str:
    """Return the script of most letters, of equally many the first one by name; "" where there is no letter."""
    if is_latin(text):
        return LATIN if any(map(str.isalpha, text)) else ""
    found = letters(text)
    return min(found, key=lambda script: (-found[script], script), default="")


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """Return the script of a letter, "" for what is none."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "unknown").split()[0].lower()
    return ALIASES.get(name, name)
