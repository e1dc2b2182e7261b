"""The laws of minimum Bayes risk: likenesses are sacreBLEU's, and the candidate most like the others is chosen."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from corpora import multi30k
from runs import CPU, PAIRS, SHORT, tiny_config, write_run

from nmt.batches import Padded
from nmt.cli import run as nmt
from nmt.config import SearchConfig
from nmt.configfile import load_config
from nmt.consensus import LIKENESS, agreement, bleu, chrf, decide, drawing
from nmt.errors import OptionError
from nmt.training.checkpoint import load_model
from nmt.training.validation import Validator
from nmt.translate import Extras, Translator
from nmt.translation import Output

SOURCES = [source for source, _ in PAIRS]
MBR = SHORT.model_copy(update={"mbr": "chrf", "candidates": 8})

TEXTS = [
    "", "a", "ab", "abcde", "abcdef", "Ein Mann.", "Ein Mann", "Mann ein", "Der Mann sieht den Mann .", "a a a a a a",
    "a a", "b b b b", "Zwei Hunde laufen, durch den Schnee!", "Zwei Hunde rennen durch Schnee.", "a\u00a0b\u2009c",
    "\U0001f600 \U0001f600\U0001f600", "Die 3.5-mal so große  Frau", "1,000.5 %", "x" * 40, "\u4e00\u4e8c\u4e09",
    "\u4e8c\u4e09\u4e00\u56db",
]  # fmt: skip


def drawn_texts(seed: int) -> list[str]:
    """Sentences of few words, so that much is in common, and of few characters, so that n-grams repeat."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abc", k=chance.randint(1, 5))) for _ in range(12)]
    return list(dict.fromkeys(" ".join(chance.choices(words, k=chance.randint(0, 12))) for _ in range(24)))


# ---- likeness ---------------------------------------------------------------------------------------------------


def corpora() -> list[list[str]]:
    return [TEXTS, *(drawn_texts(seed) for seed in range(8))]


@pytest.mark.parametrize("texts", corpora(), ids=range(9))
def test_chrf_is_sacrebleu_s_of_a_sentence(texts: Sequence[str]) -> None:
    expected = [[sacrebleu.sentence_chrf(own, [other]).score for other in texts] for own in texts]
    np.testing.assert_allclose(chrf(texts), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["de", "zh", ""])
@pytest.mark.parametrize("texts", corpora(), ids=range(9))
def test_bleu_is_sacrebleu_s_of_a_sentence(texts: Sequence[str], lang: str) -> None:
    """Tokenised by the target language, as `nmt eval` does it."""
    tokenize = "zh" if lang == "zh" else "13a"
    expected = [[sacrebleu.sentence_bleu(own, [other], tokenize=tokenize).score for other in texts] for own in texts]
    np.testing.assert_allclose(bleu(texts, lang), expected, rtol=0, atol=1e-6)


def test_real_sentences_score_as_in_sacrebleu() -> None:
    texts = list(dict.fromkeys(target for _, target in multi30k("test_2016_flickr", 40)))
    expected = [[sacrebleu.sentence_chrf(own, [other]).score for other in texts] for own in texts]
    np.testing.assert_allclose(chrf(texts), expected, rtol=0, atol=1e-6)
    expected = [[sacrebleu.sentence_bleu(own, [other]).score for other in texts] for own in texts]
    np.testing.assert_allclose(bleu(texts, "de"), expected, rtol=0, atol=1e-6)


# ---- the choice -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LIKENESS)
@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_the_mean_score_against_all_others(metric: str, seed: int) -> None:
    """Written pair by pair, what was drawn twice twice; the candidate itself is no reference, its double is."""
    texts = random.Random(seed).choices(drawn_texts(seed), k=20)
    assert len(set(texts)) < len(texts)
    one = {"chrf": sacrebleu.sentence_chrf, "bleu": sacrebleu.sentence_bleu}[metric]
    expected = [
        sum(one(own, [other]).score for place, other in enumerate(texts) if place != at) / (len(texts) - 1)
        for at, own in enumerate(texts)
    ]
    assert agreement(texts, LIKENESS[metric], "de") == pytest.approx(expected, abs=1e-6)


def outputs(*texts: str) -> list[Output]:
    return [Output(text, -float(place), -float(place), (text,)) for place, text in enumerate(texts)]


def test_what_was_drawn_often_wins() -> None:
    texts = ("Der Hund bellt laut", "Eine Katze schläft", "Eine Katze schläft", "Der Hund bellt", "Eine Katze schläft")
    found = decide(outputs(*texts), MBR.model_copy(update={"n_best": 3}), "de")
    assert [output.text for output in found] == ["Eine Katze schläft", "Der Hund bellt laut", "Der Hund bellt"]
    assert [output.score for output in found] == sorted((output.score for output in found), reverse=True)
    assert found[0].score == pytest.approx(agreement(texts, chrf, "de")[1])
    assert found[0].log_probability == -1.0  # of the likeliest with this text
    assert decide(outputs(*texts), MBR, "de") == found[:1]


def test_of_equals_the_likelier_is_chosen() -> None:
    assert decide(outputs("a", "b", "c"), MBR, "de")[0].text == "a"
    assert decide(outputs("", "", ""), MBR, "de")[0].text == ""


def test_one_candidate_is_chosen_and_none_is_none() -> None:
    (only,) = decide(outputs("Ein Mann"), MBR, "de")
    assert (only.text, only.score) == ("Ein Mann", 0.0)
    for metric in LIKENESS:
        assert decide([], MBR.model_copy(update={"mbr": metric}), "de") == ()


def test_where_nothing_is_chosen_nothing_changes() -> None:
    drawn = outputs("b", "a", "a")
    assert decide(drawn, SHORT, "de") == tuple(drawn)
    assert drawing(SHORT) is SHORT


def test_more_best_than_candidates_are_refused() -> None:
    assert load_config(None, ["search.mbr=bleu", "search.n_best=32"]).search.n_best == 32
    with pytest.raises(OptionError, match=r"--set search.n_best: 33 is more than candidates 32; draw more of them"):
        load_config(None, ["search.mbr=bleu", "search.n_best=33"])


# ---- the translator ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("consensus") / "run", tiny_config(max_length=40))


@pytest.fixture(scope="module")
def translator(run: Path) -> Translator:
    return Translator.load(run, device="cpu", threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("metric", LIKENESS)
@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.5}, {"seed": 9}], ids=str)
def test_the_best_of_what_sampling_draws_is_chosen(
    translator: Translator, metric: str, changes: dict[str, float]
) -> None:
    sample = SHORT.model_copy(update={"sample": True, "n_best": 8, **changes})
    options = SHORT.model_copy(update={"mbr": metric, "candidates": 8, "n_best": 2, **changes})
    drawn = translator.translate_block(SOURCES, sample)
    for samples, found in zip(drawn, translator.translate_block(SOURCES, options), strict=True):
        assert found.hypotheses == decide(samples.hypotheses, options, "de")


def test_of_one_sample_it_is_the_sample(translator: Translator) -> None:
    sample = SHORT.model_copy(update={"sample": True})
    one = MBR.model_copy(update={"candidates": 1})
    assert translator.translate(SOURCES, one) == translator.translate(SOURCES, sample)


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
def test_neighbours_and_batch_size_change_nothing(translator: Translator, batch_tokens: int) -> None:
    lines = [*SOURCES, "", *SOURCES[:2], " ".join(SOURCES)]
    together = translator.translate_block(lines, MBR.model_copy(update={"batch_tokens": batch_tokens}))
    for number, (line, translation) in enumerate(zip(lines, together, strict=True)):
        (alone,) = translator.translate_block([line], MBR, Extras(first=number))
        assert [output.text for output in translation.hypotheses] == [output.text for output in alone.hypotheses]
        assert translation.score == pytest.approx(alone.score, abs=1e-9)


def test_processes_translate_as_one_thread_does(run: Path, translator: Translator) -> None:
    small = MBR.model_copy(update={"mbr": "bleu", "n_best": 3, "batch_tokens": 16})
    expected = translator.translate_block(SOURCES, small)
    assert Translator.load(run, device="cpu", threads=2, fork=True).translate_block(SOURCES, small) == expected


def test_each_part_of_a_long_line_is_decided_by_itself(translator: Translator) -> None:
    """Line 0 has two parts, whose samples are numbered by line and part."""
    (whole,) = translator.translate_block(["A man rides a bicycle. " * 3], MBR)
    sample = SHORT.model_copy(update={"sample": True, "n_best": 8})
    (samples,) = translator.translate_block(["A man rides a bicycle. " * 3], sample)
    assert whole.parts == samples.parts > 1
    assert whole.text not in {output.text for output in samples.hypotheses}  # whose parts are of one rank
    (first,) = translator.translate_block(["A man rides a bicycle."], MBR)
    assert whole.text.startswith(first.text)


def test_batches_hold_as_many_hypotheses_as_without(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, encode = list[int](), translator.model.encode

    def counted(source: Padded) -> object:
        sizes.append(len(source.lengths))
        return encode(source)

    monkeypatch.setattr(translator.model, "encode", counted)
    lines = [f"Dog {number}." for number in range(100)]
    options = SearchConfig(beam_size=5, max_length_ratio=0.1, max_length_offset=1, batch_tokens=400)
    translator.translate(lines, options)
    usual = max(sizes)
    sizes.clear()
    translator.translate(lines, options.model_copy(update={"mbr": "chrf", "candidates": 20}))
    assert 20 * max(sizes) <= 5 * usual < 100 * 5
    sizes.clear()
    translator.translate(lines[:2], options.model_copy(update={"mbr": "chrf", "candidates": 500}))
    assert sizes == [1, 1]


def test_validation_searches_whatever_the_config_says(run: Path) -> None:
    """Validations come often, and are to be compared."""
    config, tokenizers, model = load_model(run, CPU.device)
    found = []
    for search in (SHORT, MBR):
        changed = config.model_copy(update={"search": search})
        found.append(Validator(changed, tokenizers, CPU, PAIRS).run(model))
    assert found[0].samples == found[1].samples
    assert found[0].scores == found[1].scores


# ---- the command ------------------------------------------------------------------------------------------------

LIMITS = ("--max-length-ratio", "0.5", "--max-length-offset", "3", "--threads", "1", "--device", "cpu")


@pytest.fixture
def here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "input").write_text("".join(f"{line}\n" for line in [*SOURCES, ""]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NMT_MODEL", str(run))
    return tmp_path


def test_the_command_decides_by_consensus(
    here: Path, translator: Translator, capfd: pytest.CaptureFixture[str]
) -> None:
    assert nmt(["translate", "input", "--mbr", "chrf", "-n", "8", "--seed", "3", "-q", *LIMITS]) == 0
    torch.set_num_threads(1)
    expected = translator.translate([*SOURCES, ""], MBR.model_copy(update={"seed": 3}))
    assert capfd.readouterr().out.splitlines() == expected


def test_n_best_are_in_the_order_of_their_expected_score(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--mbr", "bleu", "--candidates", "9", "--n-best", "4", "--format", "jsonl", "-q", *LIMITS]
    assert nmt(["translate", "input", *arguments]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(records) == len(SOURCES) + 1
    for record in records[:-1]:
        scores = [each["score"] for each in record["hypotheses"]]
        assert len({each["translation"] for each in record["hypotheses"]}) == len(scores) <= 4
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 100
    assert max(len(record["hypotheses"]) for record in records[:-1]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mbr", "ter"], "Invalid value for '--mbr': 'ter' is not one of 'chrf', 'bleu'"),
        (["--mbr", "chrf", "-n", "0"], "Invalid value for '-n' / '--candidates'"),
        (["--mbr", "chrf", "-n", "3", "--n-best", "4"], "--n-best: 4 is more than candidates 3; draw more of them"),
        (["-n", "3"], "--candidates 3: is how many translations --mbr chooses from; add --mbr chrf, or give --n-best"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert nmt(["translate", "input", *arguments]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert message in shown.err.splitlines()[-1]
