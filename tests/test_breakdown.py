"""Classes of lines and what is wrong with outputs: words, numbers, names, URLs, loops, copies."""

from __future__ import annotations

from collections import Counter

import pytest

from nmt.inspect.breakdown import (
    KINDS,
    Copied,
    Group,
    by_content,
    by_length,
    by_rarest_word,
    copied,
    count_words,
    names,
    numbers,
    words,
)
from nmt.inspect.symptoms import SYMPTOMS, Line

NUMBERS, NAMES, URLS = KINDS


def test_lines_are_grouped_by_their_words_and_blank_ones_are_in_no_group() -> None:
    lines = ["a", " ".join("abcde"), " ".join("abcdef"), "", "x " * 61, "x " * 60, "\u3000"]
    assert by_length(lines) == [
        Group("1-5", [0, 1]),
        Group("6-10", [2]),
        Group("51-60", [5]),
        Group("61+", [4]),
    ]


def test_characters_count_where_no_spaces_separate_words() -> None:
    assert by_length(["我很好吗谢谢"]) == [Group("6-10", [0])]
    assert words("我好 OK") == ["我", "好", "ok"]


def test_the_rarest_word_decides_on_the_group() -> None:
    seen = count_words(["The dog, the DOG.", "a cat's dog"] * 5, {"the", "dog", "cat's", "zebra"})
    assert seen == Counter({"the": 10, "dog": 15, "cat's": 5})
    lines = ["The dog!", "the cat's dog", "a zebra", "...", "Dog dog"]
    assert by_rarest_word(lines, seen) == [Group("0", [2]), Group("1-9", [1]), Group("10-99", [0, 4])]


def test_last_group_has_no_end() -> None:
    assert by_rarest_word(["dog"], Counter(dog=1000)) == [Group("1,000+", [0])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I paid 1,000.50 for 3 dogs at 12:30.", ["100050", "3", "1230"]),
        ("see www.example.org/2024 in ٣ days", ["3"]),
        ("B2 has 7.", ["2", "7"]),
        ("none", []),
    ],
)
def test_numbers_are_their_digits(text: str, expected: list[str]) -> None:
    assert numbers(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man in New York sees Ms. Smith-Jones.", ["New", "York", "Ms"]),
        ("He left. Then I came with Ann's dog; I'm Bob.", ["Ann's", "Bob"]),
        ("Он видел Москву.", ["Москву"]),
        ("Berlin is big.", []),
        ("See https://Example.org/Path now", []),
    ],
)
def test_names_are_capitalised_words_inside_a_sentence(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_urls_end_before_the_punctuation_around_them() -> None:
    found = URLS.found("Go to https://example.org/a?b=c, (www.example.com) or me@example.org.")
    assert found == ["https://example.org/a?b=c", "www.example.com", "me@example.org"]


def test_a_line_can_be_in_several_classes_of_content() -> None:
    lines = ["In Paris 3 dogs", "a dog", "a cat at www.example.org", "4 dogs", ""]
    assert by_content(lines) == [
        Group("with numbers", [0, 3]),
        Group("with names", [0]),
        Group("with URLs", [2]),
        Group("with none of these", [1, 4]),
    ]


def test_only_what_a_reference_has_too_was_to_be_copied() -> None:
    sources = ["3 men and 1,000 dogs", "12 and 12"]
    references = [["drei Männer und 1.000 Hunde", "12 und 12"], ["3 Männer", "zwölf"]]
    assert copied(NUMBERS, sources, references, ["3 Männer und 1000 Hunde", "12 und 13"]) == Copied(4, 3)
    assert copied(NUMBERS, sources, references[:1], ["", ""]) == Copied(3, 0)
    assert copied(NAMES, ["he saw Paris and Rome"], [["Paris und Rom"]], ["In Paris"]) == Copied(1, 1)


def line(hypothesis: str, source: str = "a dog runs home", reference: str = "ein Hund rennt heim") -> Line:
    return Line(source, hypothesis, [reference])


@pytest.mark.parametrize(
    ("symptom", "sick", "sound"),
    [
        ("empty outputs", line("\u200b"), line("", "", "")),
        ("looping outputs", line("ein Hund Hund, Hund"), line("ein Hund Hund")),
        ("looping outputs", line("der Mann der Mann rennt"), line("der Mann, der rennt, der Mann")),
        ("looping outputs", line("a b c d e f g h " * 2), line("ha ha ha", reference="hi hi hi")),
        ("untranslated copies", line("A dog runs."), line("ein dog rennt heim")),
        ("untranslated copies", line("a dog runs home"), line("a dog runs home", reference="a dog runs home")),
        ("untranslated copies", line("a dog rennt", "a dog runs"), line("a dog rennt", "a dog runs home")),
        ("untranslated copies", line("a dog 3", "a dog 4", "x"), line("3 4 5", "3 4 5", "drei")),
        ("unknown characters", line("ein \ufffd"), line("ein \ufffd", reference="\ufffd")),
        ("unknown characters", line("ein ⁇ Hund"), line("ein <b> Hund")),
        ("unknown characters", line("ein <unk> Hund"), line("unk")),
    ],
)
def test_symptoms_are_seen_where_they_are_and_nowhere_else(symptom: str, sick: Line, sound: Line) -> None:
    assert SYMPTOMS[symptom](sick)
    assert not SYMPTOMS[symptom](sound)
