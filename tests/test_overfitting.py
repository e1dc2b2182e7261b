"""Every model learns twenty pairs by heart: what it cannot even repeat, it cannot be trained to translate."""

from __future__ import annotations

from pathlib import Path

import pytest
from every_model import MODELS
from sacrebleu.metrics import BLEU
from trainings import Setting, run_training, tiny, write_files

import nmt

PHRASES = Path(__file__).parents[1] / "data" / "phrasebook"
STEPS = 320
BY_HEART: dict[str, Setting] = {
    "model.dim": 96, "tokenizer.vocab_size": "auto", "tokenizer.sampling": 0,
    "training.batch_tokens": 512, "training.learning_rate": 5e-3, "training.warmup": 50, "training.schedule": "cosine",
    "training.label_smoothing": 0, "training.log_every": 50, "training.ema": 0.9, "training.max_steps": STEPS,
    "training.valid_every": STEPS, "training.save_every": STEPS, "search.max_length_ratio": 2.0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_twenty_pairs_are_learnt_by_heart(model: str, tmp_path: Path) -> None:
    sources, targets = (
        (PHRASES / f"train.{language}").read_text(encoding="utf-8").split("\n")[:20] for language in ("en", "fr")
    )
    corpus = write_files(tmp_path, {"en": sources, "fr": targets}, "twenty")
    run_training(tmp_path / "run", tiny(corpus, {**MODELS[model], **BY_HEART}))
    found = nmt.load(tmp_path / "run").translate(sources)
    assert BLEU().corpus_score(found, [targets]).score == pytest.approx(100)
