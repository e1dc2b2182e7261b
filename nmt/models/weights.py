"""Matrices with their initial values, embeddings and linear layers; they know nothing of what is built of them."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple, TypeVar

from torch import nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Vocabularies(NamedTuple):
    """How many ids there are on each side."""

    source: int
    target: int
    is_shared: bool  # an id means the same on both sides


class Embeddings(nn.Module):
    """The matrices that have one row per id: source, target and output, tied as asked (arXiv 1608.05859).

    Tied, target and output are one Parameter, and source too where the vocabulary is shared.
    """

    def __init__(self, sizes: Vocabularies, width: int, *, is_tied: bool) -> None:
        super().__init__()
        self.target = embedding(sizes.target, width)
        self.source = self.target if is_tied and sizes.is_shared else embedding(sizes.source, width)
        self.output = nn.Linear(width, sizes.target, bias=False)
        if is_tied:
            self.output.weight = self.target.weight
        else:
            nn.init.normal_(self.output.weight, std=width**-0.5)


def with_output(model: AnyModule, output: nn.Module) -> AnyModule:
    """Return the model with another output layer in its `embeddings`, and all else shared."""
    changed, embeddings = copy.copy(model), copy.copy(model.get_submodule("embeddings"))
    embeddings._modules = {**embeddings._modules, "output": output}
    changed._modules = {**changed._modules, "embeddings": embeddings}
    return changed


def embedding(ids: int, width: int) -> nn.Embedding:
    """Return an embedding whose vectors have an expected length of 1."""
    layer = nn.Embedding(ids, width)
    nn.init.normal_(layer.weight, std=width**-0.5)
    return layer


def projection(width: int, parts: int) -> nn.Linear:
    """Return one linear layer for `parts` of query, key and value, initialised as if each were its own.

    The bound is that of the original Transformer's fused matrix, sqrt(6 / (4 width)), whatever is fused here.
    """
    linear = nn.Linear(width, parts * width)
    bound = math.sqrt(1.5 / width)
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return linear


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a linear layer with Glorot's uniform weights and no initial bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
