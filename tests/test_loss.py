"""Label-smoothed cross-entropy in closed form, and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.batches import PAD
from nmt.training.loss import smoothed_cross_entropy

VOCAB = 7
SMOOTHING = (0.0, 0.1, 0.6)


def example(rows: int = 5, time: int = 90) -> tuple[Tensor, Tensor]:
    """Logits and labels, the last ones of each row PAD; more of them than are looked at together."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(rows, time, VOCAB, dtype=torch.float64, generator=generator)
    labels = torch.randint(1, VOCAB, (rows, time), generator=generator)
    for row in range(rows):
        labels[row, time - row :] = PAD
    return logits, labels


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_smoothing_in_closed_form(smoothing: float) -> None:
    """(1 - e) * nll + e / V * the sum over the whole vocabulary, label and PAD included; no word counts after PAD."""
    logits, labels = example()
    expected = 0.0
    for scores, label in zip(logits.flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True):
        if label != PAD:
            normaliser = math.log(sum(map(math.exp, scores)))
            nll = [normaliser - score for score in scores]
            expected += (1 - smoothing) * nll[label] + smoothing / VOCAB * sum(nll)
    assert float(smoothed_cross_entropy(logits, labels, smoothing)) == pytest.approx(expected, abs=0, rel=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_it_is_torchs_loss_and_gradient(smoothing: float) -> None:
    logits, labels = (tensor.requires_grad_(tensor.is_floating_point()) for tensor in example())
    own = smoothed_cross_entropy(logits, labels, smoothing)
    other = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(own, other, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss / 13, logits)[0] for loss in (own, other)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


def test_without_smoothing_it_is_the_negative_log_likelihood() -> None:
    logits, labels = example()
    likelihood = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0]
    expected = -likelihood[labels != PAD].sum()
    torch.testing.assert_close(smoothed_cross_entropy(logits, labels, 0.0), expected, rtol=1e-12, atol=0)


def test_the_best_possible_loss_is_the_entropy_of_the_smoothed_labels() -> None:
    """A model that says exactly 1 - e + e / V for the label and e / V for all else can do no better."""
    smoothing, label = 0.1, torch.tensor([[3]])
    wanted = torch.full((VOCAB,), smoothing / VOCAB, dtype=torch.float64)
    wanted[3] += 1 - smoothing
    logits = wanted.log()[None, None].requires_grad_()
    loss = smoothed_cross_entropy(logits, label, smoothing)
    assert loss.item() == pytest.approx(float(-(wanted * wanted.log()).sum()), rel=1e-12)
    assert float(torch.autograd.grad(loss, logits)[0].abs().max()) < 1e-15


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_equal_scores_cost_the_logarithm_of_the_vocabulary(smoothing: float) -> None:
    assert float(smoothed_cross_entropy(torch.zeros(1, 1, 1000), torch.tensor([[5]]), smoothing)) == pytest.approx(
        math.log(1000), rel=1e-6
    )


def test_the_gradient_is_that_of_the_loss() -> None:
    logits, labels = example(rows=2, time=3)
    assert torch.autograd.gradcheck(lambda scores: smoothed_cross_entropy(scores, labels, 0.1), logits.requires_grad_())


def test_huge_scores_stay_finite() -> None:
    logits = torch.tensor([[[0.0, -3e38, 3e4, 0.0], [0.0, 1e4, -1e4, 0.0]]], requires_grad=True)
    loss = smoothed_cross_entropy(logits, torch.tensor([[2, 2]]), 0.0)
    assert loss.item() == pytest.approx(2e4)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_half_precision_is_summed_in_fp32() -> None:
    """A sum of 4,050 losses of about 5 nats in bf16 would stop growing at 2,048."""
    logits, labels = example(rows=90, time=45)
    logits = logits.bfloat16().requires_grad_()
    labels = labels.clamp(min=1)
    loss = smoothed_cross_entropy(logits, labels, 0.1)
    exact = F.cross_entropy(logits.double().flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    assert torch.autograd.grad(loss, logits)[0].dtype == torch.bfloat16
