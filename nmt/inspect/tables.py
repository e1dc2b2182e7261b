"""A report as tables of words and rounded numbers, for terminals and pages alike; it knows nothing of either."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from nmt.inspect.report import CURVES, Breakdown, Report
from nmt.inspect.sentences import Choice
from nmt.inspect.significance import NOTABLE
from nmt.training.progress import CONTROL, duration

if TYPE_CHECKING:
    from nmt.inspect.model import Facts

UNKNOWN = "-"
FEW = 30  # lines: resampling them shows few of the test sets there could have been
WIDTH = 100  # characters of a line of notes in a terminal


class Table(NamedTuple):
    """Rows under a head, the first column naming the rows."""

    title: str
    note: str  # how to read it
    head: list[str]
    rows: list[list[str]]


def score_table(report: Report) -> Table:
    """Return scores with intervals and, against the first system, p-values."""
    rows = []
    for metric in report.metrics:
        rows.append([metric.name, *(f"{score.score:.2f} ± {score.margin:.2f}" for score in metric.scores)])
        differs = [score.score != metric.scores[0].score for score in metric.scores]
        rows += [[f"  {test.name}", *map(_p_value, test.p_values, differs)] for test in metric.tests]
    rows.append(["length ratio", *(f"{ratio:.3f}" for ratio in report.length_ratios)])
    note = "± is half of the 95 % confidence interval, by bootstrap; lower is better for TER."
    if len(report.systems) > 1:
        note += f" p: how likely chance alone makes the difference to {report.systems[0]}; * below {NOTABLE}."
        note += " Of so few lines the tests say little." if report.lines < FEW else ""
    return Table("Scores", note, ["", *report.systems], rows)


def _p_value(value: float | None, differs: bool) -> str:
    if value is None:
        return "baseline"
    if not differs:
        return "no difference"  # to which sacreBLEU gives the smallest p-value there is
    return f"p = {value:.4f}{' *' if value < NOTABLE else ''}"


def breakdown_table(breakdown: Breakdown, systems: list[str]) -> Table:
    """Return the scores of each class of lines."""
    names = [metric if len(systems) == 1 else f"{metric} {name}" for metric in CURVES for name in systems]
    rows = [
        [part.label, f"{part.lines:,}", *(f"{score:.1f}" for metric in CURVES for score in part.scores[metric])]
        for part in breakdown.parts
    ]
    return Table(breakdown.title, breakdown.note, [breakdown.unit, "lines", *names], rows)


def copies_table(report: Report) -> Table:
    """Return how many numbers, names and URLs were copied right."""
    rows = [
        [copies.name, f"{copies.due:,}", *(f"{right:,} ({right / copies.due:.0%})" for right in copies.right)]
        for copies in report.copies
    ]
    note = "Those that source and reference share, and of these those in the translations; of numbers the digits count."
    return Table("Copied right", note, ["", "to copy", *report.systems], rows)


def symptom_table(report: Report) -> Table:
    """Return how many lines are wrong at first sight."""
    rows = [[symptom.name, *(f"{len(cases):,}" for cases in symptom.cases)] for symptom in report.symptoms]
    note = "In lines. Looping: a word three times in a row, several words twice. Copies: mostly words of the source."
    return Table("Wrong at first sight", note, ["", *report.systems], rows)


def facts_table(report: Report) -> Table:
    """Return what the models are and how fast they were, none for systems that are files."""
    columns = [_facts(facts) if facts else {} for facts in report.facts]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(column.get(name, UNKNOWN) for column in columns)] for name in names]
    note = "Training up to the last checkpoint, hours:minutes:seconds; translating on this machine, just now."
    return Table("Size and speed", note, ["", *report.systems], rows)


def _facts(facts: Facts) -> dict[str, str]:
    return {
        "model": facts.kind,
        "parameters": f"{facts.parameters:,}",
        "size on disk": f"{facts.size / 2**20:.1f} MiB",
        "training time": UNKNOWN if facts.training_seconds is None else duration(facts.training_seconds),
        "translating": f"{facts.seconds:.1f} s",
        "sentences per second": f"{facts.sentences_per_second:.1f}",
    }


def tables(report: Report) -> Iterator[Table]:
    """Yield all tables that have a row, in the order in which one reads them."""
    found = [score_table(report), facts_table(report)]
    found += [breakdown_table(breakdown, report.systems) for breakdown in report.breakdowns]
    found += [copies_table(report), symptom_table(report)]
    return (table for table in found if table.rows)


def as_text(table: Table) -> str:
    """Return a table for a terminal, in columns of equal width."""
    lines = [table.head, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    title = fill(f"{table.title}: {table.note}" if table.note else table.title, WIDTH)
    return "\n".join([title, *(row.rstrip() for row in body)])


def choice_text(choice: Choice, systems: Sequence[str], most: int) -> str:
    """Return the first sentences of a choice for a terminal, each text on a line of its own."""
    lines = [choice.title]
    width = max(map(len, ("reference", *systems)))
    for sentence in choice.sentences[:most]:
        texts = [("source", sentence.source, "")] if sentence.source else []
        texts += [("reference", text, "") for text in sentence.references]
        scores = [f"{score:5.1f}" for score in sentence.scores]
        texts += list(zip(systems, sentence.hypotheses, scores, strict=True))
        lines.append(f"  line {sentence.line:,}")
        lines += [f"    {name:<{width}}  {score:>5}  {CONTROL.sub(' ', text)}" for name, text, score in texts]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """Return all there is to see, not rounded."""
    return json.dumps(asdict(report), ensure_ascii=False, indent=1)
