"""Muon: steps along orthogonal matrices, for what is inside a model; AdamW for the rest (arXiv 2502.16982).

The step of a matrix is its momentum with all singular values made nearly one, so that no direction is learnt at the
cost of the others. That is found by products alone (Newton and Schulz; kellerjordan.github.io/posts/muon), which for a
batch of T tokens and matrices w wide take about 5 w / T times as long as the rest of a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.config import TrainingConfig
from nmt.workers import Workers

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of x, x^3 and x^5: singular values rise fastest where they are smallest
ITERATIONS = 5
LIKE_ADAM = 0.2  # root of the mean square of a step at a learning rate of 1, as AdamW's steps have it


class Muon(torch.optim.AdamW):
    """Moves `matrices`, which are in none of the `groups`, with the first group's learning rate and weight decay."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], matrices: Sequence[Tensor], config: TrainingConfig, workers: Workers
    ) -> None:
        """Share the matrices out among `workers`, and find steps in half precision where the model computes in it."""
        betas = (config.beta1, config.beta2)
        super().__init__(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=workers.on.is_fused)
        self.matrices, self._workers = matrices, workers

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step, and return what the closure does, as every optimizer."""
        loss = super().step(closure)
        weights = [matrix for matrix in self.matrices if matrix.grad is not None]
        gradients = [matrix.grad for matrix in weights if matrix.grad is not None]
        for matrix in weights:
            if not self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum"] for matrix in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
        rate = self.param_groups[0]["lr"]
        torch._foreach_mul_(weights, 1 - rate * self.param_groups[0]["weight_decay"])
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for whole in zip(weights, ahead, strict=True):
            for pair in zip(*map(parts, whole), strict=True):
                alike.setdefault(pair[0].shape, []).append(pair)
        for shape, pairs in alike.items():
            size = -rate * LIKE_ADAM * max(shape) ** 0.5
            torch._foreach_add_([part for part, _ in pairs], self._steps([move for _, move in pairs]), alpha=size)
        return loss

    def _steps(self, moves: list[Tensor]) -> list[Tensor]:
        """Return the steps of matrices of one shape, some by each worker: products so small share cores badly."""
        exact = self._workers.on.dtype == torch.float32
        count = -(-len(moves) // self._workers.count)
        some = [torch.stack(moves[first : first + count]) for first in range(0, len(moves), count)]
        found = self._workers.map(orthogonal, some if exact else [each.bfloat16() for each in some])
        return [step.to(moves[0].dtype) for each in found for step in each]


def parts(matrix: Tensor) -> Tensor:
    """Return a view (part, rows, columns) of a matrix that may be several: queries, keys and values, or gates.

    Where one side is a multiple of the other the parts are squares.
    """
    rows, columns = matrix.shape
    if rows % columns == 0:
        return matrix.view(-1, columns, columns)
    if columns % rows == 0:
        return matrix.view(rows, -1, rows).transpose(0, 1)
    return matrix[None]


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (part, rows, columns) with the same singular vectors and singular values of about 0.7 to 1.2."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    found: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(square, square, square, beta=third, alpha=fifth), found, beta=first)
    return found
