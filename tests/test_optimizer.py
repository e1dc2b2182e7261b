"""Adam and AdamW by hand, and their state out and in again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nmt.config import TrainingConfig
from nmt.device import Compute
from nmt.training.optimizer import build_optimizer, load_optimizer, optimizer_tensors
from nmt.workers import Workers

ALONE = Workers(Compute(torch.device("cpu"), torch.float32), 1)


class Parameters(nn.Module):
    """A matrix, a bias and a norm, in fp64."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(2, 3, dtype=torch.float64, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, dtype=torch.float64, generator=generator))
        self.norm = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def set_gradients(self, step: int) -> None:
        for number, parameter in enumerate(self.parameters(), 1):
            size = parameter.numel()
            parameter.grad = (torch.arange(size, dtype=torch.float64) - step).view_as(parameter) / (size * number)


def config(**options: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 0.01, "weight_decay": 0.1, **options})


def by_hand(weights: list[float], steps: int, own: TrainingConfig, decay: float, number: int) -> list[float]:
    """arXiv 1412.6980 algorithm 1; decay after 1711.05101 algorithm 2, or as part of the gradient."""
    size, first, second = len(weights), [0.0] * len(weights), [0.0] * len(weights)
    for step in range(1, steps + 1):
        for at in range(size):
            gradient = (at - step) / (size * number)
            if own.optimizer == "adamw":
                weights[at] -= own.learning_rate * decay * weights[at]
            else:
                gradient += decay * weights[at]
            first[at] = own.beta1 * first[at] + (1 - own.beta1) * gradient
            second[at] = own.beta2 * second[at] + (1 - own.beta2) * gradient**2
            mean, variance = first[at] / (1 - own.beta1**step), second[at] / (1 - own.beta2**step)
            weights[at] -= own.learning_rate * mean / (math.sqrt(variance) + own.epsilon)
    return weights


@pytest.mark.parametrize("kind", ["adamw", "adam"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_by_hand(kind: str, steps: int) -> None:
    """Matrices decay; biases and norms do not."""
    own, model = config(optimizer=kind), Parameters()
    before = [parameter.flatten().tolist() for parameter in model.parameters()]
    optimizer = build_optimizer(model, own, ALONE)
    for step in range(1, steps + 1):
        model.set_gradients(step)
        optimizer.step()
    for number, (parameter, weights) in enumerate(zip(model.parameters(), before, strict=True), 1):
        decay = own.weight_decay if parameter.dim() > 1 else 0.0
        expected = torch.tensor(by_hand(weights, steps, own, decay, number), dtype=torch.float64)
        torch.testing.assert_close(parameter.detach().flatten(), expected, rtol=0, atol=1e-12)


def test_every_parameter_is_trained_once() -> None:
    model = Parameters()
    tied = nn.ModuleList([model, model])
    groups = build_optimizer(tied, config(), ALONE).param_groups
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize(("kind", "tensors"), [("adamw", 9), ("adam", 9), ("muon", 7)])
def test_the_state_comes_back_as_it_was(kind: str, tensors: int) -> None:
    models = [Parameters(), Parameters()]
    optimizers = [build_optimizer(model, config(optimizer=kind), ALONE) for model in models]
    for step in (1, 2, 3):
        models[0].set_gradients(step)
        optimizers[0].step()
    saved: dict[str, Tensor] = {
        name: value.clone() for name, value in optimizer_tensors(models[0], optimizers[0]).items()
    }
    assert len(saved) == tensors
    models[1].load_state_dict(models[0].state_dict())
    load_optimizer(models[1], optimizers[1], saved)
    for model, optimizer in zip(models, optimizers, strict=True):
        model.set_gradients(4)
        optimizer.step()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
