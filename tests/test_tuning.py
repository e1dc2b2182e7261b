"""Which length penalty is chosen: the best on validation pairs, if it gains enough, of those there is time for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from runs import CPU, PAIRS, tiny_config

from nmt.config import SearchConfig
from nmt.models import build
from nmt.tokenizer import Tokenizers
from nmt.training import tuning
from nmt.training.tuning import ALPHAS, LEAST, tune_length_penalty
from nmt.translate import Translator

REFERENCES = [" ".join(f"w{line}x{word}" for word in range(10)) for line in range(600)]
VALID = [(f"source {line}", reference) for line, reference in enumerate(REFERENCES)]
ENDLESS = math.inf
CONFIG = tiny_config()
TOKENIZERS = Tokenizers.train(PAIRS * 4, CONFIG.tokenizer)


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Erring(Translator):
    """A translator that gets so many lines wrong, by a word each, under each length penalty, and all under others."""

    def __init__(self, wrong: Mapping[float, int], usual: float = 1.0, clock: Clock | None = None) -> None:
        config = CONFIG.model_copy(update={"search": SearchConfig(length_penalty=usual, n_best=3)})
        size = TOKENIZERS.target.size
        super().__init__(config, TOKENIZERS, build(config.model, size, size, shared=True), CPU)
        self.wrong, self.clock, self.tried = wrong, clock or Clock(), list[float]()

    def translate(self, lines: Sequence[str], options: SearchConfig | None = None) -> list[str]:
        assert options is not None
        assert (options.n_best, options.beam_size) == (1, self.config.search.beam_size)
        assert list(lines) == [source for source, _ in VALID]
        self.tried.append(options.length_penalty)
        self.clock.now += 30.0
        wrong = self.wrong.get(options.length_penalty, len(lines))
        return [text.replace("x4", "y4") if row < wrong else text for row, text in enumerate(REFERENCES)]


@pytest.mark.slow
@pytest.mark.parametrize("best", ALPHAS)
def test_the_best_of_all_is_chosen(best: float) -> None:
    wrong = {alpha: 100 + 10 * place for place, alpha in enumerate(ALPHAS)} | {best: 0}
    alpha, found = tune_length_penalty(Erring(wrong), VALID, ENDLESS, 1.0)
    assert alpha == best
    assert set(found) == set(ALPHAS)
    assert found[best] == pytest.approx(100)
    assert max(bleu for other, bleu in found.items() if other != best) < 96


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "gain"), [(1, 0.05), (3, 0.16)])
def test_what_gains_next_to_nothing_is_chance(wrong: int, gain: float) -> None:
    alpha, found = tune_length_penalty(Erring({1.0: wrong, 0.6: 0}), VALID, ENDLESS, 1.0)
    assert found[0.6] - found[1.0] == pytest.approx(gain, abs=0.01)
    assert alpha == (0.6 if gain > LEAST else 1.0)


@pytest.mark.slow
def test_the_model_s_own_is_tried_first_and_stays_where_none_is_better() -> None:
    translator = Erring({0.8: 0, 1.0: 0}, usual=0.8)
    assert tune_length_penalty(translator, VALID, ENDLESS, 1.0)[0] == 0.8
    assert translator.tried == [0.8, *ALPHAS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deadline", "expected", "tried"),
    [
        (100.0, 1.0, 3),  # a fourth, with a fifth of reserve, would end at 126
        (125.0, 1.0, 3),
        (127.0, 1.0, 4),
        (127.0, 60.0, 2),  # a third may take as long as the longest that was expected
        (11.0, 10.0, 0),
    ],
)
def test_others_are_tried_while_there_is_time(
    deadline: float, expected: float, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(tuning, "time", clock)
    wrong = {alpha: 100 - 10 * place for place, alpha in enumerate(ALPHAS)}
    translator = Erring(wrong, clock=clock)
    alpha, found = tune_length_penalty(translator, VALID, deadline, expected)
    assert translator.tried == list(found) == list(ALPHAS[:tried])
    assert alpha == ([1.0, *ALPHAS])[tried]
