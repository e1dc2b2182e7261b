"""The comparison of tests/quality/peers.py: what is due when, what is averaged, how results are told."""

import gzip
import json
import sys
from itertools import count, pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trainings import run_training, tiny, write_corpus

from nmt.sealed import MANIFEST
from nmt.training import checkpoint
from nmt.translate import Translator

TESTS = Path(__file__).parent
sys.path += [str(TESTS / "quality"), str(TESTS / "quality/inside"), str(TESTS / "bench/inside")]

import scores  # noqa: E402
import techniques  # noqa: E402
from budget import AVERAGED, MEASURED, SAVES, VALIDATIONS, Budget, Weights, highest_rate, mean  # noqa: E402
from standings import Result, differences, leading, table  # noqa: E402
from texts import CORPORA, SPARED, Corpus, read_lines, write_texts  # noqa: E402
from toolkits import SETTINGS  # noqa: E402
from unaveraged import write_unaveraged  # noqa: E402


class Clock:
    """Tells the seconds it is set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Clock, seconds: float = 360) -> Budget:
    return Budget({"begun": 100.0, "seconds": seconds}, clock)


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([value, 2 * value])}


# ---- time ---------------------------------------------------------------------------------------------------------


def test_saves_and_validations_are_spread_over_the_time() -> None:
    clock = Clock()
    budget = begun(clock)
    saves, validations = [], []
    while not budget.is_over():
        budget.step()
        clock.now += 1
        saves += [clock.now] * budget.is_save_due()
        validations += [clock.now] * budget.is_validation_due()
    assert clock.now == 460
    assert saves == [100 + 360 / SAVES * part for part in range(1, SAVES + 1)]
    assert validations[:VALIDATIONS] == [140 + 40 * part for part in range(VALIDATIONS)]


def test_a_long_step_is_followed_by_one_save_not_by_all_that_were_missed() -> None:
    clock = Clock()
    budget = begun(clock)
    clock.now += 200
    assert not budget.is_validation_due(), "nothing was learnt yet"
    budget.step()
    assert [budget.is_save_due(), budget.is_save_due()] == [True, False]
    assert [budget.is_validation_due(), budget.is_validation_due()] == [True, False]


@pytest.mark.parametrize(("per_step", "warmup"), [(0.01, 2_000), (0.5, 144), (10.0, 7), (100.0, 1)])
def test_a_warm_up_is_at_most_a_fifth_of_the_steps_that_fit(per_step: float, warmup: int) -> None:
    clock = Clock()
    budget = begun(clock)
    for _ in range(MEASURED):
        clock.now += per_step
        budget.step()
    assert budget.warmup(2_000) == warmup


def test_the_whole_warm_up_has_the_published_rate_and_a_quarter_of_it_half() -> None:
    assert highest_rate(5e-3, 2_000, 2_000) == 5e-3
    assert highest_rate(5e-3, 2_000, 500) == pytest.approx(2.5e-3)


# ---- weights ------------------------------------------------------------------------------------------------------


def test_the_mean_is_of_every_tensor() -> None:
    assert mean([state(1.0), state(3.0)])["weight"].tolist() == [2, 4]


def test_the_last_weights_are_averaged_and_the_best_kept() -> None:
    """Weights that change in place are copied."""
    clock, weights, live = Clock(), Weights(), state(0.0)
    budget = begun(clock, SAVES)
    shares = iter([0.1, 0.5, 0.3, *[0.2] * VALIDATIONS])
    best = []
    for number in count(1):
        budget.step()
        clock.now += 1
        live["weight"][:] = number
        before = weights.highest
        weights.keep(live, budget, lambda: next(shares))
        best += [number] * (weights.highest > before)
        if budget.is_over():
            break
    assert len(best) == 2
    asked = list[torch.Tensor]()
    for share, name, expected in ((0.51, "averaged", SAVES - (AVERAGED - 1) / 2), (0.49, "best", best[-1])):
        kind, found = weights.better(lambda each, share=share: asked.append(each["weight"]) or share)
        assert (kind, found["weight"].tolist()) == (name, [expected] * 2)
    assert [each.tolist() for each in asked] == [[SAVES - (AVERAGED - 1) / 2] * 2] * 2


# ---- corpora ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", CORPORA, ids=[corpus.name for corpus in CORPORA])
@pytest.mark.parametrize("wanted", [10, None])
def test_peers_validate_on_pairs_that_nmt_never_sees(corpus: Corpus, wanted: int | None, tmp_path: Path) -> None:
    """Each file of the corpora made up of lines that say where they are."""
    for part, size in (("train", SPARED + 20), ("val", 5), ("test_2016_flickr", 5), ("dev", 5)):
        left, right = ([f"{part} {number} {side}\u2028" for number in range(size)] for side in "ab")
        folder = tmp_path / "data" / corpus.name
        folder.mkdir(parents=True, exist_ok=True)
        for language, lines in ((corpus.source, left), (corpus.target, right)):
            text = "".join(f"{line}\n" for line in lines).encode()
            (folder / f"{part}.{language}").write_bytes(text)
            (folder / f"{part}.{language}.gz").write_bytes(gzip.compress(text))
        both = "".join(f"{one}\t{other}\n" for one, other in zip(left, right, strict=True)).encode()
        (folder / f"{part}.fr-en.tsv.gz").write_bytes(gzip.compress(both))
    pairs, texts = write_texts(corpus, tmp_path / "data", tmp_path / "out", wanted)
    found = [
        [read_lines(path.with_suffix(f".{language}")) for language in (corpus.source, corpus.target)] for path in texts
    ]
    for first, second in found:
        assert second == [line.replace(" a\u2028", " b\u2028") for line in first]
        assert first != second
    train, validation, test = (set(first) for first, _ in found)
    assert pairs == len(train) == (wanted or 20 + SPARED * (corpus is CORPORA[0]))
    assert not train & validation
    assert not (train | validation) & test
    assert {line.split()[0] for line in test} == {"test_2016_flickr" if corpus is CORPORA[0] else "dev"}


# ---- results ------------------------------------------------------------------------------------------------------


def result(corpus: str, pairs: int, system: str, bleu: float, weights: str = "") -> Result:
    scores = {"bleu": bleu, "chrf": 30.0} | ({"lc-norm-tok": 2.0} if corpus == "captions" else {})
    return Result(corpus, pairs, system, "a setting", weights, 1234, 60.0, scores)


RESULTS = [
    result("captions", 5_000, "nmt", 20.0), result("captions", 5_000, "A", 12.5, "best"),
    result("captions", 5_000, "B", 21.25), result("captions", 1_000, "nmt", 8.0),
    result("captions", 1_000, "A", 9.0, "averaged"), result("captions", 1_000, "B", 1.0),
    result("others", 1_000, "nmt", 7.0), result("others", 1_000, "A", 3.0),
]  # fmt: skip


def test_nmt_is_compared_with_the_best_peer_of_the_same_corpus() -> None:
    assert differences(RESULTS) == [
        "5,000 pairs of captions, nmt less the best peer (B, a setting): BLEU -1.25, lc-norm-tok +0.00, chrF2 +0.00",
        "1,000 pairs of captions, nmt less the best peer (A, a setting): BLEU -1.00, lc-norm-tok +0.00, chrF2 +0.00",
        "1,000 pairs of others, nmt less the best peer (A, a setting): BLEU +4.00, chrF2 +0.00",
    ]
    assert differences(RESULTS[:1]) == []
    assert leading(RESULTS) == RESULTS[2]


def test_the_table_has_a_row_for_each_result() -> None:
    lines = table(RESULTS).split("\n")
    assert len(lines) == 2 + len(RESULTS)
    assert lines[3] == "| captions | 5,000 | A | a setting, best | 1,234 | 12.50 | 2.00 | 30.00 |"
    assert lines[-1] == "| others | 1,000 | A | a setting | 1,234 | 3.00 |  | 30.00 |"


@pytest.mark.parametrize(
    ("pairs", "pieces"),
    [(1, [1_500, 8_000]), (1_000, [1_500, 8_000]), (5_000, [3_000, 8_000]), (29_000, [10_000, 8_000])],
)
def test_fewer_pairs_get_fewer_pieces(pairs: int, pieces: list[int]) -> None:
    assert [setting.vocabulary(pairs) for setting in SETTINGS] == pieces


# ---- techniques ---------------------------------------------------------------------------------------------------


def test_each_technique_and_each_reading_of_its_runs_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    written: list[tuple[Path, int, Path]] = []

    def fake(*words: str) -> str:
        called.append(words)
        return "\n"

    monkeypatch.setattr(scores, "_translate", fake)
    monkeypatch.setattr(scores, "write_unaveraged", lambda *what: written.append(what))
    monkeypatch.setattr(scores, "score", lambda *texts: dict.fromkeys(("bleu", "chrf"), float(len(called))))
    monkeypatch.setattr(scores, "prepared_score", lambda *texts: float(len(called)))
    (tmp_path / "data/multi30k").mkdir(parents=True)
    (tmp_path / "data/multi30k/test_2016_flickr.de").write_text("\n")
    place = techniques.Place(tmp_path, tmp_path / "data", 10)
    wanted = techniques.trainings(["base", "words"], 2)
    rows = scores.measure(place, wanted)
    labels = {technique.name: technique.label for technique in techniques.TECHNIQUES}
    readings = [f"*{reading.label}*" for reading in techniques.READINGS if not reading.beside]
    assert [row.label for row in rows] == [labels["base"], *readings, labels["words"]]
    runs = {name: str(tmp_path / name) for name in ("base-1", "base-2", "averaged-2")}
    source = str(tmp_path / "data/multi30k/test_2016_flickr.en")
    assert ("-m", runs["base-1"], "-m", runs["base-2"], source) in called
    assert ("-m", runs["base-2"], "--beam-size", "1", source) in called
    assert (tmp_path / "base-2", 5, tmp_path / "averaged-2") in written
    assert ("-m", runs["averaged-2"], source) in called
    assert "| 1.50 (1.00-2.00) |" in scores.table(rows)
    assert [line.split("|")[-2].strip() for line in scores.table(rows).split("\n")[2:]] == ["2"] * len(rows)
    count = len(called)
    assert scores.table(scores.measure(place, wanted)) == scores.table(rows)
    assert len(called) == count, "what is scored is not translated again"
    for seed in (1, 2):
        finish(tmp_path / f"reverse-{seed}")
    assert "*a beam of 20, re-ranked by a model of the other direction*" in [
        row.label for row in scores.measure(place, wanted)
    ]
    reverse = str(tmp_path / "reverse-2")
    assert called[count:][1] == ("-m", runs["base-2"], "--beam-size", "20", "--rerank", reverse, source)
    assert len(called) == count + 2, "an ensemble of a Transformer and a GRU needs the GRUs"


def finish(run: Path) -> None:
    run.mkdir()
    (run / MANIFEST).touch()


def test_models_that_write_for_others_are_trained_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, list[str]] = {}

    def fake(place: techniques.Place, name: str, words: list[str]) -> None:
        assert name not in called
        called[name] = words
        if words[0] == "train":
            finish(tmp_path / name)
        else:
            (tmp_path / f"{name}.tsv").touch()

    monkeypatch.setattr(techniques, "_nmt", fake)
    place = techniques.Place(tmp_path, tmp_path / "data", 10)
    wanted = techniques.trainings(["distilled", "both-ways", "words"], 2)
    techniques.run_all(place, wanted, 1)
    runs = ["words-1", "words-2", "base-1", "reverse-1", "base-2", "reverse-2"]
    texts = ["forward-1", "backward-1", "forward-2", "backward-2"]
    learners = ["distilled-1", "both-ways-1", "distilled-2", "both-ways-2"]
    assert set(called) == {*runs, *texts, *learners}
    assert list(called) == [*runs, *texts, *learners]
    data = tmp_path / "data"
    expected = ["distill", "-m", str(tmp_path / "base-2"), *(str(data / name) for name in ("few.en", "few.de"))]
    assert called["forward-2"][:5] == expected
    assert called["backward-2"][:4] == ["backtranslate", "-m", str(tmp_path / "reverse-2"), str(data / "few.de")]
    settings = [value for option, value in pairwise(called["both-ways-2"]) if option == "--set"]
    written = [str(tmp_path / f"{name}-2.tsv") for name in ("forward", "backward")]
    assert settings == [f"data.train={json.dumps(['few.{lang}', *written])}", "data.weights=[2, 1, 1]"]
    count = len(called)
    techniques.run_all(place, wanted, 1)
    assert len(called) == count, "what is there is not made again"


def test_a_run_without_its_running_average_translates_with_what_was_learnt(tmp_path: Path) -> None:
    """The weights of the last checkpoints, not what `ema` made of them."""
    run = tmp_path / "run"
    run_training(run, tiny(write_corpus(tmp_path)))
    learnt = [load_file(checkpoint.step_folder(run, step) / "weights.safetensors") for step in checkpoint.steps(run)]
    for last in (1, 2):
        write_unaveraged(run, last, tmp_path / "out")
        found = load_file(tmp_path / "out" / checkpoint.WEIGHTS)
        expected = mean(learnt[-last:])
        assert set(found) == set(expected)
        assert all(torch.allclose(found[name], expected[name], rtol=1e-6, atol=1e-8) for name in expected)
        assert any(not torch.equal(found[name], kept) for name, kept in load_file(run / checkpoint.WEIGHTS).items())
    assert len(Translator.load(tmp_path / "out", device="cpu").translate(["1 2"])) == 1
