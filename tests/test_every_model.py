"""Every cell with every attention, and the Transformer: each trains on real text, is saved, resumed and used."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
from corpora import multi30k
from every_model import MODELS, TABLE
from safetensors.torch import load_file
from trainings import Setting, digest, run_training, tiny, write_corpus, write_files

import nmt
from nmt.evaluate import quality

pytestmark = pytest.mark.slow
STEPS, PAIRS, LINES = 100, 5000, 100
REAL: dict[str, Setting] = {
    "tokenizer.vocab_size": 1000, "training.batch_tokens": 1024, "training.learning_rate": 3e-3, "training.warmup": 50,
    "training.valid_every": 50, "training.valid_lines": 50, "training.save_every": 50, "training.log_every": 5,
    "search.max_length_ratio": 1.0, "search.max_length_offset": 5,
}  # fmt: skip
HEADER = f"{'model':<22} {'parameters':>10} {'loss':>14} {'valid loss':>14} {'BLEU':>6} {'seconds':>8}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    pairs = multi30k("train", PAIRS)
    sides = {"en": [source for source, _ in pairs], "de": [target for _, target in pairs]}
    return write_files(tmp_path_factory.mktemp("multi30k"), sides)


def losses(run: Path, kind: str) -> list[float]:
    records = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["loss"] for record in records if record["kind"] == kind]


@pytest.mark.parametrize("model", TABLE)
def test_it_trains_saves_loads_translates_and_resumes(
    model: str, corpus: list[str], record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    began = time.monotonic()
    for limit in (STEPS // 2, STEPS):
        told = run_training(tmp_path, tiny(corpus, {**TABLE[model], **REAL, "training.max_steps": limit}))
    assert f"resuming at step {STEPS // 2}" in told
    train, valid = losses(tmp_path, "train"), losses(tmp_path, "valid")
    assert len(train) == STEPS // 5
    assert len(valid) == 2
    assert mean(train[-5:]) < 0.9 * mean(train[:5])
    assert valid[1] < valid[0]
    pairs = multi30k("val", LINES)
    translator = nmt.load(tmp_path)
    found = translator.translate([source for source, _ in pairs])
    assert len(found) == LINES
    bleu = quality(found, [target for _, target in pairs], "de")["bleu"]
    parameters = sum(weights.numel() for weights in load_file(tmp_path / "model.safetensors").values())
    falls = " ".join(f"{first:>6.2f} -> {last:.2f}" for first, last in ((train[0], train[-1]), (valid[0], valid[1])))
    row = f"{model:<22} {parameters:>10,} {falls} {bleu:>6.2f} {time.monotonic() - began:>8.1f}"
    record_property(HEADER, row)


@pytest.mark.parametrize("model", MODELS)
def test_it_resumes_bit_for_bit(model: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    changes: dict[str, Setting] = {**MODELS[model], "model.dropout": 0.3, "training.max_steps": 9}
    run_training(tmp_path / "straight", tiny(corpus, changes))
    for limit in (5, 9):
        run_training(tmp_path / "stopped", tiny(corpus, {**changes, "training.max_steps": limit}))
    assert digest(tmp_path / "stopped") == digest(tmp_path / "straight")
