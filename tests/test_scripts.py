"""Scripts are told by Unicode's names: a sentence of each, the three of Japanese as one, and texts without letters."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from nmt.scripts import LATIN, is_latin, letters, main_script

SENTENCES = {  # "Where is the station?", by script
    "latin": "Où est la gare, près de l’Øresund ?",
    "cyrillic": "Где находится вокзал?",
    "greek": "Πού είναι ο σταθμός;",
    "arabic": "أين المحطة؟",
    "hebrew": "איפה התחנה?",
    "devanagari": "स्टेशन कहाँ है?",
    "thai": "สถานีอยู่ที่ไหน",
    "hangul": "역이 어디에 있습니까?",
    "georgian": "სად არის სადგური?",
    "ethiopic": "ጣቢያው የት ነው?",
    "han and kana": "駅はどこですか、タクシー乗り場は？",
}


@pytest.mark.parametrize("script", SENTENCES)
def test_a_sentence_is_of_its_script(script: str) -> None:
    text = SENTENCES[script]
    assert main_script(text) == script
    assert letters(text) == {script: sum(map(str.isalpha, text))}


@pytest.mark.parametrize("text", ["东京在哪里", "トウキョウ", "ﾄｳｷｮｳ", "とうきょう", "人々"])
def test_chinese_and_all_that_japanese_is_written_in_is_one(text: str) -> None:
    assert set(letters(text)) == {"han and kana"}


@pytest.mark.parametrize("text", ["", "12:30", "… 「！」", "👍"])
def test_without_letters_there_is_no_script(text: str) -> None:
    assert (main_script(text), letters(text)) == ("", {})


def test_letters_are_counted_by_script() -> None:
    assert letters("Tokyo（東京）и 1 Ｔ") == {"latin": 6, "han and kana": 2, "cyrillic": 1}
    assert main_script("ab бв") == "cyrillic", "of equally many letters it is always the same"


def test_the_quick_look_finds_no_letter_latin_that_is_not() -> None:
    quick = [chr(code) for code in range(sys.maxunicode + 1) if is_latin(chr(code)) and chr(code).isalpha()]
    assert len(quick) > 600
    assert {unicodedata.name(character).split()[0] for character in quick} <= {
        "LATIN", "FEMININE", "MASCULINE", "MICRO",
    }  # fmt: skip
    assert {main_script(f"ж{character * 2}") for character in quick} == {LATIN}
