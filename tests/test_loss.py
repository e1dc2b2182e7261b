"""Label-smoothed cross-entropy in closed form, and its gradients through the output layer."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.batches import PAD
from nmt.training import loss as module
from nmt.training.loss import agreeing_cross_entropy, smoothed_cross_entropy

VOCAB = 7
FEATURES = 4
SMOOTHING = (0.0, 0.1, 0.6)
# Only a CPU leaves PAD labels out beforehand; "waiting" is a CPU that does what a GPU does.
DEVICES = ("cpu", "waiting", *(["cuda"] if torch.cuda.is_available() else []))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "waiting":
        monkeypatch.setattr(module, "_waits", lambda tensor: True)
        return "cpu"
    return str(request.param)


def example(rows: int = 5, time: int = 130) -> tuple[Tensor, Tensor, Tensor]:
    """States, weight and labels, the last ones of each row PAD; more of them than a CPU looks at together."""
    generator = torch.Generator().manual_seed(1)
    states = 2 * torch.randn(rows, time, FEATURES, dtype=torch.float64, generator=generator)
    weight = torch.randn(VOCAB, FEATURES, dtype=torch.float64, generator=generator)
    labels = torch.randint(1, VOCAB, (rows, time), generator=generator)
    for row in range(rows):
        labels[row, time - row :] = PAD
    return states, weight, labels


def learnable(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def torchs(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    logits = (states @ weight.T).flatten(0, 1)
    return F.cross_entropy(logits, labels.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_smoothing_in_closed_form(smoothing: float) -> None:
    """(1 - e) * nll + e / V * the sum over the whole vocabulary, label and PAD included; no word counts after PAD."""
    states, weight, labels = example()
    expected = 0.0
    for scores, label in zip((states @ weight.T).flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True):
        if label != PAD:
            normaliser = math.log(sum(map(math.exp, scores)))
            nll = [normaliser - score for score in scores]
            expected += (1 - smoothing) * nll[label] + smoothing / VOCAB * sum(nll)
    assert float(smoothed_cross_entropy(states, weight, labels, smoothing)) == pytest.approx(expected, abs=0, rel=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_it_is_torchs_loss_and_gradients(smoothing: float, device: str) -> None:
    states, weight, labels = (tensor.to(device) for tensor in example())
    states, weight = learnable(states, weight)
    own, other = (function(states, weight, labels, smoothing) for function in (smoothed_cross_entropy, torchs))
    torch.testing.assert_close(own, other, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss / 13, (states, weight)) for loss in (own, other)]
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_how_many_labels_are_looked_at_together_changes_nothing(
    size: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, weight, labels = (tensor.to(device) for tensor in example())
    assert int((labels != PAD).sum()) > module.ROWS["cpu"]
    states, weight = learnable(states, weight)
    usual = smoothed_cross_entropy(states, weight, labels, 0.1)
    expected = torch.autograd.grad(usual, (states, weight))
    monkeypatch.setitem(module.ROWS, device, size)
    loss = smoothed_cross_entropy(states, weight, labels, 0.1)
    torch.testing.assert_close(loss, usual, rtol=1e-12, atol=0)
    for mine, theirs in zip(torch.autograd.grad(loss, (states, weight)), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_padding_adds_nothing(smoothing: float, device: str) -> None:
    """Whatever the states are there: neither the loss nor a gradient is another one than without those places."""
    states, weight, labels = (tensor.to(device) for tensor in example(rows=4, time=9))
    states[labels == PAD] *= 100
    states, weight = learnable(states, weight)
    loss = smoothed_cross_entropy(states, weight, labels, smoothing)
    by_states, by_weight = torch.autograd.grad(loss, (states, weight))
    (counted,) = learnable(states[labels != PAD][None])
    alone = smoothed_cross_entropy(counted, weight, labels[labels != PAD][None], smoothing)
    expected = torch.autograd.grad(alone, (counted, weight))
    torch.testing.assert_close(loss, alone, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_states[labels != PAD], expected[0][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_weight, expected[1], rtol=1e-12, atol=1e-12)
    assert not by_states[labels == PAD].any()


def test_nothing_but_padding_costs_nothing(device: str) -> None:
    states, weight, labels = (tensor.to(device) for tensor in example(rows=2, time=3))
    states, weight = learnable(states, weight)
    loss = smoothed_cross_entropy(states, weight, torch.full_like(labels, PAD), 0.1)
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, (states, weight)))


def test_without_smoothing_it_is_the_negative_log_likelihood() -> None:
    states, weight, labels = example()
    likelihood = (states @ weight.T).log_softmax(-1).gather(2, labels[..., None])[..., 0]
    expected = -likelihood[labels != PAD].sum()
    torch.testing.assert_close(smoothed_cross_entropy(states, weight, labels, 0.0), expected, rtol=1e-12, atol=0)


def test_the_best_possible_loss_is_the_entropy_of_the_smoothed_labels() -> None:
    """A model that says exactly 1 - e + e / V for the label and e / V for all else can do no better."""
    smoothing, label = 0.1, torch.tensor([[3]])
    wanted = torch.full((VOCAB,), smoothing / VOCAB, dtype=torch.float64)
    wanted[3] += 1 - smoothing
    weight = torch.randn(VOCAB, VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    states, weight = learnable(torch.linalg.solve(weight, wanted.log())[None, None], weight)
    loss = smoothed_cross_entropy(states, weight, label, smoothing)
    assert loss.item() == pytest.approx(float(-(wanted * wanted.log()).sum()), rel=1e-12)
    assert all(float(gradient.abs().max()) < 1e-13 for gradient in torch.autograd.grad(loss, (states, weight)))


# ---- two readings of a batch --------------------------------------------------------------------------------------


def agreeing(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float, alpha: float) -> Tensor:
    """R-Drop as its paper writes it (2106.14448 equations 1 to 4), halved, with torch's own functions."""
    logs = (states @ weight.T).log_softmax(-1).unflatten(0, (2, -1))[:, labels != PAD]  # (2, label, vocab)
    divergence = sum(F.kl_div(logs[one], logs[1 - one], log_target=True, reduction="sum") for one in (0, 1)) / 2
    likelihood = torchs(states, weight, labels.repeat(2, 1), smoothing)
    return (likelihood + alpha * divergence) / 2


@pytest.mark.parametrize(("smoothing", "alpha"), [(0.0, 1.0), (0.1, 5.0)])
def test_two_readings_cost_their_mean_and_how_far_they_are_apart(smoothing: float, alpha: float, device: str) -> None:
    states, weight, labels = (tensor.to(device) for tensor in example())
    noise = torch.randn(2, 1, 1, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(device)
    states, weight = learnable((states + noise).flatten(0, 1), weight)
    own, other = (function(states, weight, labels, smoothing, alpha) for function in (agreeing_cross_entropy, agreeing))
    torch.testing.assert_close(own, other, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, (states, weight)) for loss in (own, other)]
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)


def test_two_equal_readings_cost_what_one_does() -> None:
    states, weight, labels = example()
    once, twice = learnable(states, states.repeat(2, 1, 1))
    (weight,) = learnable(weight)
    losses = (
        smoothed_cross_entropy(once, weight, labels, 0.1),
        agreeing_cross_entropy(twice, weight, labels, 0.1, 5.0),
    )
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    (one, by_weight), (two, by_weight_too) = (
        torch.autograd.grad(loss, (own, weight)) for loss, own in zip(losses, (once, twice), strict=True)
    )
    torch.testing.assert_close(two.unflatten(0, (2, -1)).sum(0), one, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(by_weight_too, by_weight, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_equal_scores_cost_the_logarithm_of_the_vocabulary(smoothing: float) -> None:
    loss = smoothed_cross_entropy(torch.zeros(1, 1, 3), torch.randn(1000, 3), torch.tensor([[5]]), smoothing)
    assert float(loss) == pytest.approx(math.log(1000), rel=1e-6)


def test_the_gradients_are_those_of_the_loss() -> None:
    states, weight, labels = example(rows=2, time=3)

    def loss(states: Tensor, weight: Tensor) -> Tensor:
        return smoothed_cross_entropy(states, weight, labels, 0.1)

    assert torch.autograd.gradcheck(loss, learnable(states, weight))


@pytest.mark.parametrize("who", ["states", "weight", "nobody"])
def test_what_does_not_learn_has_no_gradient_and_changes_no_loss(who: str) -> None:
    states, weight, labels = example()
    expected = smoothed_cross_entropy(*learnable(states, weight), labels, 0.1).detach()
    states.requires_grad_(who == "states")
    weight.requires_grad_(who == "weight")
    loss = smoothed_cross_entropy(states, weight, labels, 0.1)
    assert torch.equal(loss.detach(), expected)
    assert loss.requires_grad == (who != "nobody")
    if who != "nobody":
        loss.backward()
    assert ((states.grad is not None), (weight.grad is not None)) == (who == "states", who == "weight")


def test_huge_scores_stay_finite() -> None:
    states, weight = learnable(torch.tensor([[[0.0, -3e38, 3e4, 0.0], [0.0, 1e4, -1e4, 0.0]]]), torch.eye(4))
    loss = smoothed_cross_entropy(states, weight, torch.tensor([[2, 2]]), 0.0)
    assert loss.item() == pytest.approx(2e4)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, (states, weight)))


def test_half_precision_stays_near(device: str) -> None:
    states, weight, labels = (tensor.to(device) for tensor in example(rows=9, time=100))
    wide = learnable(states.float(), weight.float())
    half = learnable(states.bfloat16(), weight.bfloat16())
    expected = smoothed_cross_entropy(*wide, labels, 0.1)
    loss = smoothed_cross_entropy(*half, labels, 0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=5e-3)
    for mine, theirs in zip(torch.autograd.grad(loss, half), torch.autograd.grad(expected, wide), strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine.float() - theirs).norm() / theirs.norm()) < 0.02


def test_half_precision_is_summed_in_fp32() -> None:
    """A sum of 4,050 losses of about 5 nats in bf16 would stop growing at 2,048.

    The products are with ones and zeros, so that the logits themselves are exact.
    """
    states, _, labels = example(rows=90, time=45)
    states = torch.cat((states, -states[..., : VOCAB - FEATURES]), dim=-1)
    half = learnable(3 * states.bfloat16(), torch.eye(VOCAB, dtype=torch.bfloat16))
    labels = labels.clamp(min=1)
    loss = smoothed_cross_entropy(*half, labels, 0.1)
    exact = torchs(*(tensor.double() for tensor in half), labels, 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_the_gradient_of_weights_in_half_precision_is_summed_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand equal parts bf16, whose numbers have eight digits, would add up a quarter."""
    monkeypatch.setitem(module.ROWS, "cpu", 4)
    _, weight, _ = example()
    states = torch.tensor([0.5, 1.0, 1.5, 2.0]).expand(1, 4096, FEATURES)
    half, wide = (learnable(states.to(dtype), weight.to(dtype)) for dtype in (torch.bfloat16, torch.float64))
    labels = torch.full((1, 4096), 3)
    (found,) = torch.autograd.grad(smoothed_cross_entropy(*half, labels, 0.1), half[1:])
    (expected,) = torch.autograd.grad(torchs(*wide, labels, 0.1), wide[1:])
    assert float((found.double() - expected).norm() / expected.norm()) < 0.02
