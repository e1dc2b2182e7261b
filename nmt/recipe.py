"""The automatic recipe: what a corpus and a machine say about the options that nobody has set, each with its reason.

The rules stand in the tables at the top: recipes of papers on small corpora where those could be confirmed, our own
measurements (docs/quality.md) where they could not; "by judgement" is what nobody has measured. For pieces, held-out
pairs, cleaning and search tables stand in vocabulary.py, heldout.py, cleaning.py, tuning.py. What a user sets stays.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from math import inf, sqrt
from typing import Any, NamedTuple

from nmt.config import Config
from nmt.configfile import Tree, build_config
from nmt.corpus_profile import CorpusProfile
from nmt.vocabulary import automatic_size


class Machine(NamedTuple):
    """What a training runs on."""

    has_gpu: bool
    has_bf16: bool  # products in bf16 are faster than in fp32


class Pace(NamedTuple):
    """How fast it goes there."""

    pairs: int  # that are trained on
    steps_per_epoch: float
    seconds_per_step: float  # one reading of each batch


class Choice(NamedTuple):
    """One option, and why."""

    key: str  # dotted
    value: Any
    reason: str


class Size(NamedTuple):
    """A Transformer for corpora of fewer than so many pairs."""

    below: int  # pairs
    dim: int
    layers: int  # of encoder and decoder, each
    heads: int
    feed_forward: int
    dropout: float  # in a training long enough for it
    reason: str


EVERYTHING_ELSE = 2**63  # pairs
FEW = Size(10_000, 128, 2, 4, 256, 0.3, "with fewer layers pairs are read more often in as much time (docs/quality.md)")
TINY = Size(100_000, 128, 4, 4, 256, 0.3, "a small model learns most from few pairs (arXiv 2105.14462)")
ON_CPU = FEW, TINY, Size(EVERYTHING_ELSE, 256, 3, 4, 1024, 0.1, "wider ones take a CPU days")  # which is by judgement
ON_GPU = (
    TINY,
    Size(500_000, 256, 4, 4, 1024, 0.2, "narrow models for small corpora (arXiv 1905.11901)"),
    # Shapes of papers; dropout, and for how many pairs they are, by judgement: no GPU has been at hand.
    Size(5_000_000, 512, 6, 8, 2048, 0.1, "the base model of arXiv 1706.03762, table 3"),
    Size(EVERYTHING_ELSE, 1024, 6, 16, 4096, 0.1, "the big model of arXiv 1706.03762, table 3"),
)
WIDTHS = {"dim", "heads", "feed_forward"}  # which suit each other: where one is given, none is chosen
SMALL, LARGE = (
    "small batches for small corpora (arXiv 1905.11901)",
    "large batches for large corpora (arXiv 1806.00187)",
)
BATCH_TOKENS = ((10_000, 1024, SMALL), (300_000, 4096, SMALL), (EVERYTHING_ELSE, 8192, LARGE))  # for fewer pairs
RARE = 0.9995  # of the characters, where there are thousands of them, as sentencepiece advises
# Where time is short a CPU makes its batches smaller until so many steps fit, down to so many tokens. Muon needs fewer,
# and cores share a large batch better (docs/quality.md).
ENOUGH_STEPS = {"adam": 10_000, "adamw": 10_000, "muon": 3_000}
LEAST_TOKENS = 1024
TESTED = 5_000  # pairs from which some can be spared for a test, by judgement
JUDGED = 2_500  # pairs of which enough are held out to tell which weights are best (docs/quality.md)
TUNED = 10_000  # pairs of which enough are held out to tell one length penalty from another, by judgement
AGREEING = 100_000  # pairs; with more, reading each batch twice takes longer than it is worth, by judgement
PASSES = 90.0, 29_000  # epochs that so many pairs take; of others as one over the root of the pairs, both by judgement
AGREEMENT = 5.0  # weight of R-Drop, arXiv 2106.14448 section 3.2
AGREED, PAYING = 3, 1.5  # times as many until readings agree, and from which on R-Drop is taken (docs/quality.md)
FEWEST, MOST = 5, 200  # epochs, by judgement
# At most, for fewer passes over the root of the pairs: what is read so seldom is not known by heart, and dropout slows
# learning down (docs/quality.md).
DROPOUT = ((0.02, 0.0), (0.2, 0.1), (0.6, 0.2), (inf, 1.0))
TRANSFORMER_RATE, RECURRENT_RATE = 4e-3 * 128, 1.5e-3  # the first over the width of the model; the other by judgement
FULL_BATCH = 2048  # tokens; smaller batches have rates that are lower by the root of their share
BUDGET_CPU, BUDGET_GPU = 3 * 3600.0, 6 * 3600.0  # seconds, where no time is given
MOST_VALIDATIONS, BETWEEN, APART = 10, 120.0, 200  # and seconds of the time, and steps, that each stands for at least
WARMUP = 0.1, 2000  # of the steps, and steps at most, by judgement
TRAINED = 0.9  # of the time; the rest goes to validations and to the end
HOPED = 1.5  # times the steps that fit at the pace timed are planned: at most, for it is shortened on the way


def choose(config: Config, profile: CorpusProfile, machine: Machine) -> list[Choice]:
    """Return what the corpus says, of all that `config` was not given."""
    given = given_options(config)
    if "data.clean" not in given or config.data.clean:
        profile = replace(profile, pairs=round(profile.pairs * (1 - profile.dropped)))  # all that is learnt from
    choices = [*_data(config, profile), *_tokenizer(config, profile), *_model(config, profile, machine)]
    choices += _training(config, profile, machine)
    return [choice for choice in choices if choice.key not in given]


def schedule(config: Config, machine: Machine, pace: Pace) -> list[Choice]:
    """Return how long to train and at which learning rates, of all that `config` was not given."""
    training, given = config.training, given_options(config)
    budget, enough, affordable = _budget(config, machine), _enough(pace), _affordable(config, machine, pace)
    wanted = training.max_steps / pace.steps_per_epoch if "training.max_steps" in given else training.max_epochs or inf
    agrees = pace.pairs < AGREEING and min(affordable / 2, wanted) >= PAYING * enough
    alpha = training.rdrop if "training.rdrop" in given else AGREEMENT * agrees
    passes = float(training.max_epochs or (AGREED * enough if alpha else enough))
    affordable /= 1 + (alpha > 0)
    fitting, hoped = min(passes, affordable), min(passes, affordable * HOPED)
    if "training.max_steps" in given:
        fitting = hoped = training.max_steps / pace.steps_per_epoch
    turned = min(training.both_directions, hoped)  # passes that read each pair in both directions
    steps = max(round((hoped + turned) * pace.steps_per_epoch), 1)
    if "training.max_steps" in given:
        steps = training.max_steps
    long = f"each of {pace.pairs:,} pairs {fitting:.1f} times, "
    long += f"about {_clock(_cost(pace, alpha) * fitting)} here"
    if affordable < passes:
        long += f", and more if it gets faster; better {passes:.0f} times, "
        long += f"with --max-time {_clock(_cost(pace, alpha) * passes)}"
    validations = min(MOST_VALIDATIONS, max(1, int(min(steps // APART, budget / BETWEEN))))
    wide = " and with the width of the model" if config.model.type == "transformer" else ""
    waiting = Choice("training.max_time", budget, f"{_clock(budget)}, as long as people wait without being asked")
    choices = [
        *([waiting] if budget < inf else []),
        Choice("training.rdrop", alpha, _agreement(agrees, pace.pairs)),
        Choice("training.max_steps", steps, long),
        Choice("model.dropout", _dropout(fitting, pace.pairs, machine), "more for few pairs that are read often"),
        Choice("training.schedule", "cosine", "falls to 0 at the last step, which is known"),
        Choice("training.learning_rate", _rate(config), "falls with small batches" + wide),
        Choice("training.warmup", min(WARMUP[1], max(1, int(steps * WARMUP[0]))), "a tenth of the steps, to 2,000"),
        Choice("training.valid_every", max(1, round(steps / validations)), f"{validations} in all: each takes time"),
    ]
    return [choice for choice in choices if choice.key not in given]


def hurry(config: Config, machine: Machine, pace: Pace, chosen: Container[str]) -> list[Choice]:
    """Return what has to become smaller for the time there is on a CPU, out of what the recipe has `chosen`.

    That is the model first; then, at the pace of what was returned, the batch; and nothing once all is well.
    """
    if machine.has_gpu:  # which is no faster with little to do at once
        return []
    passes, tokens = _affordable(config, machine, pace), config.training.batch_tokens
    if "model.dim" in chosen and config.model.dim > TINY.dim and passes < FEWEST:
        smaller = _shape(TINY, f"with {config.model.dim} there is time for {passes:.1f} passes, which are too few")
        return [choice for choice in smaller if choice.key in chosen]
    if "training.batch_tokens" not in chosen or "training.max_steps" in given_options(config) or tokens == "auto":
        return []
    steps = min(passes, config.training.max_epochs or _enough(pace)) * pace.steps_per_epoch
    while steps < ENOUGH_STEPS[config.training.optimizer] and tokens > LEAST_TOKENS:
        tokens, steps = tokens // 2, steps * 2
    if tokens == config.training.batch_tokens:
        return []
    return [Choice("training.batch_tokens", tokens, f"about {steps:,.0f} steps instead of fewer, larger ones")]


def is_scheduled(config: Config) -> bool:
    """Say whether nothing is left to `schedule`, whose pace takes seconds to measure."""
    keys = ("max_time", "rdrop", "max_steps", "schedule", "learning_rate", "warmup", "valid_every")
    return {"model.dropout", *(f"training.{key}" for key in keys)} <= given_options(config)


def apply(config: Config, choices: Sequence[Choice]) -> Config:
    """Return the config with the choices in it, as if they had been given."""
    tree: Tree = config.model_dump(mode="json", exclude_unset=True)
    for key, value, _ in choices:
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    return build_config(tree)


def _budget(config: Config, machine: Machine) -> float:
    """Return the seconds there are: where somebody says how many steps or passes, as many as these take."""
    if not config.training.max_time and {"max_steps", "max_epochs"} & config.training.model_fields_set:
        return inf
    return config.training.max_time or (BUDGET_GPU if machine.has_gpu else BUDGET_CPU)


def _enough(pace: Pace) -> float:
    """Return the passes that such a corpus takes."""
    return min(max(PASSES[0] * sqrt(PASSES[1] / pace.pairs), FEWEST), MOST)


def _affordable(config: Config, machine: Machine, pace: Pace) -> float:
    """Return the passes that there is time for, without R-Drop."""
    return _budget(config, machine) / _cost(pace, 0.0)


def _cost(pace: Pace, alpha: float) -> float:
    """Return the seconds of a pass, and of what is done besides; R-Drop reads each batch twice."""
    return pace.seconds_per_step * pace.steps_per_epoch * (1 + (alpha > 0)) / TRAINED


def given_options(config: Config) -> set[str]:
    """Return the dotted keys of what somebody has set."""
    return {f"{name}.{key}" for name in Config.model_fields for key in getattr(config, name).model_fields_set}


def _data(config: Config, profile: CorpusProfile) -> Iterator[Choice]:
    yield Choice("data.clean", True, f"drops {100 * profile.dropped:.3g} % of the pairs: no translations, or repeated")
    if not config.data.test and profile.pairs >= TESTED:
        yield Choice("data.hold_out_test", True, "no test corpus is given")


def _tokenizer(config: Config, profile: CorpusProfile) -> Iterator[Choice]:
    source, target = profile.source, profile.target
    if config.tokenizer.type in ("unigram", "bpe"):
        size, rule = automatic_size(profile.pairs), "4,000 times the cube root of pairs / 10,000"
        yield Choice("tokenizer.vocab_size", "auto", f"about {size:,}: {rule} ({profile.pairs:,} pairs)")
    together = source.script == target.script or not (source.script and target.script)
    apart = f"{source.script} and {target.script} share no letters"
    yield Choice("tokenizer.shared", together, "names and numbers are the same on both sides" if together else apart)
    yield Choice("tokenizer.type", "unigram", "no worse than BPE on few pairs (docs/quality.md)")
    yield Choice("tokenizer.sampling", 0.0, "drawn segmentations cost more than they gave (docs/quality.md)")
    if not (source.has_spaces and target.has_spaces):
        yield Choice("tokenizer.character_coverage", RARE, "thousands of characters; the rarest become bytes")


def _model(config: Config, profile: CorpusProfile, machine: Machine) -> Iterator[Choice]:
    if config.model.type == "transformer" and not config.model.model_fields_set & WIDTHS:
        size = _size(profile.pairs, machine)
        yield from _shape(size, size.reason)
    if config.model.type == "transformer" and not machine.has_gpu:
        yield Choice("model.embeddings", "lsa", "pieces of the same pairs begin near each other: sooner learnt")
    if config.model.type == "rnn":
        yield Choice("model.layer_norm", True, "as in arXiv 1905.11901: 1.8 BLEU more on 5,000 pairs (docs/quality.md)")


def _size(pairs: int, machine: Machine) -> Size:
    return next(size for size in (ON_GPU if machine.has_gpu else ON_CPU) if pairs < size.below)


def _shape(size: Size, reason: str) -> Iterator[Choice]:
    yield Choice("model.dim", size.dim, reason)
    yield Choice("model.encoder_layers", size.layers, "of that model")
    yield Choice("model.decoder_layers", size.layers, "of that model")
    yield Choice("model.heads", size.heads, "of that model")
    yield Choice("model.feed_forward", size.feed_forward, "of that model")


def _training(config: Config, profile: CorpusProfile, machine: Machine) -> Iterator[Choice]:
    tokens, reason = next(row[1:] for row in BATCH_TOKENS if profile.pairs < row[0])
    yield Choice("training.batch_tokens", tokens, reason)
    yield Choice("training.label_smoothing", 0.1, "words that are nearly as good are no mistakes (arXiv 1512.00567)")
    yield Choice(
        "training.ema", 0.999, "as good as the mean of the last checkpoints, and there at once (docs/quality.md)"
    )
    if config.model.type == "transformer" and not machine.has_gpu and not config.training.fsdp:
        yield Choice("training.optimizer", "muon", "more is learnt from each pair than with AdamW (arXiv 2502.16982)")
    if machine.has_bf16 and not machine.has_gpu:
        yield Choice("training.precision", "bf16", "this CPU has it: faster, and as good")
    yield Choice("training.both_directions", 0, "cost 1.3 BLEU in as many steps (docs/quality.md)")
    yield Choice("data.recased", 0.0, "gains and costs nothing where all is written alike (docs/quality.md)")
    yield Choice("training.patience", 0, "the learning rate falls to its end, and the best weights are kept")
    yield Choice("search.beam_size", 5, "wider ones mostly gain next to nothing and take longer (nmt eval --beams)")
    if not config.data.valid and profile.pairs < JUDGED:
        yield Choice("training.average_last", 1, "the last weights: fewer than 50 pairs do not tell which are the best")
    if config.data.valid or profile.pairs >= TUNED:
        yield from _tuning(config)


def _tuning(config: Config) -> Iterator[Choice]:
    """Yield what is tuned of the search, if it is for the best translation; what is set by hand stays."""
    if config.search.sample or config.search.mbr != "none":
        return
    if "length_penalty" not in config.search.model_fields_set:
        yield Choice("training.tune_length_penalty", True, "another than 1 is taken where it gains 0.5 BLEU")
    if "beam_size" not in config.search.model_fields_set:
        yield Choice("training.tune_beam_size", True, "a beam of 10 is taken where it gains 0.5 BLEU")


def _rate(config: Config) -> float:
    rate = RECURRENT_RATE if config.model.type == "rnn" else TRANSFORMER_RATE / config.model.dim
    tokens = config.training.batch_tokens
    share = 1.0 if tokens == "auto" else min(1.0, tokens * config.training.accumulate / FULL_BATCH)
    return round(rate * sqrt(share), 5)


def _dropout(passes: float, pairs: int, machine: Machine) -> float:
    return min(_size(pairs, machine).dropout, next(most for below, most in DROPOUT if passes / sqrt(pairs) < below))


def _agreement(agrees: bool, pairs: int) -> str:
    if agrees:
        return "two readings of a batch have to agree (arXiv 2106.14448, docs/quality.md)"
    return "too many pairs to read each twice" if pairs >= AGREEING else "it takes more passes than are made"


def _clock(seconds: float) -> str:
    minutes = f"{seconds / 60:.0f}m" if seconds >= 60 else f"{max(1, seconds):.0f}s"
    return f"{seconds / 3600:.1f}h" if seconds >= 3600 else minutes
