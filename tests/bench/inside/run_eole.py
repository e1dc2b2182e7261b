"""Trains and translates with Eole, by its own commands' functions."""

from __future__ import annotations

import time
from typing import Any

from meter import Meter, answer, job, lines, write
from sentencepiece import SentencePieceProcessor


class Enough(Exception):
    """The meter has enough."""


def train(task: dict[str, Any]) -> None:
    """Train until the meter has enough; the model stays in a folder."""
    from eole.bin.run.train import train as run
    from eole.config.run import TrainConfig
    from eole.trainer import Trainer

    one_step = Trainer._train_step
    meters = list[Meter]()

    def counted(self: Any, batches: Any, *arguments: Any, **options: Any) -> None:
        meters or meters.append(Meter(task, sum(weights.numel() for weights in self.model.parameters())))
        one_step(self, batches, *arguments, **options)
        padding = self.train_loss.padding_idx
        if meters[0].step(sum(int(batch["tgt"][:, 1:].ne(padding).sum()) for batch in batches)):
            self.model_saver.save(self.optim.training_step)
            raise Enough

    Trainer._train_step = counted
    try:
        run(TrainConfig(**task["config"]))
    except Enough:
        return


def translate(task: dict[str, Any]) -> None:
    """Translate a file, pieces being made and joined here."""
    from eole.config.run import PredictConfig
    from eole.inference_engine import InferenceEnginePY

    tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
    engine = InferenceEnginePY(PredictConfig(**task["config"]))
    begun = time.perf_counter()
    pieces = tokenizer.encode(lines(task["input"]), out_type=str)
    write(task["config"]["src"], [" ".join(row) for row in pieces])
    engine.infer_file()
    outputs = [line.split() for line in lines(task["config"]["output"])]
    write(task["output"], tokenizer.decode(outputs))
    seconds = time.perf_counter() - begun
    answer(task, seconds=seconds, pieces=sum(len(row) + 1 for row in outputs))


if __name__ == "__main__":
    task = job()
    {"train": train, "translate": translate}[task["do"]](task)
