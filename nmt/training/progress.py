"""Tells how training goes: a live line on a terminal, log lines elsewhere, metrics.jsonl, TensorBoard, curves.png.

It knows nothing of what is trained; what it is told is numbers and text.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, TextIO, cast

from nmt.sealed import replace_file
from nmt.text import clean
from nmt.training.curves import draw_curves

Record = Mapping[str, Any]  # a line of metrics.jsonl
REDRAW = 0.1  # seconds
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # what would move the cursor of a terminal, or worse


class Report(NamedTuple):
    """What is known after a step."""

    step: int  # optimizer steps
    epoch: int  # passes over the corpus that are complete
    loss: float  # nats per target token, label smoothing and R-Drop included, mean since the last report
    learning_rate: float
    tokens_per_second: float  # target tokens, padding not counted
    gradient_norm: float
    to_valid: float | None  # seconds, estimated
    to_end: float | None  # seconds, estimated at most


class Validation(NamedTuple):
    """What a validation measured."""

    step: int
    scores: Mapping[str, float]  # loss (nats per token), bleu, chrf
    metric: str  # the one of them by which weights are chosen
    best: float | None  # the best value of it so far; none if it was never a finite number
    best_step: int
    samples: tuple[tuple[str, str, str], ...]  # source, translation, reference
    seconds: float


class Writer(Protocol):
    """The one thing asked of TensorBoard's writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one number."""
        ...

    def flush(self) -> None:
        """Write out what is pending."""
        ...

    def close(self) -> None:
        """Write out what is pending, and end."""
        ...


def duration(seconds: float | None) -> str:
    """Return seconds as people read them: 0:07, 12:30, 1:02:03; a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Writes what it is told to a stream (live where that is a terminal) and into a run folder, if there is one."""

    def __init__(self, run: Path | None, stream: TextIO) -> None:
        """Open the run's log; `begin` opens the rest, once it is known where training goes on."""
        self.run, self.stream = run, stream
        self.live = stream.isatty()
        self.last = "not validated yet"  # the latest validation, in brief
        self._width = 0  # of the live line on the screen
        self._ticked = -math.inf  # time.monotonic() when it was drawn
        self._log: IO[str] | None = None
        if run:
            self._log = (run / "train.log").open("a", encoding="utf-8", errors="replace")
        self._metrics: IO[str] | None = None
        self._board: Writer | None = None

    def begin(self, since: int) -> None:
        """Open metrics and TensorBoard; what they have of steps after `since` will be done again and is dropped."""
        if self.run is None:
            return
        path = self.run / "metrics.jsonl"
        known = read_records(path, since)
        replace_file(path, "".join(f"{json.dumps(record)}\n" for record in known).encode())
        self._metrics = path.open("a", encoding="utf-8")
        self._board = _tensorboard(self.run, since)
        validations = [record for record in known if record["kind"] == "valid"]
        if validations:
            self.last = _brief_scores(validations[-1])

    def say(self, text: str) -> None:
        """Print a line and keep it in the log."""
        line = CONTROL.sub(" ", clean(text))
        self._clear()
        print(line, file=self.stream, flush=True)
        self._log = self._added(self._log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def is_due(self) -> bool:
        """Say whether there is a terminal whose line has stood for a while: a report can cost more than a step."""
        return self.live and time.monotonic() - self._ticked > REDRAW

    def tick(self, report: Report) -> None:
        """Show a step: on a terminal the live line is drawn again."""
        if self.live:
            self._ticked = time.monotonic()
            text = self._brief(report)[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + text.ljust(self._width))
            self.stream.flush()
            self._width = len(text)

    def log(self, report: Report) -> None:
        """Record a step, with a line where there is no terminal."""
        self._record("train", {**report._asdict(), "to_valid": None, "to_end": None})
        if self.live:
            self.tick(report)
        else:
            self.say(self._brief(report))

    def validated(self, result: Validation) -> None:
        """Report a validation with its sample translations."""
        record = {"step": result.step, **result.scores, "metric": result.metric, "best": result.best}
        record["best_step"] = result.best_step
        self.last = _brief_scores(record)
        scores = ", ".join(f"{name} {_shown(name, value)}" for name, value in result.scores.items())
        best = "best so far" if result.best_step == result.step else f"best {result.metric} at step {result.best_step}"
        self.say(f"valid at step {result.step}: {scores} ({best}), took {duration(result.seconds)}")
        for sample in result.samples:
            for name, text in zip(("source", "translation", "reference"), sample, strict=True):
                self.say(f"  {name:<11}  {text}")
        self._record("valid", record)
        if self._board:
            self._board.flush()

    def draw(self) -> None:
        """Draw curves.png of all that was recorded."""
        if self._metrics and self.run:
            draw_curves(read_records(self.run / "metrics.jsonl"), self.run.name, self.run / "curves.png")

    def close(self) -> None:
        """Close the logs."""
        self._clear()
        for file in (self._log, self._board, self._metrics):
            if file:
                file.close()

    def _brief(self, report: Report) -> str:
        return (
            f"step {report.step} | epoch {report.epoch + 1} | loss {report.loss:.3f} | {self.last} | "
            f"valid in {duration(report.to_valid)}, end in {duration(report.to_end)} | "
            f"{report.tokens_per_second:,.0f} tok/s | lr {report.learning_rate:.1e}"
        )

    def _clear(self) -> None:
        if self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _added(self, file: IO[str] | None, line: str) -> IO[str] | None:
        """Add a line to a file and return it; one that cannot be written is given up, and training goes on."""
        if file is None:
            return None
        try:
            print(line, file=file, flush=True)
        except OSError as error:
            print(f"warning: {file.name}: {error.strerror}; training goes on without it", file=self.stream, flush=True)
            with suppress(OSError):  # of what could not be written
                file.close()
            return None
        return file

    def _record(self, kind: str, values: Record) -> None:
        """Write a line of metrics; JSON has no word for what is not finite, so that is left out."""
        known = {name: value for name, value in values.items() if _is_known(value)}
        if self._metrics:
            line = json.dumps({"kind": kind, "time": round(time.time(), 3), **known}, allow_nan=False)
            self._metrics = self._added(self._metrics, line)
        if self._board:
            for name, value in known.items():
                if name not in ("step", "best_step", "metric"):
                    self._board.add_scalar(f"{kind}/{name}", value, values["step"])


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _shown(name: str, value: float) -> str:
    return f"{value:.3f}" if name == "loss" else f"{value:.2f}"


def _brief_scores(record: Record) -> str:
    """Return latest and best of a validation for the live line, by its line of metrics."""
    metric = record["metric"]
    names = [name for name in dict.fromkeys(("bleu", metric)) if name in record]
    latest = ", ".join(f"{name} {_shown(name, record[name])}" for name in names)
    return f"{latest}, best {_shown(metric, record['best'])}" if record.get("best") is not None else latest or "-"


def read_records(path: Path, until: float = math.inf) -> list[Record]:
    """Return the records of a metrics.jsonl, of steps up to `until`, without a line that a kill cut short."""
    found = list[Record]()
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
        try:
            record = json.loads(line)
            if record["kind"] in ("train", "valid") and record["step"] <= until:
                found.append(record)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _tensorboard(run: Path, since: int) -> Writer | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an extra
        return None
    return cast(Writer, SummaryWriter(str(run / "tensorboard"), purge_step=since + 1))
