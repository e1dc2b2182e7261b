"""`nmt distill`: a parallel corpus and a teacher in, pairs of its sources and the teacher's translations out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nmt.cli import options as shared
from nmt.cli import synthetic as common
from nmt.cli.translate import Beam, Penalty, Size, filled, search_options
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
BestOf = Annotated[int, typer.Option(min=1, help="Of so many hypotheses take the one most like the reference.")]
OfCorpus = Annotated[str | None, typer.Option(metavar="NAME", help="Of the text files.  [default: utf-8]")]
BadUtf8 = Annotated[
    Literal["error", "replace", "drop"] | None, typer.Option(help="What undecodable bytes do.  [default: error]")
]
Measure = Annotated[Literal["bleu", "chrf"], typer.Option("--metric", help="Of a sentence, for --best-of.")]

say = shared.speaker("distill")


def distill(
    corpus: Corpus,
    model: Teachers,
    output: common.Output,
    beam_size: Beam = None,
    length_penalty: Penalty = None,
    best_of: BestOf = 1,
    metric: Measure = "bleu",
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
    paths, files = [shared.existing(name, "-m") for name in model], [Path(name) for name in corpus]
    search, data = _options(paths[0], beam_size, length_penalty, best_of)
    if best_of > 1 and metric == "bleu":
        from nmt.evaluate import checked_tokenizer

        checked_tokenizer(data.target_lang)
    how = {"data.encoding": encoding, "data.bad_utf8": bad_utf8}
    spoken = {"data.source_lang": data.source_lang, "data.target_lang": data.target_lang}
    given = [f"{key}={value}" for key, value in spoken.items() if value]  # before the user's, which hold over them

    from nmt.configfile import load_config

    read = load_config(None, [*given, *(settings or ())], how).data
    common.check_place(output, files, (read.source_lang, read.target_lang), force=force)
    shared.load_torch()
    from nmt.corpus import ParallelCorpus
    from nmt.synthetic import Distillation, Plan
    from nmt.translate import Translator

    pairs = ParallelCorpus(corpus, read, is_cleaned=read.clean)
    for message in pairs.statistics().messages():
        say(f"warning: {message}")
    teacher = Translator.load(paths, device=device, precision=precision, threads=threads, fork=True)
    task = common.task("distill", paths, search) | {"shard": shard, "block_lines": block_lines}
    task |= {"metric": metric if best_of > 1 else None, "precision": precision, "corpus": pairs.fingerprint()}
    search = filled(search, teacher, batch_tokens)
    plan = Plan(pairs, pairs.statistics().kept, block_lines, common.as_shard(shard))
    make = Distillation(teacher, search, metric)
    common.work_through(plan, make.pairs, common.Place(output, files, task, force), say)


def _options(
    teacher: Path, beam_size: int | None, length_penalty: float | None, best_of: int
) -> tuple[SearchConfig, DataConfig]:
    """Return how the teacher searches, in a beam that holds all it is to choose among, and what it was trained on."""
    from nmt.configfile import load_config

    if beam_size is not None and best_of > beam_size:
        raise OptionError(f"--best-of {best_of}: is more than --beam-size {beam_size}; widen the beam")
    usual = search_options(teacher, {}).beam_size
    width = max(usual, best_of) if beam_size is None else beam_size
    flags = {"beam_size": width, "length_penalty": length_penalty, "sample": False, "n_best": best_of}
    return search_options(teacher, flags), load_config(shared.run_of(teacher) / "config.yaml").data
