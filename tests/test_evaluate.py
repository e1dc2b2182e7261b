"""Scores are sacreBLEU's: the published ones of WMT22, those of its README, and closed cases."""

from __future__ import annotations

import csv
import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from nmt.cli import run
from nmt.errors import DataError, OptionError
from nmt.evaluate import Metric, check_counts, quality, score, tokenized_lines, tokenizer_for

ROOT = Path(__file__).parents[1]
WMT22 = Path(os.environ.get("NMT_DATA") or ROOT / "../shared/data") / "wmt22"

# The hypotheses and references of the example in sacreBLEU's README (section "Using SacreBLEU from Python").
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


Key = tuple[str, str, str]  # pair, system and metric, as in the table of published scores


@pytest.fixture
def published() -> dict[Key, float]:
    if not WMT22.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{WMT22} is absent; set NMT_DATA to the corpora")
    with open(WMT22 / "automatic-scores.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {(row["pair"], row["system"], row["metric"]): float(row["score"]) for row in rows}


def score_by_command(key: Key, capsys: pytest.CaptureFixture[str]) -> float:
    pair, system, kind = key
    metric, which = kind.split("-")

    def path(name: str) -> str:
        return str(WMT22 / f"generaltest2022.{pair}.{name}.{pair[-2:]}.gz")

    references = [
        word for letter in ("AB" if which == "all" else which) for word in ("--reference", path(f"ref.{letter}"))
    ]
    assert run(["eval", f"--{metric}", "--format", "json", "--hypothesis", path(f"hyp.{system}"), *references]) == 0
    [record] = json.loads(capsys.readouterr().out)
    return float(record["score"])


@pytest.mark.parametrize("key", [("en-de", "OpenNMT", "bleu-A"), ("zh-en", "DLUT", "bleu-all")])
def test_published_bleu_is_reproduced(
    key: Key, published: dict[Key, float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score_by_command(key, capsys) == pytest.approx(published[key], abs=0.005)


@pytest.mark.slow
def test_all_published_scores_are_reproduced(published: dict[Key, float], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(published) == 42
    assert {key: score_by_command(key, capsys) for key in published} == pytest.approx(published, abs=0.005)


# --- scores in closed form and of other sources -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hypotheses", "references", "metric", "expected"),
    [
        pytest.param(HYPOTHESES, REFERENCES, "bleu", 48.53, id="sacreBLEU's README"),
        pytest.param(HYPOTHESES, REFERENCES, "chrf", 59.73, id="sacreBLEU's README, chrF"),
        pytest.param(["a b c d e f"], [["a b c d e f"]], "bleu", 100.0, id="equal"),
        pytest.param(["a b c d e f"], [["a b c d e f"]], "chrf", 100.0, id="equal, chrF"),
        pytest.param(["a b c d e f"], [["a b c d e f"]], "ter", 0.0, id="equal, TER"),
        pytest.param(["a b c d e"], [["a b c d e f g h i j"]], "bleu", 36.79, id="brevity penalty exp(1 - 10/5)"),
        pytest.param(["a b c x e f"], [["a b c d e f"]], "ter", 16.67, id="one of six words substituted"),
        pytest.param(["", " "], [["a b c d", "e f"]], "bleu", 0.0, id="all empty"),
        pytest.param(["", " "], [["a b c d", "e f"]], "chrf", 0.0, id="all empty, chrF"),
        pytest.param(["", " "], [["a b c d", "e f"]], "ter", 100.0, id="all empty, TER: every word deleted"),
        pytest.param(["A B C D"], [["a b c d"]], "bleu", 0.0, id="cased"),
    ],
)
def test_scores_of_known_texts(
    hypotheses: list[str], references: list[list[str]], metric: Metric, expected: float
) -> None:
    assert score(hypotheses, references, [metric])[0].score == pytest.approx(expected, abs=0.005)


def test_scores_come_in_the_order_asked_for_and_are_not_rounded() -> None:
    results = score(HYPOTHESES, REFERENCES, ["ter", "bleu"])
    assert [result.name for result in results] == ["TER", "BLEU"]
    assert results[1].score != round(results[1].score, 6)
    assert results[1].record["score"] == results[1].score


def test_validation_quality_is_bleu_and_chrf_against_one_reference() -> None:
    bleu, chrf = score(HYPOTHESES, REFERENCES[:1], ["bleu", "chrf"])
    assert quality(HYPOTHESES, REFERENCES[0], "en") == {"bleu": bleu.score, "chrf": chrf.score}


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_validation_goes_on_without_mecab(language: str) -> None:
    assert quality(["今日は雨"], ["今日は雨"], language)["chrf"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("target_lang", "expected"),
    [
        ("", "13a"), ("de", "13a"), ("zh", "zh"), ("zh-CN", "zh"), ("zho_Hans", "zh"), ("cmn", "zh"),
        ("ja", "ja-mecab"), ("jpn_Jpan", "ja-mecab"), ("ko", "ko-mecab"), ("KO", "ko-mecab"), ("kok", "13a"),
    ],
)  # fmt: skip
def test_target_language_decides_on_the_tokenizer(target_lang: str, expected: str) -> None:
    assert tokenizer_for(target_lang) == expected


def test_chosen_tokenizer_is_used_and_stands_in_the_signature() -> None:
    assert "|tok:zh|" in score(["我 很好"], [["我很好"]], target_lang="zh")[0].signature
    by_character = score(["我很好吗"], [["我很好吗"]], target_lang="zh", tokenize="char")[0]
    assert "|tok:char|" in by_character.signature
    assert by_character.score == pytest.approx(100.0)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_unequal_numbers_of_lines_are_refused_with_both_counts() -> None:
    with pytest.raises(DataError, match=r"^reference 2: 1 line, but 3 lines in the hypotheses; give files with"):
        score(HYPOTHESES, [REFERENCES[0], ["one"]])
    with pytest.raises(DataError, match=r"^ref\.de: 2 lines, but 1 line in hyp\.de; "):
        check_counts({"hyp.de": ["a"], "ref.de": ["a", "b"]})


def test_no_lines_and_no_references_are_refused() -> None:
    with pytest.raises(DataError, match=r"^the hypotheses: no lines, expected at least one"):
        score([], [[]])
    with pytest.raises(OptionError, match=r"^references: none were given"):
        score(["a"], [])


def test_unknown_tokenizer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"^--tokenize moses: no such tokenizer; choose one of 13a, intl, zh, "):
        score(["a"], [["a"]], tokenize="moses")


@pytest.mark.parametrize(("language", "module"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_missing_mecab_says_what_to_install(language: str, module: str) -> None:
    if find_spec(module):
        assert f"|tok:{language}-mecab" in score(["雨"], [["雨"]], target_lang=language)[0].signature
        return
    with pytest.raises(OptionError, match=rf"^--tokenize {language}-mecab: needs MeCab.*'sacrebleu\[{language}\]'"):
        score(["雨"], [["雨"]], target_lang=language)


def test_pieces_and_tokens_are_recognised() -> None:
    assert tokenized_lines(["ein Ka@@ ter", "▁ein ▁Kater", "Ein Kater .", "Kat@@"]) == 4
    assert tokenized_lines(["Ein Kater.", "a@b.de", "Quoi ?", ""]) == 0
