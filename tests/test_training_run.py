"""Whole trainings: stopped anywhere they end in the same weights; limits, options and folders do what is promised."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from trainings import (
    RNN,
    Script,
    Setting,
    Stop,
    digest,
    heard,
    run_training,
    start,
    stop,
    tiny,
    words,
    write_corpus,
    write_files,
)

import nmt
from nmt import lock
from nmt.cli import run as run_command
from nmt.config import Config
from nmt.configfile import load_config
from nmt.corpus import ParallelCorpus
from nmt.errors import ModelError, OptionError
from nmt.training import card, checkpoint
from nmt.training.average import mean
from nmt.training.prepare import Request, prepare, with_model_of
from nmt.training.progress import Progress
from nmt.training.signals import Interrupted

Changes = dict[str, Setting]
VARIANTS: dict[str, Changes] = {
    "everything": {},
    "average": {"training.average_last": 3, "training.metric": "bleu", "data.recased": 0.3},
    "rnn": RNN,
    "techniques": {
        "training.both_directions": 1, "training.rdrop": 5, "model.word_dropout": 0.2,
        "training.batch_tokens": 256,
    },
}  # fmt: skip
LIMIT = "training.max_steps"


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    with heard():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def straight(corpus: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the run of a variant that nothing ever stopped."""
    runs = dict[str, Path]()

    def run(variant: str) -> Path:
        if variant not in runs:
            runs[variant] = tmp_path_factory.mktemp(variant) / "run"
            run_training(runs[variant], tiny(corpus, VARIANTS[variant]))
        return runs[variant]

    return run


@pytest.fixture
def finished(straight: Callable[[str], Path]) -> Path:
    return straight("everything")


def snapshot(run: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(run.rglob("*")) if path.is_file())
    return {str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def metrics(run: Path, kind: str, name: str) -> dict[int, float]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if record["kind"] == kind]
    return {record["step"]: record[name] for record in records if name in record}


# ---- stop and resume --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "limits"),
    [("everything", [5, 8]), ("average", [5, 7, 10]), ("rnn", [4, 11]), ("techniques", [2, 5, 10])],
    ids=list(VARIANTS),
)
def test_a_raised_limit_goes_on_as_if_it_had_never_been_lower(
    variant: str, limits: list[int], corpus: list[str], straight: Callable[[str], Path], tmp_path: Path
) -> None:
    changes, run = VARIANTS[variant], tmp_path / "run"
    for limit in limits:
        told = run_training(run, tiny(corpus, {**changes, LIMIT: limit}))
        assert f"training ended: max_steps {limit}" in told
        assert digest(run) != digest(straight(variant))
    assert f"resuming at step {limits[-1]}" in run_training(run, tiny(corpus, changes))
    assert digest(run) == digest(straight(variant))


MOMENTS = {
    "reading": r"^reading",
    "tokenizer": r"^tokenizer trained",
    "before the first step": r"parameters",
    "before the first checkpoint": r"^step 2 \|",
    "validation": r"^valid at step 4",
    "epoch boundary": r"^step \d+ \| epoch 2",
    "between checkpoints": r"^step 11 \|",
    "after the last save": r"^training ended",
    "before the card": r"^test: ",
}


@pytest.mark.slow
def test_killed_at_every_kind_of_moment_it_ends_the_same(
    corpus: list[str], straight: Callable[[str], Path], tmp_path: Path
) -> None:
    config = tiny(corpus, {"data.test": f"[{', '.join(corpus)}]"})
    for moment, pattern in MOMENTS.items():
        stream = Script(pattern, stop)
        with pytest.raises(Stop):
            run_training(tmp_path, config, stream=stream)
        assert stream.happened, moment
        assert not (tmp_path / card.CARD).exists(), moment
    assert "resuming at step 12" in run_training(tmp_path, config)
    assert digest(tmp_path) == digest(straight("everything"))
    assert list(metrics(tmp_path, "train", "loss")) == list(range(1, 13))
    assert metrics(tmp_path, "valid", "loss") == metrics(straight("everything"), "valid", "loss")


def killed(process: subprocess.Popen[bytes], log: Path, pattern: str, wait: float) -> None:
    """Kill a training a moment after a new line of its log matches, or fail if it ends before."""
    seen, deadline = len(log.read_bytes()) if log.exists() else 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        if log.exists() and re.search(pattern.encode(), log.read_bytes()[seen:]):
            time.sleep(wait)
            break
        assert process.poll() is None, f"ended with {process.returncode} before {pattern}"
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_once_it_ends_the_same(corpus: list[str], straight: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = words(corpus, tmp_path)
    killed(start(arguments), tmp_path / "train.log", r"step 7 \|", 0.0)
    assert checkpoint.steps(tmp_path)
    assert not checkpoint.is_finished(tmp_path)
    assert start(arguments).wait() == 0
    assert "resuming at step" in (tmp_path / "train.log").read_text(encoding="utf-8")
    assert digest(tmp_path) == digest(straight("everything"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_at_random_moments_it_ends_the_same(variant: str, corpus: list[str], tmp_path: Path) -> None:
    changes = {**VARIANTS[variant], LIMIT: 150, "training.log_every": 10}
    arguments, run = words(corpus, tmp_path / "run", changes), tmp_path / "run"
    run_training(tmp_path / "straight", tiny(corpus, changes))
    seed = random.randrange(2**32)
    print(f"moments drawn with seed {seed}")
    chance = random.Random(seed)
    reached = [0]
    for step in (20, 60, 100):
        killed(start(arguments), run / "train.log", rf" step {step} \|", chance.uniform(0, 0.3))
        reached.append(checkpoint.steps(run)[-1])
    assert reached == sorted(set(reached)), "a kill cost what an earlier one had saved"
    assert not checkpoint.is_finished(run)
    assert start(arguments).wait() == 0
    assert digest(run) == digest(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [r"step \d+ \| epoch 2", r"valid at step 8", r"training ended", r" finished in"])
def test_killed_at_chosen_moments_it_ends_the_same(
    pattern: str, corpus: list[str], straight: Callable[[str], Path], tmp_path: Path
) -> None:
    killed(start(words(corpus, tmp_path)), tmp_path / "train.log", pattern, 0.0)
    assert start(words(corpus, tmp_path)).wait() == 0
    assert digest(tmp_path) == digest(straight("everything"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "pattern", "code"),
    [
        (signal.SIGINT, r"^step 7 \|", 130),
        (signal.SIGTERM, r"^valid at step 8", 143),
        (signal.SIGTERM, r"^tokenizer trained", 143),
    ],
)
def test_a_signal_saves_and_leaves_with_its_code(
    number: signal.Signals,
    pattern: str,
    code: int,
    corpus: list[str],
    straight: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Script(pattern, lambda: os.kill(os.getpid(), number))
    monkeypatch.setattr(sys, "stderr", stream)
    assert run_command(words(corpus, tmp_path)) == code
    assert "Traceback" not in stream.getvalue()
    step = re.findall(r"interrupted: step (\d+) is saved; the same command goes on", stream.getvalue())
    assert checkpoint.steps(tmp_path)[-1:] == list(map(int, step))
    assert run_command(words(corpus, tmp_path)) == 0
    assert not step or f"resuming at step {step[0]}," in stream.getvalue()
    assert digest(tmp_path) == digest(straight("everything"))


# ---- the same command again -------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_is_left_alone(
    finished: Path, corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    assert run_command(words(corpus, finished)) == 0
    assert run_command(words(corpus, finished, {LIMIT: 3, "data.test": "elsewhere"})) == 0
    assert snapshot(finished) == before
    told = capsys.readouterr()
    assert (
        told.err.splitlines()
        == [
            f"{finished}: finished; to go on raise the limit that ended it "
            "(--max-time, --max-steps, --max-epochs or --patience)"
        ]
        * 2
    )
    assert told.out == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.learning_rate", 0.02), ("model.dim", 32), ("tokenizer.vocab_size", 280), ("data.max_length", 100)],
)
def test_another_config_in_the_folder_is_refused_by_name(
    key: str, value: Setting, finished: Path, corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    assert run_command(words(corpus, finished, {key: value})) == 2
    error = capsys.readouterr().err
    assert error == f"nmt train: error: {finished}: holds a run with another {key} " + error[error.index("(") :]
    assert "choose another folder with -o" in error
    assert error.count("\n") == 1
    assert snapshot(finished) == before


def test_another_type_of_model_is_refused_by_name(finished: Path, corpus: list[str]) -> None:
    with pytest.raises(OptionError, match=r"holds a run with another (model|tokenizer)\.\w+ \("):
        run_training(finished, tiny(corpus, RNN))


def test_a_corpus_that_has_changed_is_refused_by_name(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    run_training(tmp_path / "run", tiny(corpus, {LIMIT: 2}))
    write_corpus(tmp_path, seed=2)
    with pytest.raises(OptionError, match=r"run: .*text.en has changed since the run began; choose another folder"):
        run_training(tmp_path / "run", tiny(corpus, {LIMIT: 3}))


def test_the_same_text_under_another_name_is_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the hub a commit is part of the name, and not each of them changes the text."""
    corpus, usual = write_corpus(tmp_path), ParallelCorpus.fingerprints
    run_training(tmp_path / "run", tiny(corpus, {LIMIT: 2}))
    monkeypatch.setattr(
        ParallelCorpus, "fingerprints", lambda pairs: {f"{name}@main": digest for name, digest in usual(pairs).items()}
    )
    assert "resuming at step 2" in run_training(tmp_path / "run", tiny(corpus, {LIMIT: 3}))
    write_corpus(tmp_path, seed=2)
    with pytest.raises(OptionError, match="has changed since the run began"):
        run_training(tmp_path / "run", tiny(corpus, {LIMIT: 4}))


def test_a_file_system_without_locks_is_no_other_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", fail)
    with lock.locked(tmp_path / "run" / "lock", "another training is running", ""):
        pass


SHARES: Changes = {"training.fsdp": "true", "model.dim": 16, "model.heads": 2, "tokenizer.vocab_size": 290}


def test_a_model_in_shares_is_not_timed_by_one_process(tmp_path: Path) -> None:
    config = load_config(None, flags={"data.train": write_corpus(tmp_path), "training.recipe": "auto", **SHARES})
    request = Request(config, tmp_path / "run", None, "", 0.0, io.StringIO())
    with pytest.raises(OptionError, match="training.fsdp: a model in shares is not timed; give a config"):
        prepare(request, Progress(None, io.StringIO()), SimpleNamespace(rank=0, size=2))


def test_two_trainings_in_one_folder_are_one_too_many(finished: Path, corpus: list[str]) -> None:
    with (finished / "train.log").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OptionError, match=r"another training is running in it; choose another folder with -o"):
            run_training(finished, tiny(corpus))


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_place_of_the_folder_is_refused(below: str, corpus: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OptionError, match=r"a file is in its place; choose another folder with -o"):
        run_training(tmp_path / "file" / below, tiny(corpus))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_config_that_failed_at_once_does_not_block_the_folder(corpus: list[str], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"vocab_size"):
        run_training(tmp_path, tiny(corpus, {"tokenizer.vocab_size": 50_000, "tokenizer.type": "unigram"}))
    run_training(tmp_path, tiny(corpus, {LIMIT: 1}))
    assert checkpoint.is_finished(tmp_path)


@pytest.mark.slow
def test_a_tokenizer_of_a_training_that_never_began_is_not_taken(
    corpus: list[str], straight: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes((straight("rnn") / "source.model").read_bytes())
    run_training(tmp_path, tiny(corpus))
    assert digest(tmp_path) == digest(straight("everything"))


# ---- limits of time ---------------------------------------------------------------------------------------------


def _is_idle() -> bool:
    """Say whether the machine is ours: one that others use has no times to bound."""
    return os.getloadavg()[0] < 2 * (os.cpu_count() or 1)


@pytest.mark.slow
def test_max_time_bounds_the_command_and_a_larger_one_goes_on(corpus: list[str], tmp_path: Path) -> None:
    endless: Changes = {LIMIT: 1_000_000, "training.log_every": 100, "training.valid_every": 20}
    steps = []
    for limit in (5, 15 if _is_idle() else 40):  # where a validation takes long, much is kept for the last one
        began = time.monotonic()
        told = run_training(tmp_path, tiny(corpus, {**endless, "training.max_time": limit}))
        assert time.monotonic() - began < limit or not _is_idle()
        assert f"training ended: max_time {limit} s" in told
        assert checkpoint.is_finished(tmp_path)
        steps.append(checkpoint.steps(tmp_path)[-1])
    assert 0 < steps[0] < steps[1]
    assert "finished; to go on" in run_training(tmp_path, tiny(corpus, {**endless, "training.max_time": limit}))


def test_a_time_too_short_for_a_step_still_leaves_a_model(corpus: list[str], tmp_path: Path) -> None:
    told = run_training(tmp_path, tiny(corpus, {"training.max_time": 1e-3, "data.valid": f"[{', '.join(corpus)}]"}))
    assert "training ended: max_time 0 s; no step was made" in told
    assert checkpoint.steps(tmp_path) == [0]
    assert len(nmt.load(tmp_path).translate(["1 2 3", "4"])) == 2
    assert "| none |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    run_training(tmp_path, tiny(corpus, {"data.valid": f"[{', '.join(corpus)}]", LIMIT: 2}))
    assert checkpoint.steps(tmp_path)[-1] == 2


# ---- options ----------------------------------------------------------------------------------------------------


def test_from_a_model_its_weights_and_tokenizer_are_taken(
    straight: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a training without time for a step the weights are those it began with."""
    other = write_corpus(tmp_path, name="other", seed=5)
    for variant, files in (("everything", ["tokenizer.model"]), ("rnn", ["source.model", "target.model"])):
        model, run = straight(variant), tmp_path / variant
        changes: Changes = {**VARIANTS[variant], "training.max_time": 1e-3, "training.ema": 0}
        assert run_command([*words(other, run, changes), "--from", str(model)]) == 0
        for name in ("model.safetensors", *files):
            assert (run / name).read_bytes() == (model / name).read_bytes()
        assert checkpoint.load_config(run).model == checkpoint.load_config(model).model
        assert f"starting from the weights of {model}" in capsys.readouterr().err


def test_from_a_checkpoint_its_averaged_weights_are_taken(finished: Path, corpus: list[str], tmp_path: Path) -> None:
    folder = checkpoint.step_folder(finished, 9)
    config = tiny(corpus, {"training.max_time": 1e-3, "training.ema": 0})
    run_training(tmp_path, config, start_from=folder)
    expected = load_file(folder / "average.safetensors")
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, expected[name])


def test_from_a_model_dropout_is_what_is_given_and_nothing_else_can_be(
    straight: Callable[[str], Path], corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, given = straight("everything"), tmp_path / "given"
    old = checkpoint.load_config(model)
    changes: Changes = {"training.max_time": 1e-3, "model.dropout": 0.35, "tokenizer.sampling": 0.25}
    assert run_command([*words(corpus, given, changes), "--from", str(model)]) == 0
    found = checkpoint.load_config(given)
    assert found.model == old.model.model_copy(update={"dropout": 0.35})
    assert found.tokenizer == old.tokenizer.model_copy(update={"sampling": 0.25})
    for key, value in (("model.dim", 64), ("tokenizer.vocab_size", 33)):
        was = getattr(getattr(old, key.partition(".")[0]), key.partition(".")[2])
        assert run_command([*words(corpus, tmp_path / "no", {key: value}), "--from", str(model)]) == 2
        told = f"{key}: {value} is given, and what --from {model} starts from has {was}; leave it out"
        assert told in capsys.readouterr().err


def test_another_model_to_start_from_is_another_run(
    straight: Callable[[str], Path], finished: Path, corpus: list[str], tmp_path: Path
) -> None:
    """Its weights would not be used, and the card would name it."""
    run, random, moved = tmp_path / "run", tmp_path / "random", tmp_path / "moved"
    config, more = (tiny(corpus, {LIMIT: steps}) for steps in (1, 2))
    run_training(run, config, start_from=finished)
    shutil.copytree(finished, moved)
    assert "run: finished" in run_training(run, config, start_from=moved)
    assert "resuming at step 1" in run_training(run, more, start_from=finished)
    for given in (config, more):
        with pytest.raises(OptionError, match=rf"run: began with the weights of {finished}, not those of .*; choose"):
            run_training(run, given, start_from=checkpoint.step_folder(finished, 9))
    run_training(random, config)
    with pytest.raises(OptionError, match=r"random: began with random weights, not those of .*; choose another folder"):
        run_training(random, more, start_from=finished)


def test_what_cannot_be_drawn_is_refused_before_a_folder_is_made(corpus: list[str], tmp_path: Path) -> None:
    words_only: Changes = {"tokenizer.type": "word", "tokenizer.sampling": 0, "tokenizer.vocab_size": "auto"}
    run_training(tmp_path, tiny(corpus, {LIMIT: 1, **words_only}))
    with pytest.raises(OptionError, match=r"tokenizer.sampling: 0.1 needs a unigram or bpe tokenizer"):
        with_model_of(load_config(None, ["tokenizer.sampling=0.1"], {"data.train": corpus}), tmp_path)


def test_validation_on_other_text_is_another_run(corpus: list[str], tmp_path: Path) -> None:
    """Else the best of all steps would be chosen by scores of two sets."""
    valid = write_files(tmp_path, {"en": ["one", "two", "three"], "de": ["eins", "", "drei"]})
    valid = [str(Path(name).rename(tmp_path / f"v{Path(name).suffix}")) for name in valid]
    changes: Changes = {"data.valid": f"[{', '.join(valid)}]"}
    told = run_training(tmp_path / "run", tiny(corpus, {**changes, LIMIT: 2}))
    assert f"warning: {valid[0]}: dropped 1 of 3 pairs: empty side (first: line 2)\n" in told
    told = run_training(tmp_path / "run", tiny(corpus, {**changes, LIMIT: 3}))
    assert ("resuming at step 2" in told, "dropped 1 of 3" in told) == (True, False)
    Path(valid[1]).write_text("eins\nzwei\ndrei\n")
    with pytest.raises(OptionError, match=rf"run: {valid[1]} has changed since the run began; choose another folder"):
        run_training(tmp_path / "run", tiny(corpus, {**changes, LIMIT: 4}))


def test_a_card_can_be_written_of_any_name(corpus: list[str], tmp_path: Path) -> None:
    names = [str(tmp_path / f"b\udce9{Path(name).suffix}") for name in corpus]
    for name, other in zip(corpus, names, strict=True):
        shutil.copy(name, other)
    assert "finished in" in run_training(tmp_path / "run", tiny(names, {LIMIT: 1}))
    assert "b\ufffd" in (tmp_path / "run" / card.CARD).read_text("utf-8")


def test_from_nothing_is_said(corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*words(corpus, tmp_path / "run"), "--from", str(tmp_path / "absent")]) == ModelError.exit_code
    assert "absent: no such folder; give a run or a checkpoint" in capsys.readouterr().err


def test_the_mean_of_the_last_checkpoints_is_translated_with(straight: Callable[[str], Path]) -> None:
    run = straight("average")
    last = [checkpoint.load_checkpoint(checkpoint.step_folder(run, step))[0]["average"] for step in (8, 9, 12)]
    expected = mean(last)
    for name, tensor in load_file(run / "model.safetensors").items():
        assert torch.equal(tensor, expected[name])


def trained(corpus: list[str], run: Path, changes: Changes) -> dict[str, dict[str, torch.Tensor]]:
    run_training(run, tiny(corpus, changes))
    return checkpoint.load_checkpoint(checkpoint.step_folder(run, checkpoint.steps(run)[-1]))[0]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_options_of_the_optimizer_have_their_effect(
    schedule: str, corpus: list[str], finished: Path, tmp_path: Path
) -> None:
    changes: Changes = {
        "training.schedule": schedule, "training.optimizer": "adam", "training.clip": 0, "training.ema": 0,
        "training.max_epochs": 2, LIMIT: 100,
    }  # fmt: skip
    tensors = trained(corpus, tmp_path, changes)
    assert set(tensors) == {"weights", "optimizer"}
    rates = metrics(tmp_path, "train", "learning_rate")
    assert rates[4] == pytest.approx(0.01)
    assert (rates[max(rates)] < 0.01) == (schedule == "cosine")
    epochs = metrics(tmp_path, "train", "epoch")
    assert epochs[max(epochs)] == 2
    assert list(epochs.values()).count(2) == 1
    assert metrics(tmp_path, "train", "gradient_norm")[1] == metrics(finished, "train", "gradient_norm")[1]
    assert metrics(tmp_path, "train", "loss")[3] != metrics(finished, "train", "loss")[3]


def test_a_card_of_other_weights_does_not_stay(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that went on, and was killed between its new weights and their scores."""
    run_training(tmp_path, tiny(corpus, {LIMIT: 2}))
    assert (tmp_path / card.CARD).exists()
    more = tiny(corpus, {LIMIT: 4})

    def killed(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("nmt.training.run.score_sets", killed)
        with pytest.raises(Stop):
            run_training(tmp_path, more)
    assert not (tmp_path / card.CARD).exists()
    assert "finished in" in run_training(tmp_path, more), "the card is made up for"
    assert (tmp_path / card.CARD).exists()


@pytest.mark.parametrize(("pace", "limit", "lines"), [(1.0, 60, 60), (1.0, 7, 8), (30.0, 60, 8), (0.01, 9, 500)])
def test_the_card_takes_no_longer_than_there_is(
    pace: float, limit: float, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are as long as they are: the first few tell how many more there is time for."""
    now, blocks = 0.0, list[int]()

    def slowly(sources: list[str]) -> list[str]:
        nonlocal now
        now += pace * len(sources)
        blocks.append(len(sources))
        return sources

    monkeypatch.setattr(card, "time", SimpleNamespace(monotonic=lambda: now))
    sources = [f"{number}" for number in range(500)]
    found = card._translate(SimpleNamespace(translate=slowly), sources, limit)  # type: ignore[arg-type]
    assert found == sources[: len(found)]
    assert (len(found), now <= max(limit, 8 * pace)) == (lines, True)
    assert max(blocks) <= card.LINES


def test_weights_without_a_step_are_not_searched_with(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.training.run.Tuner", lambda *_: pytest.fail("there is no time for it"))
    tunes: Changes = {"training.max_time": 1e-3, "training.tune_length_penalty": "true"}
    assert "no step was made" in run_training(tmp_path, tiny(corpus, tunes))


def test_a_mean_of_weights_is_finished(corpus: list[str], tmp_path: Path) -> None:
    """It has no checkpoint: to go on would be to begin anew, and to lose it."""
    run_training(tmp_path / "run", tiny(corpus, {LIMIT: 2}))
    assert run_command(["average", str(tmp_path / "run"), "--last", "1", "-o", str(tmp_path / "mean")]) == 0
    before = (tmp_path / "mean/model.safetensors").read_bytes()
    assert "mean: finished; to go on" in run_training(tmp_path / "mean", tiny(corpus, {LIMIT: 2}))
    with pytest.raises(OptionError, match=r"mean: is finished and has no checkpoint to go on from; choose another"):
        run_training(tmp_path / "mean", tiny(corpus, {LIMIT: 4}))
    assert (tmp_path / "mean/model.safetensors").read_bytes() == before


def test_pairs_without_a_piece_are_said(tmp_path: Path) -> None:
    corpus = write_files(tmp_path, {"en": ["\x01", *"12345678"], "de": ["eins", *"abcdefgh"]})
    told = run_training(tmp_path / "run", tiny(corpus, {LIMIT: 1, "tokenizer.vocab_size": "auto"}))
    assert "warning: dropped 1 pairs with a side that has no pieces\n" in told
    assert "8 pairs, cpu" in told


def test_tags_and_both_directions_exclude_each_other(corpus: list[str], tmp_path: Path) -> None:
    config = tiny(corpus, {"training.both_directions": 2, "data.tags": "[<bt>]"})
    with pytest.raises(OptionError, match="both_directions: a tag would be a target's first word; leave out data.tags"):
        run_training(tmp_path, config)


def test_both_directions_would_lose_the_capitals_of_targets(corpus: list[str], tmp_path: Path) -> None:
    config = tiny(corpus, {"training.both_directions": 2, "data.recased": 0.1, "data.tags": "[]"})
    with pytest.raises(OptionError, match="both_directions: targets would lose their capitals; set data.recased to 0"):
        run_training(tmp_path, config)


def test_both_directions_need_one_vocabulary(corpus: list[str], tmp_path: Path) -> None:
    apart: Changes = {"training.both_directions": 2, "tokenizer.shared": "false"}
    with pytest.raises(OptionError, match=r"both_directions: needs ids that mean the same in both; set tokenizer.shar"):
        run_training(tmp_path / "run", tiny(corpus, apart))
    assert not (tmp_path / "run" / checkpoint.CONFIG).exists()


def test_without_a_validation_corpus_some_pairs_are_held_out(tmp_path: Path) -> None:
    corpus = write_numbers(tmp_path, 120)
    told = run_training(tmp_path / "run", tiny(corpus, {LIMIT: 4}))
    assert "no validation corpus: validating on 2 of the training pairs, held out" in told
    assert "118 pairs, cpu in float32, 1 threads" in told


@pytest.mark.slow
def test_held_out_sets_lie_in_the_run_and_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is moved before `nmt eval`, which finds the test set there."""
    corpus = write_numbers(tmp_path, 5000)
    quick: Changes = {"data.hold_out_test": "true", "search.beam_size": 1, "training.max_steps": 1}
    told = run_training(tmp_path / "run", tiny(corpus, quick))
    assert "no validation corpus: validating on 100 of the training pairs, held out\n" in told
    assert "no test corpus: 100 of the training pairs are held out for one\n" in told
    assert "4800 pairs, cpu" in told
    texts = {path.name: path.read_text().split("\n") for path in (tmp_path / "run").glob("heldout.*")}
    assert set(texts) == {f"heldout.{part}.{language}" for part in ("valid", "test") for language in ("en", "de")}
    pairs = set(zip(*(Path(name).read_text().splitlines() for name in corpus), strict=True))
    for part in ("valid", "test"):
        held = set(zip(texts[f"heldout.{part}.en"], texts[f"heldout.{part}.de"], strict=True)) - {("", "")}
        assert len(held) == 100
        assert held < pairs
    card_text = (tmp_path / "run/README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (.*) \| BLEU", card_text, re.MULTILINE) == ["test, held out", "valid, held out"]
    (tmp_path / "run").rename(tmp_path / "moved")
    for path in corpus:
        Path(path).unlink()
    monkeypatch.chdir(tmp_path)
    assert run_command(["eval", "-m", "moved", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert "translating 100 lines of heldout.test.en heldout.test.de, beam 1, length penalty 1\n" in err
    assert "note:" not in err
    test_score = re.search(r"^\| test, held out \| BLEU \| (\S+) ", card_text, re.MULTILINE)
    assert test_score
    assert out.startswith(f"BLEU = {test_score[1]}")
    for path in (tmp_path / "moved").glob("heldout.test.*"):
        path.unlink()
    assert run_command(["eval", "-m", "moved", "--threads", "1"]) == 0
    err = capsys.readouterr().err
    assert "note: the model's config has no test corpus; this is its validation corpus\n" in err
    assert "lines of heldout.valid.en heldout.valid.de" in err


def write_numbers(folder: Path, count: int) -> list[str]:
    """Write a corpus in which no two pairs share a side."""
    names = {"en": [f"number {n}" for n in range(count)], "de": [f"zahl {n}" for n in range(count)]}
    return write_files(folder, names)


def heldout_files(run: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.glob("heldout.*")}


@pytest.mark.slow
def test_a_run_goes_on_with_the_split_it_began_with(tmp_path: Path) -> None:
    """Stopped before its config was there, it begins anew; a test corpus named later changes nothing any more."""
    corpus, run = write_numbers(tmp_path, 5000), tmp_path / "run"
    settings: Changes = {"data.hold_out_test": "true", "search.beam_size": 1, "data.clean": "true"}
    with pytest.raises(Stop):
        run_training(run, tiny(corpus, {**settings, "training.seed": 2}), stream=Script(r"^tokenizer trained", stop))
    told = run_training(run, tiny(corpus, {**settings, LIMIT: 2}))
    assert "4800 pairs, cpu" in told
    before = heldout_files(run)
    other = write_corpus(tmp_path, 5, "other")
    changes = {**settings, "data.test": f"[{', '.join(other)}]", LIMIT: 4}
    told = run_training(run, tiny(corpus, changes))
    assert "resuming at step 2" in told
    assert "4800 pairs, cpu" in told
    assert heldout_files(run) == before, "they are written once"
    run_training(tmp_path / "straight", tiny(corpus, {**settings, LIMIT: 4}))
    assert digest(run) == digest(tmp_path / "straight")


@pytest.mark.slow
def test_a_run_begun_with_a_test_corpus_holds_out_none_later(tmp_path: Path) -> None:
    corpus, run = write_numbers(tmp_path, 5000), tmp_path / "run"
    other = write_corpus(tmp_path, 5, "other")
    settings: Changes = {"data.hold_out_test": "true", "search.beam_size": 1, LIMIT: 1}
    told = run_training(run, tiny(corpus, {**settings, "data.test": f"[{', '.join(other)}]"}))
    assert "4900 pairs, cpu" in told
    assert "4900 pairs, cpu" in run_training(run, tiny(corpus, {**settings, LIMIT: 2}))
    assert len(heldout_files(run)) == 2


@pytest.mark.slow
def test_a_run_begun_before_held_out_sets_were_kept_goes_on_as_it_was(tmp_path: Path) -> None:
    """Then no pair was left out but those held out; such a run has no files of them."""
    pairs = 100
    names = {"en": [f"number {n % 97}" for n in range(pairs)], "de": [f"zahl {n}" for n in range(pairs)]}
    corpus, run = write_files(tmp_path, names), tmp_path / "run"
    seed = next(n for n in range(999) if {0, 97} & {*random.Random(n).sample(range(pairs), 2)})
    settings: Changes = {"training.seed": seed, "search.beam_size": 1, LIMIT: 1}
    told = run_training(run, tiny(corpus, settings))
    assert "left out 1 training pairs that share a side with a held-out pair\n" in told
    assert "97 pairs, cpu" in told
    for name in heldout_files(run):
        (run / name).unlink()
    assert "98 pairs, cpu" in run_training(run, tiny(corpus, {**settings, LIMIT: 2}))
    assert heldout_files(run) == {}


@pytest.mark.slow
def test_a_cleaned_training_tells_what_it_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    english, german = [f"the number {n}" for n in range(60)], [f"die Zahl {n}" for n in range(60)]
    bad = {"the number 3": "die Zahl 3", "copied from here to there": "Copied from here to there", "2": "zwei " * 9}
    corpus = write_files(tmp_path, {"en": [*english, *bad.keys()], "de": [*german, *bad.values()]})
    names = f"[{', '.join(corpus)}]"
    changes: Changes = {"data.clean": "true", "data.valid": names, "data.test": names, LIMIT: 1, "search.beam_size": 1}
    changes["tokenizer.vocab_size"] = "auto"
    assert run_command(words(corpus, tmp_path / "run", changes)) == 0
    error = capsys.readouterr().err
    dropped = re.findall(r"warning: (\S+): dropped (\d) of 63 pairs: (.*) \(first: line (\d+)\)", error)
    assert dropped == [
        (corpus[0], "1", "the same as an earlier pair", "61"),
        (corpus[0], "1", "source and target are the same", "62"),
        (corpus[0], "1", "one side is far longer than the other", "63"),
    ]
    assert "60 pairs, cpu" in error
    assert heldout_files(tmp_path / "run") == {}
    assert run_command(words(corpus, tmp_path / "plain", {**changes, "data.clean": "false"})) == 0
    error = capsys.readouterr().err
    assert "63 pairs, cpu" in error
    assert "dropped" not in error
    assert run_command(words(corpus, tmp_path / "run", {**changes, "data.clean": "false", LIMIT: 2})) == 2
    assert "holds a run with another data.clean (True, now False)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_corpus_of_one_pair_trains(tmp_path: Path) -> None:
    corpus = write_files(tmp_path, {"en": ["1 2 3"], "de": ["three two one"]})
    changes: Changes = {"tokenizer.vocab_size": "auto", "training.learning_rate": 0.01, LIMIT: 200, "model.dropout": 0}
    more: Changes = {"training.valid_every": 50, "training.save_every": 50, "training.ema": 0, "tokenizer.sampling": 0}
    told = run_training(tmp_path / "run", tiny(corpus, {**changes, **more, "search.max_length_ratio": 2}))
    assert "validating on the training pairs themselves" in told
    assert nmt.load(tmp_path / "run").translate(["1 2 3"]) == ["three two one"]


# ---- what is left -----------------------------------------------------------------------------------------------


def test_the_folder_of_a_finished_run(finished: Path, corpus: list[str]) -> None:
    files = {path.name for path in finished.iterdir()}
    assert files - {"tensorboard"} == {
        "config.yaml", "tokenizer.model", "model.safetensors", "MANIFEST.json", "README.md", "metrics.jsonl",
        "shortlist.safetensors", "train.log", "curves.png", "checkpoints", "origin.json",
    }  # fmt: skip
    assert checkpoint.steps(finished) == [8, 9, 12]
    text = (finished / "config.yaml").read_text(encoding="utf-8")
    assert f"nmt: {nmt.__version__}" in text
    assert set(checkpoint.load_fingerprints(finished)) == set(corpus)
    assert checkpoint.load_config(finished) == tiny(corpus)
    log = (finished / "train.log").read_text(encoding="utf-8")
    assert log.count("  translation  ") == 2 * 3  # two samples at each validation
    assert log.count("  source       ") == log.count("  reference    ") == 2 * 3
    assert list(metrics(finished, "valid", "bleu")) == [4, 8, 12]
    assert nmt.load(finished).translate(["1 2", "", "3"])[1] == ""


@pytest.mark.slow
def test_the_card_has_scores_with_signatures_data_and_command(corpus: list[str], tmp_path: Path) -> None:
    names = f"[{', '.join(corpus)}]"
    told = run_training(tmp_path, tiny(corpus, {LIMIT: 1, "data.valid": names, "data.test": names}))
    assert re.search(r"^test: BLEU \d+\.\d\d, chrF2 \d+\.\d\d$", told, re.MULTILINE)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    for name in ("test", "valid"):
        assert re.search(rf"\| {name} \| BLEU \| \d+\.\d\d \| `nrefs:1\|case:mixed\|[^`]*tok:13a\|[^`]*` \|", text)
        assert re.search(rf"\| {name} \| chrF2 \| \d+\.\d\d \| `nrefs:1[^`]*` \|", text)
    assert "en to de" in text
    assert "    nmt train" in text
    assert all(f"`{name}` sha256 {value}" in text for name, value in checkpoint.load_fingerprints(tmp_path).items())


class Slow:
    """Translates every line as itself, in three seconds of a clock of its own."""

    def __init__(self, config: Config) -> None:
        self.config, self.now = config, 1000.0

    def monotonic(self) -> float:
        return self.now

    def translate(self, lines: Sequence[str]) -> list[str]:
        self.now += 3.0 * len(lines)
        return list(lines)


def test_the_card_scores_what_there_is_time_for(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Slow(tiny(corpus, {"data.test": f"[{', '.join(corpus)}]"}))
    monkeypatch.setattr(card, "time", translator)
    (measured,) = card.score_sets(translator, tmp_path, 1032.0)  # type: ignore[arg-type]
    assert measured.name == "test, first 10 of 40 lines", "an eleventh would have ended late"
    assert [score.name for score in measured.scores] == ["BLEU", "chrF2"]
    assert card.score_sets(translator, tmp_path, translator.now - 1) == []  # type: ignore[arg-type]


def test_a_tokenizer_that_is_not_installed_costs_no_scores(corpus: list[str], tmp_path: Path) -> None:
    config = tiny(corpus, {"data.test": f"[{', '.join(corpus)}]", "data.target_lang": "ja"})
    data = config.data.model_copy(update={"source_lang": "en", "target_lang": "ja"})
    translator = Slow(config.model_copy(update={"data": data}))
    (measured,) = card.score_sets(translator, tmp_path, float("inf"))  # type: ignore[arg-type]
    assert re.search(r"tok:(char|ja-mecab)", measured.scores[0].signature)


def test_a_test_corpus_that_is_wrong_is_found_before_training(corpus: list[str], tmp_path: Path) -> None:
    other = write_files(tmp_path, {"en": ["a", "b"], "de": ["a"]}, "test")
    with pytest.raises(Exception, match=r"2.*1|1.*2") as error:
        run_training(tmp_path / "run", tiny(corpus, {"data.test": f"[{', '.join(other)}]"}))
    assert type(error.value).__name__ == "DataError"
    assert not checkpoint.steps(tmp_path / "run")


def test_interrupted_is_told_to_python_too(corpus: list[str], tmp_path: Path) -> None:
    stream = Script(r"^step 2 \|", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run_training(tmp_path, tiny(corpus), stream=stream)
