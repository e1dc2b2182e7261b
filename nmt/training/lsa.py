"""Vectors of tokens from the pairs that they stand in, both languages alike; it knows nothing of models or of text.

Latent semantic analysis (Deerwester et al. 1990) of sentence pairs in the place of documents (Dumais et al. 1997):
tokens that stand in the same pairs, as words and their translations do, come to have nearly the same direction.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nmt.models.weights import Vocabularies
from nmt.ragged import Ragged

TOKENS = 2_000_000  # of both sides that `analyse` should be given at most: some seconds' work
ROUNDS = 2  # of iteration towards the largest singular vectors
NOTHING = 1e-9  # nats: of a token that is as frequent in a pair as everywhere, but for rounding
SPARE = 16  # directions more than are wanted, with which the wanted ones are found sooner


def analyse(source: Ragged, target: Ragged, sizes: Vocabularies, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return vectors (source vocabulary, width) and (target vocabulary, width), one and the same where it is shared.

    They have length 1, and 0 where a token stands in no pair, or in all alike; numbers are 0 from the one on that is
    there for no further pair or token.
    """
    offset = 0 if sizes.is_shared else sizes.source
    matrix = _association(source, target, offset, offset + sizes.target)
    vectors = torch.nn.functional.normalize(_left_vectors(matrix, width, seed))
    known = torch.zeros(len(vectors), 1).index_fill_(0, matrix.indices()[0], 1)
    vectors = vectors * known  # of the others there is nothing but what rounding left
    return vectors[: sizes.source], vectors[offset:]


def _association(source: Ragged, target: Ragged, offset: int, size: int) -> Tensor:
    """Return the positive pointwise mutual information of tokens and pairs, (size, pairs), sparse.

    Where counts stand in its place a few tokens that are everywhere decide all (Levy, Goldberg and Dagan 2015).
    """
    tokens = np.concatenate((source.ids.astype(np.int64), target.ids.astype(np.int64) + offset))
    numbers = np.arange(len(source.lengths))
    pairs = np.concatenate([np.repeat(numbers, side.lengths) for side in (source, target)])
    places = torch.from_numpy(np.stack((tokens, pairs)))
    counts = _sparse(places, torch.ones(len(tokens), dtype=torch.float64), (size, len(numbers)))
    (row, column), count = counts.indices(), counts.values()
    of_token = count.new_zeros(size).index_add_(0, row, count)
    of_pair = count.new_zeros(len(numbers)).index_add_(0, column, count)
    information = (count * count.sum() / (of_token[row] * of_pair[column])).log()
    positive = information > NOTHING
    return _sparse(counts.indices()[:, positive], information[positive].float(), counts.shape)


def _sparse(places: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=False).coalesce()


def _left_vectors(matrix: Tensor, width: int, seed: int) -> Tensor:
    """Return the left singular vectors of the largest singular values, times the roots of these, (rows, width).

    By subspace iteration (arXiv 0909.4061, algorithm 4.4), since no more than `width` of thousands are wanted.
    """
    wanted = min(width + SPARE, *matrix.shape)
    drawn = torch.randn(matrix.shape[1], wanted, generator=torch.Generator().manual_seed(seed))
    basis = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis).Q).Q
    small = matrix.t() @ basis  # (columns, wanted)
    squares, rotation = torch.linalg.eigh(small.t() @ small)  # ascending
    vectors = basis @ rotation.flip(1) * squares.flip(0).clamp(min=0) ** 0.25
    return torch.nn.functional.pad(vectors[:, :width], (0, max(width - wanted, 0)))
