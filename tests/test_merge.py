"""`nmt average`: the mean of checkpoints is a finished run like any other, and nothing is lost for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from runs import SHORT, tiny_config, weights_of, write_run
from safetensors.torch import load_file
from torch import Tensor
from trainings import RNN, Setting, digest, run_training, tiny, write_corpus

from nmt.cli import run as nmt
from nmt.config import Config
from nmt.training import checkpoint, heldout
from nmt.training.merge import merge
from nmt.translate import Translator

FILES = ["MANIFEST.json", "config.yaml", "model.safetensors", "shortlist.safetensors", "tokenizer.model"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished training of 12 steps, with checkpoints, and one of the other family."""
    folder = tmp_path_factory.mktemp("merge")
    corpus = write_corpus(folder)
    for name, changes in (("run", {}), ("rnn", RNN)):
        options: Mapping[str, Setting] = {"training.keep": 9, **changes}
        run_training(folder / name, tiny(corpus, options))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "rnn"):
        shutil.copytree(trained / name, tmp_path / name)
    (tmp_path / "input").write_text("1 2 3\n\n7 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    return tmp_path


def weights(path: Path, name: str = "model") -> dict[str, Tensor]:
    return load_file(path / f"{name}.safetensors")


def assert_is_mean(found: Mapping[str, Tensor], several: list[dict[str, Tensor]]) -> None:
    assert set(found) == set(several[0])
    for name, tensor in found.items():
        mean = torch.stack([each[name].double() for each in several]).mean(0)
        assert tensor.dtype == several[0][name].dtype
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "rnn"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_mean_of_equals_is_each_of_them_to_the_byte(folder: Path, name: str, times: int) -> None:
    assert nmt(["average", *[name] * times, "-o", "out"]) == 0
    assert digest(folder / "out") == digest(folder / name)


@pytest.mark.parametrize("name", ["run", "rnn"])
def test_two_checkpoints_are_averaged(folder: Path, name: str) -> None:
    """Of those with running averages the averages, as they translate with them."""
    group = "average" if name == "run" else "weights"
    paths = [checkpoint.step_folder(Path(name), step) for step in (6, 12)]
    assert nmt(["average", *map(str, paths), "-o", "out"]) == 0
    several = [weights(path, group) for path in paths]
    assert_is_mean(weights(folder / "out"), several)
    assert any(not torch.equal(several[0][key], several[1][key]) for key in several[0])


def test_runs_and_checkpoints_can_be_mixed(folder: Path) -> None:
    path = checkpoint.step_folder(Path("run"), 3)
    assert nmt(["average", "run", str(path), "run", "-o", "out"]) == 0
    assert_is_mean(weights(folder / "out"), [weights(Path("run")), weights(path, "average"), weights(Path("run"))])


@pytest.mark.parametrize("count", [1, 3])
def test_the_last_checkpoints_of_a_run(folder: Path, capfd: pytest.CaptureFixture[str], count: int) -> None:
    """Also of one that is not finished."""
    (folder / "run" / "MANIFEST.json").unlink()
    assert nmt(["average", "run", "--last", str(count), "-o", "out"]) == 0
    steps = [8, 9, 12][-count:]
    several = [weights(checkpoint.step_folder(folder / "run", step), "average") for step in steps]
    assert_is_mean(weights(folder / "out"), several)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert all(f"step-{step:08d}" in shown.err for step in steps)


def test_what_is_written_is_a_finished_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is whole without the runs it came from, wherever it is moved."""
    assert nmt(["average", "run", "--last", "2", "-o", "new/out"]) == 0
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["out"]
    (folder / "new" / "out").rename(folder / "moved")
    shutil.rmtree(folder / "run")
    assert sorted(path.name for path in (folder / "moved").iterdir()) == FILES
    capfd.readouterr()
    assert nmt(["info", "moved"]) == 0
    assert "finished, sound by its MANIFEST.json" in capfd.readouterr().out
    for options in ([], ["--shortlist"]):
        assert nmt(["translate", "-m", "moved", *options, "input", "--threads", "1"]) == 0
        shown = capfd.readouterr()
        assert (shown.out.count("\n"), shown.err) == (3, "")
    assert nmt(["eval", "-m", "moved", "--source", "input", "--reference", "input", "--threads", "1"]) == 0
    assert "BLEU = " in capfd.readouterr().out


def test_separate_tokenizers_and_no_shortlist_are_taken_as_they_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_config(is_shared=False))
    merge([run, run], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"MANIFEST.json", "config.yaml", "model.safetensors", "source.model", "target.model"}
    expected = Translator.load(run, device="cpu", threads=1).translate(["A man."], SHORT)
    assert Translator.load(tmp_path / "out", device="cpu", threads=1).translate(["A man."], SHORT) == expected


def test_held_out_pairs_go_along(tmp_path: Path) -> None:
    """So that the mean is scored as what it is of."""
    run = write_run(tmp_path / "run", tiny_config())
    data = checkpoint.load_config(run).data
    for side, path in enumerate(heldout.paths(run, "test", data)):
        path.write_text(("A man.\n", "Ein Mann.\n")[side], encoding="utf-8")
    merge([run, run], tmp_path / "out")
    assert heldout.load(tmp_path / "out", "test", data) == (["A man."], ["Ein Mann."])
    assert not heldout.is_saved(tmp_path / "out", "valid", data)


# ---- refusals ---------------------------------------------------------------------------------------------------


def changed(model: Mapping[str, object]) -> Config:
    config = tiny_config()
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def test_models_of_one_shape_may_differ_in_what_leaves_no_trace(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", tiny_config())
    dropped = write_run(tmp_path / "dropped", changed({"dropout": 0.5, "word_dropout": 0.1}), seed=2)
    merge([first, dropped], tmp_path / "out")
    assert_is_mean(weights(tmp_path / "out"), [weights_of_file(first, seed) for seed in (1, 2)])


def weights_of_file(run: Path, seed: int) -> dict[str, Tensor]:
    """Random weights under the names that a file has, where what is tied stands once."""
    every = weights_of(run, seed)
    return {name: every[name] for name in weights(run)}


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ({"heads": 4}, "model.heads is 4, and 2 in "),
        ({"dim": 32}, "model.dim is 32, and 16 in "),
        ({"activation": "gelu"}, "model.activation is gelu, and relu in "),
        ({"max_length": 40}, "model.max_length is 40, and 512 in "),
    ],
)
def test_models_of_another_shape_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: Mapping[str, object], what: str
) -> None:
    first, second = write_run(tmp_path / "a", tiny_config()), write_run(tmp_path / "b", changed(model))
    assert nmt(["average", str(first), str(second), "-o", str(tmp_path / "out")]) == 4
    shown = capfd.readouterr()
    assert shown.err == f"nmt average: error: {second}: {what}{first}; give models of one shape\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("run rnn -o out", 4, "rnn: its tokenizer is not that of run; give models trained on the same pairs"),
        ("run none -o out", 4, "MODEL none: no such folder; give a run folder, or train one with nmt train"),
        ("run . -o out", 4, ".: not a finished run, it has no MANIFEST.json; give a folder that nmt train wrote"),
        ("run --last 7 -o out", 2, "--last 7: run has 6 checkpoints; give a run folder with as many (training.keep)"),
        ("run rnn --last 2 -o out", 2, "--last 2: takes one run folder, and 2 are named; leave one"),
        ("run --last 0 -o out", 2, "Invalid value for '--last'"),
        ("run", 2, "Missing option '-o'"),
        ("-o out", 2, "Missing argument 'MODEL ...'"),
        ("run -o file/out", 5, "file/out: cannot be written"),
        ("run -o file", 2, "file: exists; use --force"),
        ("run -o file --force", 2, "file: is no finished run, and nothing else is overwritten; choose another -o"),
        ("run -o notes", 2, "notes: exists; use --force"),
        ("run -o notes --force", 2, "notes: is no finished run, and nothing else is overwritten; choose another -o"),
        ("run -o begun --force", 2, "begun: is no finished run, and nothing else is overwritten; choose another -o"),
        ("run -o run", 2, "run: exists; use --force"),
        ("run -o run --force", 2, "run: has checkpoints, which would be lost; choose another -o"),
        ("run -o run/checkpoints/step-00000012 --force", 2, "step-00000012: is no finished run, and nothing else"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], line: str, code: int, message: str
) -> None:
    (folder / "file").write_text("kept")
    (folder / "notes").mkdir()
    (folder / "notes" / "MANIFEST.json").write_text("kept")
    shutil.copytree(folder / "run", folder / "begun")
    (folder / "begun" / "MANIFEST.json").unlink()
    before = listing(folder)
    assert nmt(["average", *line.split()]) == code
    shown = capfd.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert message in shown.err
    assert listing(folder) == before


def listing(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_without_checkpoints_can_be_replaced(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also by a mean of which it is a part."""
    path = checkpoint.step_folder(Path("run"), 3)
    assert nmt(["average", "run", "-o", "out"]) == 0
    (folder / "out" / "stale").write_text("of the old run")
    assert nmt(["average", "out", str(path), "-o", "out"]) == 2
    assert "out: exists; use --force" in capfd.readouterr().err
    assert nmt(["average", "out", str(path), "-o", "out", "--force"]) == 0
    assert_is_mean(weights(folder / "out"), [weights(folder / "run"), weights(path, "average")])
    assert sorted(each.name for each in (folder / "out").iterdir()) == FILES


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "config.yaml", "shortlist.safetensors"])
def test_a_damaged_model_is_refused(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    path = folder / "run" / name
    path.write_bytes(path.read_bytes()[:-1])
    assert nmt(["average", "run", "run", "-o", "out"]) == 4
    assert f"error: run/{name}: sha256 differs" in capfd.readouterr().err
    assert not (folder / "out").exists()
