"""`nmt translate` as it is typed: which model, which ends, which exit code; and that it is a good filter."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import tiny_config, write_run

from nmt.cli import run as nmt
from nmt.cli.backtranslate import _flags
from nmt.cli.distill import _options
from nmt.cli.translate import search_options
from nmt.config import Config, SearchConfig
from nmt.errors import OptionError

SHORT = ("--max-length-ratio", "0.5", "--max-length-offset", "3", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("command") / "run", tiny_config())


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(original, tmp_path / "runs" / "tiny")
    (tmp_path / "input").write_bytes(b"A man.\n\nTwo dogs.\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    return tmp_path


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_stdin_and_files_go_to_stdout(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert nmt(["translate", "input", *SHORT]) == 0
    from_file = capfd.readouterr()
    assert from_file.out.count("\n") == 3
    assert from_file.err == "nmt translate: model runs/tiny\n"
    feed(monkeypatch, (folder / "input").read_bytes())
    assert nmt(["translate", "input", "-", *SHORT, "-m", "runs/tiny"]) == 0
    assert capfd.readouterr() == (from_file.out * 2, "")


def test_the_newest_finished_run_is_the_default(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("older", "newer", "unfinished")):
        shutil.copytree(folder / "runs" / "tiny", folder / "runs" / name)
        os.utime(folder / "runs" / name / "MANIFEST.json", ns=(0, 10**18 * (2 + number)))
    (folder / "runs" / "unfinished" / "MANIFEST.json").unlink()
    assert nmt(["translate", "input", *SHORT]) == 0
    assert capfd.readouterr().err == "nmt translate: model runs/newer\n"


def test_the_environment_names_a_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NMT_MODEL", "runs/tiny/")
    assert nmt(["translate", "input", *SHORT]) == 0
    assert "model runs/tiny\n" in capfd.readouterr().err
    monkeypatch.setenv("NMT_MODEL", "runs/none")
    assert nmt(["translate", "input", *SHORT]) == 4
    assert "$NMT_MODEL runs/none: no such folder" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "nowhere"], 4, "-m nowhere: no such folder; give a run folder, or train one with nmt train"),
        (["-m", "runs"], 4, "runs: neither a run nor a checkpoint; give a folder that nmt train wrote"),
        (["--n-best", "6"], 2, "--n-best: 6 is more than beam_size 5; widen the beam"),
        (["--n-best", "4", "-b", "3"], 2, "--n-best: 4 is more than beam_size 3; widen the beam"),
        (["-b", "0"], 2, "--beam-size"),
        (["--batch-tokens", "0"], 2, "0 is neither a number of tokens nor auto"),
        (["--length-penalty", "-1"], 2, "--length-penalty"),
        (["--temperature", "0"], 2, "--temperature"),
        (["--top-p", "1.5"], 2, "--top-p"),
        (["--format", "xml"], 2, "xml"),
        (["--top-k", "3"], 2, "--top-k 3: is for drawing; add --sample, or --mbr chrf, or leave it out"),
        (["--temperature", "0.5"], 2, "--temperature 0.5: is for drawing; add --sample"),
        (["--seed", "3"], 2, "--seed 3: is for drawing; add --sample"),
        (["--sample", "-b", "3"], 2, "--beam-size 3: is for searching, --sample for drawing; leave one of them out"),
        (["--mbr", "chrf", "--length-penalty", "2"], 2, "--length-penalty 2.0: is for searching, --mbr chrf for draw"),
        (["--device", "tpu"], 2, "tpu is not one of auto, cpu, cuda, cuda:1, mps"),
        (["--encoding", "klingon"], 2, "--encoding klingon: unknown"),
        (["missing"], 3, "missing: no such file"),
        (["я" * 140], 3, "яяя: file name too long; name a text file"),
        (["runs"], 3, "runs: is a directory"),
        (["-o", "input"], 2, "input: input and output are the same file"),
        (["-o", "link", "--force"], 2, "link: input and output are the same file"),
        (["-o", "here"], 2, "here: exists; use --force"),
        (["-o", "no/where"], 2, "there is no folder no"),
        (["--shortlist"], 4, "runs/tiny: has no shortlist.safetensors, which nmt train writes at its end; translate"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:  # A34, A43 to A45
    (folder / "link").hardlink_to(folder / "input")
    (folder / "here").write_text("kept")
    assert nmt(["translate", "input", *arguments]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("nmt translate: error: ")
    assert message in shown.err
    assert (folder / "input").read_bytes() == b"A man.\n\nTwo dogs.\n"
    assert (folder / "here").read_text() == "kept"


def test_a_model_without_attention_tells_no_alignments(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blind = {"type": "rnn", "attention": "none", "embedding": 8, "dim": 8}
    config = tiny_config()
    write_run(Path("runs/blind"), Config.model_validate({**config.model_dump(exclude_unset=True), "model": blind}))
    assert nmt(["translate", "-m", "runs/blind", "input", "--alignments", *SHORT]) == 4
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("--alignments: runs/blind has no attention to tell them from; leave them out\n")
    assert nmt(["translate", "-m", "runs/blind", "input", *SHORT]) == 0


def test_no_run_at_all_says_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    assert nmt(["translate"]) == 4


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "MANIFEST.json"])
def test_a_damaged_model_is_refused(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:  # A81
    path = folder / "runs" / "tiny" / name
    path.write_bytes(path.read_bytes()[:-1])
    assert nmt(["translate", "input", *SHORT]) == 4
    assert f"error: runs/tiny/{name}: " in capfd.readouterr().err


def test_a_file_is_written_whole_or_not_at_all(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:  # A45
    assert nmt(["translate", "input", "-o", "output", *SHORT]) == 0
    first = (folder / "output").read_bytes()
    assert first.count(b"\n") == 3
    (folder / "bad").write_bytes(b"a\n" + b"b" * 200)
    assert nmt(["translate", "input", "bad", "-o", "output", "--force", "--max-line-bytes", "100", *SHORT]) == 3
    assert "bad:2: line longer than 100 bytes" in capfd.readouterr().err
    assert (folder / "output").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["bad", "input", "output", "runs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "option"),
    [
        ("--n-best 5 -b 5", "-b 9"),
        ("--scores", "--length-penalty 0"),
        ("", "--n-best 2"),
        ("", "--max-length-offset 9"),
        ("", "--max-length-ratio 3"),
        ("", "--min-length 30"),
        ("", "--no-repeat-ngram 1"),
        ("", "--prefix Zwei"),
        ("", "--sample"),
        ("--sample", "--seed 2"),
        ("--sample", "--top-k 1"),
        ("--sample", "--top-p 0.01"),
        ("--sample", "--temperature 0.01"),
        ("", "--scores"),
        ("", "--alignments"),
        ("", "--format tsv"),
    ],
)
def test_an_option_changes_the_output(
    folder: Path, capfd: pytest.CaptureFixture[str], before: str, option: str
) -> None:
    plain = ["translate", "input", "-q", "--format", "jsonl", *SHORT, *before.split()]
    outputs = []
    for extra in ("", option):
        assert nmt([*plain, *extra.split()]) == 0
        outputs.append(capfd.readouterr().out)
    assert outputs[0] != outputs[1]


def test_a_shortlist_is_used_where_there_is_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without it, or with a damaged one, the model still translates as long as nobody asks for it."""
    monkeypatch.setattr("nmt.shortlist.MULTIPLE", 1)
    path = write_run(folder / "runs" / "listed", tiny_config(), has_shortlist=True) / "shortlist.safetensors"
    plain = ["translate", "input", "-m", "runs/listed", *SHORT]

    def outcome(*options: str) -> tuple[int, str, str]:
        return (nmt([*plain, *options]), *capfd.readouterr())

    usual, few = outcome(), outcome("--shortlist", "--no-repeat-ngram", "1")
    assert (few[0], few[1].count("\n"), few[2]) == (0, 3, "")
    assert few[1] != outcome("--no-repeat-ngram", "1")[1]
    path.write_bytes(path.read_bytes()[:-1])
    code, out, error = outcome("--shortlist")
    assert (code, out) == (4, "")
    assert "error: runs/listed/shortlist.safetensors: sha256 differs from MANIFEST.json" in error
    path.unlink()
    code, out, error = outcome("--shortlist")
    assert (code, out, error.count("\n")) == (4, "", 1)
    assert "error: runs/listed: has no shortlist.safetensors" in error
    assert outcome() == usual


def test_stats_and_quiet(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["translate", "input", "-q", "--stats", *SHORT]) == 0
    assert capfd.readouterr().err.startswith("nmt translate: 3 lines (1 blank")


def test_closed_ends_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:  # A37, A38
    monkeypatch.setattr(sys, "stdin", None)
    assert nmt(["translate"]) == 3
    assert "stdin is closed" in capfd.readouterr().err
    monkeypatch.setattr(sys, "stdout", None)
    assert nmt(["translate", "input"]) == 5
    assert "stdout is closed" in capfd.readouterr().err


def test_info_tells_what_a_model_is(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["info", "runs/tiny"]) == 0
    shown = capfd.readouterr().out
    assert "en to de" in shown
    assert "transformer, 1 + 1 layers, width 16" in shown
    torch.set_num_threads(1)


COMMAND = [sys.executable, "-m", "nmt", "translate", "-b", "1", *SHORT]


@pytest.fixture
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return folder


@pytest.mark.slow
def test_a_closed_pipe_ends_it_by_its_signal(installed: Path) -> None:  # A35
    text = subprocess.Popen(["yes", "A man rides."], stdout=subprocess.PIPE)
    command = subprocess.Popen(COMMAND, stdin=text.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert text.stdout
    assert command.stdout
    assert command.stderr
    text.stdout.close()
    assert command.stdout.readline().endswith(b"\n")
    command.stdout.close()
    assert command.stderr.read() == b"nmt translate: model runs/tiny\n"
    assert command.wait() == -signal.SIGPIPE
    text.wait()
    command.stderr.close()


@pytest.mark.slow
def test_a_full_disk_is_named(installed: Path) -> None:  # A36
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "input"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert "error: stdout: no space left on device after 0 lines" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_leaves_nothing(installed: Path, number: int, code: int) -> None:  # A41
    text = subprocess.Popen(["yes", "A man rides."], stdout=subprocess.PIPE)
    command = subprocess.Popen(COMMAND, stdin=text.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout
    command.stdout.readline()
    command.send_signal(number)
    out, err = command.communicate()
    text.kill()
    text.communicate()
    assert command.returncode == code
    assert out.endswith(b"\n")
    assert b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C.UTF-8"},
        {"PYTHONIOENCODING": "ascii"},
        {"HOME": "/nonexistent"},
    ],
)
def test_the_locale_changes_nothing(installed: Path, locale: dict[str, str]) -> None:  # A40, A48
    data = "Fährt \udcff ein Mann?\n".encode("utf-8", "surrogateescape")
    results = [
        subprocess.run(COMMAND, input=data, env={**os.environ, **extra}, capture_output=True, check=True).stdout
        for extra in ({}, locale)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("drawn", ["sample: true", "mbr: chrf"])
def test_a_beam_that_is_asked_for_is_one_whatever_the_run_s_config_says(drawn: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"search: {{{drawn}}}")
    usual = SearchConfig()
    assert search_options(tmp_path, {}) != usual
    assert search_options(tmp_path, {"beam_size": 3}) == usual.model_copy(update={"beam_size": 3})
    assert _options(tmp_path, {"beam_size": None}, {"sample": False}, 1)[0] == usual
    back = search_options(tmp_path, _flags({}, {"beam_size": 4}))
    assert back == usual.model_copy(update={"beam_size": 4})
    back = search_options(tmp_path, _flags({}, {}))
    assert (back.sample, back.mbr) == (True, "none")
    with pytest.raises(OptionError, match="--beam-size 3: is for searching, --sample for drawing"):
        search_options(tmp_path, {"beam_size": 3, "sample": True})
