"""Frozen models compute what they computed before, and leave the models that they were made of as they were."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lookup import pad, random_sources
from pydantic import TypeAdapter
from torch import Tensor, nn

from nmt import frozen
from nmt.batches import BOS, Padded
from nmt.config import ModelConfig
from nmt.frozen import FrozenLinear, freeze
from nmt.models import build

torch.set_num_threads(1)

VOCAB = 8
TIME = 5
BEAM = 3
WIDTHS = {"type": "rnn", "embedding": 12, "dim": 16}
MODELS: dict[str, dict[str, object]] = {
    "transformer": {"type": "transformer", "dim": 16, "heads": 2, "feed_forward": 32, "max_length": 64},
    "transformer-untied": {"type": "transformer", "dim": 24, "heads": 2, "feed_forward": 40, "tie_embeddings": False},
    "rnn-additive": {**WIDTHS, "cell": "gru", "attention": "additive"},
    "rnn-concat": {**WIDTHS, "cell": "lstm", "attention": "concat", "input_feeding": True},
    "rnn-none": {**WIDTHS, "cell": "rnn", "attention": "none"},
}
# Of the same numbers in another order of summation; in bf16, whose numbers have eight binary digits, of its rounding.
NEAR = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 0.02, "atol": 0.02}}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    """A model whose biases are not the zeros that they begin with."""
    torch.manual_seed(3)
    model = build(TypeAdapter(ModelConfig).validate_python(MODELS[request.param]), VOCAB, VOCAB, shared=True).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def source() -> Padded:
    return pad(random_sources(7, 1, longest=9))


def targets(source: Padded) -> Tensor:
    words = torch.randint(4, VOCAB, (len(source.ids), TIME), generator=torch.Generator().manual_seed(4))
    words[:, 0] = BOS
    return words


@torch.inference_mode()
def stepwise(model: Any, source: Padded, words: Tensor) -> Tensor:
    """Logits (batch, time, beam, vocab) of hypotheses that all say the same."""
    memory = model.encode(source)
    state, logits = model.start(memory, BEAM, TIME), list[Tensor]()
    for tokens in words.T:
        one, state = model.step(tokens[:, None].expand(-1, BEAM), state, memory)
        logits.append(one)
    return torch.stack(logits, dim=1)


def linears(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_logits_stay_what_they_were(model: Any, source: Padded, dtype: torch.dtype) -> None:
    model, words = model.to(dtype), targets(source)
    twin = freeze(model)
    assert twin is not model or not frozen._can_pack("cpu", dtype)
    with torch.inference_mode():
        torch.testing.assert_close(twin(source, words), model(source, words), **NEAR[dtype])
    torch.testing.assert_close(stepwise(twin, source, words), stepwise(model, source, words), **NEAR[dtype])


@pytest.mark.skipif(not frozen._can_pack("cpu", torch.float32), reason="nothing can be packed here")
def test_every_linear_layer_is_frozen(model: Any) -> None:
    twin = freeze(model)
    assert linears(twin, FrozenLinear) == linears(model, nn.Linear) != []
    assert linears(twin, nn.Linear) == linears(model, FrozenLinear) == []
    assert all(module.is_packed for module in twin.modules() if isinstance(module, FrozenLinear))


def test_the_model_is_left_as_it_was_and_goes_on_learning(model: Any, source: Padded) -> None:
    """What it learns afterwards is not seen by the frozen one."""
    words = targets(source)
    names, weights = linears(model, nn.Module), {name: each.clone() for name, each in model.state_dict().items()}
    twin = freeze(model)
    assert linears(model, nn.Module) == names
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    with torch.inference_mode():
        before = twin(source, words)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    F.cross_entropy(model(source, words).flatten(0, 1), words.roll(-1, 1).flatten()).backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []
    optimizer.step()
    assert any(not torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(twin(source, words), before) == (twin is not model)


def test_where_nothing_can_be_packed_the_model_itself_is_used(
    model: Any, source: Padded, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model(source, targets(source))
    monkeypatch.setattr(frozen, "_can_pack", lambda device, dtype: False)
    assert freeze(model) is model
    assert linears(model, FrozenLinear) == []
    assert torch.equal(model(source, targets(source)), expected)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("shape", [(1,), (5,), (700,), (5, 1), (7, 4, 5), (0,)], ids=str)
def test_a_frozen_layer_serves_any_number_of_rows(
    shape: tuple[int, ...], dtype: torch.dtype, has_bias: bool, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout is chosen for one number of rows; others, and more dimensions, are served as well."""
    if not packs:
        monkeypatch.setattr(frozen, "_can_pack", lambda device, dtype: False)
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(*shape, 24, generator=generator).to(dtype)
    weight = (torch.randn(37, 24, generator=generator) / 24**0.5).to(dtype)
    bias = torch.randn(37, generator=generator).to(dtype) if has_bias else None
    layer, expected = FrozenLinear(weight, bias), F.linear(inputs, weight, bias)
    assert layer.is_packed == (packs and frozen._can_pack("cpu", dtype))
    found = layer(inputs)
    assert (found.dtype, found.shape) == (dtype, (*shape, 37))
    if layer.is_packed:
        torch.testing.assert_close(found, expected, **NEAR[dtype])
    else:
        assert torch.equal(found, expected)


def test_what_lies_elsewhere_in_memory_is_served_as_well() -> None:
    torch.manual_seed(6)
    weight, inputs = torch.randn(24, 37).T, torch.randn(5, 7, 48)[..., ::2].transpose(0, 1)
    torch.testing.assert_close(FrozenLinear(weight)(inputs), inputs @ weight.T, rtol=1e-5, atol=1e-5)


def test_a_type_that_onednn_does_not_know_is_served_unpacked() -> None:
    weight, inputs = torch.randn(6, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    layer = FrozenLinear(weight)
    assert not layer.is_packed
    torch.testing.assert_close(layer(inputs), inputs @ weight.T, rtol=1e-14, atol=1e-14)


def refuses(*arguments: object) -> None:
    raise RuntimeError("not here")


@pytest.mark.parametrize(
    "operations",
    [
        SimpleNamespace(),
        SimpleNamespace(_reorder_linear_weight=refuses),
        SimpleNamespace(_reorder_linear_weight=lambda *_: 0, _linear_pointwise=refuses),
        SimpleNamespace(_reorder_linear_weight=lambda *_: 0, _linear_pointwise=lambda *_: torch.zeros(2, 16)),
    ],
    ids=["missing", "no layout", "no product", "another product"],
)
def test_nothing_is_packed_where_the_operations_do_not_do_it(
    operations: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", operations)
    assert not frozen._can_pack.__wrapped__("cpu", torch.float32)  # unwrapped: answers are kept


def test_nothing_is_packed_for_a_gpu() -> None:
    assert not frozen._can_pack("cuda", torch.float32)
