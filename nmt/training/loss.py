"""The training losses; they know what the output layer reads, its weights and labels, not models."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.batches import PAD
from nmt.frozen import FrozenLinear

ROWS = {"cpu": 512}  # labels whose logits are looked at together: they stay in the cache of a CPU
ALL = 16_384  # of them elsewhere
UNLIKELY = 1e-30  # far above the least number of fp32 with all its digits, 1e-38


class Shares(NamedTuple):
    """What is in the loss beside the likelihood of the labels."""

    smoothing: float  # mass spread over the whole vocabulary
    alpha: float = 0.0  # of the divergence between two readings


def smoothed_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the label-smoothed cross-entropy in nats, summed over the labels that are not PAD.

    The logits are `states` (batch, time, features) times `weight` (vocab, features) transposed; `labels` are
    (batch, time). The mass `smoothing` is spread evenly over the whole vocabulary (arXiv 1512.00567 section 7):
    (1 - e) * nll - e / V * sum of log p.
    """
    rows, labels = _counted(states[None], labels)
    summed: Tensor = _CrossEntropy.apply(rows, weight, labels, Shares(smoothing))  # type: ignore[no-untyped-call]
    return summed


def agreeing_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float, alpha: float) -> Tensor:
    """Return R-Drop's loss (arXiv 2106.14448 equation 4), halved, so that without dropout it is the cross-entropy.

    `states` (2 * batch, time, features) are of one batch read twice, with dropout of its own each time. The loss is
    the mean of both cross-entropies and alpha / 4 * (KL(p, q) + KL(q, p)) between what the two readings predict.
    """
    rows, labels = _counted(states.view(2, -1, *states.shape[1:]), labels)
    summed: Tensor = _CrossEntropy.apply(rows, weight, labels, Shares(smoothing, alpha))  # type: ignore[no-untyped-call]
    return summed


def _waits(tensor: Tensor) -> bool:
    """Say whether the CPU would have to wait for an answer about the tensor, as it has for one on a GPU."""
    return tensor.device.type != "cpu"


def _counted(states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten states (reading, batch, time, features) and labels (batch, time), on a CPU without what is PAD."""
    rows, labels = states.flatten(1, 2), labels.flatten()
    if _waits(labels):  # for the count
        return rows, labels
    counted = (labels != PAD).nonzero()[:, 0]
    return rows.index_select(1, counted), labels[counted]


class _CrossEntropy(torch.autograd.Function):
    """Output layer, loss and both gradients, some labels at a time: the logits of all are the largest tensor of a step.

    d loss / d logits = p - (1 - e) * [label] - e / V: the probabilities are all that is needed, and they are at hand.
    Of several readings of the same labels, states (reading, label, features), the mean counts.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, shares: Shares) -> Tensor:
        smoothing, alpha = shares
        wide = torch.promote_types(states.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states.device)
        is_learning = any(ctx.needs_input_grad)
        by_states = torch.empty_like(states) if is_learning else None
        by_weight = torch.zeros_like(weight, dtype=wide) if is_learning else None
        readings = len(states)
        size = max(1, ROWS.get(states.device.type, ALL) // readings)
        output = FrozenLinear(weight)  # laid out once for all products with it, not once for each
        backward = FrozenLinear(weight.T) if is_learning else output
        # What smoothing spreads evenly needs no pass over the vocabulary: the mean of a state's logits is the state
        # times the mean row of the weights, and the gradients lose the same share everywhere.
        share = (labels != PAD).to(wide)[:, None] * (smoothing / readings)
        evenly, middle = (share * states).sum((0, 1)), weight.to(wide).mean(0)  # (features)
        total -= evenly @ middle
        for start in range(0, len(labels), size):
            some, their = states[:, start : start + size], labels[start : start + size, None]
            places = their.expand(readings, -1, 1)
            counts = their != PAD
            logits = output(some)  # (reading, label, vocab)
            if _waits(logits) and not alpha:
                probability, chosen, normaliser = _narrow(logits, places, wide)
            else:
                logits = logits.to(wide)
                probability = logits.softmax(-1)
                chosen = logits.gather(2, places)[..., 0]
                normaliser = _normaliser(logits, probability, chosen, places)
            loss = normaliser - (1 - smoothing) * chosen
            agreement = _agreement(logits - normaliser[..., None], probability, alpha) if alpha else None
            if agreement is not None:
                loss += agreement[0]
            total += (loss.mean(0) * counts[:, 0]).sum()
            if by_states is None or by_weight is None:
                continue
            wanted = (chosen - normaliser).exp() - (1 - smoothing)  # (reading, label)
            gradient = probability.scatter_(2, places, wanted[..., None].to(probability.dtype))
            if agreement is not None:
                gradient += agreement[1]
            narrow = gradient.to(states.dtype)
            back = backward(narrow)
            if _waits(states) or readings > 1:  # here, where a label has fewer features than logits
                weights = counts.to(states.dtype) / readings
                back, some = back * weights, some * weights
            by_states[:, start : start + size] = back
            for mine, read in zip(narrow, some, strict=True):
                if mine.dtype == by_weight.dtype:
                    by_weight.addmm_(mine.T, read)
                else:
                    by_weight += mine.T @ read
        if by_states is not None and by_weight is not None:
            by_states -= share * middle
            by_weight -= evenly / len(weight)
            ctx.gradients = by_states, by_weight.to(weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_states, by_weight = ctx.gradients
        return by_states * outputs[0], by_weight * outputs[0], None, None


def _narrow(logits: Tensor, places: Tensor, wide: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities in the precision of the logits, the labels' logits and log sum exp(logits), both `wide`.

    A GPU spends its time on reading and writing what is as large as the vocabulary: it does so as seldom as can be.
    """
    logs = logits.log_softmax(-1, dtype=wide)
    chosen = logits.gather(2, places)[..., 0].to(wide)
    normaliser = chosen - logs.gather(2, places)[..., 0]
    likely = torch.exp(logs, out=torch.empty_like(logits)) if logs.is_cuda else logs.exp_().to(logits.dtype)
    return likely, chosen, normaliser


def _normaliser(logits: Tensor, probability: Tensor, chosen: Tensor, places: Tensor) -> Tensor:
    """Return log sum exp(logits), (reading, label): any token's logit less the logarithm of its probability.

    Of the label both are at hand, and it serves unless it is so unlikely that its probability has no digits left; the
    likeliest token, whose probability is at least 1 / V, always does.
    """
    if not _waits(logits):  # for whether it is
        likelihood = probability.gather(2, places)[..., 0]
        if bool((likelihood > UNLIKELY).all()):
            return chosen - likelihood.log()
    return logits.amax(-1) - probability.amax(-1).log()


def _agreement(logs: Tensor, probability: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return alpha / 4 * (KL(p, q) + KL(q, p)) per label, and twice its gradient by the logits of p and of q.

    `logs` and `probability` are (2, label, vocab). KL(p, q) + KL(q, p) = sum of (p - q) (log p - log q); by the logits
    of p its gradient is p * (log p - log q - KL(p, q)) + p - q. (Twice, because the mean of both readings is taken.)
    """
    apart = logs[0] - logs[1]  # (label, vocab)
    apart = torch.stack((apart, -apart))
    divergence = (probability * apart).sum(-1, keepdim=True)  # (2, label, 1): KL(p, q), KL(q, p)
    gradient = probability * (apart - divergence) + (probability - probability.flip(0))
    return alpha / 4 * divergence.sum(0)[:, 0], gradient.mul_(alpha / 2)
