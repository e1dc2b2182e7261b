"""The Transformer's layers against the ones of PyTorch, with copied weights, and its positions in closed form."""

from __future__ import annotations

import math
import threading
import time
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batches import EOS, Padded
from nmt.config import TransformerConfig
from nmt.models.attention import Mask, causal_mask, mask
from nmt.models.layers import ACTIVATIONS, DecoderLayer, EncoderLayer, SelfAttention, Surroundings, swiglu
from nmt.models.positions import GROWING, POSITIONS, Sinusoids
from nmt.models.transformer import Transformer
from nmt.models.weights import Vocabularies

DIM, HEADS, INNER, BATCH, SOURCE, TIME = 8, 2, 12, 3, 5, 4
LENGTHS = torch.tensor([5, 2, 4])

Module = TypeVar("Module", bound=nn.Module)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(11)


def config(**options: Any) -> TransformerConfig:
    return TransformerConfig(dim=DIM, heads=HEADS, feed_forward=INNER, dropout=0.0, **options)


def fresh(config: TransformerConfig) -> Transformer:
    return Transformer(config, Vocabularies(9, 9, is_shared=True))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def shaken(module: Module) -> Module:
    """Give every weight and bias a value that hides no mistake."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def padding() -> Tensor:
    return torch.arange(SOURCE) >= LENGTHS[:, None]  # (batch, source), True on padding


def source_scores() -> Mask:
    return mask(~padding()[:, None], HEADS, torch.float64)


def renamed(layer: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Return the weights of `layer` under torch's names; fused matrices are those of torch, cross-attention's two."""
    mine = layer.state_dict()
    theirs = {there + end: mine[here + end] for here, there in names.items() for end in (".weight", ".bias")}
    for end in ("weight", "bias"):
        theirs[f"self_attn.in_proj_{end}"] = mine[f"attention.project.{end}"]
        if f"cross.query.{end}" in mine:
            both = (mine[f"cross.query.{end}"], mine[f"cross.project.{end}"])
            theirs[f"multihead_attn.in_proj_{end}"] = torch.cat(both)
    return theirs


ENCODER_NAMES = {
    "attention.output": "self_attn.out_proj",
    "feed_forward.widen": "linear1",
    "feed_forward.narrow": "linear2",
    "around_attention.norm": "norm1",
    "around_feed_forward.norm": "norm2",
}
DECODER_NAMES = {
    **ENCODER_NAMES,
    "cross.output": "multihead_attn.out_proj",
    "around_cross.norm": "norm2",
    "around_feed_forward.norm": "norm3",
}
OUTSIDE: dict[str, Any] = {"dim_feedforward": INNER, "dropout": 0.0, "batch_first": True, "dtype": torch.float64}


def test_self_attention_is_multihead_attention() -> None:
    attention, inputs = shaken(SelfAttention(config())), random(BATCH, SOURCE, DIM)
    outside = nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=torch.float64)
    theirs = {"in_proj_weight": "project.weight", "in_proj_bias": "project.bias"}
    theirs |= {"out_proj.weight": "output.weight", "out_proj.bias": "output.bias"}
    outside.load_state_dict({there: attention.state_dict()[here] for there, here in theirs.items()})
    maps: list[Tensor] = []
    mixed = attention(inputs, Surroundings(source_scores(), None, maps))
    expected, weights = outside(inputs, inputs, inputs, key_padding_mask=padding(), average_attn_weights=False)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(maps[0], weights, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_is_torchs(norm: str, activation: str) -> None:
    layer, inputs = shaken(EncoderLayer(config(norm=norm, activation=activation))), random(BATCH, SOURCE, DIM)
    outside = nn.TransformerEncoderLayer(DIM, HEADS, activation=activation, norm_first=norm == "pre", **OUTSIDE)
    outside.load_state_dict(renamed(layer, ENCODER_NAMES))
    expected = outside(inputs, src_key_padding_mask=padding())
    hidden = layer(inputs, Surroundings(source_scores(), None, None))
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_decoder_layer_is_torchs(norm: str, activation: str) -> None:
    layer = shaken(DecoderLayer(config(norm=norm, activation=activation)))
    inputs, encoded = random(BATCH, TIME, DIM), random(BATCH, SOURCE, DIM)
    outside = nn.TransformerDecoderLayer(DIM, HEADS, activation=activation, norm_first=norm == "pre", **OUTSIDE)
    outside.load_state_dict(renamed(layer, DECODER_NAMES))
    future = torch.ones(TIME, TIME, dtype=torch.bool).triu(diagonal=1)
    expected = outside(inputs, encoded, tgt_mask=future, memory_key_padding_mask=padding())
    around = Surroundings(causal_mask(TIME, inputs), None, None)
    hidden = layer(inputs, layer.cross.pairs(encoded), source_scores(), around)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-10)


def test_pre_norm_ends_in_a_norm_and_post_norm_does_not_need_one() -> None:
    names = [{name for name, _ in fresh(config(norm=norm)).named_parameters()} for norm in ("pre", "post")]
    assert names[0] - names[1] == {
        f"{side}_norm.{end}" for side in ("encoder", "decoder") for end in ("weight", "bias")
    }


def test_swiglu_is_the_product_of_equation_6() -> None:
    inputs, gate, value = random(BATCH, DIM), random(INNER, DIM), random(INNER, DIM)
    expected = F.silu(inputs @ gate.T) * (inputs @ value.T)
    torch.testing.assert_close(swiglu(inputs @ torch.cat((gate, value)).T), expected)
    assert ACTIVATIONS["swiglu"].reads == 2


def test_sinusoidal_positions_in_closed_form() -> None:
    """With half = dim / 2, feature i of position p (from 1) is sin(p / 10000^(i / (half - 1))), i + half its cosine."""
    positions = POSITIONS["sinusoidal"](config(max_length=4))
    positions.grow(50)
    added, rotation = positions(torch.arange(50))
    assert rotation is None
    half = DIM // 2
    for row, feature in [(0, 0), (0, 3), (1, 1), (7, 2), (49, 0), (49, 1)]:
        angle = (row + 1) / 10000 ** (feature / (half - 1))
        assert added[row, feature].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert added[row, feature + half].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotation_sees_only_distances() -> None:
    positions = POSITIONS["rotary"](config()).double()
    query, key = random(1, 1, 1, DIM // HEADS), random(1, 1, 1, DIM // HEADS)

    def score(query_position: int, key_position: int) -> Tensor:
        turned = [
            positions(torch.tensor([place])).rotation.turn(vector)
            for place, vector in ((query_position, query), (key_position, key))
        ]
        return torch.sum(turned[0] * turned[1])

    torch.testing.assert_close(score(7, 3), score(104, 100), rtol=0, atol=1e-4)
    torch.testing.assert_close(score(9, 9), (query * key).sum(), rtol=0, atol=1e-6)
    assert (score(7, 3) - score(8, 3)).abs() > 1e-3


def test_rotation_by_hand() -> None:
    """The first pair turns by one radian per position, the second by 10000^(-1/2) = 0.01."""
    rotation = POSITIONS["rotary"](config())(torch.tensor([1])).rotation
    turned = rotation.turn(torch.tensor([1.0, 1.0, 0.0, 0.0])[None, None, None]).flatten()
    expected = torch.tensor([math.cos(1.0), math.cos(0.01), math.sin(1.0), math.sin(0.01)])
    torch.testing.assert_close(turned, expected)


def test_learned_positions_past_the_last_share_it() -> None:
    positions = POSITIONS["learned"](config(max_length=3))
    added, _ = positions(torch.tensor([2, 3, 90]))
    assert torch.equal(added, positions.get_parameter("weight")[2].expand(3, DIM))


@pytest.mark.parametrize("kind", ["sinusoidal", "rotary"])
def test_workers_that_share_a_table_never_shrink_it(kind: str) -> None:
    """Two need more rows at once: the one that needs fewer comes to it later, and leaves those of the other."""
    positions = POSITIONS[kind](config(max_length=4))
    assert isinstance(positions, Sinusoids)
    with GROWING:
        late = threading.Thread(target=positions.grow, args=(6,))
        late.start()
        time.sleep(0.05)
        assert late.is_alive(), "it has seen four rows, and waits"
        positions.table = torch.zeros(9, positions.table.shape[1])
    late.join()
    assert len(positions.table) == 9


@pytest.mark.parametrize("kind", ["sinusoidal", "rotary"])
def test_tables_of_positions_are_no_weights_and_do_not_end(kind: str) -> None:
    model = fresh(config(positions=kind, max_length=4))
    assert not any("table" in name for name in model.state_dict())
    source = Padded(torch.full((1, 40), EOS), torch.tensor([40]))
    assert model(source, torch.full((1, 60), EOS)).isfinite().all()
    state = model.start(model.encode(source), 1, 200)
    _, state = model.step(torch.tensor([[EOS]]), state._replace(position=torch.tensor([[199]])), model.encode(source))


def test_gradients_of_a_small_model() -> None:
    model = fresh(config(encoder_layers=1, decoder_layers=1)).double()
    source, target = Padded(torch.tensor([[4, 5, EOS]]), torch.tensor([3])), torch.tensor([[2, 5]])
    weights = model.decoder[0].cross.project.weight

    def logits(cross: Tensor) -> Any:
        return torch.func.functional_call(model, {"decoder.0.cross.project.weight": cross}, (source, target))

    assert torch.autograd.gradcheck(logits, (weights.detach().clone().requires_grad_(),))
