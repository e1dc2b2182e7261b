"""Laws that every model obeys, whatever is inside it."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from nmt.batches import BOS, EOS, PAD, Padded
from nmt.config import ModelConfig, RecurrentConfig, TransformerConfig
from nmt.models import Model, build, past
from nmt.models.interface import select, take
from nmt.models.weights import Embeddings

VOCAB = 13
TIME = 6
BEAM = 3
SOURCES = [[4, 5, 6, 7, EOS], [8, EOS], [9, 4, 11, EOS]]

DEEP = {"encoder_layers": 2, "decoder_layers": 3, "residual": True, "layer_norm": True, "tie_embeddings": True}
LUONG = ("dot", "general", "concat")


def recurrent(cell: str, attention: str, **options: Any) -> RecurrentConfig:
    return RecurrentConfig.model_validate({"cell": cell, "attention": attention, "embedding": 6, "dim": 8, **options})


def transformer(**options: Any) -> TransformerConfig:
    return TransformerConfig(dim=8, heads=2, feed_forward=12, encoder_layers=2, decoder_layers=2, **options)


CELLS = ("rnn", "gru", "lstm")
CONFIGS: dict[str, ModelConfig] = {
    **{f"{cell}-{kind}": recurrent(cell, kind) for cell in CELLS for kind in ("none", "additive", *LUONG)},
    **{f"{cell}-{kind}-feeding": recurrent(cell, kind, input_feeding=True) for cell in CELLS for kind in LUONG},
    **{f"{cell}-{kind}-deep": recurrent(cell, kind, **DEEP) for cell in CELLS for kind in ("none", "additive")},
    "lstm-general-deep-forwards": recurrent("lstm", "general", input_feeding=True, bidirectional=False, **DEEP),
    **{f"{cell}-additive-transitions": recurrent(cell, "additive", transition_depth=2) for cell in CELLS},
    "gru-none-transitions": recurrent("gru", "none", transition_depth=3, encoder_layers=2),
    "gru-additive-forwards": recurrent("gru", "additive", bidirectional=False),
    **{
        f"transformer-{norm}-{positions}-{activation}": transformer(
            norm=norm, positions=positions, activation=activation
        )
        for norm, activations in (("pre", ("relu", "gelu", "swiglu")), ("post", ("swiglu", "relu", "gelu")))
        for positions, activation in zip(("sinusoidal", "learned", "rotary"), activations, strict=True)
    },
    "transformer-untied": transformer(tie_embeddings=False),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Model:
    """A model in float64, with biases and norms away from the values that hide mistakes."""
    model = build(CONFIGS[request.param], VOCAB, VOCAB, shared=True).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, mean=parameter.data.mean().item(), std=0.4)
    return model


def padded(rows: list[list[int]], length: int = 0) -> Padded:
    length = max(length, *map(len, rows))
    ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
    return Padded(ids, torch.tensor([len(row) for row in rows]))


def targets(*shape: int) -> Tensor:
    words = torch.randint(EOS + 1, VOCAB, shape)
    words[..., 0] = BOS
    return words


@pytest.mark.slow
@torch.no_grad()
def test_step_equals_forward_whatever_was_selected(model: Model) -> None:
    source, words = padded(SOURCES), targets(len(SOURCES), BEAM, TIME)
    memory = model.encode(source)
    state = model.start(memory, BEAM, TIME)
    histories = words[:, :, :0]
    for time in range(TIME):
        parents = torch.randint(0, BEAM, (len(SOURCES), BEAM))
        state = select(state, parents)
        histories = histories.gather(1, parents[..., None].expand_as(histories))
        histories = torch.cat((histories, words[:, :, time : time + 1]), dim=2)
        logits, state = model.step(words[:, :, time], state, memory)
        for slot in range(BEAM):
            expected = model(source, histories[:, slot])[:, -1]
            torch.testing.assert_close(logits[:, slot], expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("older", [0, 1])
@pytest.mark.parametrize("growing", [{"cpu"}, set()], ids=["growing", "of-full-length"])
def test_rows_at_different_positions_do_not_meet(
    model: Model, older: int, growing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence that entered later stands beside one that is three tokens on, as when finished ones are replaced."""
    monkeypatch.setattr(past, "GROWING", growing)
    words, times = targets(2, BEAM, TIME), [0, 0]
    memory = model.encode(padded(SOURCES[:2]))
    alone = [take(memory, torch.tensor([row])) for row in (0, 1)]
    states = [model.start(each, BEAM, TIME) for each in alone]
    for times[older] in range(3):
        _, states[older] = model.step(words[older : older + 1, :, times[older]], states[older], alone[older])
    times[older] += 1
    now = torch.stack([words[row, :, times[row]] for row in (0, 1)])
    logits, _ = model.step(now, joined(*states), memory)
    for slot in range(BEAM):
        whole = model(padded(SOURCES[:2]), words[:, slot])
        expected = torch.stack([whole[row, times[row]] for row in (0, 1)])
        torch.testing.assert_close(logits[:, slot], expected, rtol=0, atol=1e-10)


def joined(first: Any, second: Any) -> Any:
    """Return states of two batches as one of both."""
    if isinstance(first, Tensor):
        return torch.cat((first, second))
    items = [joined(*pair) for pair in zip(first, second, strict=True)]
    return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)


@torch.no_grad()
def test_padding_and_batch_mates_change_nothing(model: Model) -> None:
    words, embeddings = targets(len(SOURCES), TIME), cast(Embeddings, model.embeddings)
    for table in {embeddings.source, embeddings.target}:
        table.weight[PAD] = 1e3
    together = model(padded(SOURCES, length=9), words)
    for row, source in enumerate(SOURCES):
        alone = model(padded([source]), words[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_token_changes_no_logits_before_it(model: Model) -> None:
    source, words = padded(SOURCES), targets(len(SOURCES), TIME)
    before = model(source, words)
    for time in range(1, TIME):
        changed = words.clone()
        changed[:, time] = (changed[:, time] + 1) % VOCAB
        after = model(source, changed)
        assert torch.equal(after[:, :time], before[:, :time])
        assert (after[:, time] - before[:, time]).abs().amax(dim=-1).min() > 1e-9


@torch.no_grad()
def test_every_source_token_counts(model: Model) -> None:
    words = targets(1, TIME)
    before = model(padded(SOURCES[:1]), words)
    for place in range(len(SOURCES[0]) - 1):
        changed = [list(SOURCES[0])]
        changed[0][place] += 1
        assert (model(padded(changed), words) - before).abs().max() > 1e-9


@torch.no_grad()
def test_select_by_the_identity_is_the_identity(model: Model) -> None:
    memory = model.encode(padded(SOURCES))
    _, state = model.step(targets(len(SOURCES), BEAM), model.start(memory, BEAM, TIME), memory)
    same = select(state, torch.arange(BEAM).repeat(len(SOURCES), 1))
    for mine, other in zip(leaves(same), leaves(state), strict=True):
        assert torch.equal(mine, other)


def leaves(tree: Any) -> list[Tensor]:
    return [tree] if isinstance(tree, Tensor) else [leaf for item in tree for leaf in leaves(item)]


@torch.no_grad()
def test_every_leaf_has_the_batch_first_and_is_dense(model: Model) -> None:
    memory = model.encode(padded(SOURCES))
    state = model.start(memory, BEAM, TIME)
    assert all(leaf.shape[0] == len(SOURCES) for leaf in leaves(memory))
    assert all(leaf.shape[0] == len(SOURCES) and leaf.is_contiguous() for leaf in leaves(state))
    _, after = model.step(targets(len(SOURCES), BEAM), state, memory)
    described = [[(leaf.shape, leaf.dtype) for leaf in leaves(tree)] for tree in (state, after)]
    assert described[0] == described[1]


@torch.no_grad()
def test_take_picks_rows(model: Model) -> None:
    words, rows = targets(len(SOURCES), BEAM, 2), torch.tensor([2, 0])
    memory = model.encode(padded(SOURCES))
    _, state = model.step(words[..., 0], model.start(memory, BEAM, TIME), memory)
    fewer_memory, fewer_state = take(memory, rows), take(copy.deepcopy(state), rows)  # it uses up a cache
    every, _ = model.step(words[..., 1], state, memory)
    fewer, _ = model.step(words[rows, :, 1], fewer_state, fewer_memory)
    torch.testing.assert_close(fewer, every[rows], rtol=0, atol=1e-12)


@torch.no_grad()
def test_memory_is_read_only(model: Model) -> None:
    memory = model.encode(padded(SOURCES))
    before = [leaf.clone() for leaf in leaves(memory)]
    state = model.start(memory, BEAM, TIME)
    for _ in range(TIME):
        _, state = model.step(targets(len(SOURCES), BEAM), state, memory)
    assert all(map(torch.equal, leaves(memory), before))


def test_gradients_reach_every_parameter(model: Model) -> None:
    model(padded(SOURCES), targets(len(SOURCES), TIME)).logsumexp(dim=-1).pow(2).sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []


@torch.no_grad()
def test_attention_sums_to_one_and_is_zero_on_padding(model: Model) -> None:
    source, words = padded(SOURCES), targets(len(SOURCES), TIME)
    for kind, weights in model.attention(source, words).items():
        batch, _, _, queries, keys = weights.shape
        assert (batch, queries) == (len(SOURCES), source.ids.shape[1] if kind == "encoder" else TIME)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
        if kind == "decoder":
            assert not weights.triu(diagonal=1).any()
        else:
            for row, length in enumerate(source.lengths.tolist()):
                assert not weights[row, ..., length:].any()
                assert weights[row, ..., :length].all()
            assert keys == source.ids.shape[1]


def test_every_model_names_the_attention_it_has(model: Model) -> None:
    kinds = set(model.attention(padded(SOURCES), targets(len(SOURCES), TIME)))
    config = cast(ModelConfig, model.config)
    if config.type == "transformer":
        assert kinds == {"cross", "encoder", "decoder"}
    else:
        assert kinds == (set() if config.attention == "none" else {"cross"})


@pytest.mark.slow
def test_half_precision_stays_near(model: Model) -> None:
    """Weights and activations are all of half precision, by teacher forcing, backwards and step by step.

    Compared with the same rounded weights in fp32: what rounding them does to deep random layers is not at stake here.
    """
    half = copy.deepcopy(model).to(torch.bfloat16)
    model = copy.deepcopy(half).float()
    source, words = padded(SOURCES), targets(len(SOURCES), TIME)
    expected = model(source, words)
    logits = half(source, words)
    logits.float().sum().backward()
    memory = half.encode(source)
    state = half.start(memory, 1, TIME)
    steps = []
    for time in range(TIME):
        step, state = half.step(words[:, time : time + 1], state, memory)
        steps.append(step)
    assert {leaf.dtype for leaf in leaves((memory, state)) if leaf.is_floating_point()} == {torch.bfloat16}
    for found in (logits, torch.cat(steps, dim=1)):
        assert found.dtype == torch.bfloat16
        assert (found - expected).norm() < 0.05 * expected.norm()
    assert {parameter.grad.dtype for parameter in half.parameters() if parameter.grad is not None} == {torch.bfloat16}


def test_dropout_is_off_in_evaluation_and_on_in_training(model: Model) -> None:
    source, words = padded(SOURCES), targets(len(SOURCES), TIME)
    assert torch.equal(model(source, words), model(source, words))
    model.train()
    assert not torch.equal(model(source, words), model(source, words))


@pytest.mark.parametrize("name", ["gru-additive", "lstm-general-deep-forwards", "transformer-pre-sinusoidal-relu"])
@pytest.mark.parametrize(("is_tied", "is_shared", "matrices"), [(False, True, 3), (True, False, 2), (True, True, 1)])
def test_tied_embeddings_are_one_parameter(name: str, is_tied: bool, is_shared: bool, matrices: int) -> None:
    config = CONFIGS[name].model_copy(update={"tie_embeddings": is_tied})
    model = build(config, VOCAB, VOCAB, shared=is_shared)
    assert sum(parameter.shape[0] == VOCAB for parameter in model.parameters()) == matrices


@pytest.mark.parametrize("name", CONFIGS)
def test_named_parameters_are_all_that_has_to_be_saved(name: str) -> None:
    source, words = padded(SOURCES), targets(len(SOURCES), TIME)
    saved = build(CONFIGS[name], VOCAB, VOCAB, shared=True).eval()
    loaded = build(CONFIGS[name], VOCAB, VOCAB, shared=True).eval()
    loaded.load_state_dict(dict(saved.named_parameters()), strict=False)
    assert torch.equal(loaded(source, words), saved(source, words))
