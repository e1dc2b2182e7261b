"""`nmt compare`: systems side by side on one test set; it knows nothing of how they are scored or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from nmt.cli import options as shared
from nmt.cli.pages import opened, write_page
from nmt.errors import DataError, ModelError, OptionError
from nmt.evaluate import check_counts, checked_tokenizer, tokenized_lines
from nmt.testset import Task, model_languages, own_task, read_scored, read_task

if TYPE_CHECKING:
    from nmt.config import DataConfig
    from nmt.inspect.report import Background, Report, System

Names = Annotated[
    list[str], typer.Argument(metavar="SYSTEM", help="Run folders or files of translations; first the baseline.")
]
Source = Annotated[Path | None, typer.Option(metavar="FILE", help="Text to translate in place of a model's test set.")]
Files = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Correct translations; again for each set.")]
Page = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="Page of all there is to see.")]
Tokenize = Annotated[str | None, typer.Option(metavar="NAME", help="BLEU's tokenizer.  [default: by language]")]
Format = Annotated[Literal["text", "json"], typer.Option("--format", help="Of what is printed.")]
SENTENCES = 3  # of each choice are printed
LABEL = 24  # characters: longer names are shortened

say = shared.speaker("compare")


class Contest(NamedTuple):
    """What is compared, by the names that were given: models and files."""

    names: list[str]
    models: Mapping[str, DataConfig]
    files: Mapping[str, list[str]]
    task: Task  # whose lines are the sources, none where they are unknown


def compare(
    systems: Names,
    source: Source = None,
    reference: Files = None,
    output: Page = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it exists.")] = False,
    format_: Format = "text",
    tokenize: Tokenize = None,
    target_lang: Annotated[str, typer.Option(metavar="LANG", help="Of the translations, where no name tells it.")] = "",
    beam_size: Annotated[int | None, typer.Option("--beam-size", "-b", min=1, help="Of all models.")] = None,
    device: shared.Device = "auto",
    precision: shared.Precision = "auto",
    threads: shared.Threads = 0,
) -> None:
    """Compare systems on one test set: scores, significance, where they differ."""
    if len(systems) < 2:
        raise OptionError(f"{systems[0]}: one system, expected two or more; name another model or file of translations")
    models = {name: _data(Path(name)) for name in systems if Path(name).is_dir()}
    if not models and (beam_size or threads or (device, precision) != ("auto", "auto")):
        raise OptionError("-b, --device, --precision, --threads: no system is a model; leave them out")
    files = {name: _lines(name) for name in systems if name not in models}
    task = _task(source, reference or [], models)
    task = task._replace(target_lang=target_lang or task.target_lang)
    check_counts({task.name: task.references[0], **files})
    tokenizer = checked_tokenizer(task.target_lang, tokenize)
    contest = Contest(systems, models, files, task)

    from nmt.inspect.report import build_report

    with opened(output, [*files, *task.files], force=force) as page:
        found = _systems(contest, device, precision, threads, beam_size)
        say("scoring; where sentences are long TER takes minutes")
        report = build_report(task, found, tokenizer, _background(contest))
        write_page(report, page)
    _show(report, format_)


def _data(path: Path) -> DataConfig:
    """Return where a model's corpora are; what is no model is refused before any model has worked."""
    config = shared.config_of(path)
    if not (path / shared.MANIFEST).is_file():
        raise ModelError(f"{path}: not a finished run, it has no {shared.MANIFEST}; name one of its checkpoints")
    return config.data


def _lines(name: str) -> list[str]:
    if not Path(name).exists():
        raise DataError(f"{name}: no such file or folder; name a run folder or a file of translations")
    lines = read_scored(name, say)
    if (count := tokenized_lines(lines)) > len(lines) / 10:
        say(f"warning: {name}: {count:,} of {len(lines):,} lines look tokenised (`@@ `, `▁` or ` .`); detokenise it")
    return lines


def _task(source: Path | None, references: Sequence[Path], models: Mapping[str, DataConfig]) -> Task:
    """Return the test set that is named, else the first model's own."""
    spoken = {name: model_languages(data) for name, data in models.items()}
    sources, targets = ([each[side] for each in spoken.values()] for side in (0, 1))
    for what, told in (("into", targets), ("from", sources)):
        if len({*told} - {""}) > 1:
            raise OptionError(f"{', '.join(spoken)}: translate {what} {', '.join(told)}; compare like with like")
    if source and not references:
        raise OptionError(f"--source {source}: nothing to compare with; add --reference")
    if references and models and not source:
        raise OptionError(f"--reference {references[0]}: nothing to translate; add --source")
    if not (references or models):
        raise OptionError("--reference: needed where no model names a test set; add it, and --source if there is one")
    if references:
        task = read_task(source or references[0], references, say)._replace(name=str(source or references[0]))
        lines, language = task.lines if source else [], next((each.target for each in spoken.values()), "")
        return task._replace(lines=lines, target_lang=language or task.target_lang)
    first, data = next(iter(models.items()))
    task = own_task(data, shared.run_of(Path(first)))
    say(f"test set {task.name}, of {first}")
    if task.note:
        say(f"note: {task.note}")
    return task._replace(target_lang=spoken[first].target)


def _systems(contest: Contest, device: str, precision: str, threads: int, beam_size: int | None) -> list[System]:
    """Return the outputs of all systems, in the order they were named in."""
    from nmt.inspect.report import System

    if contest.models:
        shared.load_torch()
    found = []
    for name, label in zip(contest.names, _labels(contest.names), strict=True):
        if name in contest.files:
            found.append(System(label, contest.files[name]))
            continue
        from nmt.inspect.systems import How, translated

        say(f"translating {len(contest.task.lines):,} lines with {name}")
        how = How(device, precision, threads, beam_size)
        found.append(translated(label, Path(name), contest.task.lines, how))
    return found


def _labels(names: Sequence[str]) -> list[str]:
    """Return the shortest ends of the paths that tell the systems apart, without what long ones have in common."""
    paths = [Path(name).resolve().parts for name in names]
    ends = ["/".join(parts[-depth:]) for depth in range(1, max(map(len, paths))) for parts in paths]
    rows = [ends[place : place + len(names)] for place in range(0, len(ends), len(names))]
    labels = next((row for row in rows if len(set(row)) == len(names)), list(names))
    if max(map(len, labels)) <= LABEL:
        return labels
    head, tail = _common(labels), _common([label[::-1] for label in labels])
    short = [label[head : len(label) - tail] for label in labels]
    return short if all(short) else labels


def _common(texts: Sequence[str]) -> int:
    """Return how many characters the texts begin with alike, up to a point, dash or slash."""
    return max(map(commonprefix(texts).rfind, "./-_")) + 1


def _background(contest: Contest) -> Background:
    """Return how often the words were seen in training, by the first model whose corpus is still there."""
    from nmt.inspect.report import Background

    known = Background()
    for name, data in contest.models.items():
        from nmt.inspect.systems import training_words

        known = training_words(Path(name), data, contest.task.lines)
        if known.frequencies:
            break
    return known


def _show(report: Report, format_: str) -> None:
    from nmt.inspect.tables import as_json, as_text, choice_text, tables

    if format_ == "json":
        print(as_json(report))
        return
    print(f"{report.test_set}: {report.lines:,} line{'' if report.lines == 1 else 's'}")
    for table in tables(report):
        print(f"\n{as_text(table)}")
    for choice in report.choices:
        print(f"\n{choice_text(choice, report.systems, SENTENCES)}")
    for note in report.notes:
        say(f"note: {note}")
