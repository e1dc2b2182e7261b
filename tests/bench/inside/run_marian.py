"""Trains and translates with the Marian model of Hugging Face transformers, by a plain loop as its users write one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from meter import BOS, EOS, PAD, Meter, answer, job, lines, write
from sentencepiece import SentencePieceProcessor
from torch.nn.utils.rnn import pad_sequence
from transformers import MarianConfig, MarianMTModel

Pair = tuple[list[int], list[int]]


def batches(pairs: list[Pair], budget: int) -> list[list[Pair]]:
    """Cut pairs of like lengths into batches of at most `budget` padded pieces on the longer side."""
    order = sorted(pairs, key=lambda pair: (max(map(len, pair)), len(pair[0])))
    found: list[list[Pair]] = [[]]
    for pair in order:
        if found[-1] and (len(found[-1]) + 1) * max(map(len, pair)) > budget:
            found.append([])
        found[-1].append(pair)
    return found


def endless(pairs: list[Pair], budget: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield padded batches for ever, in an order that changes."""
    chance = random.Random(1)
    while True:
        found = batches(chance.sample(pairs, len(pairs)), budget)
        for batch in chance.sample(found, len(found)):
            yield tuple(padded([pair[side] for pair in batch]) for side in (0, 1))  # type: ignore[misc]


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Return (row, length) ids."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def train(task: dict[str, Any]) -> None:
    """Train until the meter has enough."""
    tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
    source = [[*ids, EOS] for ids in tokenizer.encode(lines(task["source"]))]
    target = [[*ids, EOS] for ids in tokenizer.encode(lines(task["target"]))]
    torch.manual_seed(1)
    model = MarianMTModel._from_config(MarianConfig.from_dict(task["config"]), attn_implementation=task["attention"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 600, (600 / (step + 1)) ** 0.5)
    )
    meter = Meter(task, sum(weights.numel() for weights in model.parameters() if weights.requires_grad))
    model.train()
    for ids, labels in endless(list(zip(source, target, strict=True)), task["budget"]):
        started = F.pad(labels[:, :-1], (1, 0), value=BOS)
        logits = model(input_ids=ids, attention_mask=(ids != PAD).long(), decoder_input_ids=started).logits
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if meter.step(int((labels != PAD).sum())):
            return


def translate(task: dict[str, Any]) -> None:
    """Translate a file in batches of like lengths."""
    tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
    model = MarianMTModel.from_pretrained(task["model"], attn_implementation=task["attention"]).eval()
    begun = time.perf_counter()
    sources = [[*ids, EOS] for ids in tokenizer.encode(lines(task["input"]))]
    order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), task["rows"]):
        rows = order[start : start + task["rows"]]
        ids = padded([sources[row] for row in rows])
        with torch.inference_mode():
            outputs = model.generate(
                input_ids=ids, attention_mask=(ids != PAD).long(), num_beams=task["beam"], length_penalty=1.0,
                max_new_tokens=2 * ids.shape[1] + 20, do_sample=False,
            )  # fmt: skip
        found |= dict(zip(rows, outputs.tolist(), strict=True))
    texts = tokenizer.decode([[piece for piece in found[row] if piece > EOS] for row in range(len(sources))])
    write(task["output"], texts)
    answer(task, seconds=time.perf_counter() - begun)


if __name__ == "__main__":
    task = job()
    {"train": train, "translate": translate}[task["do"]](task)
