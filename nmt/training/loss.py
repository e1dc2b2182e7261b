"""The training loss; it knows logits and labels, not models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.batches import PAD

ROWS = 256  # labels looked at together: their fp32 logits stay in the cache of a CPU


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the label-smoothed cross-entropy in nats, summed over the labels that are not PAD.

    `logits` are (batch, time, vocab), `labels` (batch, time); the logits are overwritten. The mass `smoothing` is spread evenly over the whole
    vocabulary (arXiv 1512.00567 section 7): (1 - e) * nll - e / V * sum of log p.
    """
    summed: Tensor = _CrossEntropy.apply(logits.flatten(0, 1), labels.flatten(), smoothing)  # type: ignore[no-untyped-call]
    return summed


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over the logits, which are the largest tensor of a step.

    d loss / d logits = p - (1 - e) * [label] - e / V, so the probabilities are all that is needed; the gradient is made
    while they are at hand, and takes the place of the logits, which no layer needs for its own gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        rows = ROWS if logits.device.type == "cpu" else len(logits)
        for some, their in zip(logits.split(rows), labels.split(rows), strict=True):  # some is (label, vocab)
            wide = some.to(torch.promote_types(some.dtype, torch.float32))
            probability = wide.softmax(-1)
            # The likeliest token's probability is at least 1 / V, so its logarithm is safe where a label's may not be.
            normaliser = wide.amax(-1) - probability.amax(-1).log()
            counts = (their != PAD).to(wide.dtype)
            chosen = wide.gather(1, their[:, None])[:, 0]
            loss = normaliser - (1 - smoothing) * chosen - smoothing * wide.mean(-1)
            total = total + (loss * counts).sum()
            gradient = torch.sub(probability, smoothing / logits.shape[1], out=probability)
            gradient.scatter_add_(1, their[:, None], gradient.new_full((len(their), 1), smoothing - 1))
            torch.mul(gradient, counts[:, None], out=some)
        ctx.gradient = logits
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient.mul_(outputs[0]), None, None
