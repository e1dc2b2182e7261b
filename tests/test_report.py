"""What a report says is what sacreBLEU says: scores, intervals, p-values, of all lines, of some and of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from corpora import invented
from sacrebleu import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from nmt.inspect.report import Background, Frequencies, Report, System, build_report
from nmt.inspect.sentences import Span, differences
from nmt.inspect.tables import as_text, breakdown_table, score_table
from nmt.testset import Task

LINES = 60
SOURCES, REFERENCE = ([*side] for side in zip(*invented(LINES), strict=True))
OTHER = [target for _, target in invented(LINES, seed=2)]
NAMES = ("baseline", "good", "bad")


def spoilt(every: int) -> list[str]:
    """Return the reference with a word in `every` replaced, in a third of the lines a little more."""
    return [
        " ".join(
            "x" if (place + number) % (every - (number % 3 == 0)) == 0 else word for place, word in enumerate(text)
        )
        for number, text in enumerate(line.split() for line in REFERENCE)
    ]


SYSTEMS = [System(name, spoilt(every)) for name, every in zip(NAMES, (4, 5, 3), strict=True)]
TASK = Task("test.en", SOURCES, [REFERENCE], "de")


@cache
def report(count: int) -> Report:
    return build_report(TASK, SYSTEMS[:count], "13a", Background())


def write(folder: Path, name: str, lines: Sequence[str]) -> str:
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write the reference and the systems' outputs, in this order."""
    folder = tmp_path_factory.mktemp("files")
    return [write(folder, "ref", REFERENCE), *(write(folder, system.name, system.hypotheses) for system in SYSTEMS)]


def sacrebleu(reference: str, systems: Sequence[str], *options: str) -> Any:
    metrics = ["-m", "bleu", "chrf", "ter", "--chrf-word-order", "2", "-f", "json", "-w", "15"]
    command = [sys.executable, "-m", "sacrebleu", reference, "-i", *systems, *metrics, *options]
    environment = {name: value for name, value in os.environ.items() if name != "SACREBLEU_SEED"}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def test_scores_and_intervals_are_those_of_the_sacrebleu_command(files: list[str]) -> None:
    theirs = {record["name"]: record for record in sacrebleu(files[0], files[1:2], "--confidence")}
    assert [metric.name for metric in report(1).metrics] == ["BLEU", "chrF2++", "TER"]
    for metric in report(1).metrics:
        ours, record = metric.scores[0], theirs[metric.name]
        assert ours.score == pytest.approx(record["score"], 1e-12)
        assert (ours.mean, ours.margin) == pytest.approx((record["confidence_mean"], record["confidence_var"]), 1e-6)
        assert ours.margin > 0
        assert ours.record["signature"] == record["signature"]
        assert "|bs:1000|seed:12345|" in record["signature"]


@pytest.mark.slow
def test_p_values_of_three_systems_are_those_of_the_sacrebleu_command(files: list[str]) -> None:
    theirs = sacrebleu(files[0], files[1:], "--paired-ar")
    for metric in report(3).metrics:
        randomisation = metric.tests[1]
        assert randomisation.p_values == [system[metric.name]["p_value"] for system in theirs]
        assert [score.score for score in metric.scores] == [system[metric.name]["score"] for system in theirs]
        assert "|ar:10000|seed:12345|" in randomisation.signature
        assert "|bs:" not in randomisation.signature


@pytest.mark.slow
def test_paired_bootstrap_of_three_systems_is_sacrebleus() -> None:
    """Its command cannot print this test as JSON: it gets numbers of numpy's."""
    metrics = {"BLEU": BLEU(references=[REFERENCE]), "chrF2++": CHRF(word_order=2), "TER": TER()}
    named = [(system.name, system.hypotheses) for system in SYSTEMS]
    signatures, theirs = PairedTest(named, metrics, [REFERENCE], test_type="bs")()
    for metric in report(3).metrics:
        bootstrap = metric.tests[0]
        assert bootstrap.p_values == [result.p_value for result in theirs[metric.name]]
        assert bootstrap.p_values[0] is None
        assert [score.margin for score in metric.scores] == pytest.approx([r.ci for r in theirs[metric.name]], 1e-6)
        assert bootstrap.signature == str(signatures[metric.name])
        assert "|bs:1000|seed:12345|" in bootstrap.signature


@pytest.mark.slow
def test_tests_can_tell_luck_from_a_difference() -> None:
    bleu = report(3).metrics[0]
    for test in bleu.tests:
        assert [value is not None and value < 0.05 for value in test.p_values] == [False, True, True]
    same = score_table(build_report(TASK, [SYSTEMS[0], SYSTEMS[0]], "13a", Background()))
    assert [row[1:] for row in same.rows[1:3]] == [["baseline", "no difference"]] * 2


def test_seed_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    other = build_report(TASK, SYSTEMS[:1], "13a", Background()).metrics[0].scores[0]
    usual = report(1).metrics[0].scores[0]
    assert "|seed:7|" in other.record["signature"]
    assert (other.score, other.margin == usual.margin) == (usual.score, False)


def test_classes_of_lines_score_what_sacrebleu_gives_to_files_of_them() -> None:
    [by_length, by_content] = report(3).breakdowns
    assert (by_length.title, by_length.is_ordered) == ("By length of the source", True)
    assert sum(part.lines for part in by_length.parts) == LINES
    place, part = 1, by_length.parts[1]
    rows = [row for row, source in enumerate(SOURCES) if 6 <= len(source.split()) <= 10]
    assert (part.label, part.lines) == ("6-10", len(rows))
    chosen = [SYSTEMS[place].hypotheses[row] for row in rows]
    references = [[REFERENCE[row] for row in rows]]
    assert part.scores["BLEU"][place] == BLEU().corpus_score(chosen, references).score
    assert part.scores["chrF2++"][place] == CHRF(word_order=2).corpus_score(chosen, references).score
    assert [part.label for part in by_content.parts] == ["with none of these"]


def test_length_ratio_is_bleus() -> None:
    assert report(1).length_ratios == [BLEU().corpus_score(SYSTEMS[0].hypotheses, [REFERENCE]).ratio]


def test_several_references_are_used_everywhere() -> None:
    found = build_report(TASK._replace(references=[REFERENCE, OTHER]), SYSTEMS[:1], "13a", Background())
    for metric, theirs in zip(found.metrics, (BLEU(), CHRF(word_order=2), TER()), strict=True):
        assert metric.scores[0].score == theirs.corpus_score(SYSTEMS[0].hypotheses, [REFERENCE, OTHER]).score
        assert "nrefs:2|" in metric.scores[0].record["signature"]
    assert len(found.choices[0].sentences[0].references) == 2


def test_best_worst_and_longest_sentences_of_one_system_are_by_its_chrf() -> None:
    titles = [choice.title for choice in report(1).choices]
    assert titles == ["Best sentences", "Worst sentences", "Longest sentences"]
    best, worst, longest = (choice.sentences for choice in report(1).choices)
    chrf = CHRF(word_order=2)
    scores = [
        chrf.sentence_score(hypothesis, [reference]).score
        for hypothesis, reference in zip(SYSTEMS[0].hypotheses, REFERENCE, strict=True)
    ]
    assert best[0].scores == [max(scores)]
    assert worst[0].scores == [min(scores)]
    assert (worst[0].source, worst[0].references) == (SOURCES[worst[0].line - 1], [REFERENCE[worst[0].line - 1]])
    shown = [sentence.line for choice in report(1).choices for sentence in choice.sentences]
    assert len(shown) == len(set(shown))
    rest = [len(source.split()) for row, source in enumerate(SOURCES, 1) if row not in shown[:-8]]
    assert len(longest[0].source.split()) == max(rest)


def test_sentences_of_several_systems_are_those_where_one_is_furthest_ahead() -> None:
    titles = [choice.title for choice in report(3).choices]
    assert titles == [*(f"Where {name} is furthest ahead" for name in NAMES), "Longest sentences"]
    for place, choice in enumerate(report(3).choices[:3]):
        leads = [
            sentence.scores[place] - mean(score for other, score in enumerate(sentence.scores) if other != place)
            for sentence in choice.sentences
        ]
        assert leads == sorted(leads, reverse=True)
        assert leads[-1] > 0


def test_rare_words_are_a_class_where_the_training_corpus_is_known() -> None:
    occurrences = Counter(word.strip(".!?").casefold() for source in SOURCES[:30] for word in source.split())
    found = build_report(TASK, SYSTEMS[:1], "13a", Background(Frequencies("train.en", occurrences), ["a note"]))
    rare = found.breakdowns[1]
    assert rare.title == "By the rarest word"
    assert "train.en" in rare.note
    assert [part.label for part in rare.parts][:2] == ["0", "1-9"]
    assert found.notes == ["a note"]


# ---- little or nothing to see -----------------------------------------------------------------------------------


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save time where p-values are not looked at."""
    monkeypatch.setattr("sacrebleu.significance.PairedTest._DEFAULT_SAMPLES", {"bs": 100, "ar": 100})


@pytest.mark.slow
@pytest.mark.usefixtures("few_trials")
@pytest.mark.parametrize("systems", [1, 2, 3])
@pytest.mark.parametrize("text", ["", "ein Hund", "etwas ganz anderes"])
def test_one_line_is_enough(systems: int, text: str) -> None:
    task = Task("one", ["a dog"], [["ein Hund"]], "de")
    given = [System(f"s{number}", [text]) for number in range(systems)]
    found = build_report(task, given, "13a", Background())
    chrf = CHRF(word_order=2).corpus_score([text], [["ein Hund"]])
    assert found.metrics[1].scores[0].score == chrf.score
    assert found.metrics[1].scores[0].margin == 0
    assert json.loads(json.dumps(asdict(found)))["lines"] == 1
    assert sum(len(choice.sentences) for choice in found.choices) == 1
    assert ("Of so few lines" in score_table(found).note) == (systems > 1)


@pytest.mark.usefixtures("few_trials")
def test_empty_hypotheses_score_nothing_and_are_counted() -> None:
    found = build_report(TASK, [System("empty", [""] * LINES), SYSTEMS[0]], "13a", Background())
    bleu, chrf, ter = (metric.scores[0] for metric in found.metrics)
    assert (bleu.score, bleu.mean, bleu.margin, chrf.score) == (0, 0, 0, 0)
    assert ter.score == TER().corpus_score([""] * LINES, [REFERENCE]).score
    [empty] = [symptom for symptom in found.symptoms if symptom.name == "empty outputs"]
    assert [len(cases) for cases in empty.cases] == [LINES, 0]
    assert found.length_ratios[0] == 0


def test_without_the_source_what_depends_on_it_is_left_out_and_said() -> None:
    found = build_report(TASK._replace(lines=[]), SYSTEMS[:1], "13a", Background())
    assert [breakdown.title for breakdown in found.breakdowns] == ["By length of the reference"]
    assert found.copies == []
    assert found.choices[0].sentences[0].source == ""
    assert found.notes == ["The source was not given: what depends on it is left out."]


@pytest.mark.usefixtures("few_trials")
def test_what_was_to_be_copied_and_what_was_is_counted_for_each_system() -> None:
    task = Task("t", ["In 1990 he saw Paris.", "no", "At 5"], [["1990 sah er Paris.", "nein", "Um fünf"]], "de")
    systems = [System("a", ["1990 sah er London.", "", ""]), System("b", ["1991 sah er Paris.", "no", ""])]
    found = build_report(task, systems, "13a", Background())
    assert [(copies.name, copies.due, copies.right) for copies in found.copies] == [
        ("numbers", 1, [1, 0]),
        ("names", 1, [0, 1]),
    ]
    lines = {symptom.name: [[case.line for case in cases] for cases in symptom.cases] for symptom in found.symptoms}
    assert lines["empty outputs"] == [[2, 3], [3]]
    assert lines["untranslated copies"] == [[], [2]]


# ---- words and rounded numbers ----------------------------------------------------------------------------------


def test_tables_stand_in_columns_under_the_systems_names() -> None:
    table = score_table(report(3))
    assert table.head == ["", *NAMES]
    assert "Of so few lines" not in table.note
    bleu = report(3).metrics[0]
    assert table.rows[0] == ["BLEU", *(f"{score.score:.2f} ± {score.margin:.2f}" for score in bleu.scores)]
    p_value = bleu.tests[0].p_values[1]
    assert p_value is not None
    assert table.rows[1][:3] == ["  paired bootstrap", "baseline", f"p = {p_value:.4f} *"]
    assert len({len(row) for row in as_text(table).split("\n")[2:] if "baseline" in row}) == 1
    head = breakdown_table(report(1).breakdowns[0], ["baseline"]).head
    assert head == ["words", "lines", "BLEU", "chrF2++"]


def test_words_differ_that_no_other_text_has_in_this_order() -> None:
    spans = differences("ein Hund  rennt nach Hause", ["ein Hund läuft nach Hause", "rennt er?"])
    assert spans == [Span("ein Hund  rennt nach Hause", False)]
    assert differences("a b c", ["a c"]) == [Span("a ", False), Span("b ", True), Span("c", False)]
    assert differences("我很好", ["我好"]) == [Span("我", False), Span("很", True), Span("好", False)]
    assert differences("a", []) == [Span("a", True)]
    assert differences("", ["a"]) == []
