"""Averages of weights: a running one during training, the mean of checkpoints after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class RunningAverage:
    """An exponential moving average of parameters, kept in the parameters of a second model."""

    def __init__(self, averaged: Iterable[Tensor], parameters: Iterable[Tensor], decay: float) -> None:
        self.averaged, self.parameters, self.decay = list(averaged), list(parameters), decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the parameters after step `step`, counted from 1.

        The decay grows with the steps, so that the random start is soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averaged, self.parameters, 1 - decay)


def mean(checkpoints: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several checkpoints' weights, summed in fp64."""
    return {
        name: torch.stack([weights[name].double() for weights in checkpoints]).mean(0).to(first.dtype)
        for name, first in checkpoints[0].items()
    }
