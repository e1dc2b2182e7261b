"""Tokens that stand in the same pairs begin near each other, and nothing else of a model is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from runs import PAIRS
from torch import Tensor
from trainings import run_training, tiny, write_corpus

from nmt.batches import EOS
from nmt.config import TokenizerConfig
from nmt.models import Model, build
from nmt.models.weights import Embeddings, Vocabularies
from nmt.ragged import Index, Ragged
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint, lsa
from nmt.training.embeddings import start_from_pairs
from nmt.training.lsa import analyse
from nmt.training.world import Alone

VOCAB = 60
WIDTH = 10  # with the directions to spare as many as there are words: the analysis is exact
ids = list[list[int]]


def drawn(pairs: int = 400, words: int = 25) -> tuple[ids, ids]:
    """Draw sentences of which word w is translated by word w + 30; there is no word below 4, and none above 58."""
    random, often = np.random.default_rng(3), 1 / np.arange(1, words + 1)
    source = []
    for length in random.integers(1, 9, pairs):
        source.append((4 + random.choice(words, length, replace=False, p=often / often.sum())).tolist())
    return source, [[word + 30 for word in reversed(sentence)] for sentence in source]


def learnt(source: ids, target: ids, width: int = WIDTH, *, is_shared: bool = True) -> tuple[Tensor, Tensor]:
    return analyse(Ragged.of(source), Ragged.of(target), Vocabularies(VOCAB, VOCAB, is_shared), width, 1)


def information(source: ids, target: ids, offset: int = 0) -> np.ndarray[Any, Any]:
    """Return pointwise mutual information by its definition, (tokens of both sides, pairs)."""
    counts = np.zeros((VOCAB + offset, len(source)))
    for pair, sides in enumerate(zip(source, target, strict=True)):
        for token in (*sides[0], *(word + offset for word in sides[1])):
            counts[token, pair] += 1
    share = counts / counts.sum()
    chance = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    with np.errstate(all="ignore"):
        return np.where(share > 0, np.maximum(np.log(share / chance), 0), 0.0)


@pytest.mark.parametrize("is_shared", [True, False])
def test_angles_are_those_of_the_truncated_singular_value_decomposition(is_shared: bool) -> None:
    source, target = drawn()
    vectors = torch.cat(learnt(source, target, is_shared=is_shared))[: VOCAB if is_shared else None]
    left, values, _ = np.linalg.svd(information(source, target, 0 if is_shared else VOCAB), full_matrices=False)
    expected = left[:, :WIDTH] * values[:WIDTH] ** 0.5
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    angles = torch.from_numpy(expected @ expected.T).float()
    torch.testing.assert_close(vectors @ vectors.T, angles, atol=2e-2, rtol=0)


def test_the_largest_directions_are_found_without_the_others() -> None:
    """Of singular values of which each is 0.85 of the one before."""
    torch.manual_seed(5)
    left, right = (torch.linalg.qr(torch.randn(rows, 60)).Q for rows in (70, 200))
    values = 0.85 ** torch.arange(60)
    found = lsa._left_vectors((left * values @ right.T).to_sparse(), 4, seed=1)
    scale = values[:4].sqrt()
    torch.testing.assert_close((left[:, :4].T @ found / scale).abs(), torch.diag(scale) / scale, atol=1e-3, rtol=0)


def test_a_word_is_nearest_to_its_translation() -> None:
    source, target = drawn()
    vectors, again = learnt(source, target, width=24)
    assert torch.equal(vectors, again)
    near = vectors[4:29] @ vectors[34:59].T
    assert (near.argmax(1) == torch.arange(25)).all()
    assert near.diagonal().min() > 0.99


def test_what_stands_in_no_pair_has_no_vector() -> None:
    vectors, _ = learnt(*drawn())
    known = vectors.any(1)
    assert known.nonzero()[:, 0].tolist() == [*range(4, 29), *range(34, 59)]
    torch.testing.assert_close(vectors[known].norm(dim=1), torch.ones(50))
    assert not learnt([[5, 6]] * 9, [[7]] * 9)[0].any(), "nor has what stands in all alike"


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_fewer_pairs_than_numbers(pairs: int) -> None:
    vectors, _ = learnt(*drawn(pairs))
    assert vectors.shape == (VOCAB, WIDTH)
    assert vectors.isfinite().all()
    assert not vectors[:, pairs:].any()


# ---- a model ----------------------------------------------------------------------------------------------------


class Few:
    """An encoded corpus."""

    def __init__(self, source: ids, target: ids) -> None:
        self._sides = Ragged.of(source), Ragged.of(target)

    def __len__(self) -> int:
        return len(self._sides[0].lengths)

    def lengths(self, indices: Index) -> tuple[Index, Index]:
        source, target = (side.lengths[indices] for side in self._sides)
        return source, target

    def take(self, indices: Index, *, seed: int | None = None) -> tuple[Ragged, Ragged]:
        source, target = (side.take(indices) for side in self._sides)
        return source, target


class Second(Alone):
    """The second of two processes; the first has other vectors."""

    rank, size = 1, 2

    def sum(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor += 7


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    return Tokenizers.train(PAIRS, TokenizerConfig(vocab_size=320, shared=True))


def corpus(tokenizers: Tokenizers) -> Few:
    return Few(*(tokenizer.encode([pair[side] for pair in PAIRS]) for side, tokenizer in enumerate(tokenizers)))


def built(tokenizers: Tokenizers, tied: bool) -> Model:
    config = tiny([], {"model.tie_embeddings": str(tied).lower()})
    return build(config.model, tokenizers.source.size, tokenizers.target.size, shared=True)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_that_occur_are_replaced_and_no_other_weight(tokenizers: Tokenizers, tied: bool) -> None:
    model = built(tokenizers, tied)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    told = start_from_pairs(model, tokenizers, corpus(tokenizers), 1, Alone())
    tables = {"embeddings.target.weight", "embeddings.source.weight", *(["embeddings.output.weight"] if tied else [])}
    after = model.state_dict()
    assert {name for name in after if not torch.equal(after[name], before[name])} == tables
    occurring = sorted({token for side in corpus(tokenizers)._sides for token in side.ids.tolist()})
    for name in tables:
        changed = (after[name] != before[name]).any(1).nonzero()[:, 0].tolist()
        assert set(changed) <= set(occurring)
        assert len(changed) > len(occurring) / 2
        assert EOS not in changed
    assert f"{len(changed):,} pieces" in told
    assert f"{len(PAIRS):,} were read" in told


def test_of_several_processes_the_first_one_decides(tokenizers: Tokenizers) -> None:
    model = built(tokenizers, tied=True)
    assert start_from_pairs(model, tokenizers, corpus(tokenizers), 1, Second()) == ""
    embeddings = cast(Embeddings, model.get_submodule("embeddings"))
    for table in (embeddings.source, embeddings.target):
        assert (table.weight == 7).all(), "as a matrix that is both is summed once"


def test_a_training_begins_with_them_once(tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path), tmp_path / "run"
    config = tiny(corpus, {"model.embeddings": "lsa"})
    assert config.model.embeddings == ("lsa",)
    assert "pieces begin near" in run_training(run, config)
    assert checkpoint.load_config(run).model.embeddings == ("lsa",)
    longer = tiny(corpus, {"model.embeddings": "lsa", "training.max_steps": 15})
    assert "pieces begin near" not in run_training(run, longer)
