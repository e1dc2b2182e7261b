"""Fonts that have the letters of a text: found on this machine, or named, to be installed; it draws nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

OWN = "DejaVu Sans"  # travels with matplotlib: Latin, Cyrillic, Greek, Arabic and Hebrew among others
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
SHOWN = 5  # letters named in a hint


class Fonts(NamedTuple):
    """What a text is drawn with."""

    families: list[str]  # in the order in which a letter is looked for
    missing: str  # letters that no font has


def find(text: str) -> Fonts:
    """Return the font families that together have the letters of a text, as few as go."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager
    wanted = {letter for letter in text if not letter.isspace() and unicodedata.category(letter)[0] != "C"}
    families = [OWN]
    wanted -= _letters(next(entry for entry in fonts.ttflist if entry.name == OWN and _is_regular(entry)))
    wanted = _choose(families, wanted, fonts.ttflist)
    if wanted:
        wanted = _choose(families, wanted, _new(fonts))
    return Fonts(families, "".join(sorted(wanted)))


def _choose(families: list[str], wanted: set[str], entries: Iterable[Any]) -> set[str]:
    """Add families while letters are missing; return the letters that still are."""
    for entry in sorted(filter(_is_regular, entries), key=lambda entry: _rank(entry.name, wanted)):
        if not wanted:
            break
        if found := wanted & _letters(entry):
            families.append(entry.name)
            wanted = wanted - found
    return wanted


def _new(fonts: Any) -> Iterator[Any]:
    """Yield fonts that were installed since matplotlib listed them, which it does once and for all."""
    from matplotlib import font_manager

    known = {entry.fname for entry in fonts.ttflist}
    before = len(fonts.ttflist)
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                fonts.addfont(path)
            except (OSError, RuntimeError, ValueError):  # no font, whatever its name says
                continue
    yield from fonts.ttflist[before:]


def _is_regular(entry: Any) -> bool:
    """Say whether a font is upright, of usual weight and width, and not one of boxes that stand for any letter."""
    is_usual = entry.style == "normal" and entry.stretch == "normal" and str(entry.weight) in ("400", "normal")
    return is_usual and not entry.name.startswith(("Last Resort", ".Last"))


def _rank(name: str, wanted: set[str]) -> tuple[bool, ...]:
    """Return what fonts are sorted by: plain ones first, Han letters in the shape of the text's own language."""
    names = {unicodedata.name(letter, "").split(" ")[0] for letter in wanted}
    region = "JP" if names & {"HIRAGANA", "KATAKANA"} else "KR" if "HANGUL" in names else "SC"
    is_plain = "Sans" in name and "Mono" not in name
    return not name.startswith("Noto"), not is_plain, "CJK" in name and region not in name, name.endswith(" UI")


def _letters(entry: Any) -> set[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(entry.fname, face_index=entry.index).get_charmap()))
    except (OSError, RuntimeError):  # taken away since matplotlib listed it
        return set()


def hint(missing: str) -> str:
    """Return what to do about letters that no font has."""
    names = [unicodedata.name(letter, "") for letter in missing]
    is_east_asian = [name.startswith(EAST_ASIAN) for name in names]
    packages = ["fonts-noto-cjk"] * any(is_east_asian) + ["fonts-noto-core"] * (not all(is_east_asian))
    letters = [letter for letter in missing if letter.isalpha()] or [*missing]  # accents say little by themselves
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    shown = " ".join(letters[:SHOWN]) + more
    return f"no font here has {shown}; on Debian and Ubuntu: apt install {' '.join(packages)}, elsewhere Noto Sans"
