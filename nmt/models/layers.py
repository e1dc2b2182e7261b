"""The layers of the Transformer, whole sequences at once and step by step; they know nothing of tokens or positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config import TransformerConfig
from nmt.models.attention import Mask, Pairs, attend, join_heads, split_heads
from nmt.models.dropout import Dropout
from nmt.models.past import Entries, write
from nmt.models.positions import Rotation
from nmt.models.weights import linear, projection


class Maps(NamedTuple):
    """Attention weights on their way out, one tensor (batch, head, query, key) per layer."""

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


class Surroundings(NamedTuple):
    """What a layer needs beside its input, the same for all layers of a stack."""

    mask: Mask
    rotation: Rotation | None
    maps: list[Tensor] | None  # where it is a list, self-attention appends its weights
    cross_maps: list[Tensor] | None = None  # the same for attention to the source


class Slots(NamedTuple):
    """Where one step writes and what it sees, the same for all layers."""

    entries: Entries  # of the cache, where each hypothesis writes
    mask: Mask  # (batch, head or 1, beam, entry)
    rotation: Rotation | None


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; queries, keys and values come from one product."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.project = projection(config.dim, parts=3)
        self.output = linear(config.dim, config.dim)

    def forward(self, inputs: Tensor, around: Surroundings) -> Tensor:
        """Attend within `inputs` (batch, time, dim)."""
        queries, pairs = self._queries(inputs, around.rotation)
        dropout = self.dropout if self.training else 0.0
        mixed: Tensor = self.output(join_heads(attend(queries, pairs, around.mask, dropout, around.maps)))
        return mixed

    def step(self, inputs: Tensor, cached: Pairs, slots: Slots) -> Tensor:
        """Attend from `inputs` (batch, beam, dim) to all entries; write their own keys and values into `cached`."""
        queries, new = self._queries(inputs, slots.rotation)
        for cache, heads in zip(cached, new, strict=True):  # heads is (batch, head, beam, head_dim)
            write(cache, slots.entries, heads)
        mixed: Tensor = self.output(join_heads(attend(queries, cached, slots.mask, 0.0, None)))
        return mixed

    def _queries(self, inputs: Tensor, rotation: Rotation | None) -> tuple[Tensor, Pairs]:
        queries, keys, values = split_heads(self.project(inputs), 3, self.heads)
        if rotation is not None:
            queries, keys = rotation.turn(queries), rotation.turn(keys)
        return queries, Pairs(keys, values)


class CrossAttention(nn.Module):
    """Multi-head attention to the source, whose keys and values are computed once per sentence."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.query = projection(config.dim, parts=1)
        self.project = projection(config.dim, parts=2)
        self.output = linear(config.dim, config.dim)

    def pairs(self, encoded: Tensor) -> Pairs:
        """Return keys and values (batch, head, source, head_dim) of the encoder's output (batch, source, dim)."""
        return Pairs(*split_heads(self.project(encoded), 2, self.heads))

    def forward(self, inputs: Tensor, pairs: Pairs, mask: Mask, maps: list[Tensor] | None) -> Tensor:
        """Attend from `inputs` (batch, query, dim) to the source."""
        (queries,) = split_heads(self.query(inputs), 1, self.heads)
        dropout = self.dropout if self.training else 0.0
        mixed: Tensor = self.output(join_heads(attend(queries, pairs, mask, dropout, maps)))
        return mixed


def swiglu(hidden: Tensor) -> Tensor:
    """Return swish(a) * b for the halves a, b of `hidden`, arXiv 2002.05202 equation 6."""
    gate, value = hidden.chunk(2, dim=-1)
    return F.silu(gate) * value


class Activation(NamedTuple):
    """A non-linearity and how many hidden features it reads per feature it returns."""

    function: Callable[[Tensor], Tensor]
    reads: int = 1


ACTIVATIONS = {"relu": Activation(torch.relu_), "gelu": Activation(F.gelu), "swiglu": Activation(swiglu, reads=2)}


class FeedForward(nn.Module):
    """Two linear layers with a non-linearity between, applied to every position."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        activation = ACTIVATIONS[config.activation]
        self.activation = activation.function
        self.dropout = Dropout(config.activation_dropout)
        self.widen = linear(config.dim, activation.reads * config.feed_forward)
        self.narrow = linear(config.feed_forward, config.dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape."""
        # In two dimensions the widened features are no view, and an activation can overwrite them without a copy.
        widened = self.activation(self.widen(inputs.flatten(0, -2)))
        narrowed: Tensor = self.narrow(self.dropout(widened))
        return narrowed.view(inputs.shape)


class Residual(nn.Module):
    """The sum of a sub-layer's input and output, normalised before the sub-layer or after the sum (2002.04745)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.is_pre = config.norm == "pre"
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, inputs: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `inputs` (batch, time, dim) plus what `sublayer` makes of them."""
        answer: Tensor = self.dropout(sublayer(self.norm(inputs) if self.is_pre else inputs))
        summed = inputs + answer
        return summed if self.is_pre else cast(Tensor, self.norm(summed))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.feed_forward = FeedForward(config)
        self.around_attention = Residual(config)
        self.around_feed_forward = Residual(config)

    def forward(self, inputs: Tensor, around: Surroundings) -> Tensor:
        """Map (batch, source, dim) to the same shape."""
        hidden = self.around_attention(inputs, lambda normed: self.attention(normed, around))
        output: Tensor = self.around_feed_forward(hidden, self.feed_forward)
        return output


class DecoderLayer(nn.Module):
    """Self-attention, attention to the source and feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.cross = CrossAttention(config)
        self.feed_forward = FeedForward(config)
        self.around_attention = Residual(config)
        self.around_cross = Residual(config)
        self.around_feed_forward = Residual(config)

    def forward(self, inputs: Tensor, pairs: Pairs, source: Mask, around: Surroundings) -> Tensor:
        """Map (batch, time, dim) to the same shape."""
        hidden = self.around_attention(inputs, lambda normed: self.attention(normed, around))
        return self._read(hidden, pairs, source, around.cross_maps)

    def step(self, inputs: Tensor, cached: Pairs, slots: Slots, pairs: Pairs, source: Mask) -> Tensor:
        """Map one step of every hypothesis (batch, beam, dim) to the same shape."""
        hidden = self.around_attention(inputs, lambda normed: self.attention.step(normed, cached, slots))
        return self._read(hidden, pairs, source, None)

    def _read(self, hidden: Tensor, pairs: Pairs, source: Mask, maps: list[Tensor] | None) -> Tensor:
        hidden = self.around_cross(hidden, lambda normed: self.cross(normed, pairs, source, maps))
        output: Tensor = self.around_feed_forward(hidden, self.feed_forward)
        return output
