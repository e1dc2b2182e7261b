"""What every training inside a peer's environment shares: its time, its tokenizer, its last weights."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from meter import BOS, EOS, PAD
from sentencepiece import SentencePieceTrainer
from torch import Tensor

UNK = 1
VALIDATIONS = 8
SAVES, AVERAGED = 20, 5
# Of these steps the pace is measured; so few that the learning rate has hardly left zero.
MEASURED = 25

State = dict[str, Tensor]


class Budget:
    """The seconds of a training, from the start of its process, and what is due when."""

    def __init__(self, task: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        self.begun, self.seconds, self.clock = task["begun"], task["seconds"], clock
        self.steps = self.saves = self.validations = 0
        self.first = 0.0  # when the first step was made

    def step(self) -> None:
        """Count a training step that was made."""
        self.steps += 1
        if self.steps == 1:
            self.first = self.clock()

    def is_over(self) -> bool:
        """Say whether the time is up."""
        return self.clock() - self.begun >= self.seconds

    def is_save_due(self) -> bool:
        """Say, once in each twentieth of the time, that it has passed."""
        before, self.saves = self.saves, self._parts(SAVES)
        return self.saves > before

    def is_validation_due(self) -> bool:
        """Say so once in each ninth of the time but the first, which makes eight; not before there was a step."""
        if not self.steps:
            return False
        before, self.validations = self.validations, self._parts(VALIDATIONS + 1)
        return self.validations > before

    def warmup(self, published: int) -> int:
        """Return the steps of the warm-up: as published, but no more than a fifth of the steps that fit.

        A training that ends while the rate still rises, or just after, would tell of the budget, not of the toolkit.
        """
        if self.steps != MEASURED:
            raise ValueError(f"the pace is that of {MEASURED} steps, not of {self.steps}")
        per_step = (self.clock() - self.first) / (MEASURED - 1)
        fitting = MEASURED + (self.begun + self.seconds - self.clock()) / per_step
        return max(1, min(published, int(fitting / 5)))

    def _parts(self, number: int) -> int:
        return int((self.clock() - self.begun) / self.seconds * number)


def highest_rate(published: float, warmup: int, shorter: int) -> float:
    """Return the highest learning rate for a shorter warm-up.

    The whole rate after a few dozen steps is too much where the norm comes after each layer: Transformer-Tiny, at 5e-3
    after 32 steps, knew no more than the most frequent pieces when its time ended, in both toolkits. The root of the
    share of the warm-up gives the rates of the schedule of arXiv 1706.03762, whose highest is warmup ** -0.5.
    """
    return published * (shorter / warmup) ** 0.5


class Weights:
    """The weights that are worth keeping: those that were best, and the last ones that were saved."""

    def __init__(self) -> None:
        self.highest, self.best = -1.0, State()
        self.recent: deque[State] = deque(maxlen=AVERAGED)

    def keep(self, state: Mapping[str, Tensor], budget: Budget, validated: Callable[[], float]) -> None:
        """Save and validate what is due, by the share of target pieces that are guessed right.

        That share needs no search, and where pairs are few it falls later than the loss rises, as BLEU does.
        """
        if budget.is_save_due():
            self.recent.append(_copy(state))
        if budget.is_validation_due():
            share = validated()
            print(f"step {budget.steps}: {share:.2%} of the pieces of the validation set", flush=True)
            if share > self.highest:
                self.highest, self.best = share, _copy(state)

    def better(self, validated: Callable[[State], float]) -> tuple[str, State]:
        """Return the average of the last weights or the best ones, what the validation set likes more, and its name."""
        averaged = mean(self.recent)
        share = validated(averaged)
        print(f"averaged: {share:.2%} of the pieces of the validation set", flush=True)
        return ("averaged", averaged) if share > self.highest else ("best", self.best)


def _copy(state: Mapping[str, Tensor]) -> State:
    return {name: values.detach().clone() for name, values in state.items()}


def mean(kept: Sequence[State]) -> State:
    """Return the mean of every tensor."""
    return {name: torch.stack([state[name] for state in kept]).mean(0) for name in kept[-1]}


def learn_tokenizer(task: Mapping[str, Any]) -> None:
    """Learn joint BPE of so many pieces, or of as many as the text yields."""
    SentencePieceTrainer.train(
        input=[task["source"], task["target"]], model_prefix=task["tokenizer"].removesuffix(".model"),
        model_type="bpe", vocab_size=task["pieces"], hard_vocab_limit=False, character_coverage=task["coverage"],
        pad_id=PAD, unk_id=UNK, bos_id=BOS, eos_id=EOS, num_threads=1, minloglevel=2,
    )  # fmt: skip
