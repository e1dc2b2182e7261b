"""`nmt bench`: shows how fast this machine trains and translates; it knows nothing of how that is measured."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nmt.cli import options as shared
from nmt.errors import OptionError

if TYPE_CHECKING:
    from nmt.inspect.bench import Figures

What = Annotated[Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Whose model and corpus are measured.")]
Run = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help="A trained model, in place of CONFIG.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.01, help="That each measurement takes, about.")]
Format = Annotated[Literal["text", "json"], typer.Option("--format", help="Of the output.")]
HEAD = f"{'':12} precision threads batch tokens/s  sents/s padding    memory  where the time goes"


def bench(
    what: What = None,
    model: Run = None,
    seconds: Seconds = 8.0,
    format_: Format = "text",
    device: shared.Device = "auto",
    threads: shared.Threads = 0,
) -> None:
    """Measure training and translating on this machine, and suggest precision, threads and batch size."""
    if what is not None and model is not None:
        raise OptionError(f"-m {model}: brings a config of its own; leave out {what}")
    from nmt.configfile import load_config, shipped
    from nmt.inspect import bench as measuring

    trained = shared.existing(model, "-m") if model is not None else None
    shipping = Path("nmt.yaml") if Path("nmt.yaml").exists() else shipped("configs", "phrasebook.yaml")
    config = shared.config_of(trained) if trained else load_config(what or shipping)
    say = print if format_ == "text" else shared.speaker("bench", quiet=True)
    found: list[Figures] = []
    with TemporaryDirectory() as cache:
        subject = measuring.prepare(config, trained, Path(cache), device)
        say(HEAD)
        for figures in measuring.measure(subject, device, threads, seconds):
            found.append(figures)
            say(_row(figures))
        fastest = {work: max(group, key=_speed) for work, group in groupby(found, key=lambda figures: figures.work)}
        one = measuring.latency(subject, fastest["translation"].setting)
    for figures in fastest.values():
        say(f"fastest {figures.work}: {_options(figures)}")
    say(f"one sentence by itself: {1000 * one:.0f} ms")
    if format_ == "json":
        print(json.dumps([*map(_record, found), {"work": "one sentence", "seconds": one}]))


def _speed(figures: Figures) -> float:
    return figures.tokens


def _row(figures: Figures) -> str:
    setting = figures.setting
    parts = " ".join(f"{name} {share:.0%}" for name, share in figures.parts.items())
    return (
        f"{figures.work:12} {setting.precision:>9} {setting.threads:7} {setting.batch_tokens:5} {figures.tokens:8,.0f} "
        f"{figures.sentences:8,.1f} {figures.padding:7.1%} {figures.memory / 2**20:6,.0f} MiB  {parts}"
    )


def _options(figures: Figures) -> str:
    setting = figures.setting
    return f"--precision {setting.precision} --threads {setting.threads} --batch-tokens {setting.batch_tokens}"


def _record(figures: Figures) -> dict[str, Any]:
    own = figures._asdict()
    return {**own.pop("setting")._asdict(), **own}
