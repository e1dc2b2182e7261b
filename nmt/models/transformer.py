"""The Transformer (arXiv 1706.03762) with its incremental decoder; it knows nothing of search, training or text.

While decoding, keys and values are written once into a preallocated cache, at the slot of the hypothesis that read the
token, and never move. A hypothesis finds its past through `ancestry`, which says for each step in which slot it was
written; so reordering the beam costs one gather of small integers, whatever the number of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmt.batches import Padded
from nmt.config import TransformerConfig
from nmt.models.attention import Mask, Pairs, causal_mask, mask
from nmt.models.dropout import Dropout, WordDropout, again
from nmt.models.interface import Cache, source_mask
from nmt.models.layers import DecoderLayer, EncoderLayer, Maps, Slots, Surroundings
from nmt.models.positions import POSITIONS, Rotation
from nmt.models.weights import Embeddings, Vocabularies

GROWTH = 4  # steps by which a cache on a CPU grows: more would be looked at in vain, fewer would be copied more often


class TransformerMemory(NamedTuple):
    """What the decoder reads of the source: each layer's keys and values, computed once."""

    pairs: tuple[Pairs, ...]  # one per decoder layer, each of (batch, head, source, head_dim)
    additive: Tensor  # (batch, head or 1, 1, source)


class TransformerState(NamedTuple):
    """Where each hypothesis stands and where its past is written."""

    position: Tensor  # (batch, beam) int64, tokens read so far
    ancestry: Tensor  # (batch, beam, length) int64, the beam slot of each past step, -1 for steps to come
    cache: Cache  # per decoder layer keys, then values: (batch, head, length, beam, head_dim)


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
        """Allocate the cache, on a CPU for the first steps only: there all of it is read at each step."""
        self.positions.grow(length)
        keys = memory.pairs[0].keys  # (batch, head, source, head_dim)
        batch, heads, _, width = keys.shape
        room = min(length, GROWTH) if keys.device.type == "cpu" else length
        cache = [keys.new_zeros(batch, heads, room, beam, width) for _ in range(2 * len(self.decoder))]
        position = torch.zeros(batch, beam, dtype=torch.int64, device=keys.device)
        return TransformerState(position, position.new_full((batch, beam, length), -1), Cache(cache))

    def step(
        self, tokens: Tensor, state: TransformerState, memory: TransformerMemory
    ) -> tuple[Tensor, TransformerState]:
        """Return logits (batch, beam, vocab) and the next state; the cache of `state` is written in place."""
        hidden, rotation = self._embed(self.embeddings.target, tokens, state.position)
        slot = torch.arange(tokens.shape[1], device=tokens.device)
        own = slot.expand_as(tokens)[..., None]  # (batch, beam, 1)
        ancestry = state.ancestry.scatter(2, state.position[..., None], own)
        cache, slots = self._slots(state, ancestry, rotation)
        source = Mask(memory.additive)
        cached = zip(cache.tensors[::2], cache.tensors[1::2], strict=True)
        for layer, (keys, values), pairs in zip(self.decoder, cached, memory.pairs, strict=True):
            hidden = layer.step(hidden, Pairs(keys, values), slots, pairs, source)
        logits: Tensor = self.output(self.decoder_norm(hidden))
        return logits, TransformerState(state.position + 1, ancestry, cache)

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

    def _slots(self, state: TransformerState, ancestry: Tensor, rotation: Rotation | None) -> tuple[Cache, Slots]:
        """Prepare one step, once for all layers; `ancestry` already names the slots written now."""
        position, cache = state.position, state.cache
        batch, beam = position.shape
        room, slots = cache.tensors[0].shape[2:4]
        common = None
        if position.device.type == "cpu":  # where reading a number back costs nothing; a GPU would wait for it
            first, last = (int(place) for place in position.aminmax())
            common = last if first == last else None
            if last >= room:
                room = min(-(-(last + 1) // GROWTH) * GROWTH, ancestry.shape[2])
                padding = (0, 0, 0, 0, 0, room - cache.tensors[0].shape[2])
                cache.replace(lambda tensor: F.pad(tensor, padding))
        slot = torch.arange(slots, device=position.device)
        visible = (ancestry[:, :, :room, None] == slot).flatten(2)  # (batch, beam, room * slots)
        row = torch.arange(batch, device=position.device)[:, None]
        seen = mask(visible, self.config.heads, self.embeddings.target.weight.dtype)
        return cache, Slots((row, position, slot[None, :beam]), common, seen, rotation)
