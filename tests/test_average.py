"""Averages of weights: running ones by hand, means of checkpoints in fp64."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from nmt.training.average import RunningAverage, mean


def weights(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (5, 3), "bias": (3,), "empty": (0, 2)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_mean_of_equals_is_each_of_them(count: int) -> None:
    for name, tensor in mean([weights(1)] * count).items():
        assert torch.equal(tensor, weights(1)[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_is_arithmetic_in_fp64(dtype: torch.dtype) -> None:
    several = [weights(seed, dtype) for seed in range(5)]
    found = mean(several)
    assert set(found) == set(several[0])
    for name, tensor in found.items():
        exact = sum(one[name].double() for one in several) / len(several)
        assert tensor.dtype == dtype
        assert torch.equal(tensor, torch.as_tensor(exact).to(dtype))


def test_the_order_of_checkpoints_does_not_matter() -> None:
    means = [mean(list(order)) for order in itertools.permutations([weights(seed) for seed in range(3)])]
    for other in means[1:]:
        for name, tensor in other.items():
            torch.testing.assert_close(tensor, means[0][name], rtol=0, atol=1e-7)


def test_the_running_average_by_hand() -> None:
    """a_t = d a_{t-1} + (1 - d) w_t with d = min(decay, (1 + t) / (10 + t)), so that the start is soon forgotten."""
    own, averaged = torch.zeros(2, 2, dtype=torch.float64), torch.full((2, 2), 8.0, dtype=torch.float64)
    running = RunningAverage([averaged], [own], decay=0.4)
    expected = 8.0
    for step in range(1, 9):
        own.fill_(float(step))
        running.update(step)
        decay = min(0.4, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        torch.testing.assert_close(averaged, torch.full_like(averaged, expected), rtol=1e-12, atol=0)
    assert float(own[0, 0]) == 8.0


def test_the_running_average_leaves_no_trace_of_gradients() -> None:
    own = torch.ones(3, requires_grad=True)
    averaged = torch.zeros(3, requires_grad=True)
    RunningAverage([averaged], [own], decay=0.9).update(1)
    assert averaged.is_leaf
    assert averaged.grad_fn is None
