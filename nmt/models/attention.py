"""Attention for every model: dot products of many heads, Luong's and Bahdanau's scores; knows nothing of time or beams.

Queries are (batch, query, dim) or (batch, head, query, head_dim); *query* is time in training and beam in search.
Masks are added to scores and made once per forward pass, not once per layer. No row of a mask hides every key: a source
always has its EOS, a hypothesis always sees the token it has just read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.dropout import dropout as drop
from nmt.models.weights import linear


class Mask(NamedTuple):
    """What queries may see."""

    additive: Tensor  # (batch or 1, head or 1, query or 1, key): 0 where visible, -inf elsewhere
    is_causal: bool = False  # the mask is the lower triangle, for which GPUs have a kernel without a mask


class Pairs(NamedTuple):
    """What is looked up: keys and their values."""

    keys: Tensor  # (batch, head, key, head_dim)
    values: Tensor  # (batch, head, key, head_dim)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where `visible` (bool) and -inf elsewhere."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -math.inf)


def mask(visible: Tensor, heads: int, dtype: torch.dtype) -> Mask:
    """Return the mask of `visible` (batch, query or 1, key) for `heads` heads.

    On the CPU the heads are written out, once for all layers, since `baddbmm` wants them in its batch.
    """
    scores = additive(visible, dtype)[:, None]  # (batch, 1, query or 1, key)
    return Mask(scores if visible.is_cuda else scores.repeat(1, heads, 1, 1))


def causal_mask(length: int, like: Tensor) -> Mask:
    """Return the mask (1, 1, length, length) in which time t sees times up to t, in the dtype and place of `like`."""
    visible = torch.ones(length, length, dtype=torch.bool, device=like.device).tril_()
    return Mask(additive(visible, like.dtype)[None, None], is_causal=True)


def attention_weights(queries: Tensor, keys: Tensor, mask: Mask) -> Tensor:
    """Return softmax(q k / sqrt(head_dim)) as (batch * head, query, key), arXiv 1706.03762 equation 1."""
    scale = queries.shape[-1] ** -0.5
    scores = torch.baddbmm(
        mask.additive.flatten(0, 1), queries.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2), alpha=scale
    )
    # A CPU takes three times as long for the softmax of short rows in half precision.
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=-1).to(scores.dtype)


def attend(queries: Tensor, pairs: Pairs, mask: Mask, dropout: float, maps: list[Tensor] | None) -> Tensor:
    """Return the mean of the values seen by `queries`, all (batch, head, query or key, head_dim).

    With a list as `maps` the weights (batch, head, query, key) are appended to it.
    """
    if queries.is_cuda and maps is None:
        additive = None if mask.is_causal else mask.additive.to(queries.dtype)
        return F.scaled_dot_product_attention(
            queries, pairs.keys, pairs.values, attn_mask=additive, dropout_p=dropout, is_causal=mask.is_causal
        )
    expanded = mask._replace(additive=_with_heads(mask.additive, queries.shape[1]))
    weights = attention_weights(queries, pairs.keys, expanded)
    if maps is not None:
        maps.append(weights.view(*queries.shape[:2], *weights.shape[1:]))
    if dropout:
        weights = drop(weights, dropout)
    return torch.bmm(weights, pairs.values.flatten(0, 1)).view(queries.shape)


def _with_heads(additive: Tensor, heads: int) -> Tensor:
    """Write the heads out where a GPU's mask (batch, 1, query, key) meets `baddbmm`; a mask of one row broadcasts."""
    return additive if additive.shape[0] == 1 or additive.shape[1] == heads else additive.repeat(1, heads, 1, 1)


def split_heads(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Cut (batch, query, part * head * head_dim) into `parts` tensors (batch, head, query, head_dim), in one copy."""
    batch, length, width = projected.shape
    cut = projected.view(batch, length, parts, heads, width // (parts * heads))
    return cut.permute(2, 0, 3, 1, 4).contiguous().unbind(0)


def join_heads(heads: Tensor) -> Tensor:
    """Undo `split_heads` for one part: (batch, head, query, head_dim) to (batch, query, dim)."""
    return heads.transpose(1, 2).flatten(2)


class Lookup(NamedTuple):
    """The source as the decoder of a recurrent model reads it."""

    keys: Tensor  # (batch, source, width), what queries are compared with, projected once per sentence
    values: Tensor  # (batch, source, dim)
    additive: Tensor  # (batch, 1, source)


class Attention(nn.Module):
    """One head of attention to the source; subclasses say how a query is compared with a key."""

    def keys(self, encoded: Tensor) -> Tensor:
        """Return the keys of `encoded` (batch, source, dim): all of the score that does not depend on the query."""
        raise NotImplementedError

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (batch, query, source) for `queries` (batch, query, dim)."""
        raise NotImplementedError

    def lookup(self, encoded: Tensor, visible: Tensor) -> Lookup:
        """Prepare `encoded` (batch, source, dim), of which `visible` (batch, source) is no padding."""
        return Lookup(self.keys(encoded), encoded, additive(visible, encoded.dtype)[:, None])

    def forward(self, queries: Tensor, lookup: Lookup) -> tuple[Tensor, Tensor]:
        """Return contexts (batch, query, dim) and weights (batch, query, source) of `queries` (batch, query, dim)."""
        weights = (self.score(queries, lookup.keys) + lookup.additive).softmax(dim=-1)
        return torch.bmm(weights, lookup.values), weights


class DotAttention(Attention):
    """Luong's *dot*, arXiv 1508.04025 equation 8."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def keys(self, encoded: Tensor) -> Tensor:
        """Return the encoder's outputs as they are."""
        return encoded

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return q . k."""
        return torch.bmm(queries, keys.transpose(1, 2))


class GeneralAttention(DotAttention):
    """Luong's *general*, arXiv 1508.04025 equation 8: a matrix between the two."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.project = linear(dim, dim, bias=False)

    def keys(self, encoded: Tensor) -> Tensor:
        """Return W k, so that the score of a query is q . (W k)."""
        keys: Tensor = self.project(encoded)
        return keys


class AdditiveAttention(Attention):
    """Bahdanau's score v . tanh(W q + U k), arXiv 1409.0473 A.1.2; Luong's *concat* is the same with [W; U] as one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = linear(dim, dim, bias=False)
        self.project = linear(dim, dim)
        self.weigh = linear(dim, 1, bias=False)

    def keys(self, encoded: Tensor) -> Tensor:
        """Return U k."""
        keys: Tensor = self.project(encoded)
        return keys

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return v . tanh(W q + U k); the sum over all pairs is the largest tensor of these models."""
        pairs = self.query(queries)[:, :, None] + keys[:, None]  # (batch, query, source, dim)
        scores: Tensor = self.weigh(pairs.tanh()).squeeze(-1)
        return scores


ATTENTIONS: dict[str, Callable[[int], Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "concat": AdditiveAttention,
}
