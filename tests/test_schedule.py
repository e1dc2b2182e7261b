"""Learning rates by formula, and the memory of the best validation."""

from __future__ import annotations

import math

import pytest

from nmt.config import TrainingConfig
from nmt.training.schedule import Record, learning_rate

NAN, INFINITE = math.nan, math.inf


def config(**options: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 1.0, "warmup": 100, "max_steps": 1100, **options})


# Shares of the peak, by the formula of each schedule.
TABLE = {
    "inverse_sqrt": {1: 1 / 100, 50: 0.5, 100: 1.0, 200: math.sqrt(1 / 2), 400: 0.5, 10_000: 0.1},
    "cosine": {1: 1 / 100, 100: 1.0, 200: 0.5 * (1 + math.cos(0.1 * math.pi)), 600: 0.5, 1100: 0.0, 2000: 0.0},
    "constant": {1: 1 / 100, 100: 1.0, 200: 1.0, 5000: 1.0},
}


@pytest.mark.parametrize(("schedule", "step"), [(name, step) for name, steps in TABLE.items() for step in steps])
def test_learning_rate_by_formula(schedule: str, step: int) -> None:
    expected = TABLE[schedule][step]
    assert learning_rate(step, config(schedule=schedule)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    half = config(schedule=schedule, learning_rate=0.5)
    assert learning_rate(step, half) == pytest.approx(expected / 2, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("step", [1, 3999, 4000, 4001, 8000, 100_000])
def test_inverse_square_root_is_the_papers(step: int) -> None:
    """arXiv 1706.03762 equation 3: d^-0.5 * min(step^-0.5, step * warmup^-1.5), whose peak is (d * warmup)^-0.5."""
    dim, warmup = 512, 4000
    paper = dim**-0.5 * min(step**-0.5, step * warmup**-1.5)
    own = config(schedule="inverse_sqrt", warmup=warmup, learning_rate=(dim * warmup) ** -0.5)
    assert learning_rate(step, own) == pytest.approx(paper, rel=1e-12)


@pytest.mark.parametrize("schedule", TABLE)
def test_without_warmup_the_first_step_has_the_peak(schedule: str) -> None:
    assert learning_rate(1, config(schedule=schedule, warmup=0)) == pytest.approx(1.0, abs=1e-5)
    assert 0 < learning_rate(2, config(schedule=schedule, warmup=0)) <= 1


def record(values: list[float], *, lower_is_better: bool) -> Record:
    found = Record()
    for number, value in enumerate(values, 1):
        found = found.after(value, 10 * number, lower_is_better=lower_is_better)
    return found


@pytest.mark.parametrize(
    ("values", "lower", "expected"),
    [
        ([], False, Record(None, 0, 0)),
        ([20.0, 30.0, 25.0, 29.9], False, Record(30.0, 20, 2)),
        ([5.0, 4.0, 4.5], True, Record(4.0, 20, 1)),
        ([0.0, 0.0, 0.0], False, Record(0.0, 30, 2)),
        ([NAN], True, Record(None, 0, 1)),
        ([4.0, NAN, -INFINITE], True, Record(4.0, 10, 2)),
        ([NAN, 3.0], True, Record(3.0, 20, 0)),
        ([INFINITE, 1.0], False, Record(1.0, 20, 0)),
    ],
)
def test_the_best_is_remembered_and_the_others_counted(values: list[float], lower: bool, expected: Record) -> None:
    assert record(values, lower_is_better=lower) == expected
