"""Trains and translates with JoeyNMT, by its own commands' functions."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from meter import Meter, answer, job
from sentencepiece import SentencePieceProcessor

# JoeyNMT restricts the tokenizer to the vocabulary, which here is all of it; sentencepiece 0.2.3 has no such call.
SentencePieceProcessor.SetVocabulary = lambda self, pieces: True

from joeynmt import prediction, training  # noqa: E402
from joeynmt.config import load_config  # noqa: E402
from joeynmt.helpers import make_model_dir  # noqa: E402
from joeynmt.helpers_for_ddp import get_logger  # noqa: E402


def train(task: dict[str, Any]) -> None:
    """Train until the meter has enough."""
    config = load_config(Path(task["config"]))
    make_model_dir(Path(config["model_dir"]), overwrite=True)
    get_logger("", log_file=str(Path(config["model_dir"]) / "train.log"))
    one_batch = training.TrainManager._train_step
    meters = list[Meter]()

    def counted(self: Any, batch: Any) -> Any:
        meters or meters.append(Meter(task, sum(weights.numel() for weights in self.model.parameters())))
        result = one_batch(self, batch)
        if meters[0].step(batch.ntokens):
            raise KeyboardInterrupt  # which ends training
        return result

    training.TrainManager._train_step = counted
    training.train(rank=0, world_size=None, cfg=config, skip_test=True)


def translate(task: dict[str, Any]) -> None:
    """Translate a file, which is the standard input."""
    config = load_config(Path(task["config"]))
    prepare = prediction.prepare
    loaded = list[float]()

    def timed(*arguments: Any, **options: Any) -> Any:
        prepared = prepare(*arguments, **options)
        loaded.append(time.perf_counter())
        return prepared

    prediction.prepare = timed
    written = sys.stdout
    with open(task["output"], "w", encoding="utf-8") as sys.stdout:
        prediction.translate(cfg=config)
    sys.stdout = written
    answer(task, seconds=time.perf_counter() - loaded[0])


if __name__ == "__main__":
    task = job()
    {"train": train, "translate": translate}[task["do"]](task)
