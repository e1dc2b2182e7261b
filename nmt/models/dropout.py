"""Dropout that is cheap on a CPU; it knows nothing of where it is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 256  # the chance is rounded to a byte's fineness


class _Own(threading.local):
    generator: torch.Generator | None = None


_own = _Own()


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Draw what is dropped on a CPU from a generator of this thread alone, whatever other threads draw meanwhile."""
    _own.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _own.generator = None


def again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what to compute layers in now, and again in the backward pass, where the same has to be dropped."""
    generator = _own.generator
    return nullcontext(), nullcontext() if generator is None else _from(generator.get_state())


@contextmanager
def _from(state: Tensor) -> Iterator[None]:
    usual, _own.generator = _own.generator, torch.Generator()
    _own.generator.set_state(state)
    try:
        yield
    finally:
        _own.generator = usual


class Dropout(nn.Module):
    """Sets features to zero with a chance, in training only, and scales the others up (Srivastava et al. 2014).

    On a CPU the mask is made of random bytes, eight out of one draw: torch's own draws a number per feature, which
    took a sixth of a training step.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the shape of `inputs`."""
        return dropout(inputs, self.chance) if self.training else inputs


class WordDropout(Dropout):
    """Sets all features of a word to zero with a chance, in training only (Gal and Ghahramani, arXiv 1512.05287)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the shape of `inputs` (batch, time, features)."""
        if not self.training or not self.chance:
            return inputs
        return inputs * dropout(torch.ones_like(inputs[..., :1]), self.chance)


def dropout(inputs: Tensor, chance: float) -> Tensor:
    """Return `inputs` with each feature dropped by `chance`, the others scaled so that the mean stays."""
    dropped = min(round(chance * LEVELS), LEVELS - 1)
    if inputs.device.type != "cpu" or not dropped:
        return F.dropout(inputs, chance)
    draws = torch.empty(-(-inputs.numel() // 8), dtype=torch.int64).random_(-(2**63), None, generator=_own.generator)
    first = dropped - LEVELS // 2  # of the bytes from -128 that keep a feature; comparing takes ten times as long
    kept = draws.view(torch.int8)[: inputs.numel()].view(inputs.shape).clamp_(first - 1, first).sub_(first - 1)
    return cast(Tensor, _Keep.apply(inputs, kept, LEVELS / (LEVELS - dropped)))  # type: ignore[no-untyped-call]


class _Keep(torch.autograd.Function):
    """Inputs times mask (0 or 1) times scale; only the mask is held until the backward pass, a byte a feature."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return kept.to(inputs.dtype).mul_(scale).mul_(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradients[0].dtype).mul_(ctx.scale).mul_(gradients[0]), None, None
