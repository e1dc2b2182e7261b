"""`nmt distill`: a parallel corpus and a teacher in, pairs of its sources and the teacher's translations out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nmt import __version__
from nmt.cli import options as shared
from nmt.cli import synthetic as common
from nmt.cli.translate import Beam, Penalty, Seed, Size, filled, search_options
from nmt.errors import OptionError

if TYPE_CHECKING:
    from nmt.config import DataConfig, SearchConfig

Corpus = Annotated[
    list[str],
    typer.Argument(metavar="CORPUS ...", help="As for nmt train: two aligned files, train.{lang}, TSV, JSONL, ..."),
]
Teachers = Annotated[
    list[str], typer.Option("--model", "-m", metavar="TEACHER", help="The teacher; again for each of an ensemble.")
]
Sample = Annotated[bool, typer.Option("--sample", help="Draw from the teacher instead of searching for the best.")]
Back = Annotated[str | None, typer.Option(metavar="MODEL", help="Translates back what is to have --min-chrf.")]
BestOf = Annotated[int, typer.Option(min=1, help="Of so many hypotheses take the one most like the reference.")]
OfCorpus = Annotated[str | None, typer.Option(metavar="NAME", help="Of the text files.  [default: utf-8]")]
BadUtf8 = Annotated[
    Literal["error", "replace", "drop"] | None, typer.Option(help="What undecodable bytes do.  [default: error]")
]
Measure = Annotated[
    Literal["bleu", "chrf"] | None, typer.Option("--metric", help="Of a sentence, for --best-of.  [default: bleu]")
]

READING = {f"data.{name}" for name in ("clean", "columns", "streaming", "encoding", "bad_utf8")}
READING |= {"data.source_lang", "data.target_lang"}

say = shared.speaker("distill")


def distill(
    corpus: Corpus,
    model: Teachers,
    output: common.Output,
    beam_size: Beam = None,
    length_penalty: Penalty = None,
    sample: Sample = False,
    seed: Seed = None,
    best_of: BestOf = 1,
    metric: Measure = None,
    max_ratio: common.Ratio = math.inf,
    min_score: common.Score = None,
    round_trip: Back = None,
    min_chrf: common.Chrf = None,
    shard: common.ShardOf = "1/1",
    block_lines: common.BlockLines = 2048,
    batch_tokens: Size = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.KEY=VALUE", help="How the corpus is read.")
    ] = None,
    encoding: OfCorpus = None,
    bad_utf8: BadUtf8 = None,
    device: shared.Device = "auto",
    precision: shared.Precision = "auto",
    threads: shared.Threads = 0,
    force: common.Force = False,
) -> None:
    """Translate the sources of a corpus for a student to learn from; the same command again goes on."""
    paths = [shared.existing(name, "-m") for name in model]
    drawing = {"sample": sample, **({} if seed is None else {"seed": seed})}
    search, data = _options(paths[0], {"beam_size": beam_size, "length_penalty": length_penalty}, drawing, best_of)
    way_back = common.way_back(round_trip, min_chrf, data)
    measure = _measure(metric, best_of, data.target_lang)
    read = _reading(data, settings or (), {"data.encoding": encoding, "data.bad_utf8": bad_utf8})
    from nmt.specs import languages, places

    files = places(corpus, languages(corpus, read))
    common.check_place(output, files, (read.source_lang, read.target_lang), force=force)
    shared.load_torch()
    from nmt.corpus import ParallelCorpus
    from nmt.synthetic import Distillation, Limits, Plan
    from nmt.translate import Translator

    pairs = ParallelCorpus(corpus, read, is_cleaned=read.clean)
    for message in pairs.statistics().messages():
        say(f"warning: {message}")
    how: dict[str, Any] = {"device": device, "precision": precision, "threads": threads, "fork": True}
    teacher, back = Translator.load(paths, **how), Translator.load(way_back, **how) if way_back else None
    least = -math.inf if min_score is None else min_score
    limits = Limits(math.inf, max_ratio, least, min_chrf or 0.0, keep_copies=True)
    task = common.task("distill", [*paths, way_back], search, back.config.search if back else None)
    task |= {"shard": shard, "block_lines": block_lines}
    task |= {"metric": measure if best_of > 1 else None, "precision": precision, "limits": common.shown(limits)}
    task |= {"corpus": pairs.fingerprint(), "device": teacher.device.type, "version": __version__}
    make = Distillation(teacher, filled(search, teacher, batch_tokens), measure, limits, back)
    plan = Plan(pairs, pairs.statistics().kept, block_lines, common.as_shard(shard))
    common.work_through(plan, make.pairs, common.Place(output, files, task, force), say)


def _measure(metric: Literal["bleu", "chrf"] | None, best_of: int, target_lang: str) -> Literal["bleu", "chrf"]:
    """Return what tells how like the reference a hypothesis is."""
    if metric and best_of == 1:
        raise OptionError(f"--metric {metric}: chooses among the hypotheses of --best-of; add it, or leave this out")
    if best_of > 1 and metric != "chrf":
        from nmt.evaluate import checked_tokenizer

        checked_tokenizer(target_lang)
    return metric or "bleu"


def _reading(data: DataConfig, settings: Sequence[str], flags: Mapping[str, str | None]) -> DataConfig:
    """Return how the corpus is read: in the languages of the teacher's data unless the user says otherwise."""
    from nmt.configfile import load_config

    spoken = {"data.source_lang": data.source_lang, "data.target_lang": data.target_lang}
    given = [f"{key}={value}" for key, value in spoken.items() if value]
    read = load_config(None, [*given, *settings], flags).data
    for setting in settings:
        if setting.partition("=")[0].strip() not in READING:
            raise OptionError(f"--set {setting}: says nothing of how a corpus is read; leave it out")
    return read


def _options(
    teacher: Path, searching: Mapping[str, Any], drawing: Mapping[str, Any], best_of: int
) -> tuple[SearchConfig, DataConfig]:
    """Return how the teacher searches, in a beam that holds all it is to choose among, and what it was trained on."""
    width = searching["beam_size"]
    given = next((name for name, value in searching.items() if value is not None), None)
    if drawing["sample"] and given:
        raise OptionError(f"--{given.replace('_', '-')}: is for searching, --sample for drawing; leave one of them out")
    if "seed" in drawing and not drawing["sample"]:
        raise OptionError(f"--seed {drawing['seed']}: is for drawing; add --sample, or leave it out")
    if width is not None and best_of > width:
        raise OptionError(f"--best-of {best_of}: is more than --beam-size {width}; widen the beam")
    usual = search_options(teacher, {}).beam_size
    flags = {**searching, "mbr": "none", "n_best": best_of, **drawing}
    if not drawing["sample"] and (width or best_of > usual):
        flags["beam_size"] = width or best_of
    return search_options(teacher, flags), shared.config_of(teacher).data
