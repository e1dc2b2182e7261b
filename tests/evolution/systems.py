"""The systems of the experiment, and their trainings, side by side on the cores there are."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from nmt.sealed import MANIFEST

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGS = CHECKOUT / "configs" / "evolution"


class System(NamedTuple):
    """What is trained, in the order in which history brought it."""

    name: str  # of its config
    label: str
    minutes: int  # about, on one core: the longest go first, so that no core waits for the last one


SYSTEMS = (
    System("rnn", "vanilla RNN, fixed vector", 10),
    System("gru", "GRU, fixed vector", 14),
    System("lstm", "LSTM, fixed vector", 15),
    System("gru-additive", "GRU, additive attention", 45),
    System("lstm-additive", "LSTM, additive attention", 40),
    System("gru-general", "GRU, general attention", 15),
    System("lstm-general", "LSTM, general attention", 15),
    System("transformer", "Transformer", 20),
)
CONTRAST = ("lstm", "lstm-general")  # the same model without and with attention, trained from several seeds
UNCLIPPED = "rnn-unclipped"  # the vanilla RNN, whose gradient nothing bounds


class Training(NamedTuple):
    """One run folder to come."""

    run: str  # its name
    config: str
    settings: tuple[str, ...]
    minutes: int


def trainings(seeds: int) -> list[Training]:
    """Return all trainings, the longest first."""
    known = {system.name: system for system in SYSTEMS}
    found = [Training(system.name, system.name, (), system.minutes) for system in SYSTEMS]
    found.append(Training(UNCLIPPED, "rnn", ("training.clip=0",), known["rnn"].minutes))
    found += [
        Training(seeded(name, seed), name, (f"training.seed={seed}",), known[name].minutes)
        for seed in range(2, seeds + 1)
        for name in CONTRAST
    ]
    return sorted(found, key=lambda training: -training.minutes)


def seeded(name: str, seed: int) -> str:
    """Return the name of the run of a system from a seed."""
    return name if seed == 1 else f"{name}-{seed}"


class Place(NamedTuple):
    """Where everything is, and on what it is computed."""

    folder: Path  # of run folders, their logs and figures
    data: Path
    device: str
    settings: Sequence[str] = ()  # key.sub=value, over those of the configs


def run_all(place: Place, wanted: Sequence[Training]) -> None:
    """Train and measure, one process per core, or one after the other on a GPU; what is finished is kept.

    If one fails no other is begun; raises SystemExit once those have ended that had begun.
    """
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if place.device == "cpu" else 1)
    codes = {pool.submit(_run, place, training): training.run for training in wanted}
    try:
        for done in as_completed(codes):
            if done.result():
                raise SystemExit(f"evolution: {codes[done]} failed; see {place.folder}/{codes[done]}.log")
    finally:  # after Ctrl-C too, which the trainings have heard themselves
        pool.shutdown(cancel_futures=True)


def _run(place: Place, training: Training) -> int:
    """Train and measure one system; return the exit code of what failed, or 0."""
    run = place.folder / training.run
    settings = [word for setting in (*training.settings, *place.settings) for word in ("--set", setting)]
    config = str(CONFIGS / f"{training.config}.yaml")
    train = ["-m", "nmt", "train", config, "-o", str(run), "--threads", "1", "--device", place.device, *settings]
    measure = [str(Path(__file__).with_name("measure.py")), str(run), str(place.data)]
    variables = {"NMT_DATA": str(place.data), "PYTHONPATH": str(CHECKOUT)}
    with (place.folder / f"{training.run}.log").open("a") as log:
        for words in (train, measure):
            if words is measure and _is_measured(run):
                break
            print(f"evolution: {shlex.join(words)}", flush=True)
            done = subprocess.run(
                [sys.executable, *words], env=os.environ | variables, stdout=log, stderr=log, check=False
            )
            if done.returncode:
                return done.returncode
    return 0


def _is_measured(run: Path) -> bool:
    figures, manifest = run.with_suffix(".json"), run / MANIFEST
    return figures.exists() and figures.stat().st_mtime >= manifest.stat().st_mtime
