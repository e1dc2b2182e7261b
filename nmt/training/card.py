"""The model card, README.md of a run folder: what the model is, what it learnt from, how good it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import nmt
from nmt.corpus import ParallelCorpus
from nmt.errors import OptionError
from nmt.evaluate import Score, score
from nmt.sealed import replace_file
from nmt.text import without_surrogates
from nmt.training import heldout
from nmt.training.checkpoint import load_fingerprints
from nmt.training.progress import duration
from nmt.translate import Translator

CARD = "README.md"
MOST_LINES = 2000  # of each set are translated for the card
FIRST, MORE, LINES = 8, 4, 200  # lines before the first look at the clock, times as many before the next, and at most


class Measured(NamedTuple):
    """What the model scores on one set."""

    name: str  # with the number of lines, where they are not all
    scores: list[Score]


def score_sets(translator: Translator, run: Path, deadline: float) -> list[Measured]:
    """Return BLEU and chrF of the validation and the test set, as far as the run has them and time.monotonic() allows.

    Sets that the config does not name are those held out of the training corpus. What is not translated at the deadline
    is left out.
    """
    data = translator.config.data
    sets: dict[heldout.Part, tuple[str, ...]] = {"test": data.test, "valid": data.valid}
    found = []
    for part, specs in sets.items():
        if specs or heldout.is_saved(run, part, data):
            name = part if specs else f"{part}, held out"
            sources, targets = ParallelCorpus(specs, data).sides() if specs else heldout.load(run, part, data)
            hypotheses = _translate(translator, sources[:MOST_LINES], deadline)
            if hypotheses:
                lines = len(hypotheses)
                name += "" if lines == len(sources) else f", first {lines} of {len(sources)} lines"
                found.append(Measured(name, _score(hypotheses, targets[:lines], data.target_lang)))
    return found


def _translate(translator: Translator, sources: list[str], deadline: float) -> list[str]:
    translations, lines = list[str](), FIRST
    while len(translations) < len(sources) and lines and (before := time.monotonic()) < deadline:
        translations += translator.translate(sources[len(translations) : len(translations) + lines])
        pace = max(time.monotonic() - before, 1e-9) / lines
        lines = int(max(0, min(LINES, MORE * lines, (deadline - time.monotonic()) / pace)))
    return translations


def _score(hypotheses: list[str], targets: list[str], target_lang: str) -> list[Score]:
    """Return BLEU and chrF; a tokenizer that is not installed is no reason to leave a finished run without scores."""
    try:
        return score(hypotheses, [targets], ["bleu", "chrf"], target_lang=target_lang)
    except OptionError:
        return score(hypotheses, [targets], ["bleu", "chrf"], tokenize="char")


def write_card(translator: Translator, run: Path, sets: list[Measured], command: str, seconds: float) -> None:
    """Write README.md into the run folder; `sets` are what the translator scores."""
    config = translator.config
    data, languages = config.data, config.data.direction or "source to target"
    rows = [
        f"| {name} | {found.name} | {found.score:.2f} | `{found.signature}` |"
        for name, scores in sets
        for found in scores
    ]
    digests = [f"- `{name}` sha256 {digest}" for name, digest in load_fingerprints(run).items()]
    lines = [
        f"# {run.name}: {languages}",
        "",
        f"A {config.model.type} model trained with nmt {nmt.__version__} in {duration(seconds)} on "
        f"{', '.join(data.train)}.",
        "",
        "| set | metric | score | signature |",
        "| --- | --- | --- | --- |",
        *(rows or ["| none | | | |"]),
        "",
        f"Search: {config.search.summary}; in {translator.precision}.",
        "",
        "    " + command,
        "",
        "All options are in `config.yaml`. Translate with `nmt translate -m FOLDER < text`.",
        "",
        "Data:",
        *digests,
    ]
    replace_file(run / CARD, without_surrogates("\n".join(lines) + "\n").encode())
