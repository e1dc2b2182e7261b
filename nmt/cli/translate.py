"""`nmt translate`: parses the options, opens both ends and hands over; it knows nothing of how lines are translated."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from nmt.cli import options as shared
from nmt.cli import sharing
from nmt.errors import ModelError, OptionError
from nmt.ranks import rank

if TYPE_CHECKING:
    from nmt import stream
    from nmt.config import SearchConfig
    from nmt.output import Writer
    from nmt.translate import Translator


def _check_size(value: str) -> str:
    if value != "auto" and not (value.isascii() and value.isdigit() and int(value)):
        raise typer.BadParameter(f"{value} is neither a number of tokens nor auto")
    return value


Files = Annotated[list[Path] | None, typer.Argument(metavar="[FILE ...]", help="Texts, gzipped or not; none: stdin.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write; none: stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
Beam = Annotated[int | None, typer.Option("-b", "--beam-size", min=1, help="Hypotheses kept; 1: greedy.")]
Penalty = Annotated[float | None, typer.Option("--length-penalty", min=0, help="GNMT's alpha; 0: none.")]
Best = Annotated[int | None, typer.Option("--n-best", min=1, help="Translations per line, at most the beam size.")]
Size = Annotated[
    str, typer.Option("--batch-tokens", metavar="N|auto", callback=_check_size, help="Sentences times longest source.")
]
Ratio = Annotated[float | None, typer.Option("--max-length-ratio", min=0.01, help="Longest output: ratio x source ...")]
Offset = Annotated[int | None, typer.Option("--max-length-offset", min=0, help="... plus these tokens.")]
Shortest = Annotated[int | None, typer.Option("--min-length", min=0, help="Shortest output, in tokens.")]
Ngram = Annotated[int | None, typer.Option("--no-repeat-ngram", min=0, help="No n-gram of tokens twice; 0: off.")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="What every translation begins with.")]
Sample = Annotated[bool, typer.Option("--sample", help="Draw translations instead of searching for the best.")]
TopK = Annotated[int | None, typer.Option("--top-k", min=0, help="Draw from the k likeliest tokens; 0: all.")]
TopP = Annotated[float | None, typer.Option("--top-p", min=1e-9, max=1, help="Draw from the likeliest of this mass.")]
Heat = Annotated[float | None, typer.Option("--temperature", min=1e-9, help="Divides the logits before drawing.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of drawing.")]
Mbr = Annotated[
    Literal["chrf", "bleu"] | None, typer.Option("--mbr", help="Draw translations and choose what is most like them.")
]
Drawn = Annotated[int | None, typer.Option("-n", "--candidates", min=1, help="How many --mbr draws.  [default: 32]")]
Rerank = Annotated[
    str | None, typer.Option("--rerank", metavar="MODEL", help="Of the other direction: re-ranks what a beam holds.")
]
Weight = Annotated[float | None, typer.Option("--rerank-weight", min=0, help="Of --rerank in the score; 0: none.")]
Likely = Annotated[bool, typer.Option("--shortlist", help="Look at likely words only: faster, all but the same.")]
Scores = Annotated[bool, typer.Option("--scores", help="Add the score of each translation.")]
Alignments = Annotated[bool, typer.Option("--alignments", help="Add word alignments, source-target, from 0.")]
Format = Annotated[Literal["text", "tsv", "jsonl"], typer.Option("--format", help="Of the output.")]
BadUtf8 = Annotated[Literal["replace", "error"], typer.Option("--bad-utf8", help="What undecodable bytes do.")]
Unbuffered = Annotated[bool, typer.Option("--unbuffered", help="Write line by line.")]
Stats = Annotated[bool, typer.Option("--stats", help="Tell counts and speed on stderr at the end.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes and no warnings.")]


def translate(
    files: Files = None,
    model: shared.Models = None,
    output: Output = None,
    force: Force = False,
    beam_size: Beam = None,
    length_penalty: Penalty = None,
    n_best: Best = None,
    batch_tokens: Size = "auto",
    max_length_ratio: Ratio = None,
    max_length_offset: Offset = None,
    min_length: Shortest = None,
    no_repeat_ngram: Ngram = None,
    prefix: Prefix = "",
    sample: Sample = False,
    top_k: TopK = None,
    top_p: TopP = None,
    temperature: Heat = None,
    seed: Seed = None,
    mbr: Mbr = None,
    candidates: Drawn = None,
    rerank: Rerank = None,
    rerank_weight: Weight = None,
    shortlist: Likely = False,
    scores: Scores = False,
    alignments: Alignments = False,
    format_: Format = "text",
    encoding: shared.Encoding = "utf-8",
    bad_utf8: BadUtf8 = "replace",
    max_line_bytes: shared.MaxLineBytes = 64 << 20,
    unbuffered: Unbuffered = False,
    stats: Stats = False,
    device: shared.Device = "auto",
    precision: shared.Precision = "auto",
    threads: shared.Threads = 0,
    workers: sharing.Workers = None,
    quiet: Quiet = False,
) -> None:
    """Translate lines from FILEs or stdin to stdout: one line out for each line in."""
    say = shared.speaker("translate", quiet=quiet)
    paths = shared.find_models(model, shared.speaker("translate", quiet=quiet or rank().rank > 0))
    flags = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "min_length": min_length,
        "max_length_ratio": max_length_ratio, "max_length_offset": max_length_offset, "sample": sample or None,
        "no_repeat_ngram": no_repeat_ngram, "top_k": top_k, "top_p": top_p, "temperature": temperature, "seed": seed,
        "mbr": mbr, "candidates": candidates, "rerank_weight": rerank_weight,
    }  # fmt: skip
    search = search_options(paths[0], flags, rerank)
    ends = sharing.Ends(_checked(files or [Path("-")], say), output, force, unbuffered)
    how = {"models": [*paths, rerank and Path(rerank)], "precision": precision, "shortlist": shortlist}
    with _as_filter(), _open(ends, workers, how, say) as through:
        on = {"device": device, "precision": precision, "threads": threads, "shortlist": shortlist}
        translator = _load(paths, rerank, on, is_aligned=alignments)
        from nmt.stream import Job, TextOptions

        search = filled(search, translator, batch_tokens)
        job = Job(search, TextOptions(encoding, bad_utf8, max_line_bytes), format_, scores, alignments, prefix)
        done = through(translator, job)
    if stats and done:
        print(f"nmt translate: {done}", file=sys.stderr)


def _load(paths: Sequence[Path], rerank: str | None, options: Mapping[str, Any], *, is_aligned: bool) -> Translator:
    """Return what translates; torch is loaded only now, when all options are right."""
    shared.load_torch()
    from nmt.translate import Translator

    translator = Translator.load(paths, rerank=rerank, fork=True, **options)
    if is_aligned:
        from nmt.inspect.attention import heads

        if not heads(translator):
            raise ModelError(f"--alignments: {paths[0]} has no attention to tell them from; leave them out")
    return translator


def search_options(path: Path, flags: Mapping[str, object], rerank: str | None = None) -> SearchConfig:
    """Return the search options of the model's run, changed by the flags that were given, once they go together."""
    from nmt.configfile import load_config

    shared.config_of(path)  # which is right before the flags change it
    if (flags.get("beam_size") or flags.get("sample")) and not flags.get("mbr"):  # whatever the config says
        flags = {**flags, "sample": bool(flags.get("sample")), "mbr": "none"}
    search = load_config(
        shared.run_of(path) / "config.yaml", flags={f"search.{key}": value for key, value in flags.items()}
    ).search
    if flags.get("candidates") and search.mbr == "none":
        what = f"--candidates {flags['candidates']}: is how many translations --mbr chooses from"
        raise OptionError(f"{what}; add --mbr chrf, or give --n-best in its place")
    _check_drawing(search, flags)
    if rerank is None and flags.get("rerank_weight") is not None:
        raise OptionError(f"--rerank-weight {flags['rerank_weight']}: weighs the model of --rerank; name one, too")
    if rerank is not None:
        shared.existing(rerank, "--rerank")
        if search.sample or search.mbr != "none":
            raise OptionError(f"--rerank {rerank}: re-ranks what a beam holds; leave out --sample and --mbr")
    return search


def _check_drawing(search: SearchConfig, flags: Mapping[str, object]) -> None:
    """Refuse an option of drawing where a beam searches, and one of searching where translations are drawn."""
    drawing = ("top_k", "top_p", "temperature", "seed")
    searching = ("beam_size",) if search.mbr == "none" else ("beam_size", "length_penalty")  # drawn scores have it, too
    is_drawn = search.sample or search.mbr != "none"
    if name := next((name for name in (searching if is_drawn else drawing) if flags.get(name) is not None), None):
        what = f"--{name.replace('_', '-')} {flags[name]}: is for"
        if is_drawn:
            other = "--sample" if search.mbr == "none" else f"--mbr {search.mbr}"
            raise OptionError(f"{what} searching, {other} for drawing; leave one of them out")
        raise OptionError(f"{what} drawing; add --sample, or --mbr chrf, or leave it out")


def filled(search: SearchConfig, translator: Translator, batch_tokens: str) -> SearchConfig:
    """Return the options with batches of the size that was asked for, or that the device is filled by."""
    if batch_tokens == "auto":
        return translator.fill_device(search)
    return search.model_copy(update={"batch_tokens": int(batch_tokens)})


def _checked(sources: Sequence[Path], say: Callable[[str], None]) -> Sequence[Path]:
    """Refuse what cannot be read before the first line is translated; say what a terminal waits for."""
    from nmt.text import open_text, standard_input

    for path in sources:
        if str(path) == "-":
            standard_input()
        elif not os.path.exists(path) or path.is_file() or path.is_dir():  # looking into a pipe would empty it
            with open_text(path):
                pass
    if Path("-") in sources and sys.stdin.isatty():
        say("reading from the terminal; one sentence a line, Ctrl-D ends")
    return sources


@contextmanager
def _open(
    ends: sharing.Ends, workers: int | None, how: Mapping[str, Any], say: Callable[[str], None]
) -> Iterator[sharing.Through]:
    """Give what translates all there is, alone or as one of several processes."""
    from nmt.output import Writer, open_output, standard_output

    if sharing.is_shared(ends.output, workers):
        with sharing.opened(ends, workers, how, say) as through:
            yield through
        return
    inputs = [0 if str(path) == "-" else path for path in ends.sources]
    opened: AbstractContextManager[Writer]
    if ends.output is None:
        opened = nullcontext(Writer(standard_output(inputs), "stdout", unbuffered=ends.unbuffered))
    else:
        opened = open_output(ends.output, inputs, force=ends.force, unbuffered=ends.unbuffered)
    with opened as writer:

        def alone(translator: Translator, job: stream.Job) -> stream.Stats:
            from nmt.stream import translate_files

            try:
                return translate_files(translator, ends.sources, writer, job, lambda text: say(f"warning: {text}"))
            except KeyboardInterrupt:
                say(f"interrupted after {writer.lines} lines")
                raise

        yield alone


@contextmanager
def _as_filter() -> Iterator[None]:
    """Behave as other filters do: a closed pipe ends it quietly, SIGTERM after tidying up."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGTERM)}
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
