"""The Transformer (arXiv 1706.03762) with its incremental decoder; it knows nothing of search, training or text.

While decoding, keys and values are computed once for each token that a hypothesis reads, and kept in its `Past`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmt.batches import Padded
from nmt.config import TransformerConfig
from nmt.models.attention import Mask, Pairs, causal_mask, mask
from nmt.models.dropout import Dropout, WordDropout, again
from nmt.models.interface import source_mask
from nmt.models.layers import DecoderLayer, EncoderLayer, Maps, Slots, Surroundings
from nmt.models.past import Past
from nmt.models.positions import POSITIONS, Rotation
from nmt.models.weights import Embeddings, Vocabularies


class TransformerMemory(NamedTuple):
    """What the decoder reads of the source: each layer's keys and values, computed once."""

    pairs: tuple[Pairs, ...]  # one per decoder layer, each of (batch, head, source, head_dim)
    additive: Tensor  # (batch, head or 1, 1, source)


class TransformerState(NamedTuple):
    """Where each hypothesis stands and what it has read."""

    position: Tensor  # (batch, beam) int64, tokens read so far
    past: Past  # in its cache, per decoder layer, keys, then values


class Transformer(nn.Module):
    """The encoder-decoder; implements `Seq2Seq[TransformerMemory, TransformerState]`."""

    def __init__(self, config: TransformerConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.config = config
        self.recomputes = False
        self.embeddings = Embeddings(vocabularies, config.dim, is_tied=config.tie_embeddings)
        self.positions = POSITIONS[config.positions](config)
        self.word_dropout, self.dropout = WordDropout(config.word_dropout), Dropout(config.dropout)
        encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.encoder = cast("Sequence[EncoderLayer]", encoder)
        self.decoder = cast("Sequence[DecoderLayer]", decoder)
        is_pre = config.norm == "pre"
        self.encoder_norm = nn.LayerNorm(config.dim) if is_pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(config.dim) if is_pre else nn.Identity()

    def forward(self, source: Padded, target: Tensor) -> Tensor:
        """Return logits (batch, time, vocab) for target inputs (batch, time)."""
        logits: Tensor = self.output(self.states(source, target))
        return logits

    @property
    def output(self) -> nn.Linear:
        """Return the layer whose outputs are the logits."""
        return self.embeddings.output

    def states(self, source: Padded, target: Tensor) -> Tensor:
        """Return what the output layer reads, (batch, time, dim), for target inputs (batch, time)."""
        return self._decode(self.encode(source), target, None)

    def encode(self, source: Padded) -> TransformerMemory:
        """Run the encoder and project its output to the keys and values of every decoder layer."""
        return self._encode(source, None)

    def start(self, memory: TransformerMemory, beam: int, length: int) -> TransformerState:
        """Allocate the cache."""
        self.positions.grow(length)
        keys = memory.pairs[0].keys  # (batch, head, source, head_dim)
        position = torch.zeros(len(keys), beam, dtype=torch.int64, device=keys.device)
        return TransformerState(position, Past.begin(keys, 2 * len(self.decoder), beam, length))

    def step(
        self, tokens: Tensor, state: TransformerState, memory: TransformerMemory
    ) -> tuple[Tensor, TransformerState]:
        """Return logits (batch, beam, vocab) and the next state; the cache of `state` is written in place."""
        hidden, rotation = self._embed(self.embeddings.target, tokens, state.position)
        past, entries = state.past.extended()
        seen = mask(past.visible, self.config.heads, hidden.dtype)
        slots = Slots(entries, seen, rotation)
        source = Mask(memory.additive)
        cached = zip(past.cache.tensors[::2], past.cache.tensors[1::2], strict=True)
        for layer, (keys, values), pairs in zip(self.decoder, cached, memory.pairs, strict=True):
            hidden = layer.step(hidden, Pairs(keys, values), slots, pairs, source)
        logits: Tensor = self.output(self.decoder_norm(hidden))
        return logits, TransformerState(state.position + 1, past)

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """Return "cross", "encoder" and "decoder" weights, (batch, layer, head, query, key)."""
        maps = Maps([], [], [])
        self._decode(self._encode(source, maps), target, maps)
        return {name: torch.stack(layers, dim=1) for name, layers in maps._asdict().items()}

    def _encode(self, source: Padded, maps: Maps | None) -> TransformerMemory:
        length = source.ids.shape[1]
        self.positions.grow(length)
        position = torch.arange(length, device=source.ids.device)
        hidden, rotation = self._embed(self.embeddings.source, source.ids, position)
        visible = source_mask(source)[:, None]
        around = Surroundings(mask(visible, self.config.heads, hidden.dtype), rotation, maps and maps.encoder)
        for layer in self.encoder:
            hidden = self._run(layer, hidden, around)
        encoded = self.encoder_norm(hidden)
        return TransformerMemory(tuple(layer.cross.pairs(encoded) for layer in self.decoder), around.mask.additive)

    def _decode(self, memory: TransformerMemory, target: Tensor, maps: Maps | None) -> Tensor:
        length = target.shape[1]
        self.positions.grow(length)
        hidden, rotation = self._embed(self.embeddings.target, target, torch.arange(length, device=target.device))
        source = Mask(memory.additive)
        around = Surroundings(causal_mask(length, hidden), rotation, maps and maps.decoder, maps and maps.cross)
        for layer, pairs in zip(self.decoder, memory.pairs, strict=True):
            hidden = self._run(layer, hidden, pairs, source, around)
        states: Tensor = self.decoder_norm(hidden)
        return states

    def _run(self, layer: nn.Module, *inputs: Any) -> Tensor:
        hidden: Tensor
        if self.recomputes and self.training:
            hidden = checkpoint(layer, *inputs, use_reentrant=False, context_fn=again)
        else:
            hidden = layer(*inputs)
        return hidden

    def _embed(self, table: nn.Embedding, ids: Tensor, position: Tensor) -> tuple[Tensor, Rotation | None]:
        added, rotation = self.positions(position)
        hidden = self.word_dropout(table(ids)) * self.config.dim**0.5  # (batch, query, dim); scaled as in section 3.4
        return self.dropout(hidden if added is None else hidden + added), rotation
