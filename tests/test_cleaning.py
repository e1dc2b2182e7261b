"""The rules of cleaning: a pair on each side of every threshold, and next to nothing lost of clean corpora."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from corpora import ROOT, multi30k
from trainings import write_files

from nmt import cleaning
from nmt.cleaning import COPIED, FOREIGN, MISMATCHED, REPEATED, TOO_LONG, Cleaner, Usual, evenly, fault, learn
from nmt.config import DataConfig
from nmt.corpus import ParallelCorpus
from nmt.errors import DataError
from nmt.text import Place

LATIN, KANA = frozenset({"latin"}), frozenset({"han and kana"})
LATINS = Usual(1.0, LATIN, LATIN)
JAPANESE = Usual(2.0, KANA, LATIN)
SERBIAN = Usual(1.0, LATIN | {"cyrillic"}, LATIN)
QUESTION = "駅はどこですか、タクシー乗り場はどこですか"


ROWS = {  # source, target, what is usual, why it is dropped
    "2,000 characters": ("a" * 2000, "b" * 2000, LATINS, None),
    "2,001 characters": ("a" * 2001, "b" * 2000, LATINS, TOO_LONG),
    "2,001 characters in the target": ("a" * 2000, "b" * 2001, LATINS, TOO_LONG),
    "250 words": ("abc " * 250, "bcd " * 250, LATINS, None),
    "251 words": ("abc " * 250, "bcd " * 251, LATINS, TOO_LONG),
    "251 words of one letter": ("a " * 250 + "a", "b " * 250 + "b", LATINS, TOO_LONG),
    "four times as long": ("a" * 20, "b" * 95, LATINS, None),
    "longer than that": ("a" * 20, "b" * 96, LATINS, MISMATCHED),
    "a fourth as long": ("a" * 95, "b" * 20, LATINS, None),
    "shorter than that": ("a" * 96, "b" * 20, LATINS, MISMATCHED),
    "one letter for 19": ("I", "b" * 19, LATINS, None),
    "one letter for 20": ("I", "b" * 20, LATINS, MISMATCHED),
    "four times as long for Japanese": ("駅" * 40, "b" * 335, JAPANESE, None),
    "longer for Japanese": ("駅" * 40, "b" * 336, JAPANESE, MISMATCHED),
    "for Japanese far shorter": ("駅" * 40, "b" * 16, JAPANESE, MISMATCHED),
    "for Japanese short": ("駅" * 40, "b" * 17, JAPANESE, None),
    "a copy of 20 letters": ("Alpha Beta Gamma Deltas", "alpha beta  gamma DELTAS", LATINS, COPIED),
    "a copy of 19 letters": ("Alpha Beta Gamma Delta", "Alpha Beta Gamma Delta", LATINS, None),
    "a copy of three words": ("Alphabet Betagamma Delta", "Alphabet Betagamma Delta", LATINS, None),
    "a copied number": ("1 234 567 890 123 456 789 012", "1 234 567 890 123 456 789 012", LATINS, None),
    "a copied address": ("https://example.org/a/long/path/to", "https://example.org/a/long/path/to", LATINS, None),
    "a copy but for one letter": ("Alpha Beta Gamma Deltas", "Alpha Beta Gamma Deltaz", LATINS, None),
    "a copy in Japanese": (QUESTION, QUESTION, JAPANESE, COPIED),
    "ten foreign letters": ("駅はどこで", "вгдежзиклм", JAPANESE, FOREIGN),
    "nine foreign letters": ("駅はどこで", "вгдежзикл", JAPANESE, None),
    "a foreign source": ("Where is it?", "Where is that?", JAPANESE, None),
    "a longer foreign source": ("Where is the station?", "Where is the stop?", JAPANESE, FOREIGN),
    "four in five letters foreign": ("駅はど Wherewhereis", "Where is the station?", JAPANESE, FOREIGN),
    "fewer in five": ("駅はどこ Wherewhereis", "Where is the station?", JAPANESE, None),
    "a foreign name": ("私の本名は『Tom Jackson』です。", "My real name is Tom Jackson.", JAPANESE, None),
    "two scripts are usual": ("Где находится вокзал?", "Gde je stanica?", SERBIAN, None),
    "no script is usual": ("Где находится вокзал?", "Gde je stanica?", Usual(1.0, frozenset(), frozenset()), None),
    "no letters": ("12 : 30", "12.30 !", LATINS, None),
}  # fmt: skip


@pytest.mark.parametrize(("source", "target", "usual", "reason"), ROWS.values(), ids=ROWS.keys())
def test_a_pair_on_each_side_of_every_threshold(source: str, target: str, usual: Usual, reason: str | None) -> None:
    assert fault(source, target, usual) == reason


def test_what_is_usual_is_learnt_from_the_corpus() -> None:
    pairs = [("駅はどこですか", "where is the station")] * 9 + [("12", "12")] * 5
    assert learn(pairs) == Usual(20 / 7, KANA, LATIN)
    assert learn([*pairs, ("Tokyo", "Tokyo")]).source == KANA | LATIN, "one line in ten is more than noise"
    assert learn([*pairs, *pairs, ("Tokyo", "Tokyo")]).source == KANA
    assert learn([("1", "2")]) == Usual(1.0, frozenset(), frozenset())
    assert learn([("a" * 3000, "b")] * 9 + [("aa", "bbb")]).ratio == 1.5, "overlong pairs tell nothing"
    assert learn([("a" * 3000, "b")]) == Usual(1.0, frozenset(), frozenset())


def test_a_sample_is_even_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"{number:03}", "b") for number in range(1000)]
    monkeypatch.setattr(cleaning, "MOST_PAIRS", 100)
    assert evenly(rows[:100]) == rows[:100]
    assert evenly(rows[:101]) == rows[:101:2]
    assert evenly(rows) == rows[::16]
    monkeypatch.setattr(cleaning, "MOST_CHARACTERS", 40)
    assert evenly(rows[:10]) == rows[:10]
    assert evenly(rows[:11]) == rows[:11:2]


def test_of_repeated_pairs_the_first_one_stays() -> None:
    cleaner = Cleaner(LATINS)
    rows = [("a", "b"), ("a", "b"), ("a", "c"), ("b", "a"), ("A", "b"), ("a", "b"), ("b", "a")]
    assert [cleaner.reason(*row) for row in rows] == [None, REPEATED, None, None, None, REPEATED, REPEATED]


@pytest.mark.parametrize("different", [1, 30, 2_000, 10_000])
def test_repetitions_are_those_that_a_set_finds(different: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a table of 16 slots on it grows again and again, and places collide."""
    monkeypatch.setattr(cleaning, "SLOTS", 16)
    chance = random.Random(different)
    rows = [(str(chance.randrange(different)), "b" * chance.randrange(3)) for _ in range(10_000)]
    rows += [row for row in rows[:100] for _ in range(20)]  # at once, and long after
    seen, naive = cleaning.Repetitions(), set[tuple[str, str]]()
    for row in rows:
        assert seen.has(*row) == (row in naive)
        naive.add(row)


@pytest.mark.slow
def test_a_remembered_pair_takes_no_object() -> None:
    seen = cleaning.Repetitions()
    tracemalloc.start()
    for number in range(300_000):
        seen.has(str(number), "b")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 22 * 300_000  # bytes: 8 over three eighths
    assert peak < 60 * 300_000  # while the table grows


# ---- in a corpus ------------------------------------------------------------------------------------------------

GOOD = [(f"the dog number {n} runs", f"der Hund Nummer {n} läuft") for n in range(30)]
BAD = [GOOD[0], ("a b " * 600, "c"), ("no", "this is far longer than it"), ("copied from here to there",) * 2,
       ("где находится вокзал", "wo ist der Bahnhof"), GOOD[1]]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    sides = [list(side) for side in zip(*GOOD, ("", "blank"), *BAD, strict=True)]
    return write_files(tmp_path, {"en": sides[0], "de": sides[1]})


def test_a_cleaned_corpus_tells_what_it_drops_and_where(files: list[str]) -> None:
    corpus = ParallelCorpus(files, DataConfig(), is_cleaned=True)
    assert list(corpus) == GOOD
    assert corpus.statistics().messages() == [
        f"{files[0]}: dropped {pairs} of 37 pairs: {reason} (first: line {line})"
        for pairs, reason, line in (
            (1, "empty side", 31),
            (2, REPEATED, 32),
            (1, TOO_LONG, 33),
            (1, MISMATCHED, 34),
            (1, COPIED, 35),
            (1, FOREIGN, 36),
        )
    ]
    assert list(corpus) == GOOD, "a second pass does not take the pairs of the first for repetitions"
    assert list(corpus.placed()) == [(Place(files[0], line), pair) for line, pair in enumerate(GOOD, 1)]
    assert corpus.statistics().read == 37


def test_a_corpus_is_cleaned_only_if_asked(files: list[str]) -> None:
    assert len(list(ParallelCorpus(files, DataConfig(clean=True)))) == 36
    assert len(ParallelCorpus(files, DataConfig(clean=True), is_cleaned=True).sides()[0]) == 37


def test_cleaning_and_its_rules_are_part_of_the_fingerprint(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(*, is_cleaned: bool) -> str:
        return ParallelCorpus(files, DataConfig(), is_cleaned=is_cleaned).fingerprint()

    plain, cleaned = fingerprint(is_cleaned=False), fingerprint(is_cleaned=True)
    assert cleaned == fingerprint(is_cleaned=True) != plain
    monkeypatch.setattr(cleaning, "THRESHOLDS", cleaning.THRESHOLDS._replace(words=249))
    assert fingerprint(is_cleaned=False) == plain
    assert fingerprint(is_cleaned=True) not in (plain, cleaned)


def test_a_corpus_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    names = write_files(tmp_path, {"en": ["copied from here to there"], "de": ["copied from here to there"]})
    with pytest.raises(DataError, match=r"no usable pairs: 1 read, 1 dropped \(source and target are the same: 1\)"):
        list(ParallelCorpus(names, DataConfig(), is_cleaned=True))


REAL = {  # corpus: files, what is dropped of it
    "multi30k": (["train.en", "train.de"], {REPEATED: 3, MISMATCHED: 2}),  # of the latter the target is `@@`
    "tatoeba-de-en": (["train.de.gz", "train.en.gz"], {}),
    "tatoeba-fr-en": (["train.fr-en.tsv.gz"], {}),
    "tatoeba-ja-en": (["train.ja", "train.en"], {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_clean_corpora_lose_next_to_nothing(name: str) -> None:
    files, expected = REAL[name]
    if not (ROOT / name / files[0]).exists():
        multi30k("train")  # says that corpora are absent
        pytest.skip(f"{name} is absent; set NMT_DATA to the corpora")
    corpus = ParallelCorpus([str(ROOT / name / file) for file in files], DataConfig(), is_cleaned=True)
    assert {reason: dropped.pairs for reason, dropped in corpus.statistics().dropped.items()} == expected


def test_every_reason_has_rows() -> None:
    assert Counter(reason for *_, reason in ROWS.values()).keys() == {None, TOO_LONG, MISMATCHED, COPIED, FOREIGN}
