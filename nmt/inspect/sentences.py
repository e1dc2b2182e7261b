"""Sentences of a test set that are worth reading, and where their words differ; it knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from statistics import fmean
from typing import NamedTuple

from nmt.inspect.breakdown import TOKEN
from nmt.testset import Task

SHOWN = 8  # under each heading


@dataclass(frozen=True)
class Sentence:
    """A line of the test set with what the systems made of it."""

    line: int  # from 1
    source: str  # empty where it is unknown
    references: list[str]
    hypotheses: list[str]
    scores: list[float]  # percent, one per system


@dataclass(frozen=True)
class Choice:
    """Sentences with what they were chosen for."""

    title: str
    sentences: list[Sentence]


class Outputs(NamedTuple):
    """What one system made of the test set."""

    name: str
    hypotheses: Sequence[str]
    scores: Sequence[float]  # percent, of each line by itself


def choose(task: Task, systems: Sequence[Outputs]) -> list[Choice]:
    """Return best, worst and longest sentences of one system, else those where each is furthest ahead of the others.

    No sentence stands under two headings, and none that is blank under any.
    """
    sizes = [len(TOKEN.findall(line)) for line in task.lines or task.references[0]]  # words
    rows = [row for row, size in enumerate(sizes) if size]
    longest = ("Longest sentences", sorted(rows, key=lambda row: -sizes[row]))
    wanted = [*(_extremes(systems[0], rows, sizes) if len(systems) == 1 else _leads(systems, rows)), longest]
    taken = set[int]()
    choices = []
    for title, order in wanted:
        chosen = [row for row in order if row not in taken][:SHOWN]
        taken.update(chosen)
        choices.append(Choice(title, [_sentence(task, systems, row) for row in chosen]))
    return [choice for choice in choices if choice.sentences]


def _extremes(system: Outputs, rows: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield the best and the worst; of sentences with the same score the longer ones say more."""
    yield "Best sentences", sorted(rows, key=lambda row: (-system.scores[row], -sizes[row]))
    yield "Worst sentences", sorted(rows, key=lambda row: (system.scores[row], -sizes[row]))


def _leads(systems: Sequence[Outputs], rows: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield where each system is above the mean of the others: with a twin among them it is never above all."""
    for system in systems:
        others = [other for other in systems if other is not system]
        lead = {row: system.scores[row] - fmean(other.scores[row] for other in others) for row in rows}
        order = sorted((row for row in rows if lead[row] > 0), key=lead.__getitem__, reverse=True)
        yield f"Where {system.name} is furthest ahead", order


def _sentence(task: Task, systems: Sequence[Outputs], row: int) -> Sentence:
    references = [lines[row] for lines in task.references]
    hypotheses = [system.hypotheses[row] for system in systems]
    scores = [system.scores[row] for system in systems]
    return Sentence(row + 1, task.lines[row] if task.lines else "", references, hypotheses, scores)


# ---- differences ------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """A part of a text, white space included."""

    text: str
    differs: bool


def differences(text: str, others: Iterable[str]) -> list[Span]:
    """Return the text in spans; those differ whose words stand in none of the others, in the order they have there."""
    matches = list(TOKEN.finditer(text))
    tokens = [match[0] for match in matches]
    same = set[int]()
    for other in others:
        blocks = SequenceMatcher(None, tokens, TOKEN.findall(other), autojunk=False).get_matching_blocks()
        same.update(place for block in blocks for place in range(block.a, block.a + block.size))
    starts = [match.start() for match in matches]
    spans = list[Span]()
    for place, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=False)):
        span = Span(text[start:end], place not in same)
        if spans and spans[-1].differs == span.differs:
            span = Span(spans.pop().text + span.text, span.differs)
        spans.append(span)
    return spans
