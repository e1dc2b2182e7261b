"""Models at work on a test set: what they make of it, how fast, and what they have seen of it; it knows no scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nmt.config import DataConfig
from nmt.corpus import ParallelCorpus
from nmt.errors import NmtError
from nmt.inspect.breakdown import count_words, words
from nmt.inspect.model import measured
from nmt.inspect.report import Background, Frequencies, System
from nmt.training import heldout
from nmt.training.checkpoint import load_config, load_fingerprints, run_folder
from nmt.translate import Translator

WARM_UP = 8  # sentences translated before the clock runs, so that no model pays for lazy start-up


class How(NamedTuple):
    """Where and how models translate."""

    device: str
    precision: str
    threads: int
    beam_size: int | None  # None: each its own


def translated(name: str, path: Path, sources: Sequence[str], how: How) -> System:
    """Return what the model of a run or checkpoint folder makes of the sources."""
    translator = Translator.load(path, device=how.device, precision=how.precision, threads=how.threads, fork=True)
    search = translator.config.search.model_copy(update={"n_best": 1})
    search = translator.fill_device(search.in_beam(how.beam_size) if how.beam_size else search)
    translator.translate(sources[:WARM_UP], search)
    start = time.perf_counter()
    hypotheses = translator.translate(sources, search)
    return System(name, hypotheses, measured(path, len(sources), time.perf_counter() - start))


def training_words(path: Path, config: DataConfig, sources: Sequence[str]) -> Background:
    """Return how often the words of the sources stand in a model's training corpus, or why nobody can tell."""
    if not config.train:
        return Background(notes=["Frequencies of words: the model's config names no training corpus."])
    name = ", ".join(config.train)
    try:
        corpus = ParallelCorpus(config.train, config, is_cleaned=config.clean)
        if [*corpus.fingerprints().values()] != [*load_fingerprints(run_folder(path)).values()]:
            return Background(notes=[f"Frequencies of words: {name} has changed since the training."])
        wanted = {word for line in sources for word in words(line)}
        split = heldout.again(run_folder(path), corpus, config, load_config(run_folder(path)).training.seed)
        return Background(Frequencies(name, count_words((pair.source for pair in split.training), wanted)))
    except NmtError as error:
        return Background(notes=[f"Frequencies of words: the training corpus cannot be read ({error})."])
