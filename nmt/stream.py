"""Blocks of lines in, one answer per line out, in order and flushed; it knows nothing of models or search."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nmt.config import SearchConfig
from nmt.output import Writer
from nmt.text import SHOWN, Place, TextOptions, Warnings, open_text, read_blocks, standard_input
from nmt.translate import Extras, Translator
from nmt.translation import Output, Translation

__all__ = ["Block", "Job", "Stats", "TextOptions", "Translator", "translate_files", "translate_stream"]

MAX_LINES = 4096  # of a block: as many translations are held in memory, and lost by Ctrl-C
BAR = " ||| "  # the separator of Moses' n-best lists
LOST = "no translation was found (the model gives no numbers, or the options forbid every one)"

Format = Literal["text", "tsv", "jsonl"]


class Block(NamedTuple):
    """Lines that are translated together."""

    name: str  # of the file
    first: int  # number of the first line in its file, from 1
    lines: list[str]


class Job(NamedTuple):
    """What is wanted of the stream."""

    search: SearchConfig
    text: TextOptions = TextOptions()
    format: Format = "text"
    scores: bool = False
    alignments: bool = False
    prefix: str = ""  # every translation begins with it


@dataclass
class Stats:
    """What was done so far."""

    lines: int = 0
    blank: int = 0
    split: int = 0  # lines too long for the model
    limited: int = 0  # lines whose translation is as long as it may be
    lost: int = 0  # lines for which no translation was found, since the model gave no number or the rules allow none
    source_tokens: int = 0
    unknown: int = 0  # source tokens that are `<unk>`
    target_tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = 1 / self.seconds if self.seconds else 0.0
        return (
            f"{self.lines:,} lines ({self.blank:,} blank, {self.split:,} in pieces, {self.limited:,} hit the length "
            f"limit), {self.source_tokens:,} source tokens ({self.unknown / max(1, self.source_tokens):.2%} unknown), "
            f"{self.target_tokens:,} target tokens, {self.seconds:.2f} s: {self.lines * rate:,.1f} lines/s, "
            f"{self.target_tokens * rate:,.0f} tokens/s"
        )


def translate_files(
    translator: Translator, files: Sequence[Path], writer: Writer, job: Job, warn: Callable[[str], None]
) -> Stats:
    """Translate the lines of the files (`-` is stdin) one after the other; totals of warnings come at the end."""
    warnings = Warnings(warn)
    try:
        return translate_stream(translator, blocks_of(files, job.text, warnings), writer, job, warn)
    finally:
        warnings.finish()


def translate_stream(
    translator: Translator, blocks: Iterable[Block], writer: Writer, job: Job, warn: Callable[[str], None]
) -> Stats:
    """Translate block by block, each written and flushed before the next is read."""
    desk, begun = Desk(translator, job, warn), time.perf_counter()
    for block in blocks:
        writer.write(desk.answers(block, desk.stats.lines))
        desk.stats.seconds = time.perf_counter() - begun
    tell(desk.stats, warn)
    return desk.stats


class Desk:
    """Where blocks are translated, one after the other; `stats` counts what was done, but not how long it took."""

    def __init__(self, translator: Translator, job: Job, warn: Callable[[str], None]) -> None:
        self.stats = Stats()
        self._translator, self._job, self._warn = translator, job, warn

    def answers(self, block: Block, before: int) -> list[str]:
        """Return the lines of output for a block that so many lines of input come before; warn of the first faults."""
        job, stats, limit = self._job, self.stats, self._translator.config.model.max_length
        prefixes = [job.prefix] * len(block.lines) if job.prefix else ()
        extras = Extras(prefixes, job.alignments, first=before)
        translations = self._translator.translate_block(block.lines, job.search, extras)
        answers = list[str]()
        for place, (source, translation) in enumerate(zip(block.lines, translations, strict=True)):
            answers += FORMATS[job.format](before + place, source, translation, job)
            _count(stats, translation, job.search)
            if translation.parts > 1 and stats.split <= SHOWN:
                what = f"{translation.tokens} tokens > {limit}; translated in {translation.parts} pieces"
                self._warn(f"{Place(block.name, block.first + place)}: {what}")
            if _is_lost(translation) and stats.lost <= SHOWN:
                self._warn(f"{Place(block.name, block.first + place)}: {LOST}; its line is left empty")
        return answers


def tell(stats: Stats, warn: Callable[[str], None]) -> None:
    """Warn of how many faults there were, where not each was told."""
    if stats.split > SHOWN:
        warn(f"{stats.split} lines in all were too long for the model and translated in pieces")
    if stats.lost > SHOWN:
        warn(f"{LOST} for {stats.lost} lines in all")


def blocks_of(files: Iterable[Path], options: TextOptions, warnings: Warnings) -> Iterator[Block]:
    """Yield the lines of the files (`-` is stdin) in blocks; how those of a regular file are cut, it alone decides."""
    for path in files:
        if str(path) == "-":
            yield from _number(read_blocks(standard_input(), "stdin", options, warnings), "stdin")
        else:
            with open_text(path) as stream:
                yield from _number(read_blocks(stream, str(path), options, warnings), str(path))


def _number(blocks: Iterable[list[str]], name: str) -> Iterator[Block]:
    first = 1
    for block in blocks:
        for start in range(0, len(block), MAX_LINES):
            yield Block(name, first + start, block[start : start + MAX_LINES])
        first += len(block)


def _count(stats: Stats, translation: Translation, search: SearchConfig) -> None:
    best = translation.hypotheses[0]
    stats.lines += 1
    longest = max(int(search.max_length_ratio * translation.tokens) + search.max_length_offset, search.min_length)
    stats.blank += not translation.tokens
    stats.split += translation.parts > 1
    stats.limited += translation.tokens > 0 and len(best.pieces) >= longest
    stats.lost += _is_lost(translation)
    stats.source_tokens += translation.tokens
    stats.unknown += translation.unknown
    stats.target_tokens += len(best.pieces)


def _is_lost(translation: Translation) -> bool:
    return translation.tokens > 0 and not math.isfinite(translation.log_probability)


def _as_text(number: int, source: str, translation: Translation, job: Job) -> Iterator[str]:
    """Yield the translation; an n-best list is Moses' `number ||| text ||| score`, numbers from 0."""
    is_list = job.search.n_best > 1
    for output in translation.hypotheses:
        fields = [str(number)] if is_list else []
        yield BAR.join([*fields, output.text, *_details(output, job)])


def _as_tsv(number: int, source: str, translation: Translation, job: Job) -> Iterator[str]:
    """Yield source and translation between tabs, which neither may hold."""
    for output in translation.hypotheses:
        fields = [source, output.text, *_details(output, job)]
        yield "\t".join(field.replace("\t", " ") for field in fields)


def _as_json(number: int, source: str, translation: Translation, job: Job) -> Iterator[str]:
    """Yield one object per line of input."""
    shown = [_record(output, job) for output in translation.hypotheses]
    lists = {"hypotheses": shown} if job.search.n_best > 1 else {}
    yield json.dumps({"source": source, **shown[0], **lists}, ensure_ascii=False)


FORMATS = {"text": _as_text, "tsv": _as_tsv, "jsonl": _as_json}


def _details(output: Output, job: Job) -> list[str]:
    """Return the score where it was asked for, and the alignment in Pharaoh's format, source-target from 0."""
    scores = [f"{output.score:.4f}"] if job.scores or job.search.n_best > 1 else []
    alignment = [" ".join(f"{left}-{right}" for left, right in output.alignment)] if job.alignments else []
    return scores + alignment


def _record(output: Output, job: Job) -> dict[str, Any]:
    found = math.isfinite(output.score)
    record: dict[str, Any] = {"translation": output.text}
    if job.scores or job.search.n_best > 1:
        record["score"] = output.score if found else None
        record["log_probability"] = output.log_probability if found else None
    if job.alignments:
        record["alignment"] = output.alignment
    return record
