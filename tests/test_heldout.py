"""What is held out is unseen: no side of it in training, the same split at every start, kept as text in the run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from corpora import ROOT, multi30k
from trainings import write_files

from nmt.config import DataConfig
from nmt.corpus import Pair, ParallelCorpus
from nmt.errors import DataError, OptionError
from nmt.training import heldout
from nmt.training.heldout import Split, hold_out


def sides(pairs: list[Pair]) -> tuple[set[str], set[str]]:
    """Return the texts of both sides as they are compared."""
    source, target = ({pair[side].strip().casefold() for pair in pairs} for side in (0, 1))
    return source, target


def leaks(held: list[Pair], seen: list[Pair]) -> int:
    sources, targets = sides(held)
    return sum(pair.source.strip().casefold() in sources or pair.target.strip().casefold() in targets for pair in seen)


def corpus(folder: Path, pairs: list[tuple[str, str]]) -> ParallelCorpus:
    english, german = ([*side] for side in zip(*pairs, strict=True))
    return ParallelCorpus(write_files(folder, {"en": english, "de": german}), DataConfig())


def distinct(count: int) -> list[tuple[str, str]]:
    return [(f"number {n}", f"Zahl {n}") for n in range(count)]


def test_the_held_out_pairs_are_those_of_the_seed(tmp_path: Path) -> None:
    """Of distinct pairs nothing else is left out, and a test set beside it changes nothing of the validation set."""
    pairs = [Pair(*pair) for pair in distinct(5000)]
    whole = corpus(tmp_path, distinct(5000))
    expected = [pairs[n] for n in sorted(random.Random(7).sample(range(5000), 100))]
    plain, both = hold_out(whole, 7), hold_out(whole, 7, has_test=True)
    assert plain.valid == both.valid == expected
    assert (len(plain.test), len(both.test), plain.notes, both.notes) == (0, 100, [], [])
    assert not set(both.test) & set(both.valid)
    assert list(plain.training) == [pair for pair in pairs if pair not in set(plain.valid)]
    assert list(both.training) == [pair for pair in pairs if pair not in {*both.valid, *both.test}]
    assert hold_out(whole, 8).valid != expected


def test_nothing_is_held_out_of_synthetic_pairs(tmp_path: Path) -> None:
    """Of those that have a tag; and how many there are says nothing of how many to hold out."""
    real, synthetic = distinct(5000), [(f"written {n}", f"geschrieben {n}") for n in range(8000)]
    files = []
    for name, pairs in (("bt", synthetic), ("real", real)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs), encoding="utf-8")
        files.append(str(tmp_path / f"{name}.tsv"))
    split = hold_out(ParallelCorpus(files, DataConfig(tags=["<bt>", ""])), 7, has_test=True)
    alone = hold_out(ParallelCorpus(files[1:], DataConfig()), 7, has_test=True)
    assert (split.valid, split.test) == (alone.valid, alone.test)
    assert list(split.training) == [*synthetic, *alone.training]
    few = hold_out(ParallelCorpus(files, DataConfig(tags=["", ""])), 7, has_test=True)
    assert any(pair in set(synthetic) for pair in few.test), "without a tag none of them is known"
    none = hold_out(ParallelCorpus(files[:1], DataConfig(tags=["<bt>"])), 7, has_test=True)
    assert (len(none.valid), len(none.test)) == (160, 160), "better of those than of the training pairs themselves"
    assert none.notes == ["0 pairs have no tag, too few: tagged ones are held out, too; validate on real pairs"]


def test_a_run_that_saved_other_pairs_is_refused(tmp_path: Path) -> None:
    """It may have learnt from what is held out now, or the files were changed."""
    split = hold_out(corpus(tmp_path, [("\ufeffone ", "eins\r"), *distinct(5000)]), 1, has_test=True)
    data = DataConfig(source_lang="en", target_lang="de")
    heldout.check(tmp_path, split, data)
    heldout.save(tmp_path, split, data)
    heldout.check(tmp_path, split, data)
    for part in (split.valid, split.test):
        other = part[0]
        part[0] = Pair("another", other.target)
        with pytest.raises(
            OptionError, match=r"heldout\.(valid|test)\.en: other pairs are held out now; was it changed"
        ):
            heldout.check(tmp_path, split, data)
        part[0] = other


def test_a_mark_at_the_beginning_is_no_other_pair(tmp_path: Path) -> None:
    data = DataConfig(source_lang="en", target_lang="de")
    split = Split(heldout.HeldOut(corpus(tmp_path, distinct(1))), [Pair("\ufeffa\u2028b", "c\rd")], [], [])
    heldout.save(tmp_path, split, data)
    heldout.check(tmp_path, split, data)


@pytest.mark.parametrize(("count", "held"), [(49_949, 998), (49_999, 999), (50_000, 1000), (50_100, 1000)])
def test_a_thousand_are_enough(count: int, held: int, tmp_path: Path) -> None:
    assert len(hold_out(corpus(tmp_path, distinct(count)), 1).valid) == held


@pytest.mark.parametrize(("real", "are_real"), [(49, False), (50, True)])
def test_a_few_real_pairs_are_better_to_validate_on_than_many_others(real: int, are_real: bool, tmp_path: Path) -> None:
    files = []
    for name, count in (("bt", 5000), ("real", real)):
        rows = "".join(f"{name} {n}\t{name} {n} auch\n" for n in range(count))
        (tmp_path / f"{name}.tsv").write_text(rows, encoding="utf-8")
        files.append(str(tmp_path / f"{name}.tsv"))
    split = hold_out(ParallelCorpus(files, DataConfig(tags=["<bt>", ""])), 1)
    assert all(pair.source.startswith("real") for pair in split.valid) == are_real
    assert (len(split.valid), bool(split.notes)) == ((1, False) if are_real else (100, True))


def test_pairs_that_share_a_side_are_left_out_too(tmp_path: Path) -> None:
    """Every tenth pair has, in another case and between other spaces, the source or the target of the one before."""
    pairs = distinct(6000)
    for n in range(10, 6000, 20):
        pairs[n] = (f" NUMBER {n - 1} ", f"anders {n}")
        pairs[n + 1] = (f"different {n}", f"ZAHL {n - 2}\t")
    split = hold_out(corpus(tmp_path, pairs), 1, has_test=True)
    training = list(split.training)
    assert (len(split.valid), len(split.test)) == (120, 120)
    assert leaks([*split.valid, *split.test], training) == leaks(split.valid, split.test) == 0
    gone = 6000 - 240 - len(training)
    assert 0 < gone < 60
    assert split.notes == [f"left out {gone} training pairs that share a side with a held-out pair"]
    held = {*split.valid, *split.test}
    without = {Pair(*pair) for pair in pairs} - set(training) - held
    assert {leaks([*held], [pair]) for pair in without} == {1}, "nothing else is left out"


def test_where_text_repeats_itself_only_the_same_pairs_are_left_out(tmp_path: Path) -> None:
    pairs = [(f"number {n % 7}", f"Zahl {n // 2}") for n in range(1000)]
    pairs = [*pairs[:500], *pairs[:500]]
    split = hold_out(corpus(tmp_path, pairs), 1)
    training = list(split.training)
    assert len(split.valid) == 20
    assert not {*split.valid} & {*training}
    same = 1000 - 20 - len(training)
    assert 10 < same <= 20
    (note,) = split.notes
    assert note.startswith("the text repeats itself: 9")
    assert note.endswith(
        f"of 1,000 training pairs share a side with a held-out pair; only the {same} that share both are left out"
    )


def test_where_even_the_same_pairs_are_too_many_they_stay(tmp_path: Path) -> None:
    pairs = distinct(10) * 20
    split = hold_out(corpus(tmp_path, pairs), 1)
    assert (len(split.valid), len(list(split.training))) == (4, 196)
    assert len(split.notes) == 1
    assert split.notes[0].endswith("training pairs share a side with a held-out pair; they stay in training")


def test_at_a_tenth_of_the_corpus_begins_too_much(tmp_path: Path) -> None:
    """One pair of 50 is held out; 5 or 6 of the others have its source."""
    place = random.Random(1).sample(range(50), 1)[0]
    for many, left in ((5, 44), (6, 49)):
        pairs = distinct(50)
        for n in [n for n in range(50) if n != place][:many]:
            pairs[n] = (f"number {place}", f"anders {n}")
        split = hold_out(corpus(tmp_path / str(many), pairs), 1)
        assert split.valid == [pairs[place]]
        assert len(list(split.training)) == left


def test_a_test_set_of_text_that_repeats_itself_is_filled_up(tmp_path: Path) -> None:
    pairs = [(f"number {n % 50}", f"Zahl {n}") for n in range(5000)]
    split = hold_out(corpus(tmp_path, pairs), 1, has_test=True)
    assert len({*split.test} - {*split.valid}) == 100


@pytest.mark.parametrize(("pairs", "valid", "test"), [(49, 0, 0), (50, 1, 0), (4999, 99, 0), (5000, 100, 100)])
def test_how_many_are_held_out(pairs: int, valid: int, test: int, tmp_path: Path) -> None:
    whole = corpus(tmp_path, distinct(pairs))
    split = hold_out(whole, 1, has_test=True)
    assert (len(split.valid), len(split.test), len(list(split.training))) == (valid, test, pairs - valid - test)
    few = [f"no test pairs are held out of {pairs:,}, fewer than 5,000; give a test corpus"]
    assert split.notes == ([] if test else few)
    alone = hold_out(whole, 1, has_valid=False, has_test=True)
    assert (alone.valid, len(alone.test)) == ([], test)


def test_the_fingerprint_covers_what_is_left_out(tmp_path: Path) -> None:
    pairs = distinct(5000)
    pairs[3] = ("number 4", pairs[3][1])
    whole = corpus(tmp_path, pairs)

    def fingerprint(seed: int = 1, *, has_test: bool = False) -> str:
        return hold_out(whole, seed, has_test=has_test).training.fingerprint()

    prints = [fingerprint(), fingerprint(2), fingerprint(has_test=True), heldout.HeldOut(whole).fingerprint()]
    assert len({*prints}) == 4
    assert fingerprint() == prints[0]
    seed = next(seed for seed in range(1000) if {3, 4} & {*random.Random(seed).sample(range(5000), 100)})
    assert fingerprint(seed) != hold_out(whole, seed, is_strict=False).training.fingerprint()


def test_not_strict_only_the_held_out_pairs_are_left_out(tmp_path: Path) -> None:
    pairs = [(f"number {n % 600}", f"Zahl {n}") for n in range(1000)]
    split = hold_out(corpus(tmp_path, pairs), 1, is_strict=False)
    assert (len(split.valid), len(list(split.training)), split.notes) == (20, 980, [])


REAL = {
    "multi30k": ["train.en", "train.de"],
    "tatoeba-de-en": ["train.de.gz", "train.en.gz"],
    "tatoeba-ja-en": ["train.ja", "train.en"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_of_real_corpora_no_held_out_side_is_in_training(name: str) -> None:
    if not (ROOT / name / REAL[name][0]).exists():
        multi30k("train")  # says that corpora are absent
        pytest.skip(f"{name} is absent; set NMT_DATA to the corpora")
    whole = ParallelCorpus([str(ROOT / name / file) for file in REAL[name]], DataConfig())
    split = hold_out(whole, 1, has_test=True)
    training = list(split.training)
    count = whole.statistics().kept
    assert len(split.valid) == len(split.test) == min(1000, count // 50)
    assert leaks([*split.valid, *split.test], training) == leaks(split.valid, split.test) == 0
    assert len(training) > 0.9 * count


# ---- in the run folder ------------------------------------------------------------------------------------------


def split_of(valid: list[Pair], test: list[Pair]) -> Split:
    return Split(heldout.HeldOut(ParallelCorpus.__new__(ParallelCorpus)), valid, test, [])


def test_what_is_saved_is_plain_text_with_a_line_for_each_pair(tmp_path: Path) -> None:
    data = DataConfig(source_lang="en", target_lang="de", encoding="latin-1")
    split = split_of([Pair("one", "eins")], [Pair("two\u2028words", "zwei\r"), Pair("three", "drei ä")])
    heldout.save(tmp_path, split, data)
    texts = {path.name: path.read_bytes().decode() for path in tmp_path.iterdir()}
    assert texts == {
        "heldout.valid.en": "one\n", "heldout.valid.de": "eins\n",
        "heldout.test.en": "two words\nthree\n", "heldout.test.de": "zwei \ndrei ä\n",
    }  # fmt: skip
    assert heldout.load(tmp_path, "test", data) == (["two words", "three"], ["zwei ", "drei ä"])
    heldout.save(tmp_path, split._replace(test=[]), data)
    assert (heldout.is_saved(tmp_path, "valid", data), heldout.is_saved(tmp_path, "test", data)) == (True, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heldout.valid.de", "heldout.valid.en"]


@pytest.mark.parametrize("languages", [("", ""), ("en", ""), ("en", "en"), ("../en", "de"), ("en", "a b")])
def test_languages_that_are_no_names_of_files_become_sides(languages: tuple[str, str], tmp_path: Path) -> None:
    data = DataConfig(source_lang=languages[0], target_lang=languages[1])
    assert [path.name for path in heldout.paths(tmp_path, "test", data)] == [
        "heldout.test.source",
        "heldout.test.target",
    ]


def test_a_damaged_set_is_said(tmp_path: Path) -> None:
    data = DataConfig(source_lang="en", target_lang="de")
    heldout.save(tmp_path, split_of([], [Pair("one", "eins"), Pair("two", "zwei")]), data)
    (tmp_path / "heldout.test.de").write_text("eins\n")
    with pytest.raises(DataError, match=r"heldout.test.de: 1 lines, heldout.test.en has 2; copy the folder again"):
        heldout.load(tmp_path, "test", data)
    (tmp_path / "heldout.test.de").unlink()
    assert heldout.is_saved(tmp_path, "test", data)
    with pytest.raises(DataError, match=r"heldout.test.de: no such file"):
        heldout.load(tmp_path, "test", data)
