"""The profile of a corpus: every number by hand on made-up pairs, what is known of real ones, long ones sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from corpora import ROOT, multi30k

from nmt import cleaning
from nmt.cleaning import COPIED, MISMATCHED, REPEATED, Cleaner, learn
from nmt.config import DataConfig
from nmt.corpus import ParallelCorpus
from nmt.corpus_profile import CorpusProfile, Lengths, profile

PAIRS = [("a bb a", "駅は"), ("A bb c", "駅は"), ("a bb a", "駅は"), ("Bb", "Bb")]


def test_every_number_of_a_corpus_by_hand() -> None:
    found = profile(iter(PAIRS))
    assert (found.pairs, found.sampled, found.repeated, found.identical) == (4, 4, 0.25, 0.25)
    assert (found.faults, found.dropped) == ({REPEATED: 0.25}, 0.25)
    source, target = found.source, found.target
    assert (source.characters, source.words) == (Lengths(5.0, 6), Lengths(2.5, 3))
    assert (source.script, source.has_case, source.uppercase, source.has_spaces) == ("latin", True, 2 / 14, True)
    assert (source.tokens, source.types, source.once) == (10, 5, 3 / 5)  # a bb A c Bb
    assert (target.characters, target.words) == (Lengths(2.0, 2), Lengths(1.0, 1))
    assert (target.script, target.has_case, target.uppercase, target.has_spaces) == ("han and kana", False, 0.5, False)
    assert (target.tokens, target.types, target.once) == (4, 2, 0.5)


def test_nineteen_of_twenty_are_at_most_as_long() -> None:
    for pairs, most in ((1, 1), (2, 2), (19, 19), (20, 19), (40, 38), (100, 95)):
        found = profile([("a" * length, "b " * length) for length in range(1, pairs + 1)])
        assert (found.source.characters.most, found.target.words.most) == (most, most)


@pytest.mark.parametrize(
    ("text", "script", "has_case", "has_spaces"),
    [
        ("駅 は どこ です か", "han and kana", False, True),  # words were separated by somebody
        ("東京 駅はどこですか", "han and kana", False, True),  # one in ten
        ("東京の 駅はどこですか", "han and kana", False, False),
        ("สถานีอยู่ที่ไหน", "thai", False, False),
        ("역이 어디에 있습니까", "hangul", False, True),
        ("где вокзал", "cyrillic", True, True),
        ("glossary", "latin", True, True),
        ("12", "", False, True),
    ],
)
def test_case_and_spaces_are_told_by_the_text(text: str, script: str, has_case: bool, has_spaces: bool) -> None:
    side = profile([(text, "x")] * 30).source
    assert (side.script, side.has_case, side.has_spaces) == (script, has_case, has_spaces)


def test_a_long_corpus_is_sampled_evenly_and_repetitions_are_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        for number in range(2500):
            yield f"number {number % 2000}", f"Zahl {number % 2000}"

    monkeypatch.setattr(cleaning, "MOST_PAIRS", 1000)
    found = profile(pairs())
    assert (found.pairs, found.sampled) == (2500, 625)
    assert (found.repeated, found.faults) == (0.2, {REPEATED: 0.2})
    assert found.source.tokens == 1250


def test_a_text_counts_up_to_a_limit_and_fills_no_memory() -> None:
    found = profile([("ab " * 100_000, "b"), ("ab", "b")])
    assert found.source.characters == Lengths((10_000 + 2) / 2, 10_000)


def test_the_share_that_cleaning_drops_is_that_of_cleaning() -> None:
    pairs = [(f"the dog number {n} runs", f"der Hund Nummer {n} läuft") for n in range(16)]
    pairs += [pairs[3], ("no", "this is far longer than it"), ("copied from here to there",) * 2, ("12", "12")]
    cleaner, found = Cleaner(learn(pairs)), profile(pairs)
    assert found.dropped == pytest.approx(sum(cleaner.reason(*pair) is not None for pair in pairs) / len(pairs))
    assert found.faults == {REPEATED: 0.05, MISMATCHED: 0.05, COPIED: 0.05}


def real(name: str, *files: str) -> CorpusProfile:
    if not (ROOT / name / files[0]).exists():
        multi30k("train")  # says that corpora are absent
        pytest.skip(f"{name} is absent; set NMT_DATA to the corpora")
    return profile(ParallelCorpus([str(ROOT / name / file) for file in files], DataConfig()))


@pytest.mark.slow
def test_japanese_has_neither_spaces_nor_case() -> None:
    found = real("tatoeba-ja-en", "train.ja", "train.en")
    assert found.pairs == found.sampled == 50_643
    assert (found.source.script, found.source.has_spaces, found.source.has_case) == ("han and kana", False, False)
    assert (found.target.script, found.target.has_spaces, found.target.has_case) == ("latin", True, True)
    assert (found.source.tokens, found.target.tokens) == (50_733, 329_114)  # as wc counts words
    assert found.dropped == found.identical == 0


def test_captions_are_of_one_kind() -> None:
    found = real("multi30k", "train.en", "train.de")
    assert (found.source.tokens, found.target.tokens) == (345_020, 322_383)  # as wc counts words
    assert found.repeated == pytest.approx(3 / 29_000)  # sort | uniq -d
    assert 0.02 < found.source.uppercase < found.target.uppercase < 0.1, "German writes nouns with a capital"
    assert found.source.once < found.target.once, "and joins them"


def test_each_side_is_told_in_a_line() -> None:
    about = profile([("A dog runs.", "犬が走る。"), ("A cat runs.", "猫が走る。")])
    assert about.lines() == [
        "source: latin, 3.0 words a line, 95 % have at most 3; 4 different words, 50 % of them once",
        "target: han and kana, 5.0 characters a line, 95 % have at most 5",
    ]
    assert replace(about, sampled=1).lines()[1].endswith("at most 5, of a sample of 1")
    assert profile([("1 2", "x")]).lines()[0].startswith("source: no letters, 2.0 words")
