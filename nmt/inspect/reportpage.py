"""A report as one page of HTML that needs no network: tables, plots, sentences side by side; it knows no models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import nmt
from nmt.inspect.html import Html, element, join, markup, page, table
from nmt.inspect.plots import Curve, Span, curves, intervals, legend
from nmt.inspect.report import BY_SENTENCE, CURVES, Breakdown, Report, Symptom
from nmt.inspect.sentences import Sentence, differences
from nmt.inspect.tables import (
    Table,
    breakdown_table,
    copies_table,
    facts_table,
    score_table,
    symptom_table,
)

EXAMPLES = 10  # outputs shown of each symptom and system


def report_page(report: Report) -> str:
    """Return the whole page."""
    title = " and ".join(report.systems) if len(report.systems) < 4 else f"{len(report.systems)} systems"
    sections = [*_sections(report)]
    links = [
        element("li", element("a", name, {"href": f"#part-{number}"})) for number, (name, _) in enumerate(sections, 1)
    ]
    parts = [
        element("section", [element("h2", name, {"id": f"part-{number}"}), *content])
        for number, (name, content) in enumerate(sections, 1)
    ]
    body = [
        element("h1", f"{title} on {report.test_set}"),
        element("p", f"{_count(report.lines, 'line')}, scored by sacreBLEU, nmt {nmt.__version__}", {"class": "faint"}),
        element("nav", element("ul", links), {"aria-label": "Sections"}),
        element("main", parts),
    ]
    return page(f"{title} on {report.test_set}", body)


def _sections(report: Report) -> Iterator[tuple[str, list[Html]]]:
    """Yield the heading and the content of each section."""
    yield "Scores", [*_scores(report)]
    if any(report.facts):
        yield "Size and speed", [_table(facts_table(report))]
    for breakdown in report.breakdowns:
        yield breakdown.title, [*_breakdown(breakdown, report.systems)]
    if report.copies:
        yield "Copied right", [_table(copies_table(report))]
    yield "Wrong at first sight", [_table(symptom_table(report)), *_examples(report)]
    for number, choice in enumerate(report.choices):
        sentences = [_sentence(sentence, report) for sentence in choice.sentences]
        yield choice.title, sentences if number else [_marks(len(report.systems)), *sentences]
    if report.notes:
        yield "Left out", [element("p", note) for note in report.notes]


def _table(content: Table) -> Html:
    notes = [element("p", content.note)] if content.note else []
    return join([*notes, table(content.title, content.head, content.rows)])


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# ---- numbers ----------------------------------------------------------------------------------------------------


def _scores(report: Report) -> Iterator[Html]:
    yield _table(score_table(report))
    if len(report.systems) > 1:
        yield legend(report.systems)
        yield element("div", [_intervals(report, number) for number in range(len(report.metrics))], {"class": "plots"})
    signatures = [metric.scores[0].record["signature"] for metric in report.metrics]
    signatures += [test.signature for metric in report.metrics for test in metric.tests]
    names = [metric.name for metric in report.metrics]
    names += [f"{metric.name}, {test.name}" for metric in report.metrics for test in metric.tests]
    rows = [[name, element("code", signature)] for name, signature in zip(names, signatures, strict=True)]
    shown = table("What makes the numbers reproducible", ["", "signature"], rows)
    yield element("details", [element("summary", "Signatures"), shown])


def _intervals(report: Report, number: int) -> Html:
    metric = report.metrics[number]
    spans = [
        Span(name, score.score, score.mean - score.margin, score.mean + score.margin)
        for name, score in zip(report.systems, metric.scores, strict=True)
    ]
    return intervals(f"{metric.name} with its 95 % interval", spans)


def _breakdown(breakdown: Breakdown, systems: Sequence[str]) -> Iterator[Html]:
    if breakdown.is_ordered:
        if len(systems) > 1:
            yield legend(systems)
        yield element("div", [_curves(breakdown, systems, metric) for metric in CURVES], {"class": "plots"})
    yield _table(breakdown_table(breakdown, list(systems)))


def _curves(breakdown: Breakdown, systems: Sequence[str], metric: str) -> Html:
    parts = breakdown.parts
    drawn = [Curve(name, [part.scores[metric][place] for part in parts]) for place, name in enumerate(systems)]
    title = f"{metric} over {breakdown.unit}; grey: lines"
    return curves(title, [part.label for part in parts], [part.lines for part in parts], drawn)


# ---- sentences --------------------------------------------------------------------------------------------------


def _examples(report: Report) -> Iterator[Html]:
    """Yield the first outputs with each symptom."""
    for symptom in report.symptoms:
        if any(symptom.cases):
            items = [*_cases(symptom, report.systems)]
            yield element("details", [element("summary", f"Show {symptom.name}"), element("ul", items)])


def _cases(symptom: Symptom, systems: Sequence[str]) -> Iterator[Html]:
    for name, cases in zip(systems, symptom.cases, strict=True):
        for case in cases[:EXAMPLES]:
            text = element("span", case.text, {"dir": "auto"})
            yield element("li", [element("span", f"{name}, line {case.line:,}: ", {"class": "faint"}), text])
        if len(cases) > EXAMPLES:
            yield element("li", f"{name}: {len(cases) - EXAMPLES:,} more")


def _marks(systems: int) -> Html:
    """Return what the marks in sentences mean, and by what they were chosen."""
    chosen = "" if systems == 1 else " ahead of the mean of the others"
    marks = [
        element("mark", "words"), " of a translation that the reference does not have there, ",
        element("mark", "words", {"class": "missing"}), " of the reference that no translation has there. ",
        f"Sentences are chosen by {BY_SENTENCE}{chosen}.",
    ]  # fmt: skip
    return element("p", marks, {"class": "faint"})


def _sentence(sentence: Sentence, report: Report) -> Html:
    target = {"dir": "auto"} | ({"lang": report.target_lang} if report.target_lang else {})
    boxes = [_box("source", markup(sentence.source), {"dir": "auto"})] if sentence.source else []
    for number, reference in enumerate(sentence.references, 1):
        name = "reference" if len(sentence.references) == 1 else f"reference {number}"
        boxes.append(_box(name, _marked(reference, sentence.hypotheses, "missing"), target))
    for name, text, score in zip(report.systems, sentence.hypotheses, sentence.scores, strict=True):
        boxes.append(_box(f"{name}, {BY_SENTENCE} {score:.1f}", _marked(text, sentence.references, "extra"), target))
    return element("article", [element("h3", f"line {sentence.line:,}"), element("div", boxes)])


def _box(name: str, content: Html, attributes: dict[str, str]) -> Html:
    return element("dl", [element("dt", name), element("dd", content or "(empty)", attributes)])


def _marked(text: str, others: Sequence[str], kind: str) -> Html:
    """Return a text with its differences marked, the white space behind them not."""
    parts = list[str]()
    for span in differences(text, others):
        said = span.text.rstrip()
        parts += [element("mark", said, {"class": kind}) if span.differs else said, span.text[len(said) :]]
    return join(parts)
