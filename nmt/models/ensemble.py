"""Several models that translate as one: memory and state are tuples of the members', and probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.batches import Padded
from nmt.models.interface import Seq2Seq

Trees = tuple[Any, ...]  # the members' memories or states, in their order


class Ensemble:
    """Models of any kind with the same ids; implements `Seq2Seq[Trees, Trees]`.

    What stands for logits is the logarithm of the mean of the members' probabilities, in fp32 at least.
    """

    def __init__(self, members: Sequence[Seq2Seq[Any, Any]]) -> None:
        self.members = tuple(members)

    def __call__(self, source: Padded, target: Tensor) -> Tensor:
        """Return log-probabilities (batch, time, vocab) for target inputs (batch, time)."""
        return log_mean([member(source, target) for member in self.members])

    def encode(self, source: Padded) -> Trees:
        """Return what each member reads of the source."""
        return tuple(member.encode(source) for member in self.members)

    def start(self, memory: Trees, beam: int, length: int) -> Trees:
        """Return each member's state before the first token."""
        pairs = zip(self.members, memory, strict=True)
        return tuple(member.start(own, beam, length) for member, own in pairs)

    def step(self, tokens: Tensor, state: Trees, memory: Trees) -> tuple[Tensor, Trees]:
        """Return log-probabilities (batch, beam, vocab) and the next states."""
        parts = zip(self.members, state, memory, strict=True)
        answers = [member.step(tokens, old, own) for member, old, own in parts]
        return log_mean([logits for logits, _ in answers]), tuple(after for _, after in answers)

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """Return "cross" (batch, 1, 1, query, key), the mean over the members that attend, all layers and heads."""
        maps = [member.attention(source, target) for member in self.members]
        cross = [each["cross"].float().mean((1, 2), keepdim=True) for each in maps if "cross" in each]
        return {"cross": torch.stack(cross).mean(0)} if cross else {}


def log_mean(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the probabilities that several logits (..., vocab) stand for.

    Adding probabilities takes a quarter of the time of adding logarithms, and makes 0 of what is below 1e-38: it is
    lifted to that, since a token that is asked for may be as unlikely.
    """
    wide = torch.promote_types(logits[0].dtype, torch.float32)  # sums of half precision drift
    total = logits[0].softmax(-1, dtype=wide)
    for each in logits[1:]:
        total += each.softmax(-1, dtype=wide)
    return total.div_(len(logits)).clamp_(min=torch.finfo(wide).tiny).log_()


def together(members: Sequence[Seq2Seq[Any, Any]]) -> Seq2Seq[Any, Any]:
    """Return the models as one, which a single one is already."""
    return members[0] if len(members) == 1 else Ensemble(members)
