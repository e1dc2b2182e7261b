"""Tiny trainings: a corpus of digits, a config that is through in half a second, and ways to run and to stop them."""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from nmt.config import Config
from nmt.configfile import load_config
from nmt.training.prepare import Request
from nmt.training.run import train

ROOT = Path(__file__).parents[1]
CACHE = Path(tempfile.mkdtemp(prefix="nmt-tests-"))
os.environ.setdefault("NMT_CACHE", str(CACHE))
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
Setting = str | int | float

# Everything random is on, so that resuming has something to get wrong.
TINY: dict[str, Setting] = {
    "data.source_lang": "en", "data.target_lang": "de",
    "model.dim": 16, "model.heads": 2, "model.feed_forward": 32, "model.encoder_layers": 1, "model.decoder_layers": 1,
    "model.dropout": 0.3, "model.attention_dropout": 0.1, "tokenizer.sampling": 0.2, "tokenizer.vocab_size": 290,
    "training.batch_tokens": 96, "training.learning_rate": 0.01, "training.warmup": 4, "training.ema": 0.9,
    "training.max_steps": 12, "training.valid_every": 4, "training.valid_lines": 4, "training.save_every": 3,
    "training.log_every": 1, "training.patience": 0, "training.metric": "loss", "training.threads": 1,
    "training.device": "cpu", "training.recipe": "none",
    "search.beam_size": 2, "search.max_length_ratio": 0.5, "search.max_length_offset": 3,
}  # fmt: skip
# Of the other family, with all that is different in it.
RNN: dict[str, Setting] = {
    "model.type": "rnn", "model.cell": "lstm", "model.attention": "general", "model.input_feeding": "true",
    "model.embedding": 8, "model.dim": 8, "model.dropout": 0.3, "training.ema": 0, "training.accumulate": 2,
    "tokenizer.type": "bpe", "tokenizer.shared": "false", "tokenizer.vocab_size": 280,
}  # fmt: skip
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_corpus(folder: Path, pairs: int = 40, name: str = "text", seed: int = 1) -> list[str]:
    """Write two aligned files, digits and their names backwards, and return their names."""
    chance = random.Random(seed)
    rows = [[chance.randrange(10) for _ in range(chance.randint(1, 6))] for _ in range(pairs)]
    files = {
        "en": [" ".join(map(str, row)) for row in rows],
        "de": [" ".join(WORDS[n] for n in row[::-1]) for row in rows],
    }
    return write_files(folder, files, name)


def write_files(folder: Path, files: Mapping[str, Sequence[str]], name: str = "text") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{language}" for language in files]
    for path, lines in zip(paths, files.values(), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [str(path) for path in paths]


def options(changes: Mapping[str, Setting] | None = None) -> list[str]:
    """Return `key=value` for every option of a tiny training; another type of model takes nothing over."""
    own = dict(changes or {})
    base = {key: value for key, value in TINY.items() if "model.type" not in own or not key.startswith("model.")}
    return [f"{key}={value}" for key, value in {**base, **own}.items()]


def tiny(corpus: Sequence[str], changes: Mapping[str, Setting] | None = None) -> Config:
    return load_config(None, options(changes), {"data.train": list(corpus)})


def run_training(
    run: Path, config: Config, *, stream: io.StringIO | None = None, start_from: Path | None = None
) -> str:
    """Train in this process and return what was told."""
    told = stream or io.StringIO()
    train(Request(config, run, start_from, "nmt train", time.monotonic(), told))
    torch.set_num_threads(1)
    return told.getvalue()


def words(corpus: Sequence[str], run: Path, changes: Mapping[str, Setting] | None = None) -> list[str]:
    """Return the arguments of `nmt` that train the same as `run_training`."""
    return ["train", *corpus, "-o", str(run), *(word for each in options(changes) for word in ("--set", each))]


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `nmt` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nmt", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def digest(run: Path) -> str:
    """Return the SHA-256 of the weights of a finished run."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


@contextmanager
def heard() -> Iterator[None]:
    """Let signals arrive as on a terminal: what runs in the background, or under nohup, ignores some of them."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
        assert {number: signal.getsignal(number) for number in usual} == usual, "a handler was left behind"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stop(BaseException):
    """The process is gone at once: nobody catches this, so no more is saved than after a `kill -9`."""


def stop() -> None:
    raise Stop


class Script(io.StringIO):
    """A stream on which something happens as soon as a line matches a pattern."""

    def __init__(self, pattern: str, action: Callable[[], None]) -> None:
        super().__init__()
        self.pattern, self.action, self.happened = re.compile(pattern), action, False

    def write(self, text: str) -> int:
        written = super().write(text)
        if not self.happened and self.pattern.search(text):
            self.happened = True
            self.action()
        return written
