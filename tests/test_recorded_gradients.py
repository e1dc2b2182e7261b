"""Steps whose gradients are recorded learn what others learn; where no GPU is, a recording does its work again."""

from __future__ import annotations

import pytest
import torch

from nmt import graphs
from nmt.batches import Batch, collate
from nmt.config import ModelConfig, RecurrentConfig, TrainingConfig, TransformerConfig
from nmt.device import compute
from nmt.models import build
from nmt.training import recorded
from nmt.training.learner import Learner

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DROPOUT = 0.3 if DEVICE == "cpu" else 0.0  # drawn alike only where each batch has a generator of its own
MODELS: dict[str, ModelConfig] = {
    "transformer": TransformerConfig(
        dim=16, heads=2, feed_forward=24, encoder_layers=1, decoder_layers=2, dropout=DROPOUT, word_dropout=DROPOUT / 3
    ),
    "rnn": RecurrentConfig(embedding=6, dim=8, cell="gru", attention="additive", dropout=DROPOUT),
}
SIZES = [(3, 4), (5, 2), (3, 4), (2, 2), (5, 2), (2, 2), (3, 4), (3, 4)]  # tokens of source and target, two a step


def batches() -> list[Batch]:
    """Pairs of equal lengths, with another batch of each shape that comes again."""
    return [
        collate([([4 + (number + row) % 7] * source, [4 + (number * row) % 7] * target) for row in range(4)])
        for number, (source, target) in enumerate(SIZES)
    ]


def learnt(model: str, accumulate: int = 1, **options: object) -> list[float]:
    """Return what each step's loss and norm were, and in the end all weights."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    own = {"learning_rate": 0.01, "ema": 0.5, **options}
    built = build(MODELS[model], 11, 11, shared=True)
    learner = Learner(built, TrainingConfig.model_validate(own), compute(DEVICE, "fp32", 1))
    some, found = batches(), list[float]()
    for step in range(len(some) // accumulate):
        outcome = learner.learn(some[step * accumulate : (step + 1) * accumulate], step + 1, 0.01)
        found += [float(outcome.loss), float(outcome.norm)]
    return found + [float(number) for weights in learner.model.parameters() for number in weights.detach().flatten()]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("options", [{}, {"rdrop": 5.0}, {"label_smoothing": 0.0, "optimizer": "muon"}])
def test_recorded_steps_learn_the_same(
    model: str, accumulate: int, options: dict[str, object], recording: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = learnt(model, accumulate, **options)
    assert len(recording) == 3  # each shape comes again
    monkeypatch.setattr(graphs, "DEVICES", set())
    assert found == pytest.approx(learnt(model, accumulate, **options), rel=1e-4, abs=1e-6)
    assert len(recording) == 3


def test_some_shapes_are_recorded_and_the_others_are_not(
    recording: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MOST", 1)
    found = learnt("transformer")
    assert len(recording) == 1
    monkeypatch.setattr(graphs, "DEVICES", set())
    assert found == pytest.approx(learnt("transformer"), rel=1e-4, abs=1e-6)


def test_layers_that_are_computed_again_are_not_recorded(recording: list[object]) -> None:
    learnt("transformer", gradient_checkpointing=True)
    assert not recording
