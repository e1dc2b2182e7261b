"""What is saved comes back bit for bit, or is refused by name; an interrupted write harms nothing."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import learnt, tiny_config, weights_of, write_run
from safetensors.torch import load_file
from torch import Tensor

from nmt import sealed
from nmt.config import Config, TransformerConfig
from nmt.configfile import dump_config, load_config
from nmt.errors import ModelError, ResourceError
from nmt.presets import PRESETS
from nmt.sealed import canonical, entry_of
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.training.checkpoint import load_checkpoint, load_model, save_checkpoint, step_folder

CPU = torch.device("cpu")
STATE = {"epoch": 3, "random": "00ff", "best": 27.123456789012345, "patience": [1, None]}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("original") / "run", tiny_config())
    for step in (5, 10):
        save_checkpoint(run, step, tensors(run, step), STATE)
    return run


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def tensors(run: Path, seed: int) -> dict[str, dict[str, Tensor]]:
    weights = weights_of(run, seed)
    moments = {f"{name}.moment": torch.rand_like(tensor) for name, tensor in weights.items()}
    halves = {name: tensor.bfloat16() for name, tensor in weights.items()}
    return {"weights": weights, "optimizer": {**moments, "step": torch.tensor(7)}, "average": halves}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_checkpoint_comes_back_bit_for_bit(run: Path) -> None:
    given = tensors(run, 3)
    found, state = load_checkpoint(save_checkpoint(run, 15, given, STATE))
    assert state == {**STATE, "step": 15}
    assert set(found) == set(given)
    for group, saved in found.items():
        for name, tensor in saved.items():
            assert tensor.dtype == given[group][name].dtype
            assert torch.equal(tensor, given[group][name])


def test_the_same_state_gives_the_same_bytes(run: Path) -> None:
    first = snapshot(save_checkpoint(run, 15, given := tensors(run, 3), STATE))
    assert snapshot(save_checkpoint(run, 15, given, dict(reversed(STATE.items())))) == first


def test_tied_weights_are_saved_once_and_come_back_tied(run: Path) -> None:
    names = set(load_file(run / "model.safetensors"))
    embeddings = {name for name in names if name.startswith("embeddings.")}
    assert len(embeddings) == 1
    model = load_model(run, CPU).model
    tied = [tensor for name, tensor in model.state_dict().items() if name.startswith("embeddings.")]
    assert len(tied) == 3
    assert len({tensor.data_ptr() for tensor in tied}) == 1


def test_a_run_translates_with_the_weights_it_was_finished_with(run: Path) -> None:
    loaded = load_model(run, CPU)
    assert loaded.config == tiny_config()
    assert not loaded.model.training
    for name, tensor in weights_of(run, 1).items():
        assert torch.equal(tensor, loaded.model.state_dict()[name])


def test_a_checkpoint_translates_with_its_average_if_it_has_one(run: Path) -> None:
    name, weights = "embeddings.target.weight", weights_of(run, 10)
    average = load_model(step_folder(run, 10), CPU).model.state_dict()
    assert torch.equal(average[name], weights[name].bfloat16().float())
    assert not torch.equal(average[name], weights[name])
    save_checkpoint(run, 15, {"weights": weights}, STATE)
    assert torch.equal(load_model(step_folder(run, 15), CPU).model.state_dict()[name], weights[name])


def test_a_run_can_be_moved_and_has_no_path_in_it(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / "elsewhere with a space")
    load_model(moved, CPU)
    load_model(step_folder(moved, 5), CPU)
    assert not any(str(tmp_path).encode() in data for data in snapshot(moved).values())


def test_separate_tokenizers_make_a_run(tmp_path: Path) -> None:
    loaded = load_model(write_run(tmp_path / "run", tiny_config("bpe", is_shared=False)), CPU)
    assert not loaded.tokenizers.shared


def test_a_shortlist_comes_back_bit_for_bit_to_the_run_and_its_checkpoints(run: Path) -> None:
    words = learnt(Tokenizers.load(run))
    checkpoint.finish(run, weights_of(run, 1), words)
    load_model(run, CPU)
    for path in (run, step_folder(run, 5)):
        for found, given in zip(checkpoint.load_shortlist(path), words, strict=True):
            assert found.dtype == given.dtype
            assert torch.equal(found, given)


def test_the_shortlist_of_other_weights_is_not_taken_for_its_own(run: Path) -> None:
    """A run that was finished with one, went on and was finished without."""
    checkpoint.finish(run, weights_of(run, 1), learnt(Tokenizers.load(run)))
    checkpoint.reopen(run)
    with pytest.raises(ModelError, match="has no shortlist.safetensors"):
        checkpoint.load_shortlist(run)
    checkpoint.finish(run, weights_of(run, 2))
    with pytest.raises(ModelError, match="has no shortlist.safetensors"):
        checkpoint.load_shortlist(run)
    load_model(run, CPU)


# ---- damage -----------------------------------------------------------------------------------------------------

ROOT = ("MANIFEST.json", "config.yaml", "model.safetensors", "tokenizer.model")
WHOLE = ("MANIFEST.json", "state.json", "weights.safetensors", "optimizer.safetensors", "average.safetensors")


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("folder", [".", "checkpoints/step-00000010"])
@pytest.mark.parametrize("manifest_only", [False, True])
def test_a_flipped_bit_is_refused_by_name(run: Path, folder: str, manifest_only: bool) -> None:  # F17
    rng = random.Random(17)
    home = run / folder
    load: Callable[[Path], object] = load_checkpoint if folder != "." else lambda path: load_model(path, CPU)
    load(home)
    for _ in range(50):
        path = home / ("MANIFEST.json" if manifest_only else rng.choice(ROOT if folder == "." else WHOLE))
        place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        flip(path, place, bit)
        with pytest.raises(ModelError, match=path.name):
            load(home)
        flip(path, place, bit)
    load(home)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(run: Path, name: str, share: float) -> None:  # F18
    path = step_folder(run, 10) / name
    data = path.read_bytes()
    for damaged in (data[: int(share * len(data))], data[: int(share * len(data))].ljust(len(data), b"\0")):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=name):
            load_checkpoint(path.parent)


@pytest.mark.parametrize("name", WHOLE)
def test_a_missing_or_swapped_file_is_refused_by_name(run: Path, name: str) -> None:  # F19, A81
    path = step_folder(run, 10) / name
    other = step_folder(run, 5) / name
    path.write_bytes(other.read_bytes() if name != "state.json" else b"{}\n")
    with pytest.raises(ModelError, match="sha256 differs from MANIFEST"):
        load_checkpoint(path.parent)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name}: no such file"):
        load_checkpoint(path.parent)


@pytest.mark.parametrize("name", ROOT[1:])
def test_a_run_with_a_file_of_another_is_refused(run: Path, name: str) -> None:  # A61, A81
    (run / name).write_bytes((run / name).read_bytes() + b"\n")
    with pytest.raises(ModelError, match=f"{name}: sha256 differs from MANIFEST"):
        load_model(run, CPU)
    if name == "tokenizer.model":
        with pytest.raises(ModelError, match="tokenizer.model: not the one that .*step-00000010 was saved with"):
            load_checkpoint(step_folder(run, 10))


def test_a_checkpoint_of_another_model_is_refused(run: Path) -> None:
    text = (run / "config.yaml").read_text().replace("heads: 2", "heads: 4")
    (run / "config.yaml").write_text(text)
    with pytest.raises(ModelError, match="config.yaml: not the one that .*step-00000005 was saved with"):
        load_model(step_folder(run, 5), CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(run: Path, value: float) -> None:  # A82, F26
    weights = weights_of(run, 1)
    weights["decoder_norm.weight"][3] = value
    checkpoint.finish(run, weights)
    with pytest.raises(ModelError, match="model.safetensors: non-finite values in decoder_norm.weight"):
        load_model(run, CPU)


@pytest.mark.parametrize("change", ["missing", "strange", "shape"])
def test_weights_of_another_architecture_are_refused(run: Path, change: str) -> None:
    weights = weights_of(run, 1)
    norm = weights.pop("decoder_norm.weight")
    if change != "missing":
        weights |= {"strange.weight": norm, "decoder_norm.weight": norm} if change == "strange" else {}
        weights.setdefault("decoder_norm.weight", norm[:3].clone())
    checkpoint.finish(run, weights)
    with pytest.raises(
        ModelError, match="model.safetensors: does not fit config.yaml at (decoder_norm|strange).weight"
    ):
        load_model(run, CPU)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("exploded",))


def test_nothing_is_unpickled(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # F20
    monkeypatch.chdir(tmp_path)
    torch.save(Bomb(), run / "model.safetensors")
    names = ("config.yaml", "tokenizer.model", "model.safetensors")
    entries = {name: sealed.entry_of((run / name).read_bytes()) for name in names}
    (run / "MANIFEST.json").write_bytes(sealed.seal(entries))
    with pytest.raises(ModelError, match="model.safetensors: not safetensors"):
        load_model(run, CPU)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", ".."])
def test_a_manifest_names_nothing_outside_its_folder(run: Path, name: str) -> None:  # A83
    (run / "MANIFEST.json").write_bytes(sealed.seal({name: sealed.entry_of(b"")}))
    with pytest.raises(ModelError, match="illegal path"):
        load_model(run, CPU)


def test_a_later_format_asks_for_a_later_nmt(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # A81
    monkeypatch.setattr(sealed, "FORMAT", 2)
    checkpoint.finish(run, weights_of(run, 1))
    monkeypatch.undo()
    with pytest.raises(ModelError, match="format 2, this nmt reads 1; upgrade nmt"):
        load_model(run, CPU)


def test_a_run_that_is_not_finished_names_its_checkpoint(run: Path) -> None:
    checkpoint.reopen(run)
    assert not checkpoint.is_finished(run)
    with pytest.raises(ModelError, match="not a finished run.*step-00000010"):
        load_model(run, CPU)
    with pytest.raises(ModelError, match="no such model"):
        load_model(run / "nowhere", CPU)


# ---- latest, prune, sweep ---------------------------------------------------------------------------------------


def test_latest_goes_back_to_a_sound_checkpoint_and_says_so(run: Path) -> None:  # F17 to F19
    warnings = list[str]()
    assert checkpoint.latest(run, warnings.append) == step_folder(run, 10)
    assert warnings == []
    flip(step_folder(run, 10) / "optimizer.safetensors", 1000, 3)
    assert checkpoint.latest(run, warnings.append) == step_folder(run, 5)
    assert "step-00000010/optimizer.safetensors: sha256 differs" in warnings[0]
    (step_folder(run, 5) / "MANIFEST.json").unlink()
    assert checkpoint.latest(run, warnings.append) is None


@pytest.mark.parametrize(
    ("keep", "best", "left"), [(1, None, [25]), (2, 5, [5, 20, 25]), (2, 25, [20, 25]), (9, None, [5, 10, 15, 20, 25])]
)
def test_prune_keeps_the_last_and_the_best(run: Path, keep: int, best: int | None, left: list[int]) -> None:
    for step in (15, 20, 25):
        save_checkpoint(run, step, {"weights": {"a": torch.ones(2)}}, STATE)
    checkpoint.prune(run, 25, keep, best)
    assert checkpoint.steps(run) == left


def test_prune_removes_nothing_for_the_sake_of_an_unsound_checkpoint(run: Path) -> None:
    flip(step_folder(run, 10) / "weights.safetensors", 500, 1)
    with pytest.raises(ModelError, match="sha256 differs"):
        checkpoint.prune(run, 10, 1)
    assert checkpoint.steps(run) == [5, 10]


def test_sweep_removes_what_dead_processes_left(run: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"step-00000015.tmp-{dead.pid}", f"step-00000020.tmp-{os.getppid()}"):
        (run / "checkpoints" / name).mkdir()
    (run / f"model.safetensors.tmp-{dead.pid}").touch()
    checkpoint.sweep(run)
    left = sorted(path.name for path in [*run.glob("*.tmp-*"), *(run / "checkpoints").glob("*.tmp-*")])
    assert left == [f"step-00000020.tmp-{os.getppid()}"]
    assert checkpoint.steps(run) == [5, 10]


# ---- writing ----------------------------------------------------------------------------------------------------


def fail_at(patch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[str]:
    """Let the `number`-th call that changes the disk raise; return the log of those calls."""
    log = list[str]()

    def watch(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            log.append(name)
            if len(log) == number:
                raise error
            return real(*arguments)

        return call

    for name in ("fsync", "replace"):
        patch.setattr(os, name, watch(name, getattr(os, name)))
    return log


def test_files_are_synced_before_the_rename_and_the_folder_after_it(run: Path) -> None:  # F3
    with pytest.MonkeyPatch.context() as patch:
        log = fail_at(patch, 0, OSError())
        save_checkpoint(run, 15, {"weights": {"a": torch.ones(2)}}, STATE)
    files = 3  # weights, state, manifest
    assert log == ["fsync"] * (files + 1) + ["replace", "fsync", "fsync"]


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", range(1, 10))
def test_an_interrupted_save_harms_no_earlier_checkpoint(run: Path, number: int, error: BaseException) -> None:  # F2
    before = snapshot(run)
    with pytest.MonkeyPatch.context() as patch:
        log = fail_at(patch, number, error)
        with pytest.raises((ResourceError, KeyboardInterrupt)) as failure:
            save_checkpoint(run, 15, tensors(run, 15), STATE)
    assert len(log) >= number
    if isinstance(failure.value, ResourceError):
        assert "checkpoints/step-00000015: cannot be written (No space left on device); free some" in str(failure.value)
    after = snapshot(run)
    assert {name: after[name] for name in before} == before
    newest = checkpoint.latest(run, pytest.fail)
    assert newest in (step_folder(run, 10), step_folder(run, 15))
    assert not [name for name in after if ".tmp-" in name]


@pytest.mark.parametrize("number", range(1, 8))
def test_a_run_is_never_finished_by_halves(run: Path, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, number, OSError(28, "No space left on device"))
        with pytest.raises(ResourceError, match="No space left on device"):
            checkpoint.finish(run, weights_of(run, 2))
    if checkpoint.is_finished(run):
        load_model(run, CPU)


def test_a_full_disk_is_named_with_the_path(run: Path) -> None:  # F12
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"weights": {"a": torch.ones(5000)}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # bytes of a file; Python ignores the signal
    try:
        with pytest.raises(
            ResourceError, match=r"step-00000015: cannot be written \(File too large\); free some space"
        ):
            save_checkpoint(run, 15, large, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.latest(run, pytest.fail) == step_folder(run, 10)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_is_named(run: Path) -> None:
    (run / "checkpoints").chmod(0o500)
    with pytest.raises(ResourceError, match="step-00000015: cannot be written"):
        save_checkpoint(run, 15, {"weights": {"a": torch.ones(2)}}, STATE)


# ---- config -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_comes_back_as_it_was(tmp_path: Path, preset: str) -> None:
    tree = {"model": {"type": "transformer", **PRESETS[preset]}, "data": {"source_lang": "no", "train": ["a: b", "1"]}}
    config = Config.model_validate({**tree, "training": {"max_time": "6h", "epsilon": 1e-9}})
    checkpoint.save_config(tmp_path, config, {"train": {"sha256": "00", "pairs": 3}})
    assert checkpoint.load_config(tmp_path) == config
    assert checkpoint.load_fingerprints(tmp_path) == {"train": {"sha256": "00", "pairs": "3"}}


def test_an_unknown_key_of_a_run_is_refused(run: Path) -> None:
    (run / "config.yaml").write_text("nmt: 0.1.0\nmodel: {type: transformer, dimm: 3}\n")
    with pytest.raises(ModelError, match=r"config.yaml:2: .*model.dimm.*; did you mean model.dim\?"):
        checkpoint.load_config(run)


def test_another_config_takes_the_word_finished_back(run: Path) -> None:
    checkpoint.save_config(run, tiny_config(), {"train": "0123abcd"})
    assert checkpoint.is_finished(run)
    longer = tiny_config().model_copy(update={"model": TransformerConfig(dim=16, heads=2, max_length=100)})
    checkpoint.save_config(run, longer, {"train": "0123abcd"})
    assert not checkpoint.is_finished(run)


def test_a_state_that_json_cannot_hold_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(run, 15, {}, {"best": float("-inf")})
    assert checkpoint.steps(run) == [5, 10]


@pytest.mark.parametrize(
    ("kind", "later"), [("transformer", ["word_dropout"]), ("rnn", ["word_dropout", "transition_depth"])]
)
def test_options_that_came_later_leave_older_checkpoints_sound(kind: str, later: list[str], tmp_path: Path) -> None:
    """What a checkpoint was saved with did not name them; where they change nothing, it is still of this run."""
    checkpoint.save_config(tmp_path, load_config(None, flags={"model.type": kind}), {})
    options = dump_config(checkpoint.load_config(tmp_path).model)
    for name in ("embeddings", *later):
        del options[name]
    expected = {checkpoint.CONFIG: entry_of(canonical(options)).sha256}
    assert checkpoint._identity(tmp_path) == expected
    for name in later:
        value = {"word_dropout": 0.1, "transition_depth": 2}[name]
        checkpoint.save_config(tmp_path, load_config(None, flags={"model.type": kind, f"model.{name}": value}), {})
        assert checkpoint._identity(tmp_path) != expected
