"""Muon's steps, written once more from the paper, one matrix at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from nmt.config import ModelConfig, RecurrentConfig, TrainingConfig, TransformerConfig
from nmt.device import Compute
from nmt.errors import OptionError
from nmt.models import build
from nmt.training.muon import Muon, orthogonal, parts
from nmt.training.optimizer import build_optimizer
from nmt.training.sharded import ShardedLearner
from nmt.training.world import Alone
from nmt.workers import Workers

CPU = torch.device("cpu")
EXACT = Compute(CPU, torch.float32)
ALONE = Workers(EXACT, 1)
DECAY, RATE = 0.1, 0.01
MODELS: list[ModelConfig] = [
    TransformerConfig(dim=8, heads=2, feed_forward=16, encoder_layers=1, decoder_layers=1),
    RecurrentConfig(embedding=6, dim=8, tie_embeddings=True),
    RecurrentConfig(embedding=6, dim=8, cell="lstm", attention="general", input_feeding=True),
]


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 10), (2, 10, 4)])
def test_singular_vectors_stay_and_their_values_become_alike(shape: tuple[int, ...]) -> None:
    matrices = drawn(*shape)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonal(matrices) @ right.mT
    diagonal = found.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(found, torch.diag_embed(diagonal), rtol=0, atol=1e-9)
    kept = diagonal[values > 0.05 * values.amax(1, keepdim=True)]  # smaller ones have not yet risen
    assert kept.min() > 0.6
    assert kept.max() < 1.25
    torch.testing.assert_close(orthogonal(1000 * matrices), orthogonal(matrices), rtol=0, atol=1e-9)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


@pytest.mark.parametrize(
    ("shape", "cut"), [((6, 2), (3, 2, 2)), ((2, 6), (3, 2, 2)), ((4, 4), (1, 4, 4)), ((5, 3), (1, 5, 3))]
)
def test_a_matrix_of_several_is_cut_into_views(shape: tuple[int, int], cut: tuple[int, ...]) -> None:
    matrix = drawn(*shape)
    assert parts(matrix).shape == cut
    for part in parts(matrix):
        part.fill_(7.0)
    assert (matrix == 7.0).all()


class Inner(nn.Module):
    """Three projections in one, a wide matrix, one that is no multiple, a row, a bias, an embedding; in fp64."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"project": (9, 3), "narrow": (3, 6), "odd": (5, 3), "row": (1, 6), "bias": (3,)}
        for seed, (name, shape) in enumerate(shapes.items()):
            self.register_parameter(name, nn.Parameter(drawn(*shape, seed=seed)))
        self.embeddings = nn.Embedding(8, 3, dtype=torch.float64)


def by_hand(weights: Tensor, gradients: list[Tensor]) -> Tensor:
    """One matrix after all steps; Nesterov's momentum as the mean of gradients, of which only directions count."""
    momentum = torch.zeros_like(weights)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        move = 0.95 * momentum + 0.05 * gradient
        weights = weights - RATE * DECAY * weights - RATE * 0.2 * max(weights.shape) ** 0.5 * orthogonal(move[None])[0]
    return weights


def test_steps_by_hand() -> None:
    """Of what is cut each part has a step of its own; rows, biases and embeddings are AdamW's."""
    own = {"learning_rate": RATE, "weight_decay": DECAY}
    model, plain = Inner(), Inner()
    plain.load_state_dict(model.state_dict())
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    optimizers = [
        build_optimizer(each, TrainingConfig.model_validate({**own, "optimizer": kind}), ALONE)
        for each, kind in ((model, "muon"), (plain, "adamw"))
    ]
    gradients = dict[str, list[Tensor]]()
    for step in range(3):
        for one, other in zip(model.named_parameters(), plain.parameters(), strict=True):
            one[1].grad = other.grad = drawn(*other.shape, seed=10 * step + other.numel())
            gradients.setdefault(one[0], []).append(other.grad.clone())
        for optimizer in optimizers:
            optimizer.step()
    cuts: dict[str, Callable[[Tensor], Sequence[Tensor]]] = {
        "project": lambda matrix: (matrix[0:3], matrix[3:6], matrix[6:9]),
        "narrow": lambda matrix: (matrix[:, 0:3], matrix[:, 3:6]),
        "odd": lambda matrix: (matrix,),
    }
    found = dict(model.named_parameters())
    for name, cut in cuts.items():
        each = [by_hand(part, [cut(g)[at] for g in gradients[name]]) for at, part in enumerate(cut(before[name]))]
        for expected, part in zip(each, cut(found[name].detach()), strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=1e-12)
    for name in ("row", "bias", "embeddings.weight"):
        assert torch.equal(found[name], dict(plain.named_parameters())[name])


def moved(workers: Workers) -> Tensor:
    """Return how far one step moves seven matrices in one."""
    model = nn.Linear(4, 28, bias=False)
    before = nn.Parameter(drawn(28, 4).float())
    model.weight.data = before.detach().clone()
    optimizer = build_optimizer(model, TrainingConfig(optimizer="muon", learning_rate=1.0), workers)
    model.weight.grad = drawn(28, 4, seed=2).float()
    optimizer.step()
    return model.weight.detach() - before.detach()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_workers_share_the_matrices_out(count: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        workers = Workers(EXACT)
        assert workers.count == count
        torch.testing.assert_close(moved(workers), moved(ALONE), rtol=0, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_steps_are_found_in_half_precision_where_the_model_computes_in_it() -> None:
    half, exact = moved(Workers(Compute(CPU, torch.bfloat16), 1)), moved(ALONE)
    assert 1e-4 < (half - exact).norm() / exact.norm() < 3e-2


@pytest.mark.parametrize("config", MODELS)
def test_every_weight_of_a_model_is_moved_by_one_of_both(config: ModelConfig) -> None:
    model = build(config, 11, 11, shared=True)
    optimizer = build_optimizer(model, TrainingConfig(optimizer="muon"), ALONE)
    assert isinstance(optimizer, Muon)
    groups = [weights for group in optimizer.param_groups for weights in group["params"]]
    assert sorted(map(id, [*groups, *optimizer.matrices])) == sorted(map(id, model.parameters()))
    embeddings = {id(weights) for weights in model.get_submodule("embeddings").parameters()}
    assert optimizer.matrices
    assert not embeddings & set(map(id, optimizer.matrices))
    assert all(min(matrix.shape) > 1 for matrix in optimizer.matrices)


def test_matrices_in_shares_are_refused() -> None:
    model, own = build(MODELS[0], 11, 11, shared=True), TrainingConfig(optimizer="muon", fsdp=True)
    with pytest.raises(OptionError, match=r"share of a matrix; set training\.optimizer to adamw"):
        ShardedLearner(model, own, EXACT, Alone())
