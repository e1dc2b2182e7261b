"""nmt itself, by its commands."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from environment import variables
from process import Command, run
from work import CHECKOUT, HERE, Figures, Mode, Work, read

import nmt

NEVER = 10**9  # steps


class Ours:
    """Trains with `nmt train`, translates with `nmt translate`."""

    name = "nmt"

    def __init__(self, extra: Sequence[Mode]) -> None:
        """Translate in the ways of `extra` too; their `words` are options of `nmt translate`."""
        self._extra = extra

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return both precisions."""
        return (Mode("fp32", {"precision": "fp32"}), Mode("bf16", {"precision": "bf16"}))

    def translations(self) -> Sequence[Mode]:
        """Return both precisions, the fastest way there is, and what was asked for."""
        ways = {"fp32": ["--precision", "fp32"], "bf16": ["--precision", "bf16"]}
        ways["bf16, shortlist"] = ["--precision", "bf16", "--shortlist"]
        ways |= {f"{label}, one worker": [*words, "--threads", "1"] for label, words in ways.items()}
        return (*(Mode(label, {"words": words}) for label, words in ways.items()), *self._extra)

    def install(self, work: Work) -> str:
        """Return the version; nmt runs in the environment of this program."""
        return nmt.__version__

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Run `nmt train` and read its metrics."""
        folder = work.scratch(f"nmt-{model}")
        every = 2 if seconds < 20 else 10
        metrics = folder / "run" / "metrics.jsonl"
        settings = {"log_every": every, "valid_every": NEVER, "save_every": NEVER, "max_steps": NEVER}
        words = [*train_command(work, model), "-o", folder / "run", *_set("training", settings)]
        words += ["--precision", mode.settings["precision"], "--threads", str(work.threads)]
        command = Command(words, _variables(work, corpus), folder, folder / "log.txt")
        usage = run(command, lambda: _measured(metrics, work.warmup)[1] >= seconds)
        speed, spent = _measured(metrics, work.warmup)
        parameters = re.search(r"([\d,]+) parameters", (folder / "log.txt").read_text())
        count = int(parameters[1].replace(",", "")) if parameters else 0
        return Figures(round(speed * spent), spent, usage.seconds, usage.peak, parameters=count)

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Run `nmt translate --stats`."""
        folder = work.scratch("nmt-translate")
        output = folder / "output.txt"
        words: list[str | Path] = [*COMMAND, "translate", source, "-m", work.run, "-o", output, "--stats"]
        words += ["-b", str(work.beam), "--threads", str(work.threads), *mode.settings["words"]]
        usage = run(Command(words, _variables(work, "captions"), folder, folder / "log.txt"))
        stats = re.search(r"([\d.,]+) s:", (folder / "log.txt").read_text())
        seconds = float(stats[1].replace(",", "")) if stats else usage.seconds
        pieces = work.count(output)
        return Figures(pieces, seconds, usage.seconds, usage.peak, len(read(source)), output=str(output))


COMMAND = [sys.executable, "-m", "nmt"]


def train_command(work: Work, model: str) -> list[str | Path]:
    """Return `nmt train` with a config, and with the tokenizer as the run with the weights has it."""
    words: list[str | Path] = [*COMMAND, "train", HERE / f"{model}.yaml"]
    config = work.run / "config.yaml"
    if config.exists():
        found = dict(re.findall(r"^  (type|vocab_size): (\w+)$", config.read_text().split("\nmodel:")[0], re.M))
        words += _set("tokenizer", found)
    return words


def train_weights(work: Work, limit: str) -> None:
    """Train the Transformer whose weights everyone translates with, unless it is there."""
    if (work.run / "MANIFEST.json").exists():
        return
    folder = work.scratch("weights")
    words = [*train_command(work, "transformer"), "-o", work.run, "--precision", "bf16", "--max-time", limit]
    # In a few minutes many small steps bring more than few large ones.
    settings = {"batch_tokens": 1536, "warmup": 400, "valid_every": NEVER, "metric": "loss"}
    words += ["--threads", str(work.threads), *_set("training", settings)]
    run(Command(words, _variables(work, "captions"), folder, folder / "log.txt"))


def _set(section: str, values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{section}.{name}={value}")]


def _variables(work: Work, corpus: str) -> dict[str, str]:
    """Return the environment: the corpus, and this checkout's code."""
    data = work.text(corpus, "train", "en").parent
    return variables(None, NMT_DATA=str(data), PYTHONPATH=str(CHECKOUT), COLUMNS="200")


def _measured(metrics: Path, warmup: float) -> tuple[float, float]:
    """Return pieces per second after the warm-up, and the seconds they were measured in.

    Each line of metrics tells the speed of as many steps as the others.
    """
    lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
    records = [record for record in map(json.loads, lines) if record["kind"] == "train"]
    counted = [record for record in records if record["time"] - records[0]["time"] >= warmup][1:]
    if not counted:
        return 0.0, 0.0
    speed = len(counted) / sum(1 / record["tokens_per_second"] for record in counted)
    return speed, counted[-1]["time"] - records[len(records) - len(counted) - 1]["time"]
