"""How a Transformer knows where a token stands: sines, learnt vectors or rotations; it knows nothing of layers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config import TransformerConfig

GROWING = threading.Lock()  # of any table


class Rotation(NamedTuple):
    """Rotary encodings of some positions, arXiv 2104.09864: a turn of each pair (i, i + head_dim / 2) of a head."""

    sin: Tensor  # (1, query, head_dim / 2), or (batch, 1, query, head_dim / 2)
    cos: Tensor

    def turn(self, heads: Tensor) -> Tensor:
        """Return `heads` (batch, head, query, head_dim) turned by their positions."""
        first, second = heads.chunk(2, dim=-1)
        return torch.cat((first * self.cos - second * self.sin, first * self.sin + second * self.cos), dim=-1)


class Place(NamedTuple):
    """What is known of some positions: what is added to embeddings, or how queries and keys are turned."""

    added: Tensor | None  # (query, dim) or (batch, beam, dim)
    rotation: Rotation | None


class Positions(nn.Module):
    """What every kind of position encoding answers."""

    def grow(self, length: int) -> None:
        """Make room for `length` positions, where there is anything to make."""

    def forward(self, position: Tensor) -> Place:
        """Return what is known of `position` (query) or (batch, query), int64 from 0."""
        raise NotImplementedError


class Sinusoids(Positions):
    """A table of sines beside cosines that grows on demand and is no part of the weights."""

    table: Tensor  # (position, 2 * rate)

    def __init__(self, rates: Tensor, first: int, length: int) -> None:
        super().__init__()
        self.rates = rates.tolist()  # radians per position
        self.first = first  # the position of row 0
        self.outgrown = list[Tensor]()  # on a GPU, where what was recorded goes on reading the tables of its time
        self.register_buffer("table", torch.zeros(0, 2 * len(rates)), persistent=False)
        self.grow(length)

    def grow(self, length: int) -> None:
        """Compute the rows for `length` positions where they are not there yet; workers that share a model may ask."""
        if length <= self.table.shape[0]:
            return
        with GROWING:
            if length <= self.table.shape[0]:
                return
            if self.table.is_cuda:
                self.outgrown.append(self.table)
            rates = torch.tensor(self.rates, dtype=torch.float64)
            angles = torch.arange(self.first, self.first + length, dtype=torch.float64)[:, None] * rates
            self.table = torch.cat((angles.sin(), angles.cos()), dim=1).to(self.table)


class SinusoidalPositions(Sinusoids):
    """Sines and cosines of wavelengths from 2 pi to 20,000 pi, arXiv 1706.03762 section 3.5.

    In the layout of tensor2tensor and CTranslate2, sines before cosines and positions from 1, so that exported models
    need no table.
    """

    def __init__(self, config: TransformerConfig) -> None:
        half = config.dim // 2
        rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000.0) / max(half - 1, 1)))
        super().__init__(rates, 1, config.max_length)

    def forward(self, position: Tensor) -> Place:
        """Return what is added at `position` (...)."""
        return Place(self.table[position], None)


class RotaryPositions(Sinusoids):
    """Rotations of queries and keys by angles that grow with the position, arXiv 2104.09864 section 3.2.2."""

    def __init__(self, config: TransformerConfig) -> None:
        half = config.dim // config.heads // 2
        super().__init__(10000.0 ** (-torch.arange(half, dtype=torch.float64) / half), 0, config.max_length)

    def forward(self, position: Tensor) -> Place:
        """Return the rotation of `position` (query) or (batch, query)."""
        sin, cos = self.table[position].unsqueeze(-3).chunk(2, dim=-1)
        return Place(None, Rotation(sin, cos))


class LearnedPositions(Positions):
    """One learnt vector per position; positions past the last share its vector."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(config.max_length, config.dim) * config.dim**-0.5)

    def forward(self, position: Tensor) -> Place:
        """Return what is added at `position` (...)."""
        return Place(F.embedding(position.clamp(max=self.weight.shape[0] - 1), self.weight), None)


POSITIONS: dict[str, Callable[[TransformerConfig], Positions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "rotary": RotaryPositions,
}
