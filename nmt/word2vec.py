"""Vectors of pieces, learnt by word2vec (arXiv 1301.3781, 1310.4546) from text, through gensim, an optional extra."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from tempfile import NamedTemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import DataError, OptionError
from nmt.output import Writer
from nmt.tokenizer import Tokenizer

LONGEST = 10_000  # pieces of a line that gensim reads
ROWS = 1_000  # are written at a time


class Word2vec(NamedTuple):
    """How vectors are learnt; the defaults but for the width are those of the authors' program and of gensim."""

    is_skip_gram: bool = True  # else CBOW
    dim: int = 256  # as wide as a model's embeddings
    window: int = 5  # pieces before and after
    negative: int = 5  # pieces drawn at random for each one that is there
    min_count: int = 5  # rarer pieces have no vector
    epochs: int = 5  # passes over the text
    threads: int = 1  # more are faster and find other vectors each time
    seed: int = 1


class Vectors(NamedTuple):
    """Pieces and their vectors, the most frequent first."""

    pieces: list[str]
    numbers: NDArray[np.float32]  # (piece, dim)
    lines: int  # they were learnt from
    tokens: int


def check_gensim() -> None:
    """Raise OptionError where gensim is missing."""
    if find_spec("gensim") is None:
        raise OptionError("the package gensim is missing; pip install gensim")


def train(blocks: Iterable[list[str]], tokenizer: Tokenizer, options: Word2vec) -> Vectors:
    """Learn vectors of the pieces of some blocks of lines, which are read once.

    They go as ids into a temporary file, where gensim finds them at each epoch: text may be larger than memory. Raises
    DataError where no piece is frequent enough.
    """
    from gensim.models import Word2Vec

    logging.getLogger("gensim").setLevel(logging.ERROR)  # its warnings are about its own arguments
    with NamedTemporaryFile("w", encoding="ascii", prefix="nmt-", suffix=".ids") as file:
        lines = _write_ids(file, blocks, tokenizer)
        model: Any = Word2Vec(
            sg=int(options.is_skip_gram), vector_size=options.dim, window=options.window, negative=options.negative,
            min_count=options.min_count, epochs=options.epochs, workers=options.threads, seed=options.seed,
        )  # fmt: skip
        model.build_vocab(corpus_file=file.name)
        found = model.wv
        if not found.index_to_key:
            what = f"no piece occurs {options.min_count} times in {lines} lines"
            raise DataError(f"{what}; give more text, or lower --min-count")
        tokens = model.corpus_total_words
        model.train(corpus_file=file.name, total_words=tokens, total_examples=lines, epochs=options.epochs)
    return Vectors(tokenizer.pieces(list(map(int, found.index_to_key))), found.vectors, lines, tokens)


def _write_ids(file: IO[str], blocks: Iterable[list[str]], tokenizer: Tokenizer) -> int:
    """Write the ids of each line and return the number of lines that have some."""
    lines = 0
    for block in blocks:
        for ids in filter(None, tokenizer.encode(block)):
            lines += 1
            for at in range(0, len(ids), LONGEST):
                file.write(" ".join(map(str, ids[at : at + LONGEST])) + "\n")
    file.flush()
    return lines


def write(vectors: Vectors, writer: Writer, *, is_binary: bool) -> None:
    """Write vectors in word2vec's text or binary format; both hold the same numbers."""
    writer.write_bytes(b"%d %d\n" % vectors.numbers.shape)
    rows = _binary_rows(vectors) if is_binary else _text_rows(vectors)
    while block := [row for row, _ in zip(rows, range(ROWS), strict=False)]:
        writer.write_bytes(b"".join(block))


def _text_rows(vectors: Vectors) -> Iterator[bytes]:
    for piece, numbers in zip(vectors.pieces, vectors.numbers, strict=True):
        yield f"{piece} {' '.join(map(str, numbers))}\n".encode()


def _binary_rows(vectors: Vectors) -> Iterator[bytes]:
    for piece, numbers in zip(vectors.pieces, vectors.numbers, strict=True):
        yield piece.encode() + b" " + numbers.astype("<f4").tobytes() + b"\n"
