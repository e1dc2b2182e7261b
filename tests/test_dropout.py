"""Dropout: the mean stays, the chance is right, nothing happens in eval mode, and a seed decides it all."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from nmt.models.dropout import LEVELS, Dropout, WordDropout, drawing, dropout

FEATURES = 200_003  # no multiple of the eight masks that one draw makes
CHANCES = (0.0005, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999)


def chance_of(wanted: float) -> float:
    """The chance in the fineness that is offered, but never one at which all would vanish."""
    return min(round(wanted * LEVELS), LEVELS - 1) / LEVELS or wanted


@pytest.mark.parametrize("chance", CHANCES)
def test_features_vanish_by_chance_and_the_mean_stays(chance: float) -> None:
    torch.manual_seed(1)
    found = dropout(torch.ones(FEATURES), chance)
    expected = chance_of(chance)
    sigma = math.sqrt(expected * (1 - expected) / FEATURES)
    assert abs(expected - chance) <= 0.5 / LEVELS + (chance > 0.998) / LEVELS
    assert abs(float((found == 0).double().mean()) - expected) < 4 * sigma
    assert abs(float(found.double().mean()) - 1) < 4 * sigma / (1 - expected)
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - expected)), rtol=1e-6, atol=0)


def test_features_vanish_independently_of_their_neighbours() -> None:
    torch.manual_seed(1)
    gone = (dropout(torch.ones(FEATURES), 0.5) == 0).double() - 0.5
    for distance in (1, 2, 7, 8, 9, 64):
        together = float((gone[distance:] * gone[:-distance]).mean())
        assert abs(together) < 4 * 0.25 / math.sqrt(FEATURES - distance)


@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_nothing_happens_in_eval_mode_or_without_a_chance(chance: float) -> None:
    inputs, layer = torch.randn(5, 7), Dropout(chance)
    assert layer.eval()(inputs) is inputs
    assert torch.equal(Dropout(0.0).train()(inputs), inputs)
    assert chance == 0.0 or not torch.equal(layer.train()(inputs), inputs)


@pytest.mark.parametrize("shape", [(), (1,), (9,), (0, 3), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_type_comes_back_as_it_was(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = dropout(torch.ones(shape, dtype=dtype), 0.3)
    assert found.shape == torch.Size(shape)
    assert found.dtype == dtype


def test_whole_words_vanish_and_the_mean_stays() -> None:
    torch.manual_seed(3)
    layer, inputs = WordDropout(0.25), torch.ones(50, 40, 8)
    found = layer(inputs)
    assert torch.equal(found, found[..., :1].expand_as(found)), "all features of a word, or none"
    assert sorted(found.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert found.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(inputs), inputs)
    assert torch.equal(WordDropout(0.0)(inputs), inputs)


def test_the_seed_decides_whatever_the_number_of_threads() -> None:
    masks = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(3)
        masks.append(torch.stack([dropout(torch.ones(99_999), 0.2) for _ in range(2)]))
    torch.set_num_threads(1)
    assert torch.equal(*masks)
    assert not torch.equal(masks[0][0], masks[0][1])


def test_a_thread_can_draw_from_a_seed_of_its_own() -> None:
    """Whatever others draw meanwhile, and without drawing from what they share."""
    with drawing(7):
        expected = dropout(torch.ones(999), 0.5)
    found = dict[int, torch.Tensor]()
    both = threading.Barrier(2)

    def draw(seed: int) -> None:
        with drawing(seed):
            both.wait(timeout=10)
            found[seed] = dropout(torch.ones(999), 0.5)

    before = torch.get_rng_state()
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in (7, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[7], expected)
    assert not torch.equal(found[8], expected)
    dropout(torch.ones(999), 0.5)
    assert not torch.equal(torch.get_rng_state(), before)  # outside all draw from torch's own


def test_the_gradient_passes_where_the_feature_did() -> None:
    inputs = torch.ones(1000, requires_grad=True)
    found = dropout(inputs, 0.4)
    found.sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, found.detach())
