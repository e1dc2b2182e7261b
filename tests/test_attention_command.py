"""`nmt attention` as it is typed: what goes in, what comes out, and the one line where something is wrong."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import SHORT, tiny_config, write_run

from nmt.cli import run as nmt
from nmt.config import Config

SENTENCE = "Two dogs run."
SAMPLING = SHORT.model_copy(update={"sample": True, "mbr": "chrf"})  # a map is of the beam's translation all the same
QUICK = ("--device", "cpu", "--threads", "1")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention")
    write_run(folder / "runs" / "blind", config(type="rnn", attention="none", dim=16, embedding=8))
    write_run(folder / "runs" / "rnn", config(type="rnn", attention="additive", dim=16, embedding=8))
    write_run(folder / "runs" / "tiny", tiny_config().model_copy(update={"search": SHORT}))
    return folder / "runs"


def config(**model: object) -> Config:
    plain = tiny_config()
    return Config.model_validate({"data": plain.data, "tokenizer": plain.tokenizer, "model": model, "search": SAMPLING})


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(original, tmp_path / "runs", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    feed(monkeypatch, b"")
    return tmp_path


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_sentence_is_shown_in_the_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["attention", SENTENCE, "--words", *QUICK]) == 0
    shown = capfd.readouterr()
    assert shown.err == "nmt attention: model runs/tiny\n"
    head, blank, source, *rest = shown.out.split("\n")
    assert head.startswith("cross-attention, layer 1, head ")
    assert "which aligns best" in head
    assert (blank, source) == ("", SENTENCE)
    assert [line.split()[-1] for line in rest if "╭" in line] == ["Two", "dogs", "run.", "</s>"]
    assert rest[-2].lstrip().startswith("</s> ▕")


def test_lines_of_stdin_are_all_shown_but_blank_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, b"A man.\r\n \nTwo dogs.\n")
    assert nmt(["attention", "-m", "runs/rnn", "--n-best", "2", *QUICK]) == 0
    shown = capfd.readouterr()
    assert "warning: stdin:2: blank line left out" in shown.err
    lines = shown.out.split("\n")
    assert lines[0].startswith("cross-attention    ")
    assert lines.count("A man.") == lines.count("Two dogs.") == 2


STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>", "json": b"{"}


@pytest.mark.slow
@pytest.mark.parametrize("form", STARTS)
@pytest.mark.parametrize("model", ["tiny", "rnn"])
def test_each_form_is_written(folder: Path, capfd: pytest.CaptureFixture[str], form: str, model: str) -> None:
    assert nmt(["attention", "-m", f"runs/{model}", SENTENCE, "--n-best", "2", "-o", f"map.{form}", *QUICK]) == 0
    assert capfd.readouterr() == ("", "")
    assert (folder / f"map.{form}").read_bytes().startswith(STARTS[form])
    assert sorted(path.name for path in folder.iterdir()) == [f"map.{form}", "runs"]


def written(folder: Path, *arguments: str) -> dict[str, object]:
    assert nmt(["attention", "-o", "map.json", "--force", *QUICK, *arguments]) == 0
    found: dict[str, object] = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    return found


def test_options_choose_what_is_shown(folder: Path) -> None:
    own = written(folder, SENTENCE)["sentences"][0]["hypotheses"]  # type: ignore[index]
    assert len(own) == 1
    assert len(written(folder, SENTENCE, "--n-best", "2")["sentences"][0]["hypotheses"]) == 2  # type: ignore[index]
    for kind, columns in {"cross": "</s>", "encoder": "</s>", "decoder": own[0]["rows"][-2]}.items():
        found = written(folder, SENTENCE, "--kind", kind, "--layer", "1", "--head", "2")
        (hypothesis,) = found["sentences"][0]["hypotheses"]  # type: ignore[index]
        assert (found["kind"], found["layer"], found["head"]) == (kind, 1, 2)
        assert hypothesis["columns"][-1] == columns
        assert hypothesis["weights"] == hypothesis["heads"][0][1]
        assert np.abs(np.sum(hypothesis["weights"], 1) - 1).max() < 1e-5
    given = written(folder, SENTENCE, "--target", "Zwei Hunde.", "--words")["sentences"][0]["hypotheses"][0]  # type: ignore[index]
    assert (given["text"], given["rows"]) == ("Zwei Hunde.", ["Zwei", "Hunde.", "</s>"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "runs/blind", "x"], 4, "runs/blind: has no attention (model.attention is none); name a model that has"),
        (["-m", "nowhere", "x"], 4, "-m nowhere: no such folder; give a run folder, or train one with nmt train"),
        ([" \u200b"], 3, "SENTENCE: is blank; give one with words"),
        ([], 3, 'stdin: no line with words; give a sentence: nmt attention "A sentence."'),
        (["man " * 600], 3, "tokens, the model reads 511 at a time; give a shorter sentence"),
        (["x", "--target", "man " * 600], 3, "--target: "),
        (["x", "--target", ""], 2, "--target: is blank; give a translation, or leave it out"),
        (["x", "--target", "y", "--n-best", "2"], 2, "--n-best 2: --target is one translation, and none is"),
        (
            ["x", "--target", "y", "-b", "2"],
            2,
            "-b 2: --target is one translation, and none is searched for; leave",
        ),
        (["x", "--n-best", "9"], 2, "--n-best: 9 is more than beam_size 2; widen the beam"),
        (["-m", "runs/rnn", "x", "--n-best", "9"], 2, "--n-best: 9 is more than beam_size 2; widen the beam"),
        (
            ["-m", "runs/rnn", "x", "--kind", "encoder"],
            2,
            "--kind encoder: this model has no such attention; give cross",
        ),
        (["x", "--kind", "self"], 2, "--kind"),
        (["x", "--layer", "2"], 2, "--layer 2: this model has 1; give one of them, or mean"),
        (["x", "-o", "map.gif"], 2, "-o map.gif: is none of .png, .svg, .html, .json; name it so, or leave -o out"),
        (["x", "-o", "no/map.png"], 2, "there is no folder no; create it first"),
        (["x", "-o", "here.png"], 2, "here.png: exists; use --force"),
        (["A", "man"], 2, "unexpected extra argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (folder / "here.png").write_text("kept")
    assert nmt(["attention", *arguments, *QUICK]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("nmt attention: error: ")
    assert message in shown.err
    assert sorted(path.name for path in folder.iterdir()) == ["here.png", "runs"]
    assert (folder / "here.png").read_text() == "kept"


def test_a_sentence_can_be_longer_than_the_name_of_a_file(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["attention", "я" * 140 + " ein", *QUICK]) == 0
    assert "я" in capfd.readouterr().out


def test_more_than_anybody_could_look_at_is_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, b"A man.\n" * 25)
    assert nmt(["attention", "-o", "map.png", *QUICK]) == 2
    assert "-o: 25 maps are too many for png, which holds 24; give fewer sentences" in capfd.readouterr().err
    feed(monkeypatch, b"A man.\n" * 2)
    assert nmt(["attention", "--target", "Ein Mann.", *QUICK]) == 2
    assert "--target: is one translation, and there are 2 sentences; give one of them" in capfd.readouterr().err


def test_a_files_name_is_no_sentence(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "input.txt").write_text("A man.\n")
    assert nmt(["attention", "input.txt", *QUICK]) == 0
    assert "input.txt is a file, and is taken for a sentence; for its lines: nmt attention <" in capfd.readouterr().err
