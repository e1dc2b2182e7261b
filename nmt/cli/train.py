"""`nmt train`: options in, a run folder out."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nmt.cli import options as shared

STARTED = time.monotonic()  # --max-time bounds the whole command
CONFIGS = (".yaml", ".yml")

What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml | CORPUS ...]",
        help="A config; or two aligned files (source first), train.{lang}, TSV, JSONL, a Parquet folder, hf:NAME.",
    ),
]
Preset = Annotated[
    Literal["tiny", "small", "base", "big", "rnnsearch", "luong", "gnmt"] | None,
    typer.Option(help="Shape of the model."),
]

Run = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="RUN", help="The run folder.  [default: runs/NAME, as config or corpus]"),
]
Valid = Annotated[list[str] | None, typer.Option(metavar="CORPUS", help="Validation corpus, once per file.")]
Test = Annotated[list[str] | None, typer.Option(metavar="CORPUS", help="Test corpus, once per file.")]
SourceLang = Annotated[str | None, typer.Option(metavar="CODE", help="Language of the source.")]
TargetLang = Annotated[str | None, typer.Option(metavar="CODE", help="Language of the target.")]
BatchTokens = Annotated[
    str | None, typer.Option(metavar="N|auto", help="In a batch: pairs times the tokens of its longest side.")
]
MaxTime = Annotated[str | None, typer.Option(metavar="TIME", help="Of all runs of this command: 90s, 45m, 6h.")]
Patience = Annotated[
    str | None, typer.Option(metavar="N", help="Validations without a better score before the end; 0: never.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="auto: fp32 on CPU, bf16 on a GPU that has it; a recipe chooses."),
]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")]
Threads = Annotated[str | None, typer.Option(metavar="N", help="CPU threads; 0: as many as cores.")]
BadUtf8 = Annotated[Literal["error", "replace", "drop"], typer.Option(help="What undecodable bytes do.")]


def train(
    what: What = None,
    output: Run = None,
    valid: Valid = None,
    test: Test = None,
    source_lang: SourceLang = None,
    target_lang: TargetLang = None,
    preset: Preset = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.SUB=VALUE", help="Any option of configs/reference.yaml.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", metavar="MODEL", help="Start from another model's weights.")
    ] = None,
    batch_tokens: BatchTokens = None,
    max_steps: Annotated[str | None, typer.Option(metavar="N", help="Optimizer steps.")] = None,
    max_epochs: Annotated[str | None, typer.Option(metavar="N", help="Passes over the corpus.")] = None,
    max_time: MaxTime = None,
    patience: Patience = None,
    device: Device = None,
    precision: Precision = None,
    threads: Threads = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Of weights, order, dropout.")] = None,
    encoding: Annotated[str | None, typer.Option(metavar="NAME", help="Of the text files.")] = None,
    bad_utf8: Annotated[
        Literal["error", "replace", "drop"] | None, typer.Option(help="What undecodable bytes do.")
    ] = None,
) -> None:
    """Train a tokenizer and a model; what is not set, a recipe chooses for corpora. The same command again resumes."""
    words = list(what or [])
    flags: dict[str, Any] = {
        "data.valid": valid, "data.test": test, "data.source_lang": source_lang, "data.target_lang": target_lang,
        "data.encoding": encoding, "data.bad_utf8": bad_utf8, "model.preset": preset,
        "training.batch_tokens": batch_tokens, "training.max_steps": max_steps, "training.max_epochs": max_epochs,
        "training.max_time": max_time, "training.patience": patience, "training.device": device,
        "training.precision": precision, "training.threads": threads, "training.seed": seed,
    }  # fmt: skip
    config_path, run = _choose(words, flags)
    if what and "data.train" in flags and start_from is None:
        flags["training.recipe"] = None if "training.recipe" in _keys(settings) else "auto"
    from nmt.configfile import load_config

    has_own = config_path is not None or _has_family(preset, settings)
    if not has_own and start_from is not None and os.path.isdir(start_from):
        flags["model.type"] = shared.config_of(start_from).model.type  # else its options would be those of another
    config = load_config(config_path, settings or (), flags)
    if not config.data.train:
        from nmt.errors import OptionError

        raise OptionError(f"{config_path or 'config'}: data.train names no corpus; give one")

    shared.load_torch(products=16)  # batches have shapes of their own: only within a step they are needed again
    from nmt.training.prepare import Request, with_model_of
    from nmt.training.run import train

    if start_from is not None:
        config = with_model_of(config, start_from)
    command = shlex.join(["nmt", *sys.argv[1:]])
    train(Request(config, output or Path("runs") / run, start_from, command, STARTED, sys.stderr))


def _has_family(preset: str | None, settings: list[str] | None) -> bool:
    return preset is not None or not {"model.type", "model.preset"}.isdisjoint(_keys(settings))


def _keys(settings: list[str] | None) -> set[str]:
    """Return what `--set` sets."""
    return {setting.partition("=")[0].strip() for setting in settings or ()}


def _choose(words: list[str], flags: dict[str, Any]) -> tuple[Path | None, str]:
    """Return the config file that is meant and the name of the run; corpora named as arguments go into `flags`."""
    from nmt.configfile import shipped
    from nmt.errors import OptionError

    configs = [word for word in words if word.endswith(CONFIGS)]
    if len(configs) > 1 or (configs and len(words) > 1):
        raise OptionError(f"{words[1]}: a config names its own corpora; give one config, or corpora alone")
    if words and not configs:
        flags["data.train"] = words
        return None, stem(words[0])
    path = Path(configs[0]) if configs else Path("nmt.yaml")
    if not configs and not path.exists():
        path = shipped("configs", "phrasebook.yaml")
    return path, path.stem


def stem(corpus: str) -> str:
    """Return the name of a run on a corpus: the first part of its file's name, or of the name on the hub."""
    name = re.split(r"[@#]", corpus.removeprefix("hf:"))[0].rstrip("/").split("/")[-1]
    return re.split(r"[.:]", name)[0] or "run"
