"""Recurrent encoder-decoders: a fixed-length vector, Bahdanau's and Luong's attention; no knowledge of search or text.

Four decoders stand behind one set of names. They differ in what enters the cell beside the last word and in where the
query comes from:

    none                 the encoder's last state enters, at every step (Cho et al., 1406.1078 section 2.2)
    additive             the context of the *previous* state s_{i-1} enters (Bahdanau et al., 1409.0473 A.1.2)
    dot, general, concat nothing enters, or with input feeding the last attentional vector; the query is the *current*
                         state h_t (Luong et al., 1508.04025 sections 3 and 3.3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nmt.batches import Padded
from nmt.config import RecurrentConfig
from nmt.models.attention import ATTENTIONS, Lookup
from nmt.models.dropout import Dropout, WordDropout
from nmt.models.interface import source_mask
from nmt.models.recurrence import CELLS, Cut, Encoder, Hidden, Stack
from nmt.models.weights import Embeddings, Vocabularies, linear


class RecurrentMemory(NamedTuple):
    """What the decoder reads of the source."""

    initial: Tensor  # (batch, layer * part * dim), the state before the first token
    vector: Tensor  # (batch, dim), where the encoder ended in each direction
    lookup: Lookup  # of length 0 without attention


class RecurrentState(NamedTuple):
    """Where each hypothesis stands."""

    hidden: tuple[Hidden, ...]  # per layer its parts, each (batch, beam, dim)
    carried: Tensor  # (batch, beam, dim or 0), what the step before hands on: the query, or the attentional vector


class Moment(NamedTuple):
    """What one step, or all steps at once, found out."""

    output: Tensor  # (batch, query, dim), of the top layer, or h~ of Luong's decoders
    context: Tensor  # (batch, query, dim)
    weights: Tensor  # (batch, query, source), source 0 without attention


Step = tuple[Moment, RecurrentState]


class Decoder(nn.Module):
    """The recurrence over target words; `whole` walks through time unless a subclass can do better."""

    def __init__(self, config: RecurrentConfig, entering: int) -> None:
        super().__init__()
        self.stack = Stack(config, config.embedding + entering)

    def lookup(self, encoded: Tensor, visible: Tensor) -> Lookup:
        """Return what attention reads of `encoded` (batch, source, dim), `visible` (batch, source) being no padding."""
        raise NotImplementedError

    def carry(self, hidden: tuple[Hidden, ...]) -> Tensor:
        """Return what stands in for the step before the first, (batch, query, dim or 0)."""
        return hidden[-1][0][..., :0]

    def step(self, cut: Cut, gates: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Step:
        """Advance by one word, which adds `gates` (batch, query, gates * dim) to the bottom layer."""
        raise NotImplementedError

    def whole(self, embedded: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Moment:
        """Read all target words `embedded` (batch, time, features) from `state` of one hypothesis per sentence."""
        moments: list[Moment] = []
        # `split`, whose gradient is one `cat`: indexing would add a tensor of full length at every step.
        cut = self.stack.cut(embedded.shape[-1])
        for gates in torch.split(cut.gates(embedded), 1, dim=1):
            moment, state = self.step(cut, gates, state, memory)
            moments.append(moment)
        return Moment(*(torch.cat(parts, dim=1) for parts in zip(*moments, strict=True)))

    def features(self, embedded: Tensor, moment: Moment) -> Tensor:
        """Return what the output matrix reads, (batch, query, embedding)."""
        raise NotImplementedError


class DeepOutput(nn.Module):
    """tanh(W [s_i; y_{i-1}; c_i]): 1409.0473 A.2.2 with tanh in place of maxout, as in Nematus (1703.04357)."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.project = linear(2 * config.dim + config.embedding, config.embedding)

    def forward(self, embedded: Tensor, moment: Moment) -> Tensor:
        """Return (batch, query, embedding)."""
        projected: Tensor = self.project(torch.cat((moment.output, embedded, moment.context), dim=-1))
        return projected.tanh()


class VectorDecoder(Decoder):
    """No attention: the source's vector is the context of every step."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config, entering=config.dim)
        self.readout = DeepOutput(config)

    def lookup(self, encoded: Tensor, visible: Tensor) -> Lookup:
        """Return nothing to look at."""
        return Lookup(encoded[:, :0], encoded[:, :0], encoded[:, None, :0, 0])

    def step(self, cut: Cut, gates: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Step:
        """Advance with the vector as context."""
        context = memory.vector[:, None]
        output, hidden = self.stack.step(gates + cut.further_gates(context), state.hidden)
        return Moment(output, context.expand(output.shape), output[..., :0]), RecurrentState(hidden, state.carried)

    def whole(self, embedded: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Moment:
        """Run each layer over all words in one call."""
        context = memory.vector[:, None].expand(-1, embedded.shape[1], -1)
        output = self.stack(torch.cat((embedded, context), dim=-1), state.hidden)
        return Moment(output, context, output[..., :0])

    def features(self, embedded: Tensor, moment: Moment) -> Tensor:
        """Return the deep output."""
        return cast(Tensor, self.readout(embedded, moment))


class AdditiveDecoder(Decoder):
    """Bahdanau's: the state before the step asks, the answer enters the step."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config, entering=config.dim)
        self.attention = ATTENTIONS[config.attention](config.dim)
        self.readout = DeepOutput(config)

    def lookup(self, encoded: Tensor, visible: Tensor) -> Lookup:
        """Return keys and values of the source."""
        return self.attention.lookup(encoded, visible)

    def carry(self, hidden: tuple[Hidden, ...]) -> Tensor:
        """Return s_0, the first query."""
        return hidden[-1][0]

    def step(self, cut: Cut, gates: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Step:
        """Look, then advance."""
        context, weights = self.attention(state.carried, memory.lookup)
        output, hidden = self.stack.step(gates + cut.further_gates(context), state.hidden)
        return Moment(output, context, weights), RecurrentState(hidden, output)

    def features(self, embedded: Tensor, moment: Moment) -> Tensor:
        """Return the deep output."""
        return cast(Tensor, self.readout(embedded, moment))


class FeedingDecoder(Decoder):
    """Luong's with input feeding: the state after the step asks, and the attentional vector h~ enters the next step."""

    def __init__(self, config: RecurrentConfig, *, is_feeding: bool = True) -> None:
        super().__init__(config, entering=config.dim if is_feeding else 0)
        self.attention = ATTENTIONS[config.attention](config.dim)
        self.combine = linear(2 * config.dim, config.dim)
        is_narrower = config.embedding != config.dim
        self.narrow = linear(config.dim, config.embedding, bias=False) if is_narrower else nn.Identity()

    def lookup(self, encoded: Tensor, visible: Tensor) -> Lookup:
        """Return keys and values of the source."""
        return self.attention.lookup(encoded, visible)

    def carry(self, hidden: tuple[Hidden, ...]) -> Tensor:
        """Return zeros, as if nothing had been attended to."""
        return torch.zeros_like(hidden[-1][0])

    def step(self, cut: Cut, gates: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Step:
        """Advance with the last h~, then look."""
        output, hidden = self.stack.step(gates + cut.further_gates(state.carried), state.hidden)
        moment = self.attend(output, memory)
        return moment, RecurrentState(hidden, moment.output)

    def attend(self, output: Tensor, memory: RecurrentMemory) -> Moment:
        """Return h~ = tanh(W [c; h]) of `output` h, 1508.04025 equation 5."""
        context, weights = self.attention(output, memory.lookup)
        combined: Tensor = self.combine(torch.cat((context, output), dim=-1))
        return Moment(combined.tanh(), context, weights)

    def features(self, embedded: Tensor, moment: Moment) -> Tensor:
        """Return h~, in the width of the embeddings."""
        return cast(Tensor, self.narrow(moment.output))


class LuongDecoder(FeedingDecoder):
    """Luong's without input feeding: nothing of attention enters the recurrence."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config, is_feeding=False)

    carry = Decoder.carry

    def step(self, cut: Cut, gates: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Step:
        """Advance, then look."""
        output, hidden = self.stack.step(gates, state.hidden)
        return self.attend(output, memory), RecurrentState(hidden, state.carried)

    def whole(self, embedded: Tensor, state: RecurrentState, memory: RecurrentMemory) -> Moment:
        """Run each layer over all words in one call, then look from all of them at once."""
        return self.attend(self.stack(embedded, state.hidden), memory)


DECODERS: dict[tuple[str, bool], Callable[[RecurrentConfig], Decoder]] = {
    ("none", False): VectorDecoder,
    ("additive", False): AdditiveDecoder,
    **{(kind, False): LuongDecoder for kind in ("dot", "general", "concat")},
    **{(kind, True): FeedingDecoder for kind in ("dot", "general", "concat")},
}  # by attention and input feeding


class Recurrent(nn.Module):
    """The encoder-decoder; implements `Seq2Seq[RecurrentMemory, RecurrentState]`."""

    def __init__(self, config: RecurrentConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.config = config
        self.recomputes = False  # and never does: what is large is not inside layers
        self.embeddings = Embeddings(vocabularies, config.embedding, is_tied=config.tie_embeddings)
        self.word_dropout, self.dropout = WordDropout(config.word_dropout), Dropout(config.dropout)
        self.encoder = Encoder(config)
        self.decoder = DECODERS[config.attention, config.input_feeding](config)
        # Bahdanau starts from where reading backwards ended, A.2.2; the others from where both directions did.
        self.is_first_only = config.attention == "additive" and config.bidirectional
        self.parts = CELLS[config.cell].parts
        width = config.dim // 2 if self.is_first_only else config.dim
        self.initial = linear(width, config.decoder_layers * self.parts * config.dim)

    def forward(self, source: Padded, target: Tensor) -> Tensor:
        """Return logits (batch, time, vocab) for target inputs (batch, time)."""
        logits: Tensor = self.output(self.states(source, target))
        return logits

    @property
    def output(self) -> nn.Linear:
        """Return the layer whose outputs are the logits."""
        return self.embeddings.output

    def states(self, source: Padded, target: Tensor) -> Tensor:
        """Return what the output layer reads, (batch, time, embedding), for target inputs (batch, time)."""
        return self._features(*self._decode(source, target))

    def encode(self, source: Padded) -> RecurrentMemory:
        """Read the source; keys of attention are projected here, once per sentence."""
        embedded = self._embed(self.embeddings.source, source.ids)
        visible = source_mask(source)
        outputs, last, first = self.encoder(embedded, visible.sum(1))
        initial: Tensor = self.initial(first if self.is_first_only else torch.cat((last, first), dim=-1))
        lookup = self.decoder.lookup(outputs, visible)
        return RecurrentMemory(initial.tanh(), torch.cat((last, first), dim=-1), lookup)

    def start(self, memory: RecurrentMemory, beam: int, length: int) -> RecurrentState:
        """Return the initial state; `length` does not matter here."""
        parts = torch.split(memory.initial[:, None].expand(-1, beam, -1), self.config.dim, dim=-1)
        layers = range(0, len(parts), self.parts)
        hidden = tuple(tuple(part.contiguous() for part in parts[at : at + self.parts]) for at in layers)
        return RecurrentState(hidden, self.decoder.carry(hidden))

    def step(self, tokens: Tensor, state: RecurrentState, memory: RecurrentMemory) -> tuple[Tensor, RecurrentState]:
        """Return logits (batch, beam, vocab) and the next state."""
        embedded = self._embed(self.embeddings.target, tokens)
        cut = self.decoder.stack.cut(embedded.shape[-1])
        moment, after = self.decoder.step(cut, cut.gates(embedded), state, memory)
        logits: Tensor = self.output(self._features(embedded, moment))
        return logits, after

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """Return "cross" weights (batch, 1, 1, query, key), or nothing without attention."""
        _, moment = self._decode(source, target)
        return {"cross": moment.weights[:, None, None]} if moment.weights.shape[-1] else {}

    def _decode(self, source: Padded, target: Tensor) -> tuple[Tensor, Moment]:
        memory = self.encode(source)
        embedded = self._embed(self.embeddings.target, target)
        return embedded, self.decoder.whole(embedded, self.start(memory, 1, target.shape[1]), memory)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.word_dropout(table(ids)))
        return embedded

    def _features(self, embedded: Tensor, moment: Moment) -> Tensor:
        features: Tensor = self.dropout(self.decoder.features(embedded, moment))
        return features
