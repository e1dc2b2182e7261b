"""What everyone learns from and is tested on: the first pairs of Multi30k, or short sentences of Tatoeba."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SPARED = 1_000  # of the last pairs of a training set, where there is no validation set besides the one for tests
TESTED = 1_000  # of the first pairs of that one: as many as test_2016_flickr has

Pairs = list[Sequence[str]]


class Corpus(NamedTuple):
    """Sentence pairs of two languages; what its functions read is below the folder of data that they are given."""

    name: str
    source: str
    target: str
    train: Callable[[Path], Pairs]
    validation: Callable[[Path], Pairs]  # of the peers: nmt holds out its own, of the training pairs
    test: Callable[[Path], Pairs]
    coverage: float = 1.0  # of the characters, by the pieces of the peers


class Texts(NamedTuple):
    """The files of a corpus, each but for its language, which is its suffix."""

    train: Path
    validation: Path
    test: Path


def write_texts(corpus: Corpus, data: Path, folder: Path, pairs: int | None) -> tuple[int, Texts]:
    """Write the first pairs of a corpus, or all, and its other texts; return how many pairs there are to learn from."""
    texts = Texts(*(folder / part for part in Texts._fields))
    folder.mkdir(parents=True, exist_ok=True)
    learnt = corpus.train(data)[:pairs]
    for path, rows in zip(texts, (learnt, corpus.validation(data), corpus.test(data)), strict=True):
        for language, lines in zip((corpus.source, corpus.target), zip(*rows, strict=True), strict=True):
            path.with_suffix(f".{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(learnt), texts


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text, which may be packed."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    return content.decode().removesuffix("\n").split("\n")


def _two(source: str, target: str) -> Callable[[Path], Pairs]:
    """Read two aligned files."""
    return lambda data: list(zip(*(read_lines(data / name) for name in (source, target)), strict=True))


def _one(name: str) -> Callable[[Path], Pairs]:
    """Read a file with a tab in each line."""
    return lambda data: [line.split("\t") for line in read_lines(data / name)]


def _tatoeba(source: str, target: str, read: Callable[[str], Callable[[Path], Pairs]], coverage: float) -> Corpus:
    """Return a corpus of which there is a test set, dev, but none to validate on."""
    name = f"tatoeba-{source}-{target}"
    whole, tested = read(f"{name}/train"), read(f"{name}/dev")
    return Corpus(
        name, source, target, lambda data: whole(data)[:-SPARED], lambda data: whole(data)[-SPARED:],
        lambda data: tested(data)[:TESTED], coverage,
    )  # fmt: skip


CORPORA = (
    Corpus(
        "multi30k", "en", "de",
        *(_two(*(f"multi30k/{part}.{side}" for side in ("en", "de"))) for part in ("train", "val", "test_2016_flickr")),
    ),
    _tatoeba("de", "en", lambda part: _two(f"{part}.de.gz", f"{part}.en.gz"), 1.0),
    _tatoeba("fr", "en", lambda part: _one(f"{part}.fr-en.tsv.gz"), 1.0),
    _tatoeba("ja", "en", lambda part: _two(f"{part}.ja", f"{part}.en"), 0.9995),
)  # fmt: skip
