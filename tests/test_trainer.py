"""When a training validates, saves, gives up and ends; and what it keeps."""

from __future__ import annotations

import io
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from trainings import Setting, tiny, write_corpus

from nmt.batches import Batch, Padded, Position
from nmt.corpus import Pair, ParallelCorpus
from nmt.device import Compute
from nmt.encoded import EncodedCorpus, Encoding
from nmt.errors import DivergedError
from nmt.models import Model, build
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.training.learner import Outcome
from nmt.training.progress import Progress
from nmt.training.schedule import learning_rate
from nmt.training.signals import Interrupt, Interrupted
from nmt.training.trainer import MAX_SKIPPED, Parts, Trainer, batch_ceiling
from nmt.training.validation import Result, Validator
from nmt.translate import Translator

CPU = torch.device("cpu")
torch.set_num_threads(1)


Make = Callable[..., Trainer]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Make]:
    """Make trainers of a run in the test's folder, as the command would."""
    made: list[Trainer] = []

    def make(changes: Mapping[str, Setting] | None = None) -> Trainer:
        made.append(make_trainer(tmp_path, changes))
        return made[-1]

    yield make
    for each in made:
        each.progress.close()


def make_trainer(folder: Path, changes: Mapping[str, Setting] | None) -> Trainer:
    config = tiny(write_corpus(folder), changes)
    pairs: list[Pair] = list(ParallelCorpus(config.data.train, config.data))
    tokenizers = Tokenizers.train(pairs, config.tokenizer)
    corpus = EncodedCorpus.build(pairs, Encoding(tokenizers, 256, config.tokenizer.sampling))
    torch.manual_seed(1)
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=True)
    run = folder / "run"
    run.mkdir(exist_ok=True)
    tokenizers.save(run)
    on = Compute(CPU, torch.float32)
    parts = Parts(config, run, model, tokenizers, corpus, pairs[:5], on, time.monotonic())
    return Trainer(parts, Progress(run, io.StringIO()), Interrupt())


class Measured(Validator):
    """A validator that finds what it is told to find."""

    def __init__(self, scores: Sequence[float], alike: float = 0.0) -> None:
        self.scores, self.alike, self.seconds, self.kept = cycle(scores), alike, 0.0, 0.25

    def reserve(self, limit: float) -> float:
        return self.kept * limit

    def run(self, model: Model) -> Result:
        self.kept, value = 0.1, next(self.scores)
        return Result({"loss": 50.0 - value, "bleu": value, "chrf": value + 1}, (), self.alike, 0.0)


def steps_kept(trained: Trainer) -> list[int]:
    return checkpoint.steps(trained.parts.run)


def told(trained: Trainer) -> str:
    stream = trained.progress.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


class Slow:
    """Replaces the clock of a trainer: a step takes as many seconds as the last number says that begins before it."""

    def __init__(self, trained: Trainer, seconds: Mapping[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.rates, self.seconds = trained.parts.started, [0.0], seconds
        learn = trained.learner.learn

        def slowly(batches: Sequence[Batch], step: int, rate: float) -> Outcome:
            self.now += self.seconds[max(first for first in self.seconds if first <= step)]
            self.rates.append(rate)
            return learn(batches, step, rate)

        monkeypatch.setattr(trained.learner, "learn", slowly)
        for module in ("trainer", "clock"):
            monkeypatch.setattr(f"nmt.training.{module}.time", SimpleNamespace(monotonic=lambda: self.now))


# ---- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training.max_steps": 5}, "max_steps 5"),
        ({"training.max_epochs": 2, "training.max_steps": 1000}, "max_epochs 2"),
        ({"training.max_time": 1e-3}, "max_time 0 s"),
    ],
)
def test_training_ends_at_the_first_limit(changes: dict[str, Setting], reason: str, trainer: Make) -> None:
    trained = trainer(changes)
    assert trained.train() == reason
    assert steps_kept(trained)[-1] == trained.step == trained.best_step
    assert trained.position.epoch == 2 or "epochs" not in reason
    assert trained.step == 5 or "steps" not in reason


GUESSED = ("max_steps", "warmup")
COSINE: dict[str, Setting] = {
    "training.schedule": "cosine", "training.max_steps": 100, "training.max_time": 60, "training.log_every": 50,
    "training.valid_every": 20, "training.learning_rate": 1e-3, "training.warmup": 5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "fewest"),
    [
        ({0: 0.1}, 100),
        ({0: 1.0}, 45),
        ({0: 0.1, 50: 2.0}, 65),
        ({0: 3.0, 10: 0.1}, 100),
        ({0: 0.1, 50: 20, 52: 0.1}, 100),
    ],
    ids=["in time", "slow", "slow from the middle", "slow at the start", "asleep in the middle"],
)
def test_a_guessed_number_of_steps_follows_the_time(
    seconds: dict[int, float], fewest: int, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that has not fallen when time is over costs more than the steps that were not made."""
    trained = trainer(COSINE)
    trained.parts = trained.parts._replace(guessed=GUESSED)
    trained.validator = Measured([1.0])
    slow = Slow(trained, seconds, monkeypatch)
    reason = trained.train()
    assert fewest <= trained.step <= 100
    assert slow.now - trained.parts.started <= 60
    assert reason == (
        "max_steps 100" if trained.step == 100 else f"max_time 60 s, enough for {trained.step} of 100 steps"
    )
    assert slow.rates[-1] < 0.02 * max(slow.rates)
    assert max(slow.rates) > 0.9e-3


@pytest.mark.slow
def test_a_given_number_of_steps_stays(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = trainer(COSINE)
    trained.validator = Measured([1.0])
    slow = Slow(trained, {0: 1.0}, monkeypatch)
    assert trained.train() == "max_time 60 s"
    assert slow.rates[-1] > 0.2 * max(slow.rates)


def test_a_guess_made_better_survives(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is started again goes on at its learning rate; one given more time has a new plan."""
    trained = trainer(COSINE)
    trained.parts = trained.parts._replace(guessed=GUESSED)
    trained.validator = Measured([1.0])
    Slow(trained, {0: 1.0}, monkeypatch)
    monkeypatch.setattr(trained.interrupt, "taken", lambda: signal.SIGTERM if trained.step == 31 else 0)
    with pytest.raises(Interrupted):
        trained.train()
    rates = list[float]()
    for steps in (100, 200):
        again = trainer({**COSINE, "training.max_steps": steps})
        again.parts = again.parts._replace(guessed=GUESSED)
        slow = Slow(again, {0: 1.0}, monkeypatch)
        again._restore()
        again._step([next(again._batches())])
        rates.append(slow.rates[-1])
    assert rates[0] == learning_rate(32, trained.config) < learning_rate(32, trained.parts.config.training)
    assert rates[1] == learning_rate(32, trained.parts.config.training.model_copy(update={"max_steps": 200}))


def test_processes_that_do_not_write_know_what_is_saved(trainer: Make) -> None:
    """Else a signal at that step would have them wait for the first to save it again, which it does not."""
    trained = trainer()
    trained.world = SimpleNamespace(rank=1, size=2)  # type: ignore[assignment]
    trained._save()
    trained.learner.tensors = lambda: pytest.fail("all processes would have to come here")  # type: ignore[method-assign]
    trained._save()


@pytest.mark.parametrize(("limit", "guessed"), [(600, ()), ("null", GUESSED)], ids=["steps are given", "no time is"])
def test_a_plan_is_kept_that_no_clock_may_change(
    limit: Setting, guessed: tuple[str, ...], trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many steps as were planned, where their number is given now, or no time any more."""
    trained = trainer(COSINE)
    trained.parts = trained.parts._replace(guessed=GUESSED)
    trained.validator = Measured([1.0])
    Slow(trained, {0: 1.0}, monkeypatch)
    assert trained.train().endswith("of 100 steps")
    again = trainer({**COSINE, "training.max_time": limit})
    again.parts = again.parts._replace(guessed=guessed)
    again._restore()
    assert (again.config.max_steps, again.ended()) == (100, "")


def test_a_place_beyond_the_batches_of_an_epoch_is_the_next_one(trainer: Make) -> None:
    """Where batches are larger than when it was counted there are fewer of them."""
    trained = trainer()
    trained.position = Position(3, 0, 10_000)
    (batch, after), *_ = islice(trained._batches(), 1)
    assert (after, batch.tokens > 0) == (Position(4, 0, 1), True)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["bleu", "chrf", "loss"])
def test_patience_counts_validations_that_are_no_better(metric: str, trainer: Make) -> None:
    changes: dict[str, Setting] = {"training.metric": metric, "training.patience": 3, "training.max_steps": 1000}
    trained = trainer(changes)
    trained.validator = Measured([10.0, 20.0, 15.0, 21.0, 5.0, 20.9, 20.0, 40.0])
    assert trained.train() == f"patience: {metric} no better in 3 validations"
    assert (trained.step, trained.best_step) == (28, 16)
    assert trained.averaged_steps() == [16]


@pytest.mark.slow
def test_without_patience_nothing_is_too_long(trainer: Make) -> None:
    trained = trainer({"training.patience": 0, "training.max_steps": 48})
    trained.validator = Measured([20.0] + [10.0] * 30)
    assert trained.train() == "max_steps 48"


@pytest.mark.parametrize(
    ("wanted", "device", "expected"), [(100, "cpu", 100), ("auto", "cpu", 4096), ("auto", "cuda", 16384)]
)
def test_the_ceiling_of_a_batch_depends_on_the_device(wanted: object, device: str, expected: int) -> None:
    assert batch_ceiling(wanted, torch.device(device)) == expected  # type: ignore[arg-type]


# ---- checkpoints ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_best_is_kept_beside_the_last_ones(trainer: Make) -> None:
    changes: dict[str, Setting] = {"training.keep": 2, "training.max_steps": 24, "training.save_every": 2}
    trained = trainer(changes)
    trained.validator = Measured([10.0, 30.0, 20.0, 25.0, 15.0, 28.0])
    trained.train()
    assert steps_kept(trained) == [8, 22, 24]
    assert trained.averaged_steps() == [8]


def test_the_last_ones_are_averaged(trainer: Make) -> None:
    changes: dict[str, Setting] = {"training.average_last": 4, "training.keep": 1, "training.max_steps": 13}
    trained = trainer(changes)
    trained.validator = Measured([30.0, 20.0, 10.0, 5.0])
    trained.train()
    assert steps_kept(trained) == [4, 6, 8, 9, 12, 13]
    assert trained.averaged_steps() == [8, 9, 12, 13]


def test_where_a_run_was_stopped_before_does_not_count(trainer: Make) -> None:
    """A validation and a checkpoint that only a lower limit made are not seen by the run that goes on."""
    scores = {4: 20.0, 5: 99.0, 8: 21.0, 10: 98.0, 12: 19.0, 13: 18.0}
    changes: dict[str, Setting] = {"training.metric": "bleu", "training.average_last": 3, "training.keep": 3}
    for limit, order in ((5, [4, 5]), (10, [8, 10]), (13, [12, 13])):
        trained = trainer({**changes, "training.max_steps": limit})
        trained.validator = Measured([scores[step] for step in order])
        trained.train()
        assert trained.best_step == {5: 5, 10: 10, 13: 8}[limit]
    assert trained.record.bad == 1
    assert trained.averaged_steps() == [9, 12, 13]


def test_scores_that_are_no_numbers_leave_the_last_weights(trainer: Make) -> None:
    trained = trainer({"training.max_steps": 9})
    trained.validator = Measured([float("nan")])
    trained.train()
    assert trained.averaged_steps() == [9]


def test_everything_of_a_moment_comes_back(trainer: Make) -> None:
    trained = trainer({"training.max_steps": 7})
    trained.train()
    again = trainer({"training.max_steps": 7})
    assert again.train() == "max_steps 7"
    assert again.step == 7
    assert again.position == trained.position != Position()
    assert again.record == trained.record
    assert (again.best_step, again.validated) == (trained.best_step, trained.validated) == (7, 7)
    assert again.earlier > 0
    assert again.validator.seconds == trained.validator.seconds > 0
    assert "resuming at step 7, epoch" in told(again)
    assert "warning" not in told(again)


def test_another_number_of_threads_is_told(trainer: Make) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        trainer({"training.max_steps": 2}).train()
        torch.set_num_threads(2)
        again = trainer({"training.max_steps": 3})
        again.train()
    finally:
        torch.set_num_threads(threads)
    assert "warning: 2 threads, 1 before: the weights will not be bit for bit those of an unbroken run" in told(again)


def test_a_damaged_checkpoint_is_passed_over(trainer: Make) -> None:
    trained = trainer({"training.max_steps": 7})
    trained.train()
    with (checkpoint.step_folder(trained.parts.run, 7) / "optimizer.safetensors").open("r+b") as file:
        file.write(b"\0\0\0")
    again = trainer({"training.max_steps": 8})
    again.train()
    assert "sha256 differs from MANIFEST.json" in told(again)
    assert "resuming at step 6" in told(again)
    assert again.step == 8


def test_a_damaged_checkpoint_that_lies_ahead_is_in_nobody_s_way(trainer: Make) -> None:
    """It stays until training comes there, keeps no older one, and is none of those that are averaged."""
    changes: dict[str, Setting] = {"training.save_every": 2, "training.valid_every": 20, "training.keep": 1}
    trained = trainer({**changes, "training.max_steps": 20})
    trained.validator = Measured([1.0])
    trained.train()
    run = trained.parts.run
    checkpoint.step_folder(run, 20).rename(checkpoint.step_folder(run, 30))
    (checkpoint.step_folder(run, 30) / "MANIFEST.json").unlink()
    again = trainer({**changes, "training.max_steps": 6, "training.average_last": 2, "training.keep": 2})
    again.validator = Measured([1.0])
    again.train()
    assert (again.step, steps_kept(again)) == (6, [4, 6, 30])
    assert again.averaged_steps() == [4, 6]


# ---- bad gradients ----------------------------------------------------------------------------------------------


def spoil(trained: Trainer, steps: range) -> None:
    """Make the gradients of some steps, counted from 1, NaN."""

    def hook(gradient: Tensor) -> Tensor:
        return gradient * float("nan") if trained.step + 1 in steps else gradient

    next(iter(trained.learner.model.parameters())).register_hook(hook)


@pytest.mark.slow
def test_a_few_bad_steps_are_skipped_and_told(trainer: Make) -> None:
    trained = trainer({"training.max_steps": 24})
    spoil(trained, range(2, 2 + MAX_SKIPPED - 1))
    assert trained.train() == "max_steps 24"
    assert told(trained).count("the gradient's norm is nan; step skipped") == MAX_SKIPPED - 1
    assert "warning: step 2: the gradient's norm is nan; step skipped" in told(trained)
    assert trained.skipped == 0
    assert all(parameter.isfinite().all() for parameter in trained.learner.model.parameters())


def test_ten_bad_steps_in_a_row_end_it_and_harm_no_checkpoint(trainer: Make) -> None:
    trained = trainer({"training.max_steps": 100})
    spoil(trained, range(5, 1000))
    with pytest.raises(DivergedError, match=r"step 14: no finite gradient in 10 steps; lower .*learning_rate") as error:
        trained.train()
    assert error.value.exit_code == 6
    for step in steps_kept(trained):
        tensors, _ = checkpoint.load_checkpoint(checkpoint.step_folder(trained.parts.run, step))
        assert all(tensor.isfinite().all() for group in tensors.values() for tensor in group.values())


def test_want_of_memory_is_told_once_and_training_goes_on(trainer: Make) -> None:
    torch.set_num_threads(1)  # with several a batch is cut into small shares from the start
    trained = trainer({"training.max_steps": 5})
    states = trained.learner.working.states

    def limited(source: Padded, target: Tensor) -> Tensor:
        if len(source.lengths) > 2 and trained.step == 2:
            raise torch.OutOfMemoryError
        return states(source, target)

    trained.learner.working.states = limited  # type: ignore[method-assign]
    assert trained.train() == "max_steps 5"
    (line,) = (line for line in told(trained).splitlines() if "out of memory" in line)
    assert re.fullmatch(r"warning: step 3: out of memory; batches are computed in \d+ parts from here on; .*", line)


@pytest.mark.parametrize(("share", "is_told"), [(0.9, True), (0.5, False), (0.0, False)])
def test_translations_that_are_all_alike_are_told(share: float, is_told: bool, trainer: Make) -> None:
    trained = trainer({"training.max_steps": 4})
    trained.validator = Measured([1.0], share)
    trained.train()
    said = [line for line in told(trained).splitlines() if "one and the same line" in line]
    expected = (
        "warning: step 4: 90% of the translations are one and the same line; "
        "if it stays so, lower training.learning_rate"
    )
    assert said == [expected] * is_told


@pytest.mark.parametrize(
    ("answers", "alike"),
    [("aaaaaaaaab", 0.9), ("abcdefghij", 0.1), ("aabbccddee", 0.2), ("aaaaab", 5 / 6), ("aaaa", 0.0)],
)
def test_translations_are_compared(answers: str, alike: float, trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same source they are expected to be alike; of a few sources they are by chance."""
    trained = trainer({"training.valid_lines": 50})
    validator = trained.validator
    validator.pairs = [(f"{number}", "x") for number, _ in enumerate(answers)] + [("0", "x")] * 5
    validator.encoded = validator.encoded[:2]
    monkeypatch.setattr(Translator, "translate", lambda self, lines, options: [*answers, *answers[0] * 5])
    assert validator.run(trained.parts.model).alike == pytest.approx(alike)
