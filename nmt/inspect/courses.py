"""How trainings went, as points of curves, by the lines of their metrics.jsonl; it does not know how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

Points = list[tuple[float, float]]

OVER = {"steps": "optimizer steps", "tokens": "target tokens, by mean speed", "time": "hours of training"}
# Seconds without a line, or times what the steps usually take, beyond which a training is taken to have stood still.
BREAK, USUAL = 600.0, 3


class Course(NamedTuple):
    """What one training recorded."""

    name: str
    records: Sequence[Mapping[str, Any]]
    is_finished: bool


class Curve(NamedTuple):
    """Which number of which kind of record."""

    kind: str  # train or valid
    name: str
    label: str


LOSS = "loss, nats per target token"
CURVES = (
    Curve("train", "loss", f"training {LOSS}"),
    Curve("valid", "loss", f"validation {LOSS}"),
    Curve("valid", "bleu", "BLEU of the validation set"),
    Curve("train", "learning_rate", "learning rate"),
    Curve("train", "tokens_per_second", "target tokens per second"),
)


def points(course: Course, curve: Curve, over: str) -> Points:
    """Return a curve over steps, tokens or hours, as far as it is known."""
    places = PLACES[over](course.records)
    return [
        (place, record[curve.name])
        for place, record in zip(places, course.records, strict=True)
        if record["kind"] == curve.kind and curve.name in record
    ]


def _steps(records: Sequence[Mapping[str, Any]]) -> list[float]:
    return [float(record["step"]) for record in records]


def _tokens(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return target tokens at each record: steps times the mean tokens of one, which metrics tell by time and speed."""
    spans = _spans(records)
    each = median([seconds * last["tokens_per_second"] for seconds, last in spans]) if spans else 0.0
    return [each * record["step"] for record in records]


def _hours(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the hours from the first step to each record, without the time in which nothing was trained."""
    spans = _spans(records)
    per_step = median([seconds for seconds, _ in spans]) if spans else 0.0
    passed = [per_step * records[0]["step"]] if records else []
    for before, after in pairwise(records):
        seconds, usual = after["time"] - before["time"], per_step * (after["step"] - before["step"])
        is_break = not 0 <= seconds <= max(BREAK, USUAL * usual)
        passed.append(passed[-1] + (usual if is_break else seconds))
    return [seconds / 3600 for seconds in passed]


def _spans(records: Sequence[Mapping[str, Any]]) -> list[tuple[float, Mapping[str, Any]]]:
    """Return seconds per step between neighbouring reports of training, and the later report."""
    return [
        ((last["time"] - first["time"]) / (last["step"] - first["step"]), last)
        for first, last in pairwise(records)
        if first["kind"] == last["kind"] == "train"
        and last["step"] > first["step"]
        and last["time"] > first["time"]
        and "tokens_per_second" in last
    ]


PLACES = {"steps": _steps, "tokens": _tokens, "time": _hours}
