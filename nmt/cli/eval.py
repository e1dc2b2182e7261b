"""`nmt eval`: scores a model on its test set or on given files, or translations that are there already."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from nmt.cli import options as shared
from nmt.cli.pages import opened, write_page
from nmt.cli.translate import Size
from nmt.errors import OptionError
from nmt.evaluate import METRICS, Metric, Score, check_counts, checked_tokenizer, score, tokenized_lines
from nmt.testset import Task, model_languages, own_task, read_scored, read_task

if TYPE_CHECKING:
    from nmt.config import SearchConfig
    from nmt.inspect.report import Background, Report, System
    from nmt.output import Writer
    from nmt.translate import Translator

Format = Literal["text", "json"]
File = Annotated[Path | None, typer.Option(metavar="FILE", help="Text to translate in place of the model's test set.")]
Given = Annotated[Path | None, typer.Option(metavar="FILE", help="Translations to score, with no model; -: stdin.")]
Files = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Correct translations; again for each set.")]
Tokenize = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="BLEU's tokenizer.  [default: zh, ja-mecab or ko-mecab by language, else 13a]"),
]
Page = Annotated[Path | None, typer.Option(metavar="FILE.html", help="Page of all metrics and what they hide.")]
PICTURES = (".png", ".svg", ".pdf")

say = shared.speaker("eval")


class Judge(NamedTuple):
    """How translations are scored, and in which form the scores are shown."""

    metrics: list[Metric]
    target_lang: str  # empty: the task's
    tokenize: str | None  # BLEU's tokenizer; None: by language
    format: Format

    def check(self, task: Task) -> None:
        """Refuse what cannot be scored before anything is translated."""
        if "bleu" in self.metrics:
            checked_tokenizer(self.target_lang or task.target_lang, self.tokenize)
        elif self.tokenize:
            raise OptionError(f"--tokenize {self.tokenize}: is BLEU's; add --bleu, or leave it out")

    def scores(self, task: Task, hypotheses: Sequence[str]) -> list[Score]:
        """Return the scores."""
        self._warn(hypotheses)
        target_lang = self.target_lang or task.target_lang
        return score(hypotheses, task.references, self.metrics, target_lang=target_lang, tokenize=self.tokenize)

    def report(self, task: Task, system: System, known: Background) -> Report:
        """Return all there is to see of a system; the lines of the task are its sources, or none."""
        from nmt.inspect.report import build_report

        self._warn(system.hypotheses)
        task = task._replace(target_lang=self.target_lang or task.target_lang)
        return build_report(task, [system], checked_tokenizer(task.target_lang, self.tokenize), known)

    def _warn(self, hypotheses: Sequence[str]) -> None:
        """Tell on stderr when the hypotheses do not look like plain text."""
        if (count := tokenized_lines(hypotheses)) > len(hypotheses) / 10:
            say(
                f"warning: {count:,} of {len(hypotheses):,} hypotheses look tokenised (`@@ `, `▁` or ` .`); "
                "detokenise them, or the scores compare with no others"
            )


class Job(NamedTuple):
    """A model and what it is scored on."""

    path: Path  # of an ensemble that of its first member
    translator: Translator
    search: SearchConfig
    task: Task
    judge: Judge


def eval_(
    bleu: Annotated[bool, typer.Option("--bleu", help="BLEU; the default when no metric is named.")] = False,
    chrf: Annotated[bool, typer.Option("--chrf", help="chrF2.")] = False,
    ter: Annotated[bool, typer.Option("--ter", help="TER, edits per 100 words: lower is better.")] = False,
    model: shared.Models = None,
    source: File = None,
    hypothesis: Given = None,
    reference: Files = None,
    format_: Annotated[Format, typer.Option("--format", help="json: sacreBLEU's keys, not rounded.")] = "text",
    tokenize: Tokenize = None,
    target_lang: Annotated[str, typer.Option(metavar="LANG", help="Of the translations, where no name tells it.")] = "",
    report: Page = None,
    beams: Annotated[str, typer.Option(metavar="1,2,5", help="Table and plot of scores and time by beam width.")] = "",
    beam_size: Annotated[int | None, typer.Option("--beam-size", "-b", min=1, help="Hypotheses; 1: greedy.")] = None,
    length_penalty: Annotated[float | None, typer.Option(min=0, help="GNMT's alpha; 0: none.")] = None,
    batch_tokens: Size = "auto",
    device: shared.Device = "auto",
    precision: shared.Precision = "auto",
    threads: shared.Threads = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="For translations; --beams: the plot.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of -o and --report if they exist.")] = False,
) -> None:
    """Score a model on its test set or on given files, or score given translations."""
    wanted = dict(zip(METRICS, (bleu, chrf, ter), strict=True))
    metrics = [metric for metric in METRICS if wanted[metric] or report] or ["bleu"]
    judge = Judge(metrics, target_lang, tokenize, format_)
    changes = {"length_penalty": length_penalty, "batch_tokens": None if batch_tokens == "auto" else int(batch_tokens)}
    widths = _widths(beams, report, beam_size)
    task = _given(source, hypothesis, reference or [], is_reported=report is not None)
    if task and hypothesis:
        _refuse({
            "-m": model, "--beams": beams or None, "-o": output, "-b": beam_size, "--length-penalty": length_penalty,
            "--batch-tokens": batch_tokens, "--device": device, "--precision": precision, "--threads": threads or None,
        })  # fmt: skip
        _check_places(None, report, task, force=force)
        _score_file(judge, task, source, report, force=force)
        return
    paths = shared.find_models(model, say, alone=f"--report {report}" if report else "")
    picture = _picture(output or paths[0] / "beams.png") if widths else None
    _check_places(output, report, task, force=force)

    shared.load_torch()  # only now that the options and the files are right
    from nmt.translate import Translator

    translator = Translator.load(paths, device=device, precision=precision, threads=threads, fork=True)
    data, search = translator.config.data, translator.config.search
    task = task or own_task(data, shared.run_of(paths[0]))
    _check_places(output, report, task, force=force)
    if task.note:
        say(f"note: {task.note}")
    search = search.model_copy(update={k: v for k, v in changes.items() if v is not None} | {"n_best": 1})
    search = search.in_beam(beam_size) if beam_size else search
    search = translator.fill_device(search) if batch_tokens == "auto" else search
    task = task._replace(target_lang=model_languages(data).target or task.target_lang)
    job = Job(paths[0], translator, search, task, judge)
    judge.check(job.task)
    if picture:
        _sweep(job, widths, picture)
    else:
        _score_model(job, output, report, force=force)


def _given(
    source: Path | None, hypothesis: Path | None, references: Sequence[Path], *, is_reported: bool
) -> Task | None:
    """Read the files that were named; None: there are none. A report of translations shows their source, too."""
    if source and hypothesis and not is_reported:
        raise OptionError("--source and --hypothesis: a model translates the one, the other is translated; give one")
    first = hypothesis or source
    if first and references:
        return read_task(first, references, say)
    if first:
        raise OptionError(
            f"{'--hypothesis' if hypothesis else '--source'} {first}: nothing to compare with; add --reference"
        )
    if references:
        raise OptionError("--reference: nothing to compare with it; add --hypothesis, or --source to translate")
    return None


def _check_places(output: Path | None, report: Path | None, task: Task | None, *, force: bool) -> None:
    """Refuse to write over what is read, what is there, or each other, before anything is translated."""
    from nmt.output import check_output

    if output and report and output.resolve() == report.resolve():
        raise OptionError(f"-o {output}: is the page of --report, too; name another file")
    for path in filter(None, (output, report)):
        check_output(path, task.files if task else (), force=force)


def _refuse(options: Mapping[str, object]) -> None:
    """Refuse what only means something where a model translates."""
    for name, value in options.items():
        if value not in (None, "auto"):
            given = " ".join(value) if isinstance(value, list) else value
            raise OptionError(f"{name} {given}: --hypothesis is scored as it is, with no model; leave one of them out")


def _score_model(job: Job, output: Path | None, report: Path | None, *, force: bool) -> None:
    task, judge = job.task, job.judge
    with opened(output, force=force) as writer, opened(report, force=force) as page:
        say(f"translating {len(task.lines):,} lines of {task.name}, {job.search.summary}")
        start = time.perf_counter()
        hypotheses = job.translator.translate(task.lines, job.search)
        seconds = time.perf_counter() - start
        say(f"translated in {seconds:.1f} s")
        if writer:
            writer.write(hypotheses)
        if page:
            _report_model(job, hypotheses, seconds, page)
    if not report:
        _show(judge.scores(task, hypotheses), judge.format)


def _report_model(job: Job, hypotheses: Sequence[str], seconds: float, page: Writer) -> None:
    from nmt.inspect.model import measured
    from nmt.inspect.report import System
    from nmt.inspect.systems import training_words

    sources = job.task.lines
    system = System(job.path.resolve().name, hypotheses, measured(job.path, len(sources), seconds))
    known = training_words(job.path, job.translator.config.data, sources)
    _show_report(job.judge.report(job.task, system, known), page, job.judge.format)


def _score_file(judge: Judge, task: Task, source: Path | None, report: Path | None, *, force: bool) -> None:
    """Score translations that are there already; a report shows their source where it is given."""
    judge.check(task)
    if not report:
        _show(judge.scores(task, task.lines), judge.format)
        return
    from nmt.inspect.report import Background, System

    sources = read_scored(str(source), say) if source else []
    if source:
        check_counts({task.name: task.lines, str(source): sources})
    named = Task(str(source or "its reference"), sources, task.references, task.target_lang)
    with opened(report, force=force) as page:
        system = System(Path(task.name).name, task.lines)
        _show_report(judge.report(named, system, Background()), page, judge.format)


def _show_report(report: Report, page: Writer | None, format_: Format) -> None:
    """Write the page, and print its scores, or all of it as JSON."""
    from nmt.inspect.tables import as_json

    write_page(report, page)
    for note in report.notes:
        say(f"note: {note}")
    if format_ == "json":
        print(as_json(report))
        return
    best = [(metric.name, metric.scores[0]) for metric in report.metrics]
    _show([Score(name, found.score, found.record["signature"], found.record) for name, found in best], format_)


def _show(scores: Sequence[Score], format_: Format) -> None:
    if format_ == "json":
        _print_json([score.record for score in scores])
        return
    width = max(len(score.name) for score in scores)
    for name, value, signature, record in scores:
        interval = f" ({record['confidence']})" if "confidence" in record else ""
        parts = [f"{name:<{width}} = {value:.2f}{interval}", record.get("verbose_score", ""), signature]
        print("  ".join(filter(None, parts)))


def _print_json(records: Sequence[Mapping[str, object]]) -> None:
    print(json.dumps(records, indent=1, ensure_ascii=False))


def _widths(beams: str, report: Path | None, beam_size: int | None) -> list[int]:
    """Return the beam widths that a list such as 1,2,5 names, each once."""
    parts = [part.strip() for part in beams.split(",")] if beams else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise OptionError(f"--beams {beams}: expected whole numbers from 1 on with commas between; write 1,2,5,10,20")
    if report and parts:
        raise OptionError(f"--report {report}: shows one beam width; leave out --beams {beams}")
    if beam_size and parts:
        raise OptionError(f"--beam-size {beam_size}: --beams names the widths already; give one of the two")
    return list(dict.fromkeys(map(int, parts)))


def _picture(path: Path) -> Path:
    """Refuse a place for the plot before hours are spent on what is drawn there."""
    if path.suffix not in PICTURES:
        raise OptionError(f"--output {path}: the plot of --beams is one of {', '.join(PICTURES)}; name it so")
    if not path.parent.is_dir():
        raise OptionError(f"--output {path}: there is no folder {path.parent}; create it first")
    return path


def _sweep(job: Job, widths: Sequence[int], picture: Path) -> None:
    """Print a row per beam width as soon as it is known, then the signatures, and draw the plot."""
    from nmt.inspect import beams

    task, judge = job.task, job.judge
    as_text = judge.format == "text"
    say(f"translating {len(task.lines):,} lines of {task.name}, beams {', '.join(map(str, widths))}")
    rows: list[beams.Width] = []
    translate = job.translator.translate_block
    for row in beams.sweep(translate, task.lines, job.search, widths, lambda texts: judge.scores(task, texts)):
        if as_text and not rows:
            print(beams.header([score.name for score in row.scores]))
        if as_text:
            print(beams.line(row, len(task.lines)), flush=True)
        rows.append(row)
    if as_text:
        print("\n".join(f"{score.name:<5}  {score.signature}" for score in rows[0].scores))
    else:
        _print_json([record for row in rows for record in beams.records(row)])
    beams.plot(rows, picture, f"{task.name}, {len(task.lines):,} lines")
    say(f"plot {picture}")
