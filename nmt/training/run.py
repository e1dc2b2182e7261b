"""One training run from corpora to a finished run folder; it puts the parts together and knows the order of things."""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import torch

from nmt.config import Config
from nmt.configfile import dump_config
from nmt.corpus import ParallelCorpus
from nmt.device import Compute, compute
from nmt.encoded import EncodedCorpus, Encoding
from nmt.errors import ModelError, OptionError, ResourceError
from nmt.frozen import freeze
from nmt.models import Model, build
from nmt.shortlist import Shortlist, enough, learn
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.training.average import mean
from nmt.training.card import CARD, score_sets, write_card
from nmt.training.embeddings import start_from_vectors
from nmt.training.heldout import HeldOut, hold_out
from nmt.training.progress import Progress, duration
from nmt.training.signals import Interrupt
from nmt.training.trainer import Parts, Trainer
from nmt.translate import Translator

LAST_SECONDS = 3.0  # of max_time are kept for curves.png and the end of the process
SHORTLIST_PAIRS = 200_000  # of the corpus, from which likely words are learnt
LIMITS = ("max_steps", "max_epochs", "max_time", "patience")
# What may differ from the config found in a run folder without making it another run.
FREE = {"training": (*LIMITS, "device", "threads", "log_every", "keep", "samples"), "data": ("test",), "search": None}


class Request(NamedTuple):
    """What a user asks `nmt train` for."""

    config: Config
    run: Path
    start_from: Path | None  # a model whose weights and tokenizers are started from
    command: str  # for the model card
    started: float  # time.monotonic() when the command began
    stream: TextIO  # where progress is told


def train(request: Request) -> None:
    """Train until a limit is reached and leave a finished run folder; go on where an earlier run of it stopped.

    Raises OptionError if the folder holds a run of another config, Interrupted after saving when a signal came.
    """
    run, config = request.run, _with_languages(request.config)
    with _locked(run):
        if _is_done(run, config):
            limits = "--max-time, --max-steps, --max-epochs or --patience"
            print(f"{run}: finished; to go on raise the limit that ended it ({limits})", file=request.stream)
            return
        checkpoint.sweep(run)
        with Interrupt() as interrupt, closing(Progress(run, request.stream)) as progress:
            try:
                _train(request._replace(config=config), progress, interrupt)
            finally:
                progress.draw()


def _train(request: Request, progress: Progress, interrupt: Interrupt) -> None:
    run, config = request.run, request.config
    on = compute(config.training.device, config.training.precision, config.training.threads)
    parts = _prepare(request, on, progress)
    vocabulary = " and ".join(str(tokenizer.size) for tokenizer in dict.fromkeys(parts.tokenizers))
    progress.say(
        f"{sum(weights.numel() for weights in parts.model.parameters()):,} parameters, vocabulary {vocabulary}, "
        f"{len(parts.corpus)} pairs, {on.device} in {str(on.dtype).removeprefix('torch.')}, "
        f"{torch.get_num_threads()} threads"
    )
    trainer = Trainer(parts, progress, interrupt)
    reason = trainer.train()
    best = f"best {config.training.metric} at step {trainer.best_step}" if trainer.step else "no step was made"
    progress.say(f"training ended: {reason}; {best}")
    shortlist = _shortlist(parts)
    with interrupt.deferred():
        checkpoint.finish(run, _final_weights(run, config, trainer.averaged_steps()), shortlist)
    limit = config.training.max_time
    deadline = math.inf if limit is None else time.monotonic() + limit - trainer.seconds() - LAST_SECONDS
    saved, tokenizers, model = checkpoint.load_model(run, on.device)
    measured = score_sets(Translator(saved, tokenizers, freeze(on.fit(model)), on), deadline)
    for found in measured:
        progress.say(f"{found.name}: " + ", ".join(f"{score.name} {score.score:.2f}" for score in found.scores))
    write_card(run, config, measured, request.command, trainer.seconds())
    progress.say(f"finished in {duration(trainer.seconds())}: {run}")


def _prepare(request: Request, on: Compute, progress: Progress) -> Parts:
    """Return what training needs; config and tokenizers are written into the run once everything could be made."""
    run, config = request.run, request.config
    pairs = ParallelCorpus(config.data.train, config.data)
    progress.say(f"reading {', '.join(config.data.train)}")
    if not _is_known(run, pairs):
        for message in pairs.statistics().messages():
            progress.say(f"warning: {message}")
    if config.data.test:
        ParallelCorpus(config.data.test, config.data).sides()  # what is wrong with it is better known now than then
    if config.data.valid:
        training, valid = HeldOut(pairs, frozenset()), list(ParallelCorpus(config.data.valid, config.data))
    else:
        training, valid = hold_out(pairs, config.training.seed)
        where = f"{len(valid)} of the training pairs, held out" if training.without else "the training pairs themselves"
        progress.say(f"no validation corpus: validating on {where}")
    tokenizers = _tokenizers(request, training, progress)
    encoding = Encoding(tokenizers, config.data.max_length, config.tokenizer.sampling)
    corpus = EncodedCorpus.build(training, encoding, fingerprint=training.fingerprint())
    if corpus.counts.too_long:
        progress.say(f"warning: dropped {corpus.counts.too_long} pairs longer than {config.data.max_length} tokens")
    torch.manual_seed(config.training.seed)
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared)
    _initialise(model, tokenizers, request, progress)
    checkpoint.save_config(run, config, pairs.fingerprints())
    tokenizers.save(run)
    return Parts(config, run, model, tokenizers, corpus, valid, on, request.started)


def _initialise(model: Model, tokenizers: Tokenizers, request: Request, progress: Progress) -> None:
    """Put weights of another model, or word vectors, in the place of random ones where there is nothing to resume."""
    started, files = request.start_from, request.config.model.embeddings
    if (started is None and files is None) or checkpoint.latest(request.run, lambda warning: None):
        return
    if started is not None:
        model.load_state_dict(checkpoint.load_model(started, torch.device("cpu")).model.state_dict())
        progress.say(f"starting from the weights of {started}")
    for told in start_from_vectors(model, tokenizers, files) if files else ():
        progress.say(told)


def _is_known(run: Path, pairs: ParallelCorpus) -> bool:
    """Say whether this run has seen the corpus before; raise OptionError if it has seen another under its names."""
    if not (run / checkpoint.CONFIG).exists():
        return False
    before, now = checkpoint.load_fingerprints(run), pairs.fingerprints()
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise OptionError(f"{run}: {name} has changed since the run began; choose another folder with -o")
    return True


def _tokenizers(request: Request, pairs: HeldOut, progress: Progress) -> Tokenizers:
    run, names = (
        request.run,
        ("tokenizer.model",) if request.config.tokenizer.shared else ("source.model", "target.model"),
    )
    if all((run / name).exists() for name in (checkpoint.CONFIG, *names)):
        return Tokenizers.load(run)
    if request.start_from is not None:
        return Tokenizers.load(checkpoint.run_folder(request.start_from))
    before = time.monotonic()
    tokenizers = Tokenizers.train(pairs, request.config.tokenizer)
    progress.say(f"tokenizer trained in {time.monotonic() - before:.1f} s")
    return tokenizers


def _final_weights(run: Path, config: Config, steps: list[int]) -> dict[str, torch.Tensor]:
    """Return the mean of the weights, or of their running averages, in the checkpoints of some steps."""
    name = "average" if config.training.ema else "weights"
    return mean([checkpoint.load_checkpoint(checkpoint.step_folder(run, step))[0][name] for step in steps])


def _shortlist(parts: Parts) -> Shortlist:
    """Learn which target tokens are likely from pairs spread evenly over the corpus."""
    rows = np.linspace(0, len(parts.corpus) - 1, min(len(parts.corpus), SHORTLIST_PAIRS)).astype(np.int64)
    rows = rows[enough(*parts.corpus.lengths(rows))]
    source, target = parts.tokenizers
    return learn(*parts.corpus.take(rows), source.size, target.size)


def with_model_of(config: Config, path: Path) -> Config:
    """Return the config with the model and tokenizer options of a run that is started from.

    Raises OptionError if it names word vectors, which would not be used.
    """
    if config.model.embeddings is not None:
        raise OptionError(f"--from {path}: has embeddings of its own; leave model.embeddings out, or set it to null")
    if not path.is_dir():
        raise ModelError(f"--from {path}: no such folder; give a run or a checkpoint that nmt train wrote")
    started = checkpoint.load_config(checkpoint.run_folder(path))
    model = started.model.model_copy(update={"embeddings": None})
    return config.model_copy(update={"model": model, "tokenizer": started.tokenizer})


def _with_languages(config: Config) -> Config:
    languages = ParallelCorpus(config.data.train, config.data).languages
    data = config.data.model_copy(update={"source_lang": languages.source, "target_lang": languages.target})
    return config.model_copy(update={"data": data})


# ---- the same command again -----------------------------------------------------------------------------------


def _is_done(run: Path, config: Config) -> bool:
    """Say whether the run is finished, its card written and no limit raised; raise OptionError if it is another run."""
    if not (run / checkpoint.CONFIG).exists():
        return False
    old = checkpoint.load_config(run)
    difference = _difference(old, config)
    if difference:
        raise OptionError(f"{run}: holds a run with another {difference}; choose another folder with -o")
    raised = any(_limit(config, name) > _limit(old, name) for name in LIMITS)
    return checkpoint.is_finished(run) and (run / CARD).exists() and not raised


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


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Keep a second training out of the folder."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = (run / "train.log").open("a", encoding="utf-8")
    except (FileExistsError, NotADirectoryError):
        raise OptionError(f"{run}: a file is in its place; choose another folder with -o") from None
    except OSError as error:
        raise ResourceError(f"{run}: cannot be written: {error.strerror}; choose another folder with -o") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OptionError(f"{run}: another training is running in it; choose another folder with -o") from None
        yield
