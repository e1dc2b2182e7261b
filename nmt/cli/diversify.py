"""`nmt diversify`: a corpus in, and out comes a model that has also learnt from what two others made of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nmt.cli import options as shared
from nmt.cli.train import Device, Run, SourceLang, TargetLang, Test, Threads, Valid, stem
from nmt.errors import OptionError
from nmt.ranks import rank

Corpora = Annotated[
    list[str],
    typer.Argument(metavar="CORPUS ...", help="As for nmt train: two aligned files, train.{lang}, TSV, JSONL, ..."),
]
Time = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Of all, with a tenth to translate the corpus in: 45m, 6h.  [default: 3h]"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.SUB=VALUE", help="Any option of configs/reference.yaml, for all models."),
]

say = shared.speaker("diversify")


def diversify(
    corpora: Corpora,
    output: Run = None,
    valid: Valid = None,
    test: Test = None,
    source_lang: SourceLang = None,
    target_lang: TargetLang = None,
    settings: Settings = None,
    max_time: Time = None,
    seed: Annotated[
        str | None, typer.Option(metavar="N", help="Of weights, order, dropout; others add 1 and 2.")
    ] = None,
    device: Device = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Of the trainings and of translating.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train models both ways, let them translate their corpus, train on it all; the same command again goes on.

    RUN.parts keeps the teachers and what they write.
    """
    if rank().size > 1:
        raise OptionError("torchrun: starts one command, and this is five; run those that it names by torchrun instead")
    flags: dict[str, Any] = {
        "data.train": corpora, "data.valid": valid, "data.test": test, "data.source_lang": source_lang,
        "data.target_lang": target_lang, "training.max_time": max_time, "training.seed": seed,
        "training.device": device, "training.precision": precision, "training.threads": threads,
    }  # fmt: skip
    from nmt.configfile import load_config
    from nmt.diversify import Plan, write_texts
    from nmt.lock import locked

    config, run = load_config(None, settings or (), flags), output or Path("runs") / stem(corpora[0])
    if not run.name:
        raise OptionError(f"-o {run}: is no name for a run; name a folder that is to be made")
    folder = run.with_name(f"{run.name}.parts")
    with locked(folder / "lock", "another nmt diversify is running", "choose another folder with -o"):
        texts = write_texts(config.data, config.training.seed, folder, say)
        plan = Plan(texts, folder, run, config, settings or ())
        plan.carry_out(say)
    again = ["nmt", "translate", "-m", str(run), "--rerank", str(plan.teachers[1]), "-b", "20"]
    say(f"a little better by chrF, and slower: {shlex.join(again)}")
