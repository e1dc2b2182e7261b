"""What is told while training: lines in a log, one living line on a terminal, records, curves."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nmt.training.curves import draw_curves
from nmt.training.progress import Progress, Report, Validation, duration

BREAKS = "\u2028a line\nthat\rbreaks\x1b[2J \x85here\x00"


def report(step: int, **changes: float) -> Report:
    own = {"epoch": 0, "loss": 5.25, "learning_rate": 1e-3, "tokens_per_second": 12345.6, "gradient_norm": 0.5}
    return Report(**{"step": step, **own, "to_valid": 65.0, "to_end": 3725.0, **changes})  # type: ignore[arg-type]


def validation(step: int, bleu: float, samples: tuple[tuple[str, str, str], ...] = ()) -> Validation:
    scores = {"loss": 2.5, "bleu": bleu, "chrf": 40.0}
    return Validation(step, scores, "bleu", max(bleu, 30.0), step if bleu >= 30 else 10, samples, 7.4)


class Terminal(io.StringIO):
    """A stream that is a terminal of one line: what is on it can be read."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """Return the lines as they look once every carriage return has been obeyed."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown: list[str] = []
            for part in line.split("\r"):
                shown[: len(part)] = part
            lines.append("".join(shown).rstrip())
        return lines


@pytest.fixture
def log(tmp_path: Path) -> Iterator[tuple[Progress, io.StringIO]]:
    stream = io.StringIO()
    progress = Progress(tmp_path, stream)
    progress.begin(0)
    yield progress, stream
    progress.close()


def records(run: Path) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_durations_read_as_people_write_them() -> None:
    table = {None: "-", 0.4: "0:00", 7.0: "0:07", 59.6: "1:00", 750.0: "12:30", 3599.9: "1:00:00", 93784.0: "26:03:04"}
    assert {seconds: duration(seconds) for seconds in table} == table


def test_no_terminal_gets_plain_lines(log: tuple[Progress, io.StringIO], tmp_path: Path) -> None:
    progress, stream = log
    progress.tick(report(1))
    progress.log(report(2))
    progress.validated(validation(2, 31.4159))
    progress.log(report(3))
    lines = stream.getvalue().split("\n")
    assert "\r" not in stream.getvalue()
    assert lines[0] == (
        "step 2 | epoch 1 | loss 5.250 | not validated yet | valid in 1:05, end in 1:02:05 | 12,346 tok/s | lr 1.0e-03"
    )
    assert lines[1] == "valid at step 2: loss 2.500, bleu 31.42, chrf 40.00 (best so far), took 0:07"
    assert "| bleu 31.42, best 31.42 |" in lines[2]
    kept = (tmp_path / "train.log").read_text(encoding="utf-8").split("\n")
    assert [line[20:] for line in kept] == lines


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_a_terminal_has_one_living_line_that_fits(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    progress = Progress(tmp_path, terminal)
    progress.begin(0)
    for step in (998, 999, 1000):
        progress.tick(report(step))
    progress.log(report(1001))
    assert len(terminal.screen()) == 1
    assert terminal.screen()[0].startswith("step 1001 | epoch 1"[: columns - 1])
    assert len(terminal.screen()[0]) < columns
    progress.tick(report(7))  # a shorter one leaves nothing of the longer one
    assert terminal.screen()[0] == progress._brief(report(7))[: columns - 1].rstrip()
    progress.say("a word")
    assert terminal.screen() == ["a word", ""]
    progress.tick(report(1002))
    progress.close()
    assert terminal.screen() == ["a word", ""]
    assert "a word" in (tmp_path / "train.log").read_text(encoding="utf-8")


def test_a_living_line_is_drawn_no_faster_than_it_can_be_read(tmp_path: Path) -> None:
    progress, dumb = Progress(tmp_path, Terminal()), Progress(tmp_path, io.StringIO())
    assert progress.is_due()
    progress.tick(report(1))
    assert not progress.is_due()
    time.sleep(0.11)
    assert progress.is_due()
    assert not dumb.is_due()
    progress.close()
    dumb.close()


def test_best_and_latest_score_stand_side_by_side(log: tuple[Progress, io.StringIO]) -> None:
    progress, stream = log
    progress.validated(validation(20, 25.0))
    assert "bleu 25.00, chrf 40.00 (best bleu at step 10)" in stream.getvalue()
    assert progress.last == "bleu 25.00, best 30.00"
    progress.validated(validation(30, 25.0)._replace(metric="loss", best=2.25))
    assert progress.last == "bleu 25.00, loss 2.500, best 2.250"
    progress.validated(validation(40, 25.0)._replace(metric="loss", best=None))
    assert progress.last == "bleu 25.00, loss 2.500"


def test_no_sample_breaks_the_log(log: tuple[Progress, io.StringIO], tmp_path: Path) -> None:
    progress, stream = log
    progress.validated(validation(2, 31.0, ((BREAKS, BREAKS, "Ein Satz."), ("\ud800", "", "ab"))))
    assert stream.getvalue().split("\n")[1:] == [
        "  source        a line that breaks [2J  here ",
        "  translation   a line that breaks [2J  here ",
        "  reference    Ein Satz.",
        "  source       \ufffd",
        "  translation  ",
        "  reference    ab",
        "",
    ]
    assert len((tmp_path / "train.log").read_bytes().splitlines()) == 7


def test_records_are_json_whatever_the_numbers(log: tuple[Progress, io.StringIO], tmp_path: Path) -> None:
    progress, _ = log
    progress.log(report(1, loss=math.nan, gradient_norm=math.inf))
    progress.validated(validation(1, 31.0)._replace(best=None))
    train, valid = records(tmp_path)
    assert set(train) == {"kind", "time", "step", "epoch", "learning_rate", "tokens_per_second"}
    known = {"kind": "valid", "step": 1, "loss": 2.5, "bleu": 31.0, "chrf": 40.0, "metric": "bleu", "best_step": 1}
    assert valid == {**known, "time": valid["time"]}


def test_what_will_be_done_again_is_dropped(tmp_path: Path) -> None:
    first = Progress(tmp_path, io.StringIO())
    first.begin(0)
    for step in (1, 2, 3):
        first.log(report(step))
        first.validated(validation(step, 30.0 + step))
    first.close()
    with (tmp_path / "metrics.jsonl").open("ab") as metrics:
        metrics.write(b'{"kind": "train", "step": 2, "lo\xff\x00')  # cut short by a kill
    again = Progress(tmp_path, io.StringIO())
    again.begin(2)
    assert again.last == "bleu 32.00, best 32.00"
    again.log(report(3))
    again.close()
    assert [(record["kind"], record["step"]) for record in records(tmp_path)] == [
        ("train", 1), ("valid", 1), ("train", 2), ("valid", 2), ("train", 3),
    ]  # fmt: skip


def test_a_file_that_cannot_be_written_is_given_up_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    stream = io.StringIO()
    progress = Progress(tmp_path, stream)
    progress.begin(0)
    assert progress._metrics
    progress._metrics.close()
    progress._metrics = Path("/dev/full").open("a")  # noqa: SIM115
    for step in (1, 2):
        progress.log(report(step))
    progress.close()
    said = stream.getvalue().splitlines()
    reason = "No space left on device; training goes on without it"
    assert [line for line in said if "warning" in line] == [
        f"warning: /dev/full: {reason}", f"warning: {tmp_path}/train.log: {reason}",
    ]  # fmt: skip
    assert [line for line in said if line.startswith("step ")] == [progress._brief(report(step)) for step in (1, 2)]


def test_tensorboard_has_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    progress = Progress(tmp_path, io.StringIO())
    progress.begin(0)
    progress.log(report(1))
    progress.validated(validation(1, 31.0))
    progress.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    data = events.read_bytes()
    names = ("loss", "learning_rate", "tokens_per_second", "gradient_norm")
    for tag in (*(f"train/{name}" for name in names), "valid/loss", "valid/bleu", "valid/chrf", "valid/best"):
        assert tag.encode() in data


def test_without_tensorboard_all_else_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    progress = Progress(tmp_path, io.StringIO())
    progress.begin(0)
    progress.log(report(1))
    progress.close()
    assert len(records(tmp_path)) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_curves_are_a_picture(log: tuple[Progress, io.StringIO], tmp_path: Path) -> None:
    progress, _ = log
    progress.log(report(1, loss=math.nan))
    progress.log(report(2))
    progress.validated(validation(2, 31.0))
    progress.draw()
    head = (tmp_path / "curves.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20]) >= 1000


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    record = {"kind": "train", "step": 1, "loss": 2.0, "learning_rate": 0.1}
    draw_curves([record], "runs/r$a_b_c$d\udce9", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_no_record_no_picture(log: tuple[Progress, io.StringIO], tmp_path: Path) -> None:
    log[0].draw()
    draw_curves([], "nothing", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
