"""One optimizer step: how batches add up, what a bad gradient does (nothing), what comes back from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from nmt.batches import Batch, Padded, collate
from nmt.config import ModelConfig, RecurrentConfig, TrainingConfig, TransformerConfig
from nmt.device import Compute
from nmt.errors import OptionError, ResourceError
from nmt.models import build
from nmt.training.learner import Learner
from nmt.workers import Workers

CPU = Compute(torch.device("cpu"), torch.float32)
VOCAB = 11
TRANSFORMER = TransformerConfig(dim=8, heads=2, feed_forward=12, encoder_layers=1, decoder_layers=1, dropout=0.0)
MODELS: dict[str, ModelConfig] = {
    "transformer": TRANSFORMER,
    "rnn": RecurrentConfig(embedding=6, dim=8, cell="lstm", attention="general", dropout=0.0),
}
PAIRS = [([4 + (row * word) % 7 for word in range(1, 2 + row % 5)], [4 + row % 7] * (1 + row % 4)) for row in range(8)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever tests of other modules have left: with several threads a batch is cut into shares from the start."""
    torch.set_num_threads(1)


def learner(model: ModelConfig = TRANSFORMER, **options: object) -> Learner:
    """A learner in fp64, so that only what is wrong differs."""
    torch.manual_seed(1)
    own = {"learning_rate": 0.01, "ema": 0.5, **options}
    return Learner(build(model, VOCAB, VOCAB, shared=True).double(), TrainingConfig.model_validate(own), CPU)


def batches(parts: int) -> list[Batch]:
    size = len(PAIRS) // parts
    return [collate(PAIRS[at : at + size]) for at in range(0, len(PAIRS), size)]


def everything(one: Learner) -> dict[str, Tensor]:
    tensors = {f"{group}.{name}": tensor for group, named in one.tensors().items() for name, tensor in named.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("parts", [2, 4])
def test_small_batches_add_up_to_a_large_one(model: str, parts: int) -> None:
    """Each token weighs the same, however unequal the batches: nothing is averaged per batch."""
    whole, divided = learner(MODELS[model]), learner(MODELS[model])
    for step in (1, 2, 3):
        together = whole.learn(batches(1), step, 0.01)
        apart = divided.learn(batches(parts), step, 0.01)
        assert (together.tokens, together.pairs) == (apart.tokens, apart.pairs) == (28, 8)
        torch.testing.assert_close(together.loss, apart.loss, rtol=0, atol=1e-10)
        torch.testing.assert_close(together.norm, apart.norm, rtol=0, atol=1e-10)
    found = everything(divided)
    for name, tensor in everything(whole).items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("rdrop", [0.0, 5.0])
def test_layers_computed_again_drop_the_same(rdrop: float) -> None:
    dropped = TRANSFORMER.model_copy(update={"dropout": 0.5, "attention_dropout": 0.2})
    kept, again = (learner(dropped, rdrop=rdrop, gradient_checkpointing=on) for on in (False, True))
    counts = [0, 0]
    for number, one in enumerate((kept, again)):
        for layer in one.working.encoder:  # type: ignore[attr-defined]
            layer.register_forward_pre_hook(lambda *_, at=number: counts.__setitem__(at, counts[at] + 1))
    for step in (1, 2, 3):
        losses = []
        for one in (kept, again):
            torch.manual_seed(step)
            losses.append(one.learn(batches(2), step, 0.01).loss)
        torch.testing.assert_close(*losses, rtol=0, atol=0)
    assert counts[1] == 2 * counts[0] > 0
    found = everything(again)
    for name, tensor in everything(kept).items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("model", MODELS)
def test_rdrop_without_dropout_is_plain_training(model: str) -> None:
    plain, twice = learner(MODELS[model]), learner(MODELS[model], rdrop=5.0)
    for step in (1, 2, 3):
        losses = [one.learn(batches(2), step, 0.01).loss for one in (plain, twice)]
        torch.testing.assert_close(*losses, rtol=0, atol=1e-10)
    found = everything(twice)
    for name, tensor in everything(plain).items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_rdrop_reads_a_batch_twice(model: str) -> None:
    """With dropout of its own each time: the loss has a divergence in it, which grows with alpha."""
    dropped = MODELS[model].model_copy(update={"dropout": 0.5})
    losses = [float(learner(dropped, rdrop=alpha).learn(batches(1), 1, 0.01).loss) for alpha in (1e-9, 1.0, 2.0)]
    assert losses[1] > losses[0] + 0.01
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-6)


@pytest.fixture
def _four_threads() -> Iterator[None]:
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("count", "parts"), [(2, 1), (3, 2), (4, 8)])
def test_shares_side_by_side_add_up_to_the_whole(model: str, count: int, parts: int) -> None:
    """Also where a batch has fewer pairs than there are workers."""
    alone, together = learner(MODELS[model]), learner(MODELS[model])
    alone.workers, together.workers = Workers(CPU, 1), Workers(CPU, count)
    for step in (1, 2, 3):
        expected, found = (each.learn(batches(parts), step, 0.01) for each in (alone, together))
        assert (found.tokens, found.pairs) == (expected.tokens, expected.pairs) == (28, 8)
        torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.norm, expected.norm, rtol=0, atol=1e-10)
    found_all = everything(together)
    for name, tensor in everything(alone).items():
        torch.testing.assert_close(found_all[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("_four_threads")
def test_what_is_dropped_does_not_depend_on_which_share_is_ready_first() -> None:
    expected = None
    for _ in range(10):
        one = with_dropout()
        assert one.workers.count == 4
        torch.manual_seed(5)
        one.learn(batches(2), 1, 0.01)
        found = everything(one)
        expected = expected or found
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def first(one: Learner) -> torch.nn.Parameter:
    return next(iter(one.model.parameters()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float, clip: float) -> None:
    """One bad number in one gradient: weights, moments, step count and average stay as they were, bit for bit."""
    one, other = learner(clip=clip), learner(clip=clip)
    for each in (one, other):
        assert each.learn(batches(2), 1, 0.01).changed
    before = everything(one)

    def spoil(gradient: Tensor) -> Tensor:
        return gradient.index_put((torch.tensor([0]), torch.tensor([0])), torch.tensor(bad, dtype=gradient.dtype))

    hook = first(one).register_hook(spoil)
    outcome = one.learn(batches(2), 2, 0.01)
    assert not outcome.changed
    assert not outcome.norm.isfinite()
    after = everything(one)
    assert {name for name in before if not torch.equal(before[name], after[name])} == set()
    hook.remove()
    assert one.learn(batches(2), 2, 0.01).changed
    other.learn(batches(2), 2, 0.01)
    expected = everything(other)
    for name, tensor in everything(one).items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("clip", [0.01, 0.3])
def test_clipping_shortens_the_gradient_to_the_limit(clip: float) -> None:
    """With a huge epsilon Adam's first step is proportional to the gradient, so steps show its length."""
    options = {"epsilon": 1e6, "weight_decay": 0.0, "ema": 0.0}

    def step(**own: object) -> tuple[Tensor, float]:
        one = learner(**options, **own)
        before = torch.cat([p.detach().flatten() for p in one.model.parameters()])
        outcome = one.learn(batches(1), 1, 1e6)
        after = torch.cat([p.detach().flatten() for p in one.model.parameters()])
        return after - before, float(outcome.norm)

    free, norm = step(clip=0)
    short, same = step(clip=clip)
    assert norm == same > clip
    assert float(free.norm()) == pytest.approx(norm, rel=1e-3)
    torch.testing.assert_close(short, free * (clip / norm), rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(step(clip=norm + 1)[0], free)


def test_the_average_trails_the_weights_and_is_off_at_zero() -> None:
    one = learner(ema=0.9)
    start = first(one).detach().clone()
    one.learn(batches(1), 1, 0.01)
    expected = start + (1 - 2 / 11) * (first(one).detach() - start)  # (1 + t) / (10 + t) at t = 1
    torch.testing.assert_close(next(iter(one.average.parameters())).detach(), expected)
    off = learner(ema=0)
    assert off.average is off.model
    assert "average" not in off.tensors()


def test_muon_in_fp16_is_refused() -> None:
    """Gradients of fp16 are scaled, and only those of AdamW would be scaled back."""
    model, config = build(TRANSFORMER, VOCAB, VOCAB, shared=True), TrainingConfig(optimizer="muon")
    with pytest.raises(OptionError, match="muon is for bf16 and fp32; set --precision bf16"):
        Learner(model, config, Compute(torch.device("cpu"), torch.float16))


def test_fp16_waits_for_no_row() -> None:
    """A process can have none of the first batch."""
    model, config = build(TRANSFORMER, VOCAB, VOCAB, shared=True), TrainingConfig(optimizer="adamw")
    one = Learner(model, config, Compute(torch.device("cpu"), torch.float16))
    batch = collate(PAIRS)
    empty = batch._replace(source=Padded(batch.source.ids[:0], batch.source.lengths[:0]), target=batch.target[:0])
    assert not one.learn([empty], 1, 0.01).norm


def test_a_step_uses_the_rate_it_is_given() -> None:
    one, before = learner(), everything(learner())
    one.learn(batches(1), 1, 0.0)
    after = everything(one)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name.startswith("weights"))


def with_dropout() -> Learner:
    return learner(TRANSFORMER.model_copy(update={"dropout": 0.4}))


def test_what_was_saved_goes_on_bit_for_bit() -> None:
    """Also in a process where chance has gone elsewhere."""
    one = with_dropout()
    for step in (1, 2):
        one.learn(batches(2), step, 0.01)
    state = one.state()
    groups = {
        group: {name: each.detach().clone() for name, each in named.items()} for group, named in one.tensors().items()
    }
    for step in (3, 4):
        one.learn(batches(2), step, 0.01)
    expected = everything(one)
    other = with_dropout()
    torch.manual_seed(99)
    other.restore(groups, state)
    for step in (3, 4):
        other.learn(batches(2), step, 0.01)
    for name, tensor in everything(other).items():
        assert torch.equal(tensor, expected[name])


ERRORS = {
    "of the device": torch.OutOfMemoryError("tried to allocate 20 GiB"),
    "of the CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    "of Python": MemoryError(),
}


def cramp(one: Learner, rows: int, error: Exception) -> None:
    """Let there be memory for so many pairs of a batch, and no more."""
    states = one.working.states

    def limited(source: Padded, target: Tensor) -> Tensor:
        if len(source.lengths) > rows:
            raise error
        return states(source, target)

    one.working.states = limited  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize(("rows", "splits"), [(8, 1), (7, 2), (3, 4), (1, 8)])
def test_what_is_too_large_for_memory_is_learnt_in_parts(rows: int, splits: int, error: Exception) -> None:
    whole, parts = learner(), learner()
    cramp(parts, rows, error)
    for step in (1, 2):
        expected, found = (each.learn(batches(1), step, 0.01) for each in (whole, parts))
        assert (found.tokens, found.pairs, found.changed) == (28, 8, True)
        torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=1e-10)
        assert parts.splits == splits
    found_all = everything(parts)
    for name, tensor in everything(whole).items():
        torch.testing.assert_close(found_all[name], tensor, rtol=0, atol=1e-10)


def test_what_memory_sufficed_for_comes_back() -> None:
    """With dropout, which draws otherwise for other parts: a resumed run ends as one that was never stopped."""
    one = with_dropout()
    cramp(one, 3, torch.OutOfMemoryError())
    one.learn(batches(1), 1, 0.01)
    groups, state = one.tensors(), one.state()
    groups = {name: {key: tensor.detach().clone() for key, tensor in group.items()} for name, group in groups.items()}
    one.learn(batches(1), 2, 0.01)
    other = with_dropout()
    other.restore(groups, state)  # where there is no need of it any more
    assert other.splits == 4
    other.learn(batches(1), 2, 0.01)
    expected = everything(one)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in everything(other).items())


def test_too_little_memory_for_one_pair_says_what_to_lower() -> None:
    one = learner()
    before = everything(one)
    cramp(one, 0, torch.OutOfMemoryError())
    with pytest.raises(ResourceError, match=r"out of memory on cpu with a single pair; lower --set data.max_length"):
        one.learn(batches(1), 1, 0.01)
    assert all(torch.equal(tensor, before[name]) for name, tensor in everything(one).items())


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    one = learner()
    cramp(one, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        one.learn(batches(1), 1, 0.01)
