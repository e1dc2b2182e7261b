"""Every model learns to copy digits and to sort them; one that was not trained does not."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import NamedTuple

import pytest
from every_model import MODELS, Options
from trainings import Setting, run_training, tiny, write_files

import nmt

TEST = 100  # sequences, none of them in the training set
ENOUGH = {"copy": 98, "sort": 97}  # of them right
TASKS = {"copy": list, "sort": sorted}
LIGHT: dict[str, Setting] = {
    "tokenizer.type": "word", "tokenizer.vocab_size": "auto", "tokenizer.sampling": 0,
    "training.batch_tokens": 512, "training.warmup": 50, "training.learning_rate": 5e-3, "training.schedule": "cosine",
    "training.label_smoothing": 0.1, "training.log_every": 50, "training.ema": 0.95,
    "search.max_length_ratio": 2.0, "search.max_length_offset": 2,
}  # fmt: skip
# Of so few words smoothing takes more from the right one than the weaker models can spare.
PATIENT: dict[str, Setting] = {"model.dim": 96, "training.label_smoothing": 0}
RATES: dict[Setting, Setting] = {"rnn": 3e-3, "transformer": 1e-3}  # of patient trainings


class Size(NamedTuple):
    """How much there is to learn."""

    digits: str
    longest: int  # sequence
    steps: int


SMALL = Size("12345678", 3, 200)
THOROUGH = {"copy": Size("0123456789", 4, 450), "sort": Size("0123456789", 4, 700)}
MOST = 4000  # sequences to train on


def sequences(size: Size) -> list[str]:
    """Return all sequences of digits there are, or a great many, in an order drawn once and for all."""
    rows = [row for length in range(1, size.longest + 1) for row in itertools.product(size.digits, repeat=length)]
    random.Random(1).shuffle(rows)
    return [" ".join(row) for row in rows[: TEST + MOST]]


def right(folder: Path, task: str, model: Options, size: Size) -> int:
    """Train on sequences, and count how many of those that were kept apart come out right."""
    sources = sequences(size)
    targets = [" ".join(TASKS[task](row.split())) for row in sources]
    corpus = write_files(folder, {"src": sources[TEST:], "tgt": targets[TEST:]}, task)
    limit: dict[str, Setting] = {"training.max_steps": size.steps} if size.steps else {"training.max_time": 1e-3}
    rhythm: dict[str, Setting] = {"training.valid_every": max(size.steps, 1), "training.save_every": max(size.steps, 1)}
    run_training(folder / "run", tiny(corpus, {**LIGHT, **model, **limit, **rhythm}))
    found = nmt.load(folder / "run").translate(sources[:TEST])
    return sum(map(str.__eq__, found, targets[:TEST]))


@pytest.mark.parametrize(
    ("model", "task"), [("transformer", "copy"), pytest.param("gru-additive", "sort", marks=pytest.mark.slow)]
)
def test_a_few_digits_are_soon_learnt(model: str, task: str, tmp_path: Path) -> None:
    assert right(tmp_path, task, MODELS[model], SMALL) >= ENOUGH[task]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_it(model: str, task: str, tmp_path: Path) -> None:
    rate = RATES[MODELS[model]["model.type"]]
    patient = {**MODELS[model], **PATIENT, "training.learning_rate": rate}
    assert right(tmp_path, task, patient, THOROUGH[task]) >= ENOUGH[task]


def test_without_training_nothing_comes_out_right(tmp_path: Path) -> None:
    """The bar means something only if it is not reached by itself."""
    assert right(tmp_path, "copy", MODELS["gru-additive"], SMALL._replace(steps=0)) < 10
