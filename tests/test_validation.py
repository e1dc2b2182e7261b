"""The time that a validator keeps for what comes after training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trainings import tiny, write_corpus

from nmt.corpus import ParallelCorpus
from nmt.device import Compute
from nmt.models import build
from nmt.tokenizer import Tokenizers
from nmt.training import validation
from nmt.training.validation import Validator


def validator(folder: Path, *tunes: str) -> Validator:
    changes = dict.fromkeys((f"training.tune_{option}" for option in tunes), True)
    config = tiny(write_corpus(folder, 20), {**changes, "training.valid_lines": 2})
    pairs = list(ParallelCorpus(config.data.train, config.data))
    tokenizers = Tokenizers.train(pairs, config.tokenizer)
    return Validator(config, tokenizers, Compute(torch.device("cpu"), torch.float32), pairs[:2])


@pytest.mark.parametrize(
    ("seconds", "limit", "plain", "tuned"),
    [
        (0.0, 400.0, 100.0, 100.0),  # nothing is known
        (10.0, 10_000.0, 5 + 10 + 60, 5 + 10 + 60 + 80),
        (10.0, 1_000.0, 5 + 10 + 60, 5 + 10 + 100),
        (20.0, 480.0, 5 + 20 + 48, 5 + 20 + 48),  # a model of a few minutes, whose translations have no end
    ],
)
def test_what_comes_after_training_takes_a_tenth_of_the_time_at_most(
    seconds: float, limit: float, plain: float, tuned: float, tmp_path: Path
) -> None:
    for tunes, expected in (((), plain), (("length_penalty",), tuned), (("beam_size",), tuned)):
        measured = validator(tmp_path, *tunes)
        measured.seconds = seconds
        assert measured.reserve(limit) == expected


def test_the_last_validation_counts_not_the_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = validator(tmp_path)
    tokenizers = measured.tokenizers
    model = build(measured.config.model, tokenizers.source.size, tokenizers.target.size, shared=True)
    for seconds in (30.0, 10.0):
        times = iter([100.0, 100.0 + seconds])
        monkeypatch.setattr(validation, "time", SimpleNamespace(monotonic=lambda times=times: next(times)))
        assert measured.run(model).seconds == measured.seconds == seconds
