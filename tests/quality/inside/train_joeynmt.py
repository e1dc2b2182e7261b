"""Trains with JoeyNMT for a time, by its own command's functions; `run_joeynmt` of the benchmark translates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from budget import MEASURED, Budget, State, Weights, highest_rate, learn_tokenizer
from meter import answer, job, write
from run_joeynmt import get_logger, load_config, make_model_dir, training
from sentencepiece import SentencePieceProcessor


def write_vocabulary(task: dict[str, Any]) -> None:
    """Write the pieces in the order of JoeyNMT's ids."""
    tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
    pieces = [tokenizer.id_to_piece(number) for number in range(4, tokenizer.get_piece_size())]
    write(task["vocabulary"], ["<unk>", "<pad>", "<s>", "</s>", *pieces])


def validated(manager: Any, data: Any) -> float:
    """Return the share of target pieces guessed right.

    Its own validation translates, which takes minutes as long as a model does not know where a sentence ends.
    """
    model, options = manager.model, manager.args
    model.eval()
    batches = data.make_iter(
        batch_size=options.batch_size, batch_type=options.batch_type, eos_index=model.eos_index,
        pad_index=model.pad_index, device=manager.device,
    )  # fmt: skip
    right = pieces = 0
    with torch.no_grad():
        for batch in batches:
            batch.sort_by_src_length()
            right += int(model(return_type="loss", **vars(batch))[3])
            pieces += batch.ntokens
    return right / pieces


def train(task: dict[str, Any]) -> None:
    """Train until the time is up; quality.ckpt stays in the folder of the model."""
    budget, weights = Budget(task), Weights()
    learn_tokenizer(task)
    write_vocabulary(task)
    config = load_config(Path(task["config"]))
    folder = Path(config["model_dir"])
    make_model_dir(folder, overwrite=True)
    get_logger("", log_file=str(folder / "train.log"))
    manager = training.TrainManager
    one_batch, whole = manager._train_step, manager.train_and_validate
    validation: list[tuple[Any, Any]] = []

    def remembered(self: Any, train_data: Any, valid_data: Any) -> None:
        validation.append((self, valid_data))
        whole(self, train_data=train_data, valid_data=valid_data)

    def timed(self: Any, batch: Any) -> Any:
        """Do what is due between the last step and this one."""
        if not budget.steps:
            self.scheduler.step(0)  # it sets a rate after each step, so that the first one would have the highest
        if budget.steps == MEASURED:
            _rewarm(self.scheduler, budget.warmup(task["warmup"]))
        weights.keep(self.model.state_dict(), budget, lambda: validated(*validation[0]))
        if budget.is_over():
            raise KeyboardInterrupt  # which ends training
        result = one_batch(self, batch)
        budget.step()
        return result

    manager._train_step, manager.train_and_validate = timed, remembered
    training.train(rank=0, world_size=None, cfg=config, skip_test=True)
    seconds = budget.clock() - budget.begun
    name, found = weights.better(lambda state: validated(_with(state, validation[0][0]), validation[0][1]))
    torch.save({"model_state": found}, folder / "quality.ckpt")
    answer(task, steps=budget.steps, seconds=seconds, weights=name)


def _with(state: State, manager: Any) -> Any:
    manager.model.load_state_dict(state)
    return manager


def _rewarm(scheduler: Any, steps: int) -> None:
    """Give a schedule a shorter warm-up."""
    scheduler.peak_rate = highest_rate(scheduler.peak_rate, scheduler.warmup, steps)
    scheduler.warmup, scheduler.decay_rate = steps, scheduler.peak_rate * steps**0.5
    training.logger.info("Warm-up of %d steps", steps)


if __name__ == "__main__":
    train(job())
