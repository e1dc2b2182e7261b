"""The gradients of batches as one launch each, on a GPU; it knows nothing of models, losses or optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nmt import graphs

MOST = 256  # shapes; a corpus that is cut into batches alike in every epoch has fewer

# source ids, target ids, what the loss is divided by -> loss, gradients
Gradients = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Sequence[Tensor]]]


class _Recording(NamedTuple):
    inputs: tuple[Tensor, Tensor, Tensor]
    loss: Tensor
    replay: Callable[[], None]


class RecordedGradients:
    """Computes gradients of batches of every shape, and records those whose shape comes again."""

    def __init__(self, compute: Gradients, weights: Sequence[Tensor]) -> None:
        """Return gradients in the precision of `weights` and in their order, always in the same tensors."""
        self._compute = compute
        self._weights, self._gradients = weights, list[Tensor]()
        self._seen = set[tuple[torch.Size, torch.Size]]()
        self._kept = dict[tuple[torch.Size, torch.Size], _Recording]()

    def __call__(self, source: Tensor, target: Tensor, tokens: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return loss and gradients; the next call overwrites both."""
        inputs, shapes = (source, target, tokens), (source.shape, target.shape)
        self._gradients = self._gradients or [torch.empty_like(each) for each in self._weights]
        if shapes in self._kept:
            recording = self._kept[shapes]
            for mine, given in zip(recording.inputs, inputs, strict=True):
                mine.copy_(given, non_blocking=True)
        elif shapes in self._seen and len(self._kept) < MOST:
            recording = self._kept[shapes] = self._recorded(*inputs)
        else:
            self._seen.add(shapes)
            loss, gradients = self._compute(*inputs)
            torch._foreach_copy_(self._gradients, list(gradients))
            return loss, self._gradients
        recording.replay()
        return recording.loss, self._gradients

    def _recorded(self, source: Tensor, target: Tensor, tokens: Tensor) -> _Recording:
        inputs, loss = (source.clone(), target.clone(), tokens.clone()), torch.zeros_like(tokens)

        def again() -> None:
            found, gradients = self._compute(*inputs)
            torch._foreach_copy_(self._gradients, list(gradients))
            loss.copy_(found)

        return _Recording(inputs, loss, graphs.record(again, source.device))
