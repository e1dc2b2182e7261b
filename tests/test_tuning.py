"""Which length penalty and beam are chosen: the best on validation pairs, if it gains enough, in the time there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from runs import CPU, PAIRS, tiny_config
from trainings import run_training, tiny, write_corpus

from nmt.config import SearchConfig
from nmt.models import build
from nmt.tokenizer import Tokenizers
from nmt.training import tuning
from nmt.training.tuning import BEAM_SIZE, LEAST, LENGTH_PENALTY, Found, Row, Tuner
from nmt.translate import Translator

REFERENCES = [" ".join(f"w{line}x{word}" for word in range(10)) for line in range(600)]
VALID = [(f"source {line}", reference) for line, reference in enumerate(REFERENCES)]
ENDLESS = math.inf
ALPHAS = LENGTH_PENALTY.values
CONFIG = tiny_config()
TOKENIZERS = Tokenizers.train(PAIRS * 4, CONFIG.tokenizer)


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Erring(Translator):
    """A translator that gets so many lines wrong, by a word each, under each length penalty and beam, else all."""

    def __init__(
        self, wrong: Mapping[float, int], usual: float = 1.0, clock: Clock | None = None, *, row: Row = LENGTH_PENALTY
    ) -> None:
        self.option = row.option
        config = CONFIG.model_copy(update={"search": SearchConfig(**{"n_best": 3, row.option: usual})})
        size = TOKENIZERS.target.size
        super().__init__(config, TOKENIZERS, build(config.model, size, size, shared=True), CPU)
        self.wrong, self.clock, self.tried = wrong, clock or Clock(), list[float]()

    def translate(self, lines: Sequence[str], options: SearchConfig | None = None) -> list[str]:
        assert options is not None
        assert options.n_best == 1
        assert list(lines) == [source for source, _ in VALID]
        self.tried.append(getattr(options, self.option))
        self.clock.now += 6.0 * options.beam_size
        wrong = self.wrong.get(self.tried[-1], len(lines))
        return [text.replace("x4", "y4") if row < wrong else text for row, text in enumerate(REFERENCES)]


def tuned(
    translator: Erring, row: Row = LENGTH_PENALTY, deadline: float = ENDLESS, expected: float = 1.0
) -> tuple[float, Found]:
    tuner = Tuner(translator, VALID, deadline, expected)
    found = tuner.tune(row)
    assert tuner.search.n_best == 3, "what is tried has one translation a line, what is chosen as many as before"
    return getattr(tuner.search, row.option), found


@pytest.mark.slow
@pytest.mark.parametrize("best", ALPHAS)
def test_the_best_of_all_is_chosen(best: float) -> None:
    wrong = {alpha: 100 + 10 * place for place, alpha in enumerate(ALPHAS)} | {best: 0}
    alpha, found = tuned(Erring(wrong))
    assert alpha == best
    assert set(found) == set(ALPHAS)
    assert found[best] == pytest.approx(100)
    assert max(bleu for other, bleu in found.items() if other != best) < 96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "other", "wrong", "gain"),
    [
        (LENGTH_PENALTY, 0.6, 9, 0.48),
        (LENGTH_PENALTY, 0.6, 10, 0.53),
        (BEAM_SIZE, 10, 9, 0.48),
        (BEAM_SIZE, 10, 10, 0.53),
    ],
)
def test_what_gains_next_to_nothing_is_chance(row: Row, other: float, wrong: int, gain: float) -> None:
    usual = 1.0 if row == LENGTH_PENALTY else 5
    chosen, found = tuned(Erring({usual: wrong, other: 0}, usual, row=row), row)
    assert found[other] - found[usual] == pytest.approx(gain, abs=0.01)
    assert chosen == (other if gain > LEAST else usual)


def test_a_beam_too_narrow_for_what_is_asked_for_is_not_tried() -> None:
    """The config with it could not be read again."""
    tuner = Tuner(Erring({12: 50, 10: 0}, 12, row=BEAM_SIZE), VALID, ENDLESS, 1.0)
    tuner.search = tuner.search.model_copy(update={"n_best": 12})
    assert set(tuner.tune(BEAM_SIZE)) == {12}
    assert tuner.search.beam_size == 12


@pytest.mark.slow
def test_the_model_s_own_is_tried_first_and_stays_where_none_is_better() -> None:
    translator = Erring({0.8: 0, 1.0: 0}, usual=0.8)
    assert tuned(translator)[0] == 0.8
    assert translator.tried == [0.8, *ALPHAS]


@pytest.mark.slow
def test_a_wider_beam_is_tried_with_the_length_penalty_that_was_chosen() -> None:
    translator = Erring({0.6: 0})
    tuner = Tuner(translator, VALID, ENDLESS, 1.0)
    tuner.tune(LENGTH_PENALTY)
    assert tuner.tune(BEAM_SIZE) == {5: pytest.approx(100), 10: pytest.approx(100)}
    assert translator.tried == [*ALPHAS, 0.6], "what is known is not translated again"
    assert (tuner.search.length_penalty, tuner.search.beam_size) == (0.6, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "deadline", "expected", "tried"),
    [
        (LENGTH_PENALTY, 100.0, 1.0, 3),  # a fourth, with a fifth of reserve, would end at 126
        (LENGTH_PENALTY, 125.0, 1.0, 3),
        (LENGTH_PENALTY, 127.0, 1.0, 4),
        (LENGTH_PENALTY, 127.0, 60.0, 2),  # a third may take as long as the longest that was expected
        (LENGTH_PENALTY, 11.0, 10.0, 0),
        (BEAM_SIZE, 101.0, 1.0, 1),  # twice as wide, twice as long: it would end at 102
        (BEAM_SIZE, 103.0, 1.0, 2),
    ],
)
def test_others_are_tried_while_there_is_time(
    row: Row, deadline: float, expected: float, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(tuning, "time", clock)
    values = ALPHAS if row == LENGTH_PENALTY else (5, 10)
    wrong = {value: 100 - 10 * place for place, value in enumerate(values)}
    translator = Erring(wrong, values[0], clock, row=row)
    chosen, found = tuned(translator, row, deadline, expected)
    assert translator.tried == list(found) == list(values[:tried])
    assert chosen == ([values[0], *values])[tried]


def test_what_was_chosen_is_in_the_config_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tuner, "_bleu", lambda _, search: search.beam_size + search.length_penalty)
    run, changes = tmp_path / "run", {"training.max_steps": 1}
    tunes = dict.fromkeys(("training.tune_length_penalty", "training.tune_beam_size"), "true")
    told = run_training(run, tiny(write_corpus(tmp_path), {**changes, **tunes}))
    assert "length penalty 1.8: BLEU on validation pairs 2.20 with 0.2, 2.60 with 0.6" in told
    assert "beam size 10: BLEU on validation pairs 3.80 with 2, 11.80 with 10" in told
    search = Translator.load(run, device="cpu").config.search
    assert (search.length_penalty, search.beam_size, search.n_best) == (1.8, 10, 1)
    assert "Search: beam 10, length penalty 1.8; in float32." in (run / "README.md").read_text()
    told = run_training(tmp_path / "plain", tiny(write_corpus(tmp_path), changes))
    assert "BLEU on validation pairs" not in told
