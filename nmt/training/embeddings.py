"""Embeddings that start from vectors, of files or of the training pairs; it knows nothing of how those are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from nmt.batches import Corpus, spread
from nmt.errors import DataError, OptionError
from nmt.models.weights import Embeddings, Vocabularies
from nmt.specs import resolve
from nmt.tokenizer import SPACE, Tokenizer, Tokenizers
from nmt.training.lsa import TOKENS, analyse
from nmt.training.world import World
from nmt.vectors import Found, Vector, read_vectors

LSA = "lsa"  # in place of a file: the latent semantic analysis of the training pairs


def start_from_pairs(model: nn.Module, tokenizers: Tokenizers, corpus: Corpus, seed: int, world: World) -> str:
    """Put vectors learnt from the training pairs on the rows of all tokens that they tell something of.

    The output layer has them too where it is tied to the target's embeddings. Of several processes the first one learns
    them for all, since rounding may turn a direction round. Returns what to tell.
    """
    embeddings = cast(Embeddings, model.get_submodule("embeddings"))
    tables = embeddings.source.weight, embeddings.target.weight
    told = _learn(tables, tokenizers, corpus, seed) if world.rank == 0 else ""
    with torch.no_grad():
        shared = [*dict.fromkeys(tables)]
        for table in shared if world.rank else ():
            table.zero_()
        world.sum(shared)
    return told


def start_from_vectors(model: nn.Module, tokenizers: Tokenizers, files: Sequence[str]) -> list[str]:
    """Put word vectors on the rows of their pieces: one file for both languages, or source and target.

    The output layer has them too where it is tied to the target's embeddings; rows without a vector keep their initial
    values. Returns what to tell of each matrix. Raises OptionError for two files and one matrix, DataError for a file
    without a vector of any piece.
    """
    embeddings = cast(Embeddings, model.get_submodule("embeddings"))
    source, target = files[0], files[-1]
    if embeddings.source is not embeddings.target:
        return [
            f"source embeddings: {_land(embeddings.source, tokenizers.source, source)}",
            f"target embeddings: {_land(embeddings.target, tokenizers.target, target)}",
        ]
    if source != target:
        raise OptionError(
            f"model.embeddings: {source} and {target}, but source and target have one matrix; give one file, or set "
            "model.tie_embeddings or tokenizer.shared to false"
        )
    return [f"embeddings: {_land(embeddings.target, tokenizers.target, target)}"]


def _learn(tables: tuple[Tensor, Tensor], tokenizers: Tokenizers, corpus: Corpus, seed: int) -> str:
    sizes = Vocabularies(tokenizers.source.size, tokenizers.target.size, tokenizers.shared)
    source, target = spread(corpus, np.add, TOKENS)
    found = analyse(source, target, sizes, tables[0].shape[1], seed)
    with torch.no_grad():
        for table, vectors in zip(tables, found, strict=True):
            known = vectors.any(1)  # the others keep their initial values, whose expected length is 1 too
            table[known] = vectors[known].to(table)
    read = len(source.lengths)
    pieces = sum(int(vectors.any(1).sum()) for vectors in (found[:1] if sizes.is_shared else found))
    return f"embeddings: {pieces:,} pieces begin near those of the same pairs, of which {read:,} were read"


def _land(table: nn.Embedding, tokenizer: Tokenizer, name: str) -> str:
    pieces = tokenizer.pieces(range(tokenizer.size))
    words = {*pieces, *(piece.removeprefix(SPACE) for piece in pieces)}
    found = read_vectors(resolve(name), name, words, table.embedding_dim)
    rows = {number: vector for number, piece in enumerate(pieces) if (vector := _of_piece(piece, found)) is not None}
    if not rows:
        advice = "train vectors of its pieces with nmt embeddings train"
        raise DataError(f"{name}: none of its {found.words} words is a piece of the tokenizer; {advice}")
    vectors = np.stack([*rows.values()]).astype(np.float64)  # (piece, dim)
    # Vectors of word2vec grow with their training, others were normalised: all are brought to the size of the initial
    # values, for which the learning rate, the Transformer's factor sqrt(dim) before positions of size 1 are added, and
    # the first logits of tied embeddings are made. One factor for all keeps their angles and relative lengths.
    size = np.sqrt((vectors**2).mean())
    if size == 0:
        raise DataError(f"{name}: all vectors are 0; train them again")
    scaled = torch.from_numpy(vectors * (table.embedding_dim**-0.5 / size))
    with torch.no_grad():
        table.weight[list(rows)] = scaled.to(table.weight)
    return f"{name} has vectors of {len(rows):,} of {tokenizer.size:,} pieces ({len(rows) / tokenizer.size:.0%})"


def _of_piece(piece: str, found: Found) -> Vector | None:
    """Return the vector of a piece: its own, or, in a file of plain words, that of the word that it is."""
    vector = found.vectors.get(piece)
    return found.vectors.get(piece.removeprefix(SPACE)) if vector is None and not found.has_pieces else vector
