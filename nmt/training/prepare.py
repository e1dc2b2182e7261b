"""From a request to what a trainer is made of: options, sentence pairs, tokenizers, weights to begin with."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple, TextIO

import torch

from nmt import recipe
from nmt.config import Config, DataConfig
from nmt.configfile import build_config
from nmt.corpus import Pair, ParallelCorpus
from nmt.corpus_profile import profile
from nmt.device import compute, give_back_memory, has_bf16
from nmt.encoded import EncodedCorpus, Encoding
from nmt.errors import ModelError, OptionError
from nmt.mixture import Mixture, mix
from nmt.models import Model, build
from nmt.recall import recall
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint, heldout, origin, pace
from nmt.training.embeddings import LSA, start_from_vectors
from nmt.training.heldout import HeldOut, Split, hold_out
from nmt.training.progress import Progress
from nmt.training.trainer import Parts
from nmt.training.world import World

# Options of model and tokenizer that can be other ones when training starts from a model.
CHANGEABLE = {"dropout", "attention_dropout", "activation_dropout", "word_dropout", "sampling"}


class Request(NamedTuple):
    """What a user asks `nmt train` for."""

    config: Config
    run: Path
    start_from: Path | None  # a model whose weights and tokenizers are started from
    command: str  # for the model card
    started: float  # time.monotonic() when the command began
    stream: TextIO  # where progress is told


def settled(request: Request) -> tuple[Config, dict[str, str]]:
    """Return the config with its languages, and of a run whose options the recipe chose what it chose then, and why."""
    config, run = _with_languages(request.config), request.run
    if config.training.recipe == "auto" and (run / checkpoint.CONFIG).exists():
        return recall(config, checkpoint.load_config(run), checkpoint.load_reasons(run))
    return config, {}


def prepare(request: Request, progress: Progress, world: World) -> Parts:
    """Return what training needs; config and tokenizers are written into the run once everything could be made.

    Of several processes the first one does that, and all others, later, find what it has written.
    """
    run, (config, reasons) = request.run, settled(request)
    request = request._replace(config=config)
    progress.say(f"reading {', '.join(config.data.train)}")
    raw = ParallelCorpus(config.data.train, config.data)
    is_known = _is_known(run, raw)
    validation = ParallelCorpus(config.data.valid, config.data) if config.data.valid else None
    if is_known:
        origin.check_validation(run, validation)
    is_open = config.training.recipe == "auto" and not is_known
    on = compute(config.training.device, config.training.precision, config.training.threads)
    machine = recipe.Machine(on.device.type != "cpu", has_bf16())
    if is_open:
        about = profile(raw)
        choices = recipe.choose(config, about, machine)
        if choices:
            progress.say(f"the recipe, for {about.pairs:,} pairs; what you set holds over it")
            for line in about.lines():
                progress.say(f"  {line}")
        config = _chosen(config, choices, reasons, progress)
        on = compute(config.training.device, config.training.precision, config.training.threads)
    _check_directions(config)
    pairs = ParallelCorpus(config.data.train, config.data, is_cleaned=config.data.clean)
    training, valid, split = _pairs(request._replace(config=config), pairs, progress, validation, is_known=is_known)
    tokenizers = _tokenizers(request._replace(config=config), training, progress)
    encoding = Encoding(tokenizers, config.data.max_length, config.tokenizer.sampling, config.data.recased)
    corpus = _encode(training, encoding, config.data, progress)
    if corpus.counts.too_long:
        progress.say(f"warning: dropped {corpus.counts.too_long} pairs longer than {config.data.max_length} tokens")
    if corpus.counts.empty:
        progress.say(f"warning: dropped {corpus.counts.empty} pairs with a side that has no pieces")
    model = _built(config, tokenizers)
    if is_open and not recipe.is_scheduled(config):
        if config.training.fsdp and world.size > 1:  # each process would hold all of it to be timed
            raise OptionError("training.fsdp: a model in shares is not timed; give a config, with its steps and rates")
        while True:
            speed = pace.measure(model, corpus, config, on)
            speed = speed._replace(seconds_per_step=speed.seconds_per_step / world.size)  # nearly: each step is shared
            if not (smaller := recipe.hurry(config, machine, speed, reasons)):
                break
            config = _chosen(config, smaller, reasons, progress)
            model = _built(config, tokenizers)
        config = _chosen(config, recipe.schedule(config, machine, speed), reasons, progress)
        model = _built(config, tokenizers)
    _initialise(model, tokenizers, request._replace(config=config), progress)
    if world.rank == 0:
        if not is_known:
            heldout.save(run, split, config.data)
            origin.save(run, origin.origin_of(validation, request.start_from))
        checkpoint.save_config(run, config, pairs.fingerprints(), reasons)
        tokenizers.save(run)
    steps = "training.max_steps"
    guessed = tuple(name for name in ("max_steps", "warmup") if {steps, f"training.{name}"} <= set(reasons))
    return Parts(config, run, model, tokenizers, corpus, valid, on, request.started, world, guessed)


def _check_directions(config: Config) -> None:
    """Raise OptionError for what cannot be together with learning both directions."""
    if not config.training.both_directions:
        return
    if not config.tokenizer.shared:
        raise OptionError(
            "training.both_directions: needs ids that mean the same in both; set tokenizer.shared to true"
        )
    if any(config.data.tags):
        raise OptionError("training.both_directions: a tag would be a target's first word; leave out data.tags")
    if config.data.recased:
        raise OptionError("training.both_directions: targets would lose their capitals; set data.recased to 0")


def _built(config: Config, tokenizers: Tokenizers) -> Model:
    """Return a model with the random weights of its seed."""
    torch.manual_seed(config.training.seed)
    return build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared)


def _chosen(config: Config, choices: list[recipe.Choice], reasons: dict[str, str], progress: Progress) -> Config:
    """Return the config with the choices in it, said and added to the reasons."""
    for key, value, reason in choices:
        progress.say(f"  {key:<30} {value!s:<12} {reason}")
        reasons[key] = reason
    return recipe.apply(config, choices)


def _pairs(
    request: Request,
    pairs: ParallelCorpus,
    progress: Progress,
    validation: ParallelCorpus | None,
    *,
    is_known: bool,
) -> tuple[HeldOut, list[Pair], Split]:
    """Return the pairs to train on and those to validate on; what is wrong with a corpus, or left out, is said."""
    data = request.config.data
    for corpus in (pairs, validation) if not is_known else ():
        for message in corpus.statistics().messages() if corpus else ():
            progress.say(f"warning: {message}")
    if data.test:
        ParallelCorpus(data.test, data).sides()  # what is wrong with it is better known now than then
    split = _split(request, pairs, is_known=is_known)
    for note in split.notes:
        progress.say(note)
    valid = split.valid
    if validation:
        valid = list(validation)
    else:
        where = f"{len(valid)} of the training pairs, held out" if valid else "the training pairs themselves"
        progress.say(f"no validation corpus: validating on {where}")
        valid = valid or list(pairs)
    if split.test and not data.test:
        progress.say(f"no test corpus: {len(split.test)} of the training pairs are held out for one")
    return split.training, valid, split


def _encode(pairs: HeldOut, encoding: Encoding, data: DataConfig, progress: Progress) -> EncodedCorpus | Mixture:
    """Return the corpora as one, or, where they have weights or tags, each encoded by itself and mixed."""
    if not data.weights and not any(data.tags):
        return EncodedCorpus.build(pairs, encoding, fingerprint=pairs.fingerprint())
    mixture = mix(pairs.apart(), encoding, data.weights, data.tags)
    for number, (name, share) in enumerate(zip(pairs.corpus.names, mixture.shares, strict=True)):
        tagged = f", tagged {data.tags[number]}" if share.tag is not None else ""
        progress.say(f"{name}: {len(share.corpus)} pairs, each {share.weight} x per epoch{tagged}")
    return mixture


def _split(request: Request, pairs: ParallelCorpus, *, is_known: bool) -> Split:
    """Hold out what the config names no corpus for; a run goes on with the split it began with."""
    data, seed = request.config.data, request.config.training.seed
    if is_known:
        return heldout.again(request.run, pairs, data, seed)
    return hold_out(pairs, seed, has_valid=not data.valid, has_test=data.hold_out_test and not data.test)


def _initialise(model: Model, tokenizers: Tokenizers, request: Request, progress: Progress) -> None:
    """Put weights of another model, or word vectors, in the place of random ones where there is nothing to resume."""
    started, files = request.start_from, request.config.model.embeddings
    if (started is None and files is None) or checkpoint.latest(request.run, lambda warning: None):
        return
    if started is not None:
        model.load_state_dict(checkpoint.load_model(started, torch.device("cpu")).model.state_dict())
        progress.say(f"starting from the weights of {started}")
    for told in start_from_vectors(model, tokenizers, files) if files and files != (LSA,) else ():
        progress.say(told)


def _is_known(run: Path, pairs: ParallelCorpus) -> bool:
    """Say whether this run has seen the corpus before; raise OptionError if it has seen another under its names."""
    if not (run / checkpoint.CONFIG).exists():
        return False
    before, now = checkpoint.load_fingerprints(run), pairs.fingerprints()
    if [*before.values()] != [*now.values()]:  # names of the hub hold a commit, which may not be one of the text
        name = next(name for name in {**before, **now} if before.get(name) != now.get(name))
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
    tokenizers = Tokenizers.train(pairs, request.config.tokenizer, request.config.data.tags)
    give_back_memory()
    progress.say(f"tokenizer trained in {time.monotonic() - before:.1f} s")
    return tokenizers


def with_model_of(config: Config, path: Path) -> Config:
    """Return the config with the model and tokenizer options of a run that is started from.

    How much is dropped, and how segmentations are drawn, may be another now. Raises OptionError for any other option
    that is given and not what it was, and for word vectors, which would not be used.
    """
    if config.model.embeddings is not None:
        raise OptionError(f"--from {path}: has embeddings of its own; leave model.embeddings out, or set it to null")
    if not os.path.isdir(path):  # pathlib's question has no answer for names that are too long
        raise ModelError(f"--from {path}: no such folder; give a run or a checkpoint that nmt train wrote")
    started = checkpoint.load_config(checkpoint.run_folder(path))
    tree = config.model_dump(mode="json", exclude_unset=True)
    for section, of in {"model": started.model, "tokenizer": started.tokenizer}.items():
        given = getattr(config, section).model_dump(exclude_unset=True, exclude={"embeddings"})
        own = of.model_dump()
        for name, value in given.items():
            if value != own.get(name) and name not in CHANGEABLE:
                what = f"{section}.{name}: {value} is given, and what --from {path} starts from has {own.get(name)}"
                raise OptionError(f"{what}; leave it out, or train without --from")
        changed = {name: value for name, value in given.items() if name in CHANGEABLE}
        tree[section] = {**of.model_dump(mode="json", exclude_unset=True), **changed}
    tree["model"]["embeddings"] = None  # given, so that the recipe chooses none
    return build_config(tree)


def _with_languages(config: Config) -> Config:
    corpus = ParallelCorpus(config.data.train, config.data)
    languages, names = corpus.languages, corpus.names
    for key, given in (("weights", config.data.weights), ("tags", config.data.tags)):
        if given and len(given) != len(names):
            what = f"{len(given)} for {len(names)} corpora ({', '.join(names)})"
            raise OptionError(f"data.{key}: {what}; give one for each, in the order they are read")
    data = config.data.model_copy(update={"source_lang": languages.source, "target_lang": languages.target})
    return config.model_copy(update={"data": data})
