"""What several commands share: options, the model that is meant when none is named, a word on stderr."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nmt.errors import DataError, ModelError, OptionError

if TYPE_CHECKING:
    from nmt.config import Config

RUNS, MANIFEST = Path("runs"), "MANIFEST.json"


def _check_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value} is not one of auto, cpu, cuda, cuda:1, mps")
    return value


Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="Run or checkpoint folder.  [default: $NMT_MODEL, newest run]"),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Run or checkpoint folder; again: an ensemble.  [default: $NMT_MODEL, newest run]",
    ),
]
Device = Annotated[str, typer.Option(callback=_check_device, help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(help="Of matrix products; auto: fp32 on CPU, bf16 on a GPU that has it."),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: one per core.")]
Encoding = Annotated[str, typer.Option(metavar="NAME", help="Of the input.")]
MaxLineBytes = Annotated[int, typer.Option(min=1, help="Longer input lines are refused.")]


def speaker(command: str, *, quiet: bool = False) -> Callable[[str], None]:
    """Return what says a line on stderr in the name of a command, or nothing if it is to be quiet."""

    def say(text: str) -> None:
        if not quiet:
            print(f"nmt {command}: {text}", file=sys.stderr, flush=True)

    return say


def find_model(option: str | None, say: Callable[[str], None]) -> Path:
    """Return the model meant: `-m`, else $NMT_MODEL, else the newest finished run under runs/, naming the choice."""
    if option is not None:
        return existing(option, "-m")
    if chosen := os.environ.get("NMT_MODEL"):
        path = existing(chosen, "$NMT_MODEL")
    else:
        finished = sorted(RUNS.glob(f"*/{MANIFEST}"), key=lambda manifest: (manifest.stat().st_mtime_ns, manifest))
        if not finished:
            raise ModelError(f"{RUNS}: no finished run here; train a model with nmt train first, or name one with -m")
        path = finished[-1].parent
    say(f"model {path}")
    return path


def find_models(options: Sequence[str] | None, say: Callable[[str], None], *, alone: str = "") -> list[Path]:
    """Return the models of an ensemble, or the one that is meant; `alone` is an option that takes no ensemble."""
    if alone and options and len(options) > 1:
        raise OptionError(f"{alone}: takes one model, and {len(options)} are named; leave one -m")
    return [find_model(option, say) for option in options] if options else [find_model(None, say)]


def existing(name: str, where: str) -> Path:
    """Return the model of that name, which an option or variable gave."""
    path = Path(name)
    if not os.path.exists(path):  # pathlib's question has no answer for names that are too long
        raise ModelError(f"{where} {name}: no such folder; give a run folder, or train one with nmt train")
    return path


def run_of(path: Path) -> Path:
    """Return the run that a folder is, or, of a checkpoint, belongs to."""
    if (path / "config.yaml").is_file():
        return path
    if (path / "state.json").is_file():
        return path.resolve().parent.parent
    raise ModelError(f"{path}: neither a run nor a checkpoint; give a folder that nmt train wrote")


def config_of(path: Path) -> Config:
    """Return the config of the run that a folder is, or belongs to."""
    from nmt.configfile import load_config

    try:
        return load_config(run_of(path) / "config.yaml")
    except (OptionError, DataError) as error:
        raise ModelError(f"{error} (this is not as nmt train wrote it)") from error


def load_torch(products: int = 32) -> None:
    """Import torch without searching what it makes for garbage, which takes a tenth of the time, and there is none.

    `products` is how many matrix products, each of another shape, oneDNN keeps its code for; its own thousand take
    hundreds of megabytes.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(products))
    gc.disable()
    try:
        importlib.import_module("torch")
    finally:
        gc.freeze()
        gc.enable()
