"""The training loss; it knows what the output layer reads, its weights and labels, not models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.batches import PAD
from nmt.frozen import FrozenLinear

ROWS = {"cpu": 512}  # labels whose logits are looked at together: they stay in the cache of a CPU
ALL = 16_384  # of them elsewhere


def smoothed_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the label-smoothed cross-entropy in nats, summed over the labels that are not PAD.

    The logits are `states` (batch, time, features) times `weight` (vocab, features) transposed; `labels` are
    (batch, time). The mass `smoothing` is spread evenly over the whole vocabulary (arXiv 1512.00567 section 7):
    (1 - e) * nll - e / V * sum of log p.
    """
    labels = labels.flatten()
    counted = (labels != PAD).nonzero()[:, 0] if labels.device.type == "cpu" else None  # a GPU would wait
    rows = states.flatten(0, 1)
    if counted is not None:
        rows, labels = rows.index_select(0, counted), labels[counted]
    summed: Tensor = _CrossEntropy.apply(rows, weight, labels, smoothing)  # type: ignore[no-untyped-call]
    return summed


class _CrossEntropy(torch.autograd.Function):
    """Output layer, loss and both gradients, some labels at a time: the logits of all are the largest tensor of a step.

    d loss / d logits = p - (1 - e) * [label] - e / V: the probabilities are all that is needed, and they are at hand.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        wide = torch.promote_types(states.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states.device)
        is_learning = any(ctx.needs_input_grad)
        by_states = torch.empty_like(states) if is_learning else None
        by_weight = torch.zeros_like(weight, dtype=wide) if is_learning else None
        size = ROWS.get(states.device.type, ALL)
        output = FrozenLinear(weight)  # laid out once for all products with it, not once for each
        backward = FrozenLinear(weight.T) if is_learning else output
        for start in range(0, len(labels), size):
            some, their = states[start : start + size], labels[start : start + size, None]
            logits = output(some).to(wide)  # (label, vocab)
            probability = logits.softmax(-1)
            # The likeliest token's probability is at least 1 / V, so its logarithm is safe where a label's may not be.
            normaliser = logits.amax(-1) - probability.amax(-1).log()
            chosen = logits.gather(1, their)[:, 0]
            loss = normaliser - (1 - smoothing) * chosen
            if smoothing:
                loss -= smoothing * logits.mean(-1)
            counts = their != PAD
            total += (loss * counts[:, 0]).sum()
            if by_states is None or by_weight is None:
                continue
            gradient = probability.sub_(smoothing / len(weight)) if smoothing else probability
            gradient.scatter_add_(1, their, gradient.new_full(their.shape, smoothing - 1))
            if states.device.type != "cpu":
                gradient *= counts
            narrow = gradient.to(states.dtype)
            by_states[start : start + size] = backward(narrow)
            if narrow.dtype == by_weight.dtype:
                by_weight.addmm_(narrow.T, some)
            else:
                by_weight += narrow.T @ some
        if by_weight is not None:
            ctx.gradients = by_states, by_weight.to(weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_states, by_weight = ctx.gradients
        return by_states * outputs[0], by_weight * outputs[0], None, None
