"""What there is to see of systems on one test set, as data: scores, tests, classes of lines, symptoms, sentences.

A report is a comparison with one system. It knows nothing of models, files, or how it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nmt.evaluate import reported_metrics
from nmt.inspect.breakdown import KINDS, Group, by_content, by_length, by_rarest_word, copied
from nmt.inspect.scoring import Interval, Scorer
from nmt.inspect.sentences import Choice, Outputs, choose
from nmt.inspect.significance import PairedTest, paired_tests
from nmt.inspect.symptoms import SYMPTOMS, Line
from nmt.testset import Task

if TYPE_CHECKING:
    from nmt.inspect.model import Facts

CURVES = ("BLEU", "chrF2++")  # shown by classes of lines
BY_SENTENCE = "chrF2++"  # BLEU of one sentence says little: most have no 4-gram in common with their reference


class System(NamedTuple):
    """What translated the test set."""

    name: str
    hypotheses: Sequence[str]
    facts: Facts | None = None  # of a model


class Frequencies(NamedTuple):
    """How often the test set's words were seen in training."""

    name: str  # of the corpus
    occurrences: Counter[str]


class Background(NamedTuple):
    """What is known beside the texts."""

    frequencies: Frequencies | None = None
    notes: Sequence[str] = ()  # what is missing, and why


@dataclass(frozen=True)
class Metric:
    """One metric of all systems."""

    name: str
    scores: list[Interval]
    tests: list[PairedTest]  # none where there is one system


@dataclass(frozen=True)
class Part:
    """What one class of lines scores."""

    label: str
    lines: int
    scores: dict[str, list[float]]  # percent, by metric one per system


@dataclass(frozen=True)
class Breakdown:
    """A test set in classes of lines."""

    title: str
    unit: str  # of what the labels say
    note: str  # how to read it
    is_ordered: bool  # as lengths are: a curve can be drawn
    parts: list[Part]


@dataclass(frozen=True)
class Copies:
    """Numbers, names or URLs of the sources that stand in the references too."""

    name: str
    due: int
    right: list[int]  # of these in the hypotheses, one per system


@dataclass(frozen=True)
class Case:
    """An output with a symptom."""

    line: int  # from 1
    text: str


@dataclass(frozen=True)
class Symptom:
    """What is wrong at first sight."""

    name: str
    cases: list[list[Case]]  # per system


@dataclass(frozen=True)
class Report:
    """All there is to see; lists that are one per system are in the order of `systems`."""

    test_set: str
    lines: int
    target_lang: str
    systems: list[str]
    facts: list[Facts | None]
    metrics: list[Metric]
    length_ratios: list[float]  # hypothesis tokens per reference token, as BLEU counts them
    breakdowns: list[Breakdown]
    copies: list[Copies]
    symptoms: list[Symptom]
    choices: list[Choice]
    notes: list[str]


def build_report(task: Task, systems: Sequence[System], tokenizer: str, known: Background) -> Report:
    """Score systems, the first of which is the baseline, on a task whose lines are the sources, or none if unknown.

    `tokenizer` is BLEU's, one of nmt.evaluate.TOKENIZERS.
    """
    scorers = {name: Scorer(metric, task.references) for name, metric in reported_metrics(tokenizer).items()}
    tests = paired_tests([(system.name, system.hypotheses) for system in systems], scorers)
    metrics = [
        Metric(name, [scorer.whole(system.hypotheses) for system in systems], tests[name])
        for name, scorer in scorers.items()
    ]
    outputs = [Outputs(name, texts, scorers[BY_SENTENCE].sentences(texts)) for name, texts, _ in systems]
    missing = [] if task.lines else ["The source was not given: what depends on it is left out."]
    return Report(
        test_set=task.name,
        lines=len(task.references[0]),
        target_lang=task.target_lang,
        systems=[system.name for system in systems],
        facts=[system.facts for system in systems],
        metrics=metrics,
        length_ratios=[scorers["BLEU"].length_ratio(system.hypotheses) for system in systems],
        breakdowns=[
            Breakdown(*heading, [_part(group, systems, scorers) for group in groups])
            for heading, groups in _divisions(task, known.frequencies)
            if groups
        ],
        copies=list(_copies(task, systems)),
        symptoms=_symptoms(task, systems),
        choices=choose(task, outputs),
        notes=[*missing, *([f"{task.note[0].upper()}{task.note[1:]}."] if task.note else []), *known.notes],
    )


def _divisions(task: Task, known: Frequencies | None) -> Iterator[tuple[tuple[str, str, str, bool], list[Group]]]:
    """Yield title, unit, note and whether there is an order, with the groups."""
    if not task.lines:
        yield ("By length of the reference", "words", "", True), by_length(task.references[0])
        return
    yield ("By length of the source", "words", "", True), by_length(task.lines)
    if known:
        note = f"How often the rarest word of a source stands in {known.name}."
        yield ("By the rarest word", "times seen", note, True), by_rarest_word(task.lines, known.occurrences)
    note = "A name is a capitalised word inside a sentence; in German sources that is every noun."
    yield ("By content of the source", "", note, False), by_content(task.lines)


def _part(group: Group, systems: Sequence[System], scorers: Mapping[str, Scorer]) -> Part:
    scores = {name: [scorers[name].part(system.hypotheses, group.rows) for system in systems] for name in CURVES}
    return Part(group.label, len(group.rows), scores)


def _copies(task: Task, systems: Sequence[System]) -> Iterable[Copies]:
    for kind in KINDS if task.lines else ():
        counts = [copied(kind, task.lines, task.references, system.hypotheses) for system in systems]
        if counts[0].due:
            yield Copies(kind.name, counts[0].due, [count.right for count in counts])


def _symptoms(task: Task, systems: Sequence[System]) -> list[Symptom]:
    references = list(zip(*task.references, strict=True))
    sources = task.lines or [""] * len(references)
    by_system = [
        [Line(*texts) for texts in zip(sources, system.hypotheses, references, strict=True)] for system in systems
    ]
    return [Symptom(name, [[*_cases(lines, is_so)] for lines in by_system]) for name, is_so in SYMPTOMS.items()]


def _cases(lines: Iterable[Line], is_so: Callable[[Line], bool]) -> Iterator[Case]:
    return (Case(number, line.hypothesis) for number, line in enumerate(lines, 1) if is_so(line))
