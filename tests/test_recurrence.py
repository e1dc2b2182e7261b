"""Recurrent cells and stacks against the ones of PyTorch, with copied weights, in float64."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nmt.config import RecurrentConfig
from nmt.models.recurrence import CELLS, Encoder, Hidden, Layer, Reversal, Stack

BATCH, TIME, INPUTS, DIM = 3, 5, 4, 6
LENGTHS = torch.tensor([5, 1, 3])
TORCH_CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}

Module = TypeVar("Module", bound=nn.Module)


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(5)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def shaken(module: Module) -> Module:
    """Give every weight and bias a value that hides no mistake."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def hidden(cell: str, *shape: int) -> Hidden:
    return tuple(random(*shape, DIM) for _ in range(CELLS[cell].parts))


@pytest.mark.parametrize("cell", CELLS)
def test_step_is_the_cell_of_torch(cell: str) -> None:
    layer, inputs, before = shaken(Layer(cell, INPUTS, DIM)), random(BATCH, INPUTS), hidden(cell, BATCH)
    outside = TORCH_CELLS[cell](INPUTS, DIM).double()
    outside.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in layer.weights.state_dict().items()})
    expected = outside(inputs, before if cell == "lstm" else before[0])
    after = layer.step(layer.gates(inputs), before)
    for part, theirs in zip(after, expected if cell == "lstm" else (expected,), strict=True):
        torch.testing.assert_close(part, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_whole_sequence(cell: str, depth: int) -> None:
    layer, inputs, state = shaken(Layer(cell, INPUTS, DIM, depth)), random(BATCH, TIME, INPUTS), hidden(cell, BATCH, 1)
    whole = layer(inputs, state)
    zeros = tuple(torch.zeros_like(part) for part in state)
    torch.testing.assert_close(layer(inputs), layer(inputs, zeros), rtol=0, atol=0)
    for time in range(TIME):
        state = layer.step(layer.gates(inputs[:, time : time + 1]), state)
        torch.testing.assert_close(state[0], whole[:, time : time + 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_deep_transition_is_a_cell_of_torch_that_reads_zeros(cell: str) -> None:
    layer, inputs, before = shaken(Layer(cell, INPUTS, DIM, 2)), random(BATCH, INPUTS), hidden(cell, BATCH)
    alone = Layer(cell, INPUTS, DIM).double()
    alone.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if "transition" not in name})
    between = alone.step(alone.gates(inputs), before)
    (transition,) = layer.transitions
    outside = TORCH_CELLS[cell](INPUTS, DIM).double()
    copies = {"weight_hh": "recurrent.weight", "bias_hh": "recurrent.bias", "bias_ih": "bias"}
    outside.load_state_dict({name: transition.state_dict()[copy] for name, copy in copies.items()}, strict=False)
    expected = outside(torch.zeros(BATCH, INPUTS).double(), between if cell == "lstm" else between[0])
    after = layer.step(layer.gates(inputs), before)
    for part, theirs in zip(after, expected if cell == "lstm" else (expected,), strict=True):
        torch.testing.assert_close(part, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_cut_gates_sum_to_the_gates(cell: str) -> None:
    layer, inputs = shaken(Layer(cell, INPUTS, DIM)), random(BATCH, INPUTS)
    cut = layer.cut(1)
    torch.testing.assert_close(cut.gates(inputs[:, :1]) + cut.further_gates(inputs[:, 1:]), layer.gates(inputs))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_step(cell: str) -> None:
    before = [part.requires_grad_() for part in hidden(cell, 2)]
    gates, recurrent = (random(2, CELLS[cell].gates * DIM).requires_grad_() for _ in range(2))
    step = CELLS[cell].step
    assert torch.autograd.gradcheck(lambda g, r, *parts: step(g, r, parts), (gates, recurrent, *before))


def test_gru_by_hand() -> None:
    """Reset and update gates of 1/2 and a candidate of tanh(1 + 1/2 * 2) give (tanh 2 + 3) / 2."""
    inputs, recurrent = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 2.0])
    (after,) = CELLS["gru"].step(inputs, recurrent, (torch.tensor([3.0]),))
    torch.testing.assert_close(after, torch.tensor([1.9820138]))


def test_lstm_by_hand() -> None:
    """Gates of 1/2 and a candidate of 0 halve the cell: c = 2 gives c' = 1, h' = tanh(1) / 2."""
    after = CELLS["lstm"].step(torch.zeros(4), torch.zeros(4), (torch.zeros(1), torch.tensor([2.0])))
    torch.testing.assert_close(torch.cat(after), torch.tensor([0.3807971, 1.0]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_encoder_is_torchs_on_packed_sequences(cell: str, bidirectional: bool) -> None:
    config = RecurrentConfig(
        cell=cell, embedding=INPUTS, dim=DIM, encoder_layers=2, bidirectional=bidirectional, dropout=0.0
    )
    encoder, inputs = shaken(Encoder(config)), random(BATCH, TIME, INPUTS)
    width = DIM // 2 if bidirectional else DIM
    outside = CELLS[cell].layer(INPUTS, width, num_layers=2, batch_first=True, bidirectional=bidirectional).double()
    copies = {}
    for suffix, layers in (("", encoder.forwards), ("_reverse", encoder.backwards)):
        for index, layer in enumerate(layers):
            for name, tensor in layer.get_submodule("weights").state_dict().items():
                copies[name.replace("_l0", f"_l{index}{suffix}")] = tensor
    outside.load_state_dict(copies)
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, last = outside(packed)
    expected, _ = pad_packed_sequence(outputs, batch_first=True)
    encoded = encoder(inputs, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(encoded.outputs[row, :length], expected[row, :length], rtol=0, atol=1e-12)
    ends = (last[0] if cell == "lstm" else last)[-2 if bidirectional else -1 :]  # (direction, batch, width)
    torch.testing.assert_close(encoded.last, ends[0], rtol=0, atol=1e-12)
    assert encoded.first.shape == (BATCH, width if bidirectional else 0)
    if bidirectional:
        torch.testing.assert_close(encoded.first, ends[1], rtol=0, atol=1e-12)


def test_reversal_is_its_own_inverse_and_leaves_padding() -> None:
    inputs = torch.arange(1, 16.0).view(BATCH, TIME, 1)
    backwards = Reversal.of(LENGTHS, TIME)
    reversed_rows = [[5, 4, 3, 2, 1], [6, 7, 8, 9, 10], [13, 12, 11, 14, 15]]
    assert backwards(inputs).squeeze(-1).tolist() == reversed_rows
    assert torch.equal(backwards(backwards(inputs)), inputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("is_dressed", [False, True])
def test_stack_steps_equal_the_whole(cell: str, is_dressed: bool) -> None:
    config = RecurrentConfig(cell=cell, embedding=INPUTS, dim=DIM, decoder_layers=3, dropout=0.0)
    config = config.model_copy(update={"residual": is_dressed, "layer_norm": is_dressed})
    stack, inputs = shaken(Stack(config, INPUTS)), random(BATCH, TIME, INPUTS)
    state = tuple(hidden(cell, BATCH, 1) for _ in range(3))
    whole = stack(inputs, state)
    gates = stack.cut(INPUTS).gates(inputs)
    for time in range(TIME):
        output, state = stack.step(gates[:, time : time + 1], state)
        torch.testing.assert_close(output, whole[:, time : time + 1], rtol=0, atol=1e-12)


def test_every_layer_has_steps_of_the_depth_that_is_set() -> None:
    config = RecurrentConfig(embedding=INPUTS, dim=DIM, encoder_layers=2, decoder_layers=2, transition_depth=3)
    encoder, stack = Encoder(config), Stack(config, INPUTS)
    for layers in (encoder.forwards, encoder.backwards, stack.layers):
        assert [len(layer.transitions) for layer in layers] == [2, 2]


def test_residual_adds_the_layers_input_from_the_second_on() -> None:
    config = RecurrentConfig(cell="gru", embedding=DIM, dim=DIM, decoder_layers=2, residual=True, dropout=0.0)
    stack, inputs = shaken(Stack(config, DIM)), random(BATCH, TIME, DIM)
    state = tuple(hidden("gru", BATCH, 1) for _ in range(2))
    first = stack.layers[0](inputs, state[0])
    torch.testing.assert_close(stack(inputs, state), first + stack.layers[1](first, state[1]))


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_start_orthogonal(cell: str) -> None:
    layer = Layer(cell, INPUTS, DIM)
    for gate in layer.weights.get_parameter("weight_hh_l0").chunk(CELLS[cell].gates):
        torch.testing.assert_close(gate @ gate.T, torch.eye(DIM))
    forget = layer.weights.get_parameter("bias_ih_l0")[DIM : 2 * DIM]
    assert cell != "lstm" or torch.equal(forget, torch.ones(DIM))
    (transition,) = Layer(cell, INPUTS, DIM, 2).transitions
    for gate in transition.get_parameter("recurrent.weight").chunk(CELLS[cell].gates):
        torch.testing.assert_close(gate @ gate.T, torch.eye(DIM))
    assert cell != "lstm" or torch.equal(transition.get_parameter("bias")[DIM : 2 * DIM], torch.ones(DIM))
