"""What all systems are given: the same text, the same tokenizer, the same weights, the same number of threads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nmt.tokenizer import Tokenizers

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
CORPUS = ("train", "val", "test_2016_flickr")  # of Multi30k
JOINED = 5  # captions in a long sentence


class Figures(NamedTuple):
    """What one run of one system gave."""

    pieces: int  # target pieces with the end of sentence, padding not counted
    seconds: float  # they took, without load time and warm-up
    whole: float  # seconds from shell to end
    peak: float  # MiB (PSS) of all its processes
    sentences: int = 0  # translated
    parameters: int = 0  # trained
    output: str = ""  # file with the translations

    @property
    def speed(self) -> float:
        """Return target pieces per second."""
        return self.pieces / self.seconds


class Mode(NamedTuple):
    """One way to run a system, with what is particular to it."""

    label: str
    settings: Mapping[str, Any] = {}
    is_shipped: bool = True  # as it comes, or with a setting of ours


class Work(NamedTuple):
    """Where things are and how much is done."""

    cache: Path  # environments, data, models: everything here can be made again
    run: Path  # the trained Transformer whose weights translate
    threads: int
    warmup: float  # seconds of training that do not count
    beam: int = 5
    budget: int = 4096  # padded pieces of a training batch

    def text(self, corpus: str, split: str, language: str) -> Path:
        """Return a file of the data."""
        return self.cache / "data" / corpus / f"{split}.{language}"

    @property
    def tokenizer(self) -> Path:
        """Return the sentencepiece model that everyone uses."""
        return self.run / "tokenizer.model"

    def scratch(self, name: str) -> Path:
        """Return an empty folder."""
        folder = self.cache / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def count(self, output: Path) -> int:
        """Return the pieces of some translations, each with its end of sentence: the same measure for all."""
        rows = Tokenizers.load(self.run).target.encode(read(output))
        return sum(map(len, rows)) + len(rows)


def read(file: Path) -> list[str]:
    """Return the lines of a text."""
    return file.read_bytes().decode().removesuffix("\n").split("\n")


def write(file: Path, lines: list[str]) -> None:
    """Write lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def corpora() -> Path:
    """Return the folder of the corpora."""
    folder = Path(os.environ.get("NMT_DATA") or CHECKOUT / "../shared/data").resolve()
    if not (folder / "multi30k").is_dir():
        raise SystemExit(f"bench: {folder}/multi30k is absent; set NMT_DATA to the folder of the corpora")
    return folder


def prepare(work: Work, test: int, many: int) -> None:
    """Write the data: captions, long sentences, and `many` numbered captions; `test` lines at most to translate."""
    for language in ("en", "de"):
        for name, split in zip(CORPUS, ("train", "valid", "test"), strict=True):
            lines = read(corpora() / "multi30k" / f"{name}.{language}")[: None if split == "train" else test]
            write(work.text("captions", split, language), lines)
            write(work.text("joined", split, language), joined(lines))
    sources = read(work.text("captions", "test", "en"))
    write(work.text("captions", "one", "en"), sources[:1])
    # Numbers make them different, or a system could translate equal sentences once.
    numbered = [f"{number} {sources[number % len(sources)]}" for number in range(100_000, 100_000 + many)]
    write(work.text("numbered", "many", "en"), numbered)
    write(work.text("numbered", "few", "en"), numbered[: len(sources)])


def joined(lines: list[str]) -> list[str]:
    """Return long sentences."""
    return [" ".join(lines[start : start + JOINED]) for start in range(0, len(lines), JOINED)]


def finished(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of a script that ran inside a peer's environment."""
    answer: dict[str, Any] = json.loads(Path(job["result"]).read_text())
    return answer
