"""Trainings over one another: where their points lie, the picture, the terminal, and watching one."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from nmt.cli import run as nmt
from nmt.inspect.blocks import width
from nmt.inspect.courses import CURVES, Course, points
from nmt.inspect.curves import lines, picture

TRAIN, VALID, BLEU, RATE, SPEED = CURVES


def trained(step: int, seconds: float, loss: float = 3.0) -> dict[str, Any]:
    return {
        "kind": "train",
        "time": 1e9 + seconds,
        "step": step,
        "loss": loss,
        "learning_rate": 1e-3,
        "tokens_per_second": 2000.0,
    }


def validated(step: int, seconds: float, bleu: float) -> dict[str, Any]:
    best = {"metric": "bleu", "best": 31.5, "best_step": 100}
    return {"kind": "valid", "time": 1e9 + seconds, "step": step, "loss": 2.5, "bleu": bleu, **best}


def course(name: str = "runs/a", *, is_finished: bool = True) -> Course:
    """Return 50 steps in 10 seconds, validations of 30 seconds, and a night off between steps 100 and 150."""
    night = 40_000
    records = [
        trained(50, 10, 5.0), trained(100, 20, 4.0), validated(100, 50, 31.5),
        trained(150, night, 3.5), trained(200, night + 10, 3.0), validated(200, night + 40, 30.0),
    ]  # fmt: skip
    return Course(name, records, is_finished)


def write(run: Path, records: list[Mapping[str, Any]], *, is_finished: bool = True) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    if is_finished:
        (run / "MANIFEST.json").write_text("{}")


def test_points_lie_at_steps() -> None:
    assert points(course(), TRAIN, "steps") == [(50, 5.0), (100, 4.0), (150, 3.5), (200, 3.0)]
    assert points(course(), BLEU, "steps") == [(100, 31.5), (200, 30.0)]


def test_tokens_are_those_of_the_mean_step() -> None:
    # 10 seconds for 50 steps at 2,000 tokens a second are 400 tokens a step.
    assert points(course(), TRAIN, "tokens") == [(20_000, 5.0), (40_000, 4.0), (60_000, 3.5), (80_000, 3.0)]


def test_steps_that_take_long_are_no_break() -> None:
    """A report every twelve minutes, once after twenty-five, and once after ten hours of nothing."""
    took = [700, 700, 1500, 700, 36_000, 700, 700]
    times = [sum(took[:number]) for number in range(len(took) + 1)]
    records = [trained(50 * number, seconds) for number, seconds in enumerate(times, 1)]
    found = [3600 * hours for hours, _ in points(Course("runs/slow", records, is_finished=True), TRAIN, "time")]
    assert found == pytest.approx([700, 1400, 2100, 3600, 4300, 5000, 5700, 6400])


def test_hours_leave_out_what_was_no_training() -> None:
    seconds = [place * 3600 for place, _ in points(course(), TRAIN, "time")]
    assert seconds == pytest.approx([10, 20, 60, 70])  # a validation counts, a night does not
    assert points(Course("", [trained(50, 10)], is_finished=False), TRAIN, "time") == [(0.0, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize("over", ["steps", "tokens", "time"])
@pytest.mark.parametrize("form", ["png", "svg"])
def test_all_runs_are_in_the_picture(over: str, form: str) -> None:
    courses = [
        course("runs/one"),
        course("runs/two", is_finished=False),
        Course("runs/three", [trained(50, 10)], is_finished=False),
    ]
    drawn = picture(courses, over, form)
    assert drawn.missing == ""
    if form == "png":
        assert matplotlib.image.imread(io.BytesIO(drawn.data)).shape[1] == 1300
    else:
        text = drawn.data.decode()
        assert {color for color in ("#4477aa", "#ee6677", "#228833") if color in text} == {
            "#4477aa",
            "#ee6677",
            "#228833",
        }
        assert [name for name in ("runs/one", "runs/two", "runs/three") if f"<!-- {name} -->" not in text] == []


def test_a_name_is_no_formula() -> None:
    assert picture([course("runs/r$a_b_c$d\udce9")], "steps", "svg").data


def test_a_terminal_shows_each_run_on_one_scale() -> None:
    found = list(
        lines([course(), Course("b", [trained(50, 10, 1.0), trained(100, 20, 9.0)], is_finished=False)], "steps", 60)
    )
    assert max(map(width, found)) <= 60
    first = found.index("training loss, nats per target token, 1 to 9")
    high, low = found[first + 1 : first + 3]
    assert high.endswith(" 3")
    assert low.endswith(" 9")
    assert "█" in low
    assert "█" not in high
    assert low.split()[1].count("▁") + low.count("█") < len(high.split()[1])  # b ended half-way
    assert found[-2:] == ["runs/a step 200, best bleu 31.5 at step 100, finished", "b      step 100"]


def test_one_run_has_room_for_higher_curves() -> None:
    found = list(lines([course()], "steps", 60))
    assert found.index("validation loss, nats per target token, 2.5 to 2.5") == 4
    assert list(lines([Course("new", [], is_finished=False)], "steps", 60))[-1] == "new nothing recorded yet"


# ---- command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "runs" / "a", list(course().records))
    write(tmp_path / "runs" / "b", list(course().records)[:2], is_finished=False)
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.slow
def test_runs_are_shown_or_drawn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["curves", "runs/a", "runs/b/metrics.jsonl"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "runs/a step 200, best bleu 31.5 at step 100, finished\nruns/b step 100\n" in shown.out
    assert "optimizer steps" in shown.out
    assert nmt(["curves", "runs/a", "runs/b", "-o", "curves.svg", "--over", "time"]) == 0
    assert (folder / "curves.svg").read_text().startswith("<?xml")
    assert nmt(["curves", "runs/a", "-o", "curves.png"]) == 0
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs/none"], 4, "RUN runs/none: no such folder; give a run folder, or train one with nmt train"),
        (["runs/empty"], 3, "runs/empty/metrics.jsonl: is not there; name a run of nmt train, or wait for it with"),
        (["runs/a", "-o", "curves.gif"], 2, "-o curves.gif: is none of .png, .svg; name it so, or leave -o out"),
        (["runs/a", "-o", "no/curves.png"], 2, "there is no folder no; create it first"),
        (["runs/a", "-o", "here.png"], 2, "here.png: exists; use --force"),
        (["runs/a", "--over", "epochs"], 2, "--over"),
        ([], 2, "RUN"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (folder / "here.png").write_text("kept")
    assert nmt(["curves", *arguments]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("nmt curves: error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert (folder / "here.png").read_text() == "kept"


@pytest.mark.slow
def test_following_shows_what_is_new_until_the_run_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["nmt.cli.curves"], "WAIT", 0.02)
    records = list(course().records)

    def train() -> None:
        for size in range(3, len(records) + 1):
            time.sleep(1.0)  # longer than a picture takes on a slow machine
            write(folder / "runs" / "b", records[:size], is_finished=size == len(records))

    trainer = threading.Thread(target=train)
    trainer.start()
    assert nmt(["curves", "runs/b", "--follow", "-o", "curves.png"]) == 0
    trainer.join()
    steps = [line for line in capfd.readouterr().out.split("\n") if line.startswith("runs/b step")]
    assert steps[0] == "runs/b step 100"
    assert steps[-1] == "runs/b step 200, best bleu 31.5 at step 100, finished"
    assert 3 <= len(steps) <= 6  # one view for each news, and no more
    assert (folder / "curves.png").exists()


def test_ctrl_c_ends_following_with_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert nmt(["curves", "runs/b", "--follow", "-o", "curves.png"]) == 130
    assert (folder / "curves.png").exists()
