"""How fast this machine trains and translates, and where the time goes; it knows nothing of how that is shown.

Speed does not depend on what the weights are, so models are as initialised. One that has learnt nothing never ends a
sentence by itself: its outputs are cut at the length that the corpus's translations have on average.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nmt import recipe
from nmt.batches import Batch, Position, epoch_batches, pack
from nmt.config import Config
from nmt.corpus import ParallelCorpus
from nmt.corpus_profile import profile
from nmt.device import Compute, compute, give_back_memory, has_bf16
from nmt.encoded import EncodedCorpus, Encoding
from nmt.frozen import freeze
from nmt.inspect.profile import now, parts_of_search, parts_of_training
from nmt.models import Model, build
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import load_model, run_folder
from nmt.training.learner import Learner
from nmt.training.trainer import batch_ceiling
from nmt.translate import Translator

PAIRS = 20_000  # of the corpus are read: enough for batches as training has them
WARM_UP = 4  # steps before the clock runs
PEAK = Path("/proc/self/clear_refs")  # Linux: writing 5 makes the peak of resident memory start anew


class Setting(NamedTuple):
    """What a speed depends on beside the model and the machine."""

    device: str
    precision: str
    threads: int
    batch_tokens: int


class Figures(NamedTuple):
    """What one setting gives."""

    work: str  # training or translation
    setting: Setting
    tokens: float  # of the target, per second; padding is not counted
    sentences: float  # per second
    padding: float  # share of the cells of a batch
    memory: int  # bytes at the peak: resident, or of the GPU
    parts: dict[str, float]  # share of the time by what it goes into


class Subject(NamedTuple):
    """What is measured."""

    config: Config
    tokenizers: Tokenizers
    corpus: EncodedCorpus
    sources: list[str]  # different from each other
    ratio: float  # target tokens per source token
    trained: Path | None  # a run whose model translates; None: a model as initialised

    def model(self) -> Model:
        """Return the model as it is before training, always the same."""
        torch.manual_seed(self.config.training.seed)
        source, target = self.tokenizers
        return build(self.config.model, source.size, target.size, shared=self.tokenizers.shared)


def prepare(config: Config, trained: Path | None, cache: Path, device: str = "auto") -> Subject:
    """Read the head of the corpus and learn a tokenizer from it, or take the one of a trained run."""
    whole = ParallelCorpus(config.data.train, config.data)
    if config.training.recipe == "auto" and not trained:  # what is trained is what it makes of the corpus
        machine = recipe.Machine(compute(device).device.type != "cpu", has_bf16())
        config = recipe.apply(config, recipe.choose(config, profile(whole), machine))
    pairs = list(islice(whole, PAIRS))
    tokenizers = Tokenizers.load(run_folder(trained)) if trained else Tokenizers.train(pairs, config.tokenizer)
    encoding = Encoding(tokenizers, config.data.max_length)
    corpus = EncodedCorpus.build(pairs, encoding, cache=cache)
    source, target = corpus.lengths(np.arange(len(corpus)))
    sources = list(dict.fromkeys(source for source, _ in pairs))
    return Subject(config, tokenizers, corpus, sources, float(target.sum() / source.sum()), trained)


def measure(subject: Subject, device: str, threads: int, seconds: float) -> Iterator[Figures]:
    """Yield figures of what `nmt` does unless told otherwise, then of one change after the other.

    Each change is made to the fastest setting so far; `threads` are those of the first, 0 for all cores.
    """
    on = compute(device, "auto", threads)
    precision = "bf16" if on.dtype == torch.bfloat16 else "fp32"
    config = subject.config
    # Translating first: the memory that training has had would count.
    works = ((translate, config.search.batch_tokens), (train, batch_ceiling(config.training.batch_tokens, on.device)))
    for work, size in works:
        first = Setting(str(on.device), precision, torch.get_num_threads(), size)
        best = work(subject, first, seconds)
        yield best
        for change in _changes(first):
            found = work(subject, best.setting._replace(**change), seconds)
            yield found
            best = max(best, found, key=lambda figures: figures.tokens)


def _changes(first: Setting) -> Iterator[dict[str, Any]]:
    """Yield what is worth trying: half precision where the device has it, one thread, larger and smaller batches."""
    if first.precision == "fp32" and _use(first._replace(precision="bf16")).dtype == torch.bfloat16:
        yield {"precision": "bf16"}
    if first.threads > 1:
        yield {"threads": 1}
    yield from ({"batch_tokens": 4 * first.batch_tokens}, {"batch_tokens": max(first.batch_tokens // 4, 1)})


def train(subject: Subject, setting: Setting, seconds: float) -> Figures:
    """Train a new model for some seconds."""
    on = _use(setting)
    learner = Learner(subject.model(), subject.config.training, on)
    batches = _batches(subject, setting.batch_tokens)
    for step in range(WARM_UP):
        learner.learn([next(batches)], step + 1, 1e-5)
    _forget_peak(on)
    steps = tokens = pairs = cells = filled = 0
    began = now(on)
    while steps < WARM_UP or now(on) - began < seconds:
        batch = next(batches)
        learner.learn([batch], WARM_UP + steps, 1e-5)
        steps, tokens, pairs = steps + 1, tokens + batch.tokens, pairs + len(batch.source.lengths)
        cells += batch.source.ids.numel() + batch.target.ids[:, 1:].numel()
        filled += int(batch.source.lengths.sum()) + batch.tokens
    spent = now(on) - began
    memory = _peak(on)
    parts = parts_of_training(learner, batches, on)
    return Figures("training", setting, tokens / spent, pairs / spent, 1 - filled / cells, memory, parts)


def translate(subject: Subject, setting: Setting, seconds: float) -> Figures:
    """Translate lines of the corpus for about so many seconds, loading and warming up not counted.

    All in this process, whose memory can be told: the processes of `nmt translate` are some tenth faster.
    """
    on = _use(setting)
    translator = _translator(subject, on)
    options = translator.config.search.model_copy(update={"batch_tokens": setting.batch_tokens})
    lines = subject.sources[:64]
    translator.translate_block(lines[:8], options)
    began = now(on)
    translator.translate_block(lines, options)
    lines = subject.sources[: max(64, round(64 * seconds / max(now(on) - began, 1e-3)))]
    _forget_peak(on)
    began = now(on)
    found = translator.translate_block(lines, options)
    spent = now(on) - began
    memory = _peak(on)
    tokens = sum(len(translation.hypotheses[0].pieces) + 1 for translation in found)
    lengths = np.array([translation.tokens + 1 for translation in found])
    cells = sum(len(rows) * int(lengths[rows].max()) for rows in pack(lengths, lengths, setting.batch_tokens))
    padding = 1 - int(lengths.sum()) / cells
    parts = parts_of_search(translator, lines[: setting.batch_tokens // max(1, round(float(lengths.mean())))], options)
    return Figures("translation", setting, tokens / spent, len(lines) / spent, padding, memory, parts)


def latency(subject: Subject, setting: Setting) -> float:
    """Return the median seconds that one sentence of usual length takes by itself, in a process that is warm."""
    on = _use(setting)
    translator = _translator(subject, on)
    line = sorted(subject.sources, key=len)[len(subject.sources) // 2]
    times = []
    for _ in range(7):
        began = now(on)
        translator.translate([line])
        times.append(now(on) - began)
    return statistics.median(times[2:])


def _use(setting: Setting) -> Compute:
    return compute(setting.device, setting.precision, setting.threads)


def _translator(subject: Subject, on: Compute) -> Translator:
    if subject.trained is not None:
        saved, tokenizers, model = load_model(subject.trained, on.device)
        return Translator(saved, tokenizers, freeze(on.fit(model)), on)
    cut = {"max_length_ratio": subject.ratio, "max_length_offset": 0}
    config = subject.config.model_copy(update={"search": subject.config.search.model_copy(update=cut)})
    return Translator(config, subject.tokenizers, freeze(on.fit(subject.model()).eval()), on)


def _batches(subject: Subject, batch_tokens: int) -> Iterator[Batch]:
    position = Position()
    while True:
        for batch, after in epoch_batches(subject.corpus, 1, batch_tokens, position):
            position = after
            yield batch


def _forget_peak(on: Compute) -> None:
    if on.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(on.device)
    elif PEAK.exists():
        gc.collect()
        give_back_memory()  # what was freed is kept else, and would count for what comes next
        PEAK.write_text("5")


def _peak(on: Compute) -> int:
    """Return the most bytes held since `_forget_peak`, or, where no system tells, since the process began."""
    if on.device.type == "cuda":
        return torch.cuda.max_memory_allocated(on.device)
    if PEAK.exists():
        (line,) = (row for row in Path("/proc/self/status").read_text().split("\n") if row.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
