"""The training loop: when to step, validate, save and end; it knows nothing of the command line.

A run is a function of its config, its corpus and its seed: position in the data, generators, optimizer, averages and
patience are all in a checkpoint, so that a run that was killed ends in the very weights of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from nmt.batches import Batch, Corpus, Position, epoch_batches
from nmt.bothways import BothWays
from nmt.config import Config
from nmt.device import Compute
from nmt.errors import DivergedError
from nmt.models import Model
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.training.clock import Clock, Measured
from nmt.training.learner import Outcome
from nmt.training.progress import Progress, Report, Validation
from nmt.training.schedule import Record, learning_rate
from nmt.training.sharded import build_learner
from nmt.training.signals import Interrupt, Interrupted
from nmt.training.validation import Validator
from nmt.training.world import Alone, World, compare

AUTO_BATCH_TOKENS = {"cpu": 4096, "mps": 8192, "cuda": 16384}
ALIKE = 0.5  # of the translations of different sentences: more than that are not chance
MAX_SKIPPED = 10  # steps without a finite gradient in a row before training is given up


class Parts(NamedTuple):
    """What a trainer is made of."""

    config: Config
    run: Path
    model: Model
    tokenizers: Tokenizers
    corpus: Corpus
    valid: Sequence[tuple[str, str]]
    compute: Compute
    started: float  # time.monotonic() when the command began
    world: World = Alone()
    guessed: tuple[str, ...] = ()  # what the clock makes better on the way: max_steps, or that and warmup


class Trainer:
    """Trains one model in one run folder, alone or as one of several processes, of which the first one writes."""

    def __init__(self, parts: Parts, progress: Progress, interrupt: Interrupt) -> None:
        self.parts, self.progress, self.interrupt, self.world = parts, progress, interrupt, parts.world
        self.config = parts.config.training
        self.learner = build_learner(parts.model, self.config, parts.compute, parts.world)
        self.validator = Validator(
            parts.config, parts.tokenizers, parts.compute, parts.valid, world=parts.world, obey=self._obey
        )
        self.step, self.position = 0, Position()
        self.record = Record()  # of the validations that every run has, wherever it was stopped
        self.best_step = 0  # of all validations
        self.validated = -1  # step of the last validation
        self.skipped = 0  # steps in a row without a finite gradient
        self.earlier = 0.0  # seconds that earlier runs of the command have spent
        self.clock = Clock()
        self._saved = (-1, -1)  # step and last validation at the last save

    # ---- the loop ---------------------------------------------------------------------------------------------

    def train(self) -> str:
        """Train until one of the limits is reached, save, and return which one it was.

        Raises Interrupted, with everything saved, when a signal asked to leave.
        """
        self._restore()
        # Several processes obey a signal to any of them where all of them are at the same place.
        together = self.interrupt.deferred() if self.world.size > 1 else nullcontext()
        try:
            with together:
                return self._loop()
        except Interrupted:
            self._save()
            self.progress.say(f"interrupted: step {self.step} is saved; the same command goes on from there")
            if self.world.size > 1:
                self.interrupt.ignore()  # torchrun sends one to all once the first has left
            self.world.most(0)  # nobody leaves before all is saved
            raise

    def _loop(self) -> str:
        batches = self._batches()
        self.clock.restart()
        while True:
            if self.step and self.step % self.config.valid_every == 0 and self.validated != self.step:
                self._validate()
            self._obey()
            if reason := self.ended():
                break
            with self.interrupt.deferred():
                self._step(list(islice(batches, self.config.accumulate)))
            self._report()
            if self.step % self.config.save_every == 0 and self.step % self.config.valid_every:
                self._save()
        if self.step == 0:  # there was no time for a single one: the weights as they are, unmeasured
            self._save()
        elif self.validated != self.step:
            self._validate()
        return reason

    def ended(self) -> str:
        """Say which limit is reached, or return an empty string."""
        config = self.config
        if self.step >= (planned := self.parts.config.training.max_steps):
            return f"max_steps {planned}"
        if self.step >= config.max_steps:
            return f"max_time {config.max_time:g} s, enough for {self.step} of {planned} steps"
        if config.max_epochs is not None and self.position.epoch >= config.max_epochs:
            return f"max_epochs {config.max_epochs}"
        if config.patience and self.record.bad >= config.patience:
            return f"patience: {config.metric} no better in {config.patience} validations"
        if config.max_time is not None:
            (used,) = self.world.most(self.seconds() + self.validator.reserve(config.max_time))
            if used >= config.max_time:
                return f"max_time {config.max_time:.0f} s"
        return ""

    def seconds(self) -> float:
        """Return the wall-clock seconds that all runs of this command have spent."""
        return self.earlier + time.monotonic() - self.parts.started

    def averaged_steps(self) -> list[int]:
        """Return the last checkpoints whose mean is wanted, or the best one's step alone.

        What was saved only because a run was stopped there does not count: it must not change what comes out.
        """
        if not self.config.average_last:
            return [self.best_step]
        known = [step for step in checkpoint.steps(self.parts.run) if self._is_regular(step) or step == self.step]
        return known[-self.config.average_last :]

    def _batches(self) -> Iterator[tuple[Batch, Position]]:
        """Yield batches from the present position on, for ever, each with the position after it."""
        limit = batch_ceiling(self.config.batch_tokens, self.parts.compute.device)
        sampling = self.parts.config.is_redrawn
        part, position = (self.world.rank, self.world.size), self.position
        while True:
            corpus = BothWays(self.parts.corpus) if position.epoch < self.config.both_directions else self.parts.corpus
            begun = position
            for batch, position in epoch_batches(corpus, self.config.seed, limit, begun, sampling=sampling, part=part):
                yield batch, position
            if position == begun:  # of larger batches than those that were counted there are fewer
                position = Position(begun.epoch + 1)

    def _step(self, batches: list[tuple[Batch, Position]]) -> None:
        rate, splits = learning_rate(self.step + 1, self.config), self.learner.splits
        outcome = self.learner.learn([batch for batch, _ in batches], self.step + 1, rate)
        self.step, self.position = self.step + 1, batches[-1][1]
        self.clock.add(outcome)
        if self.learner.splits > splits:
            parts = f"batches are computed in {self.learner.splits} parts from here on"
            self.progress.say(f"warning: step {self.step}: out of memory; {parts}; lower --batch-tokens to be faster")
        self.skipped = 0 if outcome.changed else self.skipped + 1
        if self.skipped:
            self._warn(outcome)

    def _warn(self, outcome: Outcome) -> None:
        self.progress.say(f"warning: step {self.step}: the gradient's norm is {float(outcome.norm)}; step skipped")
        if self.skipped >= MAX_SKIPPED:
            raise DivergedError(
                f"step {self.step}: no finite gradient in {MAX_SKIPPED} steps; lower --set training.learning_rate"
            )

    def _obey(self) -> None:
        """Raise Interrupted where any of several processes has been told to leave."""
        (signal,) = self.world.most(self.interrupt.taken())
        if signal:
            raise Interrupted(int(signal))

    # ---- between steps ----------------------------------------------------------------------------------------

    def _report(self) -> None:
        self._replan(self.clock.pace)
        if self.step % self.config.log_every == 0:
            self.progress.log(self._measure(self.clock.read()))
        elif self.progress.is_due():
            self.progress.tick(self._measure(self.clock.peek()))

    def _replan(self, per_step: float) -> None:
        """Have the schedule end with the time, where a machine slower than when it was timed cannot do all steps."""
        if not self.parts.guessed or (limit := self.config.max_time) is None:
            return
        left = limit - self.seconds() - self.validator.reserve(limit)
        share = (per_step + self.validator.seconds / self.config.valid_every) / max(left, 1e-9)  # of the time, a step's
        most, is_known = self.world.most(share, per_step)
        plan = self.parts.config.training
        last = min(plan.max_steps, self.step + max(int(1 / most), 0)) if is_known else self.config.max_steps
        steps = {"max_steps": last, "warmup": plan.warmup * last // plan.max_steps}
        self.config = plan.model_copy(update={name: steps[name] for name in self.parts.guessed})

    def _measure(self, measured: Measured) -> Report:
        config, per_step = self.config, measured.seconds_per_step
        ends = [(config.max_steps - self.step) * per_step]
        if config.max_time is not None:
            ends.append(config.max_time - self.seconds())
        if config.max_epochs is not None:
            pairs = (config.max_epochs + min(config.both_directions, config.max_epochs)) * len(self.parts.corpus)
            ends.append((pairs / max(self.clock.pairs_per_step, 1) - self.step) * per_step)
        return Report(
            self.step, self.position.epoch, measured.loss, learning_rate(self.step, config), measured.speed,
            measured.norm, (config.valid_every - self.step % config.valid_every) * per_step, max(min(ends), 0.0),
        )  # fmt: skip

    def _validate(self) -> None:
        """Measure the averaged weights, keep the record, save."""
        if self.world.size > 1 and not self.config.fsdp:
            compare(self.world, self.learner.model, self.step)
        scores, samples, alike, seconds = self.validator.run(self.learner.averaged())
        self.clock.pause(seconds)
        metric = self.config.metric
        with self.interrupt.deferred():
            record = self.record.after(scores[metric], self.step, lower_is_better=metric == "loss")
            # A validation where a limit ended the run is none of a run with a larger limit.
            if self.step % self.config.valid_every == 0:
                self.record = record
            self.validated = self.step
            self.best_step = self.step if record.best is None else record.best_step
            found = Validation(self.step, scores, metric, record.best, self.best_step, samples, seconds)
            self.progress.validated(found)
            if alike > ALIKE:
                what = f"{alike:.0%} of the translations are one and the same line"
                self.progress.say(f"warning: step {self.step}: {what}; if it stays so, lower training.learning_rate")
            self._save()

    # ---- checkpoints ------------------------------------------------------------------------------------------

    def _is_regular(self, step: int) -> bool:
        return 0 < step <= self.step and (step % self.config.save_every == 0 or step % self.config.valid_every == 0)

    def _save(self) -> None:
        """Write a checkpoint of this moment and forget the oldest ones."""
        if self._saved == (self.step, self.validated):
            return
        tensors = self.learner.tensors()  # of weights in shares all processes together
        if self.world.rank:
            self._saved = (self.step, self.validated)  # as the first, which writes, or nobody comes to the next save
            return
        before, run = time.monotonic(), self.parts.run
        with self.interrupt.deferred():
            checkpoint.save_checkpoint(run, self.step, tensors, self._state())
            passing = sum(not self._is_regular(step) for step in checkpoint.steps(run) if step <= self.step)
            kept = max(self.config.keep, self.config.average_last) + passing
            checkpoint.prune(run, self.step, kept, self.record.best_step or None)
            self._saved = (self.step, self.validated)
        self.clock.pause(time.monotonic() - before)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "position": self.position._asdict(),
            "record": self.record._asdict(),
            "best_step": self.best_step,
            "validated": self.validated,
            "skipped": self.skipped,
            "seconds": self.seconds(),
            "validation_seconds": self.validator.seconds,
            "planned": self.parts.config.training.max_steps,
            "adapted": self.config.model_dump(include={"max_steps", "warmup"}),
            **self.learner.state(),
        }

    def _restore(self) -> None:
        """Go back to the newest sound checkpoint of the run, if there is one."""
        found = checkpoint.latest(self.parts.run, self.progress.say) if self.world.rank == 0 else None
        name, *_ = self.world.gather(found and found.name)
        if name is None:
            self.progress.begin(0)
            return
        tensors, state = checkpoint.load_checkpoint(self.parts.run / "checkpoints" / name)
        self.learner.restore(tensors, state)
        self.step, self.position = state["step"], Position(**state["position"])
        self.record, self.best_step = Record(**state["record"]), state["best_step"]
        self.validated, self.skipped, self.earlier = state["validated"], state["skipped"], state["seconds"]
        self.validator.seconds, self._saved = state["validation_seconds"], (self.step, self.validated)
        if state.get("planned") == self.config.max_steps and self.config.max_time is not None:
            self.config = self.config.model_copy(update={name: state["adapted"][name] for name in self.parts.guessed})
        self.progress.begin(self.step)
        if state["threads"] != torch.get_num_threads():
            threads = f"{torch.get_num_threads()} threads, {state['threads']} before"
            self.progress.say(f"warning: {threads}: the weights will not be bit for bit those of an unbroken run")
        self.progress.say(f"resuming at step {self.step}, epoch {self.position.epoch + 1}")


def batch_ceiling(wanted: int | Literal["auto"], device: torch.device) -> int:
    """Return the token budget of a batch; `auto` is what fills the kind of device without filling its memory."""
    return AUTO_BATCH_TOKENS[device.type] if wanted == "auto" else wanted
