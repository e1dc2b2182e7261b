"""Recurrent layers and stacks of them, over whole sequences and step by step; they know nothing of attention or tokens.

The hidden state of a layer is a tuple of its parts: (h,) for tanh and GRU cells, (h, c) for LSTM cells. Whole
sequences run through one fused call per layer, unless its steps are deep; single steps use the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config import RecurrentConfig
from nmt.models.dropout import Dropout

Hidden = tuple[Tensor, ...]  # parts of a layer's state, each (batch, query, dim)


def tanh_step(inputs: Tensor, recurrent: Tensor, hidden: Hidden) -> Hidden:
    """Return the next state of a plain cell from its two sums (..., dim), Elman's network."""
    return ((inputs + recurrent).tanh(),)


def gru_step(inputs: Tensor, recurrent: Tensor, hidden: Hidden) -> Hidden:
    """Return the next state of a gated recurrent unit (1406.1078, in cuDNN's form: reset after the product)."""
    # Cut by `chunk`, whose gradient is one `cat`: each slice would add a tensor of zeros of full width.
    reset_input, update_input, proposal_input = inputs.chunk(3, dim=-1)
    reset_recurrent, update_recurrent, proposal_recurrent = recurrent.chunk(3, dim=-1)
    reset = (reset_input + reset_recurrent).sigmoid()
    update = (update_input + update_recurrent).sigmoid()
    proposed = torch.addcmul(proposal_input, reset, proposal_recurrent).tanh()
    return (torch.lerp(proposed, hidden[0], update),)


def lstm_step(inputs: Tensor, recurrent: Tensor, hidden: Hidden) -> Hidden:
    """Return the next (h, c) of a long short-term memory (gates: input, forget, candidate, output)."""
    entered, kept, proposed, shown = (inputs + recurrent).chunk(4, dim=-1)
    cell = kept.sigmoid() * hidden[1] + entered.sigmoid() * proposed.tanh()
    return shown.sigmoid() * cell.tanh(), cell


class Cell(NamedTuple):
    """One kind of cell: the layer that runs it over sequences, and one step of it."""

    layer: Callable[..., nn.RNNBase]
    step: Callable[[Tensor, Tensor, Hidden], Hidden]
    gates: int  # rows of its matrices per feature
    parts: int  # tensors of its state


CELLS = {
    "rnn": Cell(nn.RNN, tanh_step, gates=1, parts=1),
    "gru": Cell(nn.GRU, gru_step, gates=3, parts=1),
    "lstm": Cell(nn.LSTM, lstm_step, gates=4, parts=2),
}


class Cut(NamedTuple):
    """The input weights of a layer, cut once for many steps: the gradient of each cut is a tensor of full size."""

    first: Tensor  # (gates * dim, features), for what is known before the first step
    further: Tensor  # (gates * dim, features), for what the step before hands on
    bias: Tensor

    def gates(self, inputs: Tensor) -> Tensor:
        """Return what the first features of the input add to the gates, with the bias."""
        return F.linear(inputs, self.first, self.bias)

    def further_gates(self, inputs: Tensor) -> Tensor:
        """Return what the other features add."""
        return F.linear(inputs, self.further)


class Transition(nn.Module):
    """A further cell of a step, which reads nothing but the state that the one before it left (1707.07631)."""

    def __init__(self, cell: Cell, dim: int) -> None:
        super().__init__()
        self.cell = cell
        self.recurrent = nn.Linear(dim, cell.gates * dim)
        self.bias = nn.Parameter(torch.zeros(cell.gates * dim))  # where the sum of an input would be
        _initialise(cell, self.recurrent.weight, self.recurrent.bias, self.bias)

    def forward(self, hidden: Hidden) -> Hidden:
        """Return the state after it."""
        return self.cell.step(self.bias, self.recurrent(hidden[0]), hidden)


def _initialise(cell: Cell, recurrent: Tensor, recurrent_bias: Tensor, bias: Tensor) -> None:
    """Orthogonal recurrence, gate by gate, as in Bahdanau B.1; an LSTM's forget gate opens (Jozefowicz 2015)."""
    dim = recurrent.shape[1]
    for gate in recurrent.detach().view(cell.gates, dim, dim):
        nn.init.orthogonal_(gate)
    nn.init.zeros_(bias)
    nn.init.zeros_(recurrent_bias)
    if cell.parts == 2:
        nn.init.ones_(bias.detach()[dim : 2 * dim])


class Layer(nn.Module):
    """One layer of one direction."""

    def __init__(self, cell: str, inputs: int, dim: int, depth: int = 1) -> None:
        super().__init__()
        self.cell = CELLS[cell]
        self.weights = self.cell.layer(inputs, dim, batch_first=True)
        self.transitions = nn.ModuleList(Transition(self.cell, dim) for _ in range(depth - 1))
        bound = math.sqrt(3.0 / inputs)
        nn.init.uniform_(self._parameter("weight_ih_l0"), -bound, bound)
        _initialise(self.cell, *map(self._parameter, ("weight_hh_l0", "bias_hh_l0", "bias_ih_l0")))

    def forward(self, inputs: Tensor, initial: Hidden | None = None) -> Tensor:
        """Return the outputs (batch, time, dim) for `inputs` (batch, time, features), from zeros or `initial`."""
        if self.transitions:
            return self._walk(inputs, initial)
        if initial is None:
            outputs, _ = self.weights(inputs)
        else:
            parts = tuple(part.transpose(0, 1).contiguous() for part in initial)  # (1, batch, dim)
            outputs, _ = self.weights(inputs, parts if len(parts) == 2 else parts[0])
        return cast(Tensor, outputs)

    def _walk(self, inputs: Tensor, initial: Hidden | None) -> Tensor:
        """Go step by step: no fused call has several cells in a step."""
        zeros = inputs.new_zeros(inputs.shape[0], 1, self.weights.hidden_size)
        hidden, outputs = initial or (zeros,) * self.cell.parts, list[Tensor]()
        for gates in torch.split(self.gates(inputs), 1, dim=1):
            hidden = self.step(gates, hidden)
            outputs.append(hidden[0])
        return torch.cat(outputs, dim=1)

    def cut(self, first: int) -> Cut:
        """Return the input weights for the first and for the other features."""
        weight = self._parameter("weight_ih_l0")
        return Cut(weight[:, :first], weight[:, first:], self._parameter("bias_ih_l0"))

    def gates(self, inputs: Tensor) -> Tensor:
        """Return what `inputs` (..., features) add to the gates (..., gates * dim)."""
        return F.linear(inputs, self._parameter("weight_ih_l0"), self._parameter("bias_ih_l0"))

    def step(self, gates: Tensor, hidden: Hidden) -> Hidden:
        """Return the state after one step whose input adds `gates` (..., gates * dim)."""
        recurrent = F.linear(hidden[0], self._parameter("weight_hh_l0"), self._parameter("bias_hh_l0"))
        hidden = self.cell.step(gates, recurrent, hidden)
        for transition in self.transitions:
            hidden = transition(hidden)
        return hidden

    def _parameter(self, name: str) -> Tensor:
        return cast(Tensor, self.weights.get_parameter(name))


class Around(nn.Module):
    """What stands between layers: the norm of a layer's output, the residual sum from the second on, dropout."""

    def __init__(self, config: RecurrentConfig, index: int, layers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim) if config.layer_norm else nn.Identity()
        self.is_residual = config.residual and index > 0
        self.dropout = Dropout(config.dropout if index + 1 < layers else 0.0)

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return what the next layer reads, from this layer's `inputs` and `outputs`, both (..., dim)."""
        normed = self.norm(outputs)
        dropped: Tensor = self.dropout(normed + inputs if self.is_residual else normed)
        return dropped


class Encoded(NamedTuple):
    """What an encoder makes of its input."""

    outputs: Tensor  # (batch, source, dim), past the end of a row without meaning
    last: Tensor  # (batch, dim or dim / 2), the top layer's output after reading forwards to the last token
    first: Tensor  # (batch, dim / 2 or 0), after reading backwards to the first


class Encoder(nn.Module):
    """A stack of layers, each reading forwards or both ways.

    Backwards, each row is reversed within its own length and read forwards, so that padding comes last in either
    direction and changes nothing: no packing, no wait for the device, shapes that a graph can capture.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        dim = config.dim // 2 if config.bidirectional else config.dim
        widths = [config.embedding] + [config.dim] * (config.encoder_layers - 1)
        self.is_bidirectional = config.bidirectional
        depth, both = config.transition_depth, config.bidirectional
        self.forwards = nn.ModuleList(Layer(config.cell, width, dim, depth) for width in widths)
        self.backwards = nn.ModuleList(Layer(config.cell, width, dim, depth) for width in widths if both)
        self.around = nn.ModuleList(Around(config, index, len(widths)) for index in range(len(widths)))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        """Read `inputs` (batch, source, features) of `lengths` (batch,), which lie on the device of the inputs."""
        batch, length, _ = inputs.shape
        hidden, backwards = inputs, Reversal.of(lengths, length)
        for index, (layer, around) in enumerate(zip(self.forwards, self.around, strict=True)):
            outputs = layer(hidden)
            if self.is_bidirectional:
                outputs = torch.cat((outputs, backwards(self.backwards[index](backwards(hidden)))), dim=-1)
            hidden = around(hidden, outputs)
        half = hidden.shape[-1] // 2 if self.is_bidirectional else hidden.shape[-1]
        rows = torch.arange(batch, device=hidden.device)
        return Encoded(hidden, hidden[rows, lengths - 1, :half], hidden[:, 0, half:])


class Reversal(NamedTuple):
    """The permutation that reverses each row within its length and leaves padding where it is; its own inverse."""

    rows: Tensor  # (batch * length,), indices into the rows of a flattened tensor

    @classmethod
    def of(cls, lengths: Tensor, length: int) -> Reversal:
        """Return the reversal of rows of `lengths` (batch,) in a tensor (batch, length, ...)."""
        position = torch.arange(length, device=lengths.device)
        mirrored = lengths[:, None] - 1 - position
        start = torch.arange(len(lengths), device=lengths.device)[:, None] * length
        return cls((start + torch.where(mirrored < 0, position, mirrored)).flatten())

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return `inputs` (batch, length, features) reversed."""
        return inputs.flatten(0, 1).index_select(0, self.rows).view(inputs.shape)


class Stack(nn.Module):
    """The decoder's layers, one after the other."""

    def __init__(self, config: RecurrentConfig, inputs: int) -> None:
        super().__init__()
        widths = [inputs] + [config.dim] * (config.decoder_layers - 1)
        layers = nn.ModuleList(Layer(config.cell, width, config.dim, config.transition_depth) for width in widths)
        around = nn.ModuleList(Around(config, index, len(widths)) for index in range(len(widths)))
        self.layers = cast("Sequence[Layer]", layers)
        self.around = cast("Sequence[Around]", around)

    def forward(self, inputs: Tensor, initial: Sequence[Hidden]) -> Tensor:
        """Return the top outputs (batch, time, dim) of `inputs` (batch, time, features), one fused call per layer."""
        for layer, around, hidden in zip(self.layers, self.around, initial, strict=True):
            inputs = around(inputs, layer(inputs, hidden))
        return inputs

    def cut(self, first: int) -> Cut:
        """Return the bottom layer's input weights for the first and for the other features."""
        return self.layers[0].cut(first)

    def step(self, gates: Tensor, state: Sequence[Hidden]) -> tuple[Tensor, tuple[Hidden, ...]]:
        """Return top output (batch, query, dim) and next state; `gates` is what the bottom layer's input adds."""
        after: list[Hidden] = []
        outputs = gates  # never a residual: the bottom layer has none
        for index, (layer, around, hidden) in enumerate(zip(self.layers, self.around, state, strict=True)):
            after.append(layer.step(layer.gates(outputs) if index else gates, hidden))
            outputs = around(outputs, after[-1][0])
        return outputs, tuple(after)
