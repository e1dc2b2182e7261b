"""The pace of a training: what is measured before it, and that nothing of it is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from trainings import Setting, tiny, write_corpus

from nmt import batches
from nmt.batches import Batch, Position, epoch_batches
from nmt.config import Config
from nmt.corpus import ParallelCorpus
from nmt.device import Compute
from nmt.encoded import EncodedCorpus, Encoding
from nmt.models import Model, build
from nmt.tokenizer import Tokenizers
from nmt.training import pace
from nmt.training.learner import Learner, Outcome
from nmt.training.pace import ENOUGH, STEPS, measure

CPU = Compute(torch.device("cpu"), torch.float32)
PAIRS = 300


class Start(NamedTuple):
    """What a training begins with."""

    model: Model
    corpus: EncodedCorpus
    config: Config


def start(folder: Path, changes: dict[str, Setting] | None = None) -> Start:
    torch.set_num_threads(1)
    config = tiny(write_corpus(folder, PAIRS), {"training.batch_tokens": 256, **(changes or {})})
    pairs = list(ParallelCorpus(config.data.train, config.data))
    tokenizers = Tokenizers.train(pairs, config.tokenizer)
    corpus = EncodedCorpus.build(pairs, Encoding(tokenizers, 256, config.tokenizer.sampling))
    torch.manual_seed(1)
    return Start(build(config.model, tokenizers.source.size, tokenizers.target.size, shared=True), corpus, config)


def test_model_and_generators_stay_as_they_are(tmp_path: Path) -> None:
    model, corpus, config = start(tmp_path)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    generator = torch.get_rng_state()
    model.eval()
    measure(model, corpus, config, CPU)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not model.training
    assert all(weights.grad is None for weights in model.parameters())
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("sampling", [0, 0.2])
@pytest.mark.parametrize("block", [64, batches.BLOCK])
def test_steps_of_an_epoch_are_as_many_as_it_takes(
    block: int, sampling: float, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a corpus of several blocks the first one tells."""
    monkeypatch.setattr(batches, "BLOCK", block)
    monkeypatch.setattr(pace, "STEPS", 2)
    changes: dict[str, Setting] = {"tokenizer.sampling": sampling, "training.accumulate": accumulate}
    model, corpus, config = start(tmp_path, {**changes, "training.batch_tokens": 8 if block == 64 else 256})
    limit, seed = int(config.training.batch_tokens), config.training.seed
    whole = list(epoch_batches(corpus, seed, limit, Position(), sampling=sampling > 0))
    found = measure(model, corpus, config, CPU)
    assert found.pairs == PAIRS
    assert len({position.block for _, position in whole}) > 1 or block > 64
    expected = len(whole) / accumulate
    assert found.steps_per_epoch == pytest.approx(expected, rel=0.05 if block == 64 else 1e-9)


class Timed(Learner):
    """A learner whose steps take as long as they are told to, by a clock that nothing else moves."""

    seconds: Sequence[float] = ()
    now = 0.0
    learnt: list[tuple[int, float]] = []  # batches and R-Drop's alpha of each step

    def learn(self, batches: Sequence[Batch], step: int, rate: float) -> Outcome:
        Timed.learnt.append((len(batches), self.config.rdrop))
        Timed.now += Timed.seconds[step - 1]
        return Outcome(Tensor([1.0]), Tensor([1.0]), 1, 1, True)

    @staticmethod
    def monotonic() -> float:
        return Timed.now


@pytest.mark.parametrize(
    ("seconds", "steps", "expected"),
    [
        ([0.2] * (STEPS // 2) + [0.1] * 100, STEPS, 0.1),
        ([2.0, 1.0, 3.0, ENOUGH - 4.0, 9.0], 4, (ENOUGH - 1.0) / 2),  # the second half of those there is time for
        ([ENOUGH + 1] * 100, 1, ENOUGH + 1),  # of steps so slow the first has to tell
    ],
)
def test_the_first_steps_do_not_count_and_slow_ones_are_few(
    seconds: list[float], steps: int, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, corpus, config = start(tmp_path, {"training.batch_tokens": 64, "training.accumulate": 2})
    config = config.model_copy(update={"training": config.training.model_copy(update={"rdrop": 5.0})})
    for name, value in {"seconds": seconds, "now": 0.0, "learnt": []}.items():
        monkeypatch.setattr(Timed, name, value)
    monkeypatch.setattr(pace, "Learner", Timed)
    monkeypatch.setattr(pace, "time", Timed)
    assert measure(model, corpus, config, CPU).seconds_per_step == pytest.approx(expected)
    assert Timed.learnt == [(2, 0.0)] * steps
