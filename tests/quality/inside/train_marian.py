"""Trains the Marian model of Hugging Face transformers for a time; `run_marian` of the benchmark translates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from budget import MEASURED, Budget, State, Weights, highest_rate, learn_tokenizer
from meter import BOS, EOS, PAD, answer, job, lines
from run_marian import Pair, batches, endless, padded
from sentencepiece import SentencePieceProcessor
from torch import Tensor
from transformers import GenerationConfig, MarianConfig, MarianMTModel

LOGGED = 100  # steps


def pairs(tokenizer: SentencePieceProcessor, source: str, target: str) -> list[Pair]:
    """Return the pairs of two aligned files as ids."""
    sides = [[[*ids, EOS] for ids in tokenizer.encode(lines(file))] for file in (source, target)]
    return list(zip(*sides, strict=True))


def predicted(model: MarianMTModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Return (row, length, piece) logits of padded (row, length) labels."""
    started = F.pad(labels[:, :-1], (1, 0), value=BOS)
    logits: Tensor = model(input_ids=ids, attention_mask=(ids != PAD).long(), decoder_input_ids=started).logits
    return logits


@torch.no_grad()
def validated(model: MarianMTModel, held_out: Sequence[Sequence[Pair]]) -> float:
    """Return the share of target pieces guessed right."""
    model.eval()
    right = pieces = 0
    for batch in held_out:
        ids, labels = (padded([pair[side] for pair in batch]) for side in (0, 1))
        counts = labels != PAD
        right += int((predicted(model, ids, labels).argmax(-1) == labels)[counts].sum())
        pieces += int(counts.sum())
    model.train()
    return right / pieces


class Schedule:
    """The learning rate: a line upwards, then the inverse square root of the step."""

    def __init__(self, optimizer: torch.optim.Optimizer, rate: float, warmup: int) -> None:
        self.optimizer, self.rate, self.warmup = optimizer, rate, warmup

    def shorten(self, warmup: int) -> None:
        """Give it a shorter warm-up."""
        self.rate, self.warmup = highest_rate(self.rate, self.warmup, warmup), warmup

    def set(self, step: int) -> None:
        """Set the rate of a step, the first being 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(step / self.warmup, (self.warmup / step) ** 0.5)


def train(task: dict[str, Any]) -> None:
    """Train until the time is up; the model stays in a folder."""
    budget, weights = Budget(task), Weights()
    learn_tokenizer(task)
    tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
    data = pairs(tokenizer, task["source"], task["target"])
    held_out = batches(pairs(tokenizer, *task["validation"]), task["budget"])
    torch.manual_seed(1)
    sizes = {"vocab_size": tokenizer.get_piece_size(), "decoder_vocab_size": tokenizer.get_piece_size()}
    model = MarianMTModel._from_config(
        MarianConfig.from_dict({**task["model"], **sizes}), attn_implementation=task["attention"]
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), fused=True)
    schedule = Schedule(optimizer, task["rate"], task["warmup"])
    for ids, labels in endless(data, task["budget"]):
        if budget.steps == MEASURED:
            schedule.shorten(budget.warmup(task["warmup"]))
            print(f"warm-up of {schedule.warmup} steps", flush=True)
        weights.keep(model.state_dict(), budget, lambda: validated(model, held_out))
        if budget.is_over():
            break
        schedule.set(budget.steps + 1)
        logits = predicted(model, ids, labels)
        loss = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=PAD, label_smoothing=task["smoothing"]
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        budget.step()
        if budget.steps % LOGGED == 0:
            print(f"step {budget.steps}: loss {loss.item():.3f}", flush=True)
    seconds = budget.clock() - budget.begun
    model.generation_config = GenerationConfig(**task["generation"])
    name, found = weights.better(lambda state: validated(_with(state, model), held_out))
    _with(found, model).save_pretrained(Path(task["folder"]) / "model")
    answer(task, steps=budget.steps, seconds=seconds, weights=name)


def _with(state: State, model: MarianMTModel) -> MarianMTModel:
    model.load_state_dict(state)
    return model


if __name__ == "__main__":
    train(job())
