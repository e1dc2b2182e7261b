"""One training run from corpora to a finished run folder; it puts the parts together and knows the order of things."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import torch

from nmt.batches import spread
from nmt.config import Config, TrainingConfig
from nmt.configfile import dump_config
from nmt.errors import OptionError
from nmt.frozen import freeze
from nmt.lock import locked
from nmt.ranks import rank
from nmt.recall import BEST
from nmt.sealed import remove_file
from nmt.shortlist import LINKS, Shortlist, learn
from nmt.training import checkpoint
from nmt.training.average import mean
from nmt.training.card import CARD, score_sets, write_card
from nmt.training.embeddings import LSA, start_from_pairs
from nmt.training.origin import check_start
from nmt.training.prepare import Request, prepare, settled
from nmt.training.progress import Progress, duration
from nmt.training.signals import Interrupt
from nmt.training.trainer import Parts, Trainer
from nmt.training.tuning import BEAM_SIZE, LENGTH_PENALTY, Row, Tuner
from nmt.training.validation import FOR_CARD
from nmt.training.world import World, check_apart, join
from nmt.translate import Translator

LAST_SECONDS = 3.0  # of max_time are kept for curves.png and the end of the process
BEAM = 3.0  # times as long as a validation, which is greedy, takes the search for the best
TUNES = ("tune_length_penalty", "tune_beam_size")  # not where the user gives what would be tuned
LIMITS = ("max_steps", "max_epochs", "max_time", "patience")
# What may differ from the config found in a run folder without making it another run.
FREE = {
    "training": (
        *LIMITS, *TUNES, "device", "threads", "log_every", "keep", "samples", "fsdp", "gradient_checkpointing",
    ),
    "data": ("test",),
    "search": None,
}  # fmt: skip


def train(request: Request) -> None:
    """Train until a limit is reached and leave a finished run folder; go on where an earlier run of it stopped.

    Of the processes that torchrun has started the first one prepares, writes and ends the run.

    Raises OptionError if the folder holds a run of another config, Interrupted after saving when a signal came.
    """
    is_first = rank().rank == 0
    with ExitStack() as stack:
        if is_first:
            doing, advice = "another training is running", "choose another folder with -o"
            stack.enter_context(locked(request.run / "train.log", doing, advice))
        interrupt = stack.enter_context(Interrupt())
        told = (request.run, request.stream) if is_first else (None, stack.enter_context(open(os.devnull, "w")))
        progress = stack.enter_context(closing(Progress(*told)))
        stack.callback(progress.draw)
        with join(interrupt, request.stream) as world:
            trainer = _train(request, progress, interrupt, world)
        if trainer and is_first:
            _finish(request, trainer)


def _train(request: Request, progress: Progress, interrupt: Interrupt, world: World) -> Trainer | None:
    """Train, unless that is done already, as all processes do together."""
    run = request.run
    is_done, *_ = world.gather(world.rank == 0 and _is_done(request))
    if is_done:
        limits = "--max-time, --max-steps, --max-epochs or --patience"
        print(f"{run}: finished; to go on raise the limit that ended it ({limits})", file=progress.stream)
        return None
    with world.in_turn():
        if world.rank == 0:
            checkpoint.sweep(run)
        parts = prepare(request, progress, world)
    config, on = parts.config, parts.compute
    check_apart(world, on.device)
    if config.model.embeddings == (LSA,) and not checkpoint.latest(run, lambda warning: None):
        progress.say(start_from_pairs(parts.model, parts.tokenizers, parts.corpus, config.training.seed, world))
    vocabulary = " and ".join(str(tokenizer.size) for tokenizer in dict.fromkeys(parts.tokenizers))
    workers = f"{world.size} processes, each with " if world.size > 1 else ""
    progress.say(
        f"{sum(weights.numel() for weights in parts.model.parameters()):,} parameters, vocabulary {vocabulary}, "
        f"{len(parts.corpus)} pairs, {on.device} in {str(on.dtype).removeprefix('torch.')}, "
        f"{workers}{torch.get_num_threads()} threads"
    )
    trainer = Trainer(parts, progress, interrupt)
    reason = trainer.train()
    best = f"best {config.training.metric} at step {trainer.best_step}" if trainer.step else "no step was made"
    if config.training.average_last:
        best += f"; taken is the mean of the weights of step {', '.join(map(str, trainer.averaged_steps()))}"
    progress.say(f"training ended: {reason}; {best}")
    return trainer


def _finish(request: Request, trainer: Trainer) -> None:
    """Write the weights to translate with and all that is said of them."""
    run, progress = request.run, trainer.progress
    parts = _as_trained(trainer)
    config, on, limit = parts.config, parts.compute, parts.config.training.max_time
    deadline = math.inf if limit is None else time.monotonic() + limit - trainer.seconds() - LAST_SECONDS
    weights, shortlist = _final_weights(run, config, trainer.averaged_steps()), _shortlist(parts)
    if trainer.step and (config.training.tune_length_penalty or config.training.tune_beam_size):
        _tune(parts._replace(model=trainer.learner.plain()), weights, trainer.validator.seconds, deadline, progress)
    with trainer.interrupt.deferred():
        remove_file(run / CARD)  # of other weights, where a finished run went on
        checkpoint.finish(run, weights, shortlist)
    saved, tokenizers, model = checkpoint.load_model(run, on.device)
    translator = Translator(saved, tokenizers, freeze(on.fit(model)), on)
    measured = score_sets(translator, run, deadline)
    for found in measured:
        progress.say(f"{found.name}: " + ", ".join(f"{score.name} {score.score:.2f}" for score in found.scores))
    write_card(translator, run, measured, request.command, trainer.seconds())
    progress.say(f"finished in {duration(trainer.seconds())}: {run}")


def _as_trained(trainer: Trainer) -> Parts:
    """Return the parts with the steps that there was time for, and write these into the run's config.

    A training that is repeated from it ends at a learning rate of 0, too.
    """
    parts, made = trainer.parts, trainer.config
    if made.max_steps >= parts.config.training.max_steps:
        return parts
    config, reasons = parts.config.model_copy(update={"training": made}), checkpoint.load_reasons(parts.run)
    if "training.max_steps" in reasons:
        reasons["training.max_steps"] = f"there was time for so many of {parts.config.training.max_steps:,}"
    checkpoint.save_config(parts.run, config, checkpoint.load_fingerprints(parts.run), reasons)
    return parts._replace(config=config)


def _final_weights(run: Path, config: Config, steps: list[int]) -> dict[str, torch.Tensor]:
    """Return the mean of the weights, or of their running averages, in the checkpoints of some steps."""
    name = "average" if config.training.ema else "weights"
    return mean([checkpoint.load_checkpoint(checkpoint.step_folder(run, step))[0][name] for step in steps])


def _tune(
    parts: Parts, weights: Mapping[str, torch.Tensor], validation: float, deadline: float, progress: Progress
) -> None:
    """Choose what is to be tuned of the search on validation pairs and write it into the run's config."""
    parts.model.load_state_dict(weights, strict=False)  # of tied matrices the first has all names' weights
    on, config = parts.compute, parts.config
    translator = Translator(config, parts.tokenizers, freeze(on.fit(parts.model).eval()), on)
    pairs = parts.valid[: config.training.valid_lines]
    tuner = Tuner(translator, pairs, deadline - FOR_CARD * validation, BEAM * validation)
    reasons = checkpoint.load_reasons(parts.run)
    for row in _tuned(config.training):
        tried, value = tuner.tune(row), getattr(tuner.search, row.option)
        scores = ", ".join(f"{bleu:.2f} with {one:g}" for one, bleu in sorted(tried.items())) or "no time to try others"
        progress.say(f"{row.option.replace('_', ' ')} {value:g}: BLEU on validation pairs {scores}")
        if value != getattr(config.search, row.option) and f"training.tune_{row.option}" in reasons:
            reasons[f"search.{row.option}"] = BEST
    if tuner.search != config.search:
        tuned = config.model_copy(update={"search": tuner.search})
        checkpoint.save_config(parts.run, tuned, checkpoint.load_fingerprints(parts.run), reasons)


def _tuned(training: TrainingConfig) -> Iterator[Row]:
    """Yield what is to be tuned, first the length penalty: the beam is tried with the one that was chosen."""
    if training.tune_length_penalty:
        yield LENGTH_PENALTY
    if training.tune_beam_size:
        yield BEAM_SIZE


def _shortlist(parts: Parts) -> Shortlist:
    """Learn which target tokens are likely."""
    source, target = parts.tokenizers
    return learn(*spread(parts.corpus, np.multiply, LINKS), source.size, target.size)


# ---- the same command again -----------------------------------------------------------------------------------


def _is_done(request: Request) -> bool:
    """Say whether the run is finished, its card written and no limit raised.

    Raises OptionError if it is another run, or finished weights without a checkpoint to go on from, as of an average.
    """
    run, (config, _) = request.run, settled(request)
    if not (run / checkpoint.CONFIG).exists():
        return False
    old = checkpoint.load_config(run)
    difference = _difference(old, config)
    if difference:
        raise OptionError(f"{run}: holds a run with another {difference}; choose another folder with -o")
    check_start(run, request.start_from)
    raised = any(_limit(config, name) > _limit(old, name) for name in LIMITS)
    if not checkpoint.is_finished(run):
        return False
    if checkpoint.steps(run):
        return (run / CARD).exists() and not raised
    if raised:
        raise OptionError(f"{run}: is finished and has no checkpoint to go on from; choose another folder with -o")
    return True


def _limit(config: Config, name: str) -> float:
    value = dump_config(config.training)[name]
    return math.inf if value is None or value == 0 else float(value)


def _difference(old: Config, new: Config) -> str:
    """Return the first option by which two configs are different runs, or an empty string."""
    before, after = dump_config(old), dump_config(new)
    for section, free in FREE.items():
        for key in free or tuple(after[section]):
            before[section].pop(key, None)
            after[section].pop(key, None)
    for section, options in after.items():
        for key in {**options, **before[section]}:
            if before[section].get(key) != options.get(key):
                return f"{section}.{key} ({before[section].get(key)}, now {options.get(key)})"
    return ""
