"""What can be added to a training or to a translation, and how each is trained, side by side on the cores there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from nmt.diversify import REAL
from nmt.sealed import MANIFEST

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = CHECKOUT / "configs" / "quality" / "few.yaml"


class Technique(NamedTuple):
    """One row of the table."""

    name: str
    label: str
    settings: tuple[str, ...]
    reads: tuple[str, ...] = ()  # what models of the same seed have written, as well as the corpus


class Written(NamedTuple):
    """Pairs that a model writes for another to learn from, all of one seed."""

    name: str
    of: str  # the technique of the model
    command: str
    texts: tuple[str, ...]  # in the folder data


# In the place of the Transformer, whose options it does not have.
RECURRENT = (
    "model.type=rnn", "model.embedding=128", "model.dim=256", "model.tie_embeddings=true", "model.dropout=0.3",
    "training.learning_rate=1e-3",
)  # fmt: skip
TECHNIQUES = (
    Technique("base", "nothing: dropout 0.3, label smoothing 0.1, EMA, cosine", ()),
    Technique("dropout", "dropout 0.1 in place of 0.3", ("model.dropout=0.1",)),
    Technique("muon", "Muon in place of AdamW", ("training.optimizer=muon",)),
    Technique("lsa", "embeddings that begin with the pairs", ("model.embeddings=lsa",)),
    Technique("muon-lsa", "both", ("training.optimizer=muon", "model.embeddings=lsa")),
    Technique("post", "post-norm, at half the rate", ("model.norm=post", "training.learning_rate=1e-3")),
    Technique("words", "word dropout 0.1", ("model.word_dropout=0.1",)),
    Technique("bpe", "BPE in place of unigram", ("tokenizer.type=bpe",)),
    Technique("bpe-dropout", "BPE-dropout 0.1 (with BPE)", ("tokenizer.type=bpe", "tokenizer.sampling=0.1")),
    Technique("unigram-sampling", "unigram sampling 0.3", ("tokenizer.sampling=0.3",)),
    Technique(
        "both-directions", "both directions for 3 epochs, a third of all, then one", ("training.both_directions=3",)
    ),
    Technique("recased", "2 % of the pairs in another case", ("data.recased=0.02",)),
    Technique("rdrop", "R-Drop 5, as many steps, each twice as long", ("training.rdrop=5",)),
    Technique("rnn", "in its place a GRU, 256 wide, additive attention, tied embeddings", RECURRENT),
    Technique("rnn-slow", "the GRU at half the rate", (*RECURRENT, "training.learning_rate=5e-4")),
    Technique("rnn-norm", "the GRU with layer norm", (*RECURRENT, "model.layer_norm=true")),
    Technique("rnn-words", "the GRU with word dropout 0.1", (*RECURRENT, "model.word_dropout=0.1")),
    Technique(
        "rnn-deep", "the GRU with two layers and residuals",
        (*RECURRENT, "model.encoder_layers=2", "model.decoder_layers=2", "model.residual=true"),
    ),
    Technique("rnn-transitions", "the GRU with two cells in each step", (*RECURRENT, "model.transition_depth=2")),
    Technique("rnn-untied", "the GRU without tied embeddings", (*RECURRENT, "model.tie_embeddings=false")),
    Technique("lstm", "an LSTM, otherwise alike", (*RECURRENT, "model.cell=lstm")),
    Technique(
        "luong", "an LSTM with Luong's attention (general) and input feeding",
        (*RECURRENT, "model.cell=lstm", "model.attention=general", "model.input_feeding=true"),
    ),
    Technique("distilled", "its own translations as well", (), ("forward",)),
    Technique("backtranslated", "its targets translated by a model of the other direction as well", (), ("backward",)),
    Technique("both-ways", "both of these", (), ("forward", "backward")),
    Technique(
        "stack", "Muon, embeddings that begin with the pairs, and both ways",
        ("training.optimizer=muon", "model.embeddings=lsa"), ("forward", "backward"),
    ),
    Technique("more-text", "24,000 other German captions, translated by a model of the other direction", (), ("more",)),
)  # fmt: skip
# Writes for others, and has no row: the table is English to German.
REVERSE = Technique("reverse", "the other direction", ("data.source_lang=de", "data.target_lang=en"))
WRITTEN = (
    Written("forward", "base", "distill", ("few.en", "few.de")),
    Written("backward", "reverse", "backtranslate", ("few.de",)),
    Written("more", "reverse", "backtranslate", ("more.de",)),
)


class Reading(NamedTuple):
    """One row that takes no training: the runs of a technique, translated with in another way."""

    name: str
    label: str
    of: str  # the technique
    last: int = 0  # checkpoints whose weights, without EMA, translate by their mean; 0: the run as it is
    words: tuple[str, ...] = ()  # further ones for `nmt translate`
    beside: tuple[str, str] | None = None  # an option, and the technique whose run of the same seed it names
    is_ensemble: bool = False  # of all seeds, which makes one figure of them


READINGS = (
    Reading("raw", "without EMA", "base", last=1),
    Reading("averaged", "without EMA, mean of the last 5 checkpoints, 100 steps apart", "base", last=5),
    Reading("untuned", "length penalty 1, not one chosen on validation pairs", "base", words=("--length-penalty", "1")),
    Reading("greedy", "a beam of 1", "base", words=("--beam-size", "1")),
    Reading("ensemble", "all seeds as one ensemble", "base", is_ensemble=True),
    Reading("mixed", "the GRU and the Transformer as one ensemble", "base", beside=("--model", "rnn")),
    Reading(
        "reranked", "a beam of 20, re-ranked by a model of the other direction", "base",
        words=("--beam-size", "20"), beside=("--rerank", "reverse"),
    ),
    Reading("wide", "a beam of 20", "base", words=("--beam-size", "20")),
    Reading("mbr", "MBR of 32 drawn, by chrF2", "base", words=("--mbr", "chrf", "--temperature", "0.5")),
)  # fmt: skip


class Training(NamedTuple):
    """One run folder to come."""

    technique: Technique
    seed: int

    @property
    def run(self) -> str:
        """Return the name of its folder."""
        return f"{self.technique.name}-{self.seed}"


class Place(NamedTuple):
    """Where runs are, and the corpora, and for how many steps is trained."""

    folder: Path
    data: Path
    max_steps: int


def trainings(only: Sequence[str], seeds: int) -> list[Training]:
    """Return all trainings, one seed of every technique before the next."""
    wanted = [technique for technique in TECHNIQUES if not only or technique.name in only]
    return [Training(technique, seed) for seed in range(1, seeds + 1) for technique in wanted]


def run_all(place: Place, wanted: Sequence[Training], workers: int) -> None:
    """Train what is not finished, and before it what writes for it; a training that was stopped goes on."""
    due = [(text, training.seed) for training in wanted for text in WRITTEN if text.name in training.technique.reads]
    texts = list(dict.fromkeys(due))
    writers = [Training(_named(text.of), seed) for text, seed in texts]
    learners = [training for training in wanted if training.technique.reads]
    first = dict.fromkeys([*(training for training in wanted if training not in learners), *writers])
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda training: _train(place, training), first))
        list(pool.map(lambda text: _write(place, *text), texts))
        list(pool.map(lambda training: _train(place, training), learners))


def _named(name: str) -> Technique:
    return next(technique for technique in (*TECHNIQUES, REVERSE) if technique.name == name)


def _train(place: Place, training: Training) -> None:
    run = place.folder / training.run
    if (run / MANIFEST).exists():
        return
    words = ["train", str(CONFIG), "-o", str(run), "--seed", str(training.seed), "--max-steps", str(place.max_steps)]
    settings = list(training.technique.settings)
    if training.technique.reads:
        files = [str(place.folder / f"{name}-{training.seed}.tsv") for name in training.technique.reads]
        settings += [f"data.train={json.dumps(['few.{lang}', *files])}", f"data.weights={[REAL, *[1] * len(files)]}"]
    words += [word for setting in settings for word in ("--set", setting)]
    _nmt(place, training.run, words)


def _write(place: Place, text: Written, seed: int) -> None:
    output = place.folder / f"{text.name}-{seed}.tsv"
    if output.exists():
        return
    texts = [str(place.folder / "data" / name) for name in text.texts]
    words = [text.command, "-m", str(place.folder / f"{text.of}-{seed}"), *texts, "-o", str(output)]
    _nmt(place, output.stem, [*words, "--beam-size", "5", "--threads", "1"])


def _nmt(place: Place, name: str, words: Sequence[str]) -> None:
    log = place.folder / f"{name}.log"
    environment = {**os.environ, "NMT_DATA": str(place.data)}
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "nmt", *words]
        code = subprocess.run(command, cwd=place.folder, env=environment, stderr=stream).returncode
    if code:
        raise SystemExit(f"quality: {name} ended with exit code {code}; see {log}")
    print(f"quality: {name} is there", flush=True)
