"""Attention against PyTorch, against loops written from the papers, and against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.attention import (
    ATTENTIONS,
    Attention,
    Mask,
    Pairs,
    attend,
    causal_mask,
    join_heads,
    mask,
    split_heads,
)

BATCH, HEADS, QUERIES, KEYS, WIDTH = 3, 2, 4, 5, 6
LENGTHS = torch.tensor([5, 2, 4])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def visible() -> Tensor:
    return torch.arange(KEYS) < LENGTHS[:, None]  # (batch, key)


def test_attend_is_scaled_dot_product_attention() -> None:
    queries = random(BATCH, HEADS, QUERIES, WIDTH)
    pairs = Pairs(random(BATCH, HEADS, KEYS, WIDTH), random(BATCH, HEADS, KEYS, WIDTH))
    mixed = attend(queries, pairs, mask(visible()[:, None], HEADS, torch.float64), 0.0, None)
    expected = F.scaled_dot_product_attention(queries, *pairs, attn_mask=visible()[:, None, None])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_causal_attend_sees_the_past_and_the_present() -> None:
    queries, keys, values = random(3, BATCH, HEADS, QUERIES, WIDTH).unbind()
    mixed = attend(queries, Pairs(keys, values), causal_mask(QUERIES, queries), 0.0, None)
    expected = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_a_mask_without_heads_broadcasts() -> None:
    queries = random(BATCH, HEADS, QUERIES, WIDTH)
    pairs = Pairs(random(BATCH, HEADS, KEYS, WIDTH), random(BATCH, HEADS, KEYS, WIDTH))
    written_out = mask(visible()[:, None], HEADS, torch.float64)
    single = Mask(written_out.additive[:, :1])
    expected = attend(queries, pairs, written_out, 0.0, None)
    assert torch.equal(attend(queries, pairs, single, 0.0, None), expected)


def test_attend_by_hand() -> None:
    """Scores ln 1 and ln 3, once divided by the root of 4 features, give weights 1/4 and 3/4."""
    queries = torch.tensor([2.0, 0.0, 0.0, 0.0])[None, None, None]
    keys = torch.tensor([[0.0, 5.0, 0.0, 0.0], [math.log(3.0), 0.0, 0.0, 7.0]])[None, None]
    values = torch.tensor([[8.0, 0.0, 4.0, 0.0], [0.0, 8.0, 4.0, 0.0]])[None, None]
    maps: list[Tensor] = []
    mixed = attend(queries, Pairs(keys, values), Mask(torch.zeros(1, 1, 1, 2)), 0.0, maps)
    torch.testing.assert_close(mixed.flatten(), torch.tensor([2.0, 6.0, 4.0, 0.0]))
    torch.testing.assert_close(maps[0].flatten(), torch.tensor([0.25, 0.75]))


def test_dropout_keeps_the_mean_and_has_the_right_spread() -> None:
    """The mean of 64 weights of 1/64, each kept by half and then doubled, spreads by sqrt(1 / 64)."""
    pairs = Pairs(torch.zeros(1, 1, 64, WIDTH), torch.ones(1, 1, 64, WIDTH))
    mixed = attend(torch.zeros(1, 1, 2000, WIDTH), pairs, Mask(torch.zeros(1, 1, 1, 64)), 0.5, None)[..., 0]
    assert mixed.mean().item() == pytest.approx(1.0, abs=0.02)
    assert mixed.std().item() == pytest.approx(0.125, rel=0.1)


def test_join_heads_undoes_split_heads() -> None:
    projected = random(BATCH, QUERIES, 3 * HEADS * WIDTH)
    parts = split_heads(projected, 3, HEADS)
    assert all(part.shape == (BATCH, HEADS, QUERIES, WIDTH) and part.is_contiguous() for part in parts)
    assert torch.equal(torch.cat([join_heads(part) for part in parts], dim=-1), projected)


def naive_score(kind: str, attention: Attention, query: Tensor, key: Tensor) -> Tensor:
    """Luong's equation 8 and Bahdanau's A.1.2, one pair at a time."""
    weights = dict(attention.named_parameters())
    if kind == "dot":
        return sum((query[i] * key[i] for i in range(len(query))), start=torch.zeros(()))
    if kind == "general":
        return query @ weights["project.weight"] @ key
    both = torch.cat((weights["query.weight"], weights["project.weight"]), dim=1)  # [W; U]
    hidden = torch.tanh(both @ torch.cat((query, key)) + weights["project.bias"])
    return (weights["weigh.weight"] @ hidden)[0]


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_scored_attention_is_the_loop_of_the_paper(kind: str) -> None:
    attention = ATTENTIONS[kind](WIDTH).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    queries, encoded = random(BATCH, QUERIES, WIDTH), random(BATCH, KEYS, WIDTH)
    contexts, weights = attention(queries, attention.lookup(encoded, visible()))
    for row, length in enumerate(LENGTHS.tolist()):
        for query in range(QUERIES):
            scores = [naive_score(kind, attention, queries[row, query], encoded[row, key]) for key in range(length)]
            exponents = torch.stack(scores).exp()
            expected = exponents / exponents.sum()
            torch.testing.assert_close(weights[row, query, :length], expected, rtol=0, atol=1e-10)
            assert not weights[row, query, length:].any()
            torch.testing.assert_close(contexts[row, query], expected @ encoded[row, :length], rtol=0, atol=1e-10)


def test_additive_attention_by_hand() -> None:
    """With W = U = 1, v = 2: scores 2 tanh(q + k) for q = 0 and keys atanh(1/2), 0 are 1 and 0."""
    attention = ATTENTIONS["additive"](1)
    for name, parameter in attention.named_parameters():
        torch.nn.init.constant_(parameter, {"weigh.weight": 2.0, "project.bias": 0.0}.get(name, 1.0))
    encoded = torch.tensor([[[math.atanh(0.5)], [0.0]]])
    _, weights = attention(torch.zeros(1, 1, 1), attention.lookup(encoded, torch.tensor([[True, True]])))
    torch.testing.assert_close(weights.flatten(), torch.tensor([0.7310586, 0.2689414]))  # e / (e + 1)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_gradients_of_scored_attention(kind: str) -> None:
    attention = ATTENTIONS[kind](3).double()
    queries, encoded = random(2, 2, 3).requires_grad_(), random(2, 4, 3).requires_grad_()
    seen = torch.tensor([[True] * 4, [True, True, False, False]])
    assert torch.autograd.gradcheck(lambda q, e: attention(q, attention.lookup(e, seen)), (queries, encoded))


def test_gradients_of_attend() -> None:
    tensors = [random(2, 2, 3, 2).requires_grad_() for _ in range(3)]
    hidden = mask(torch.tensor([[[True, True, True]], [[True, False, False]]]), 2, torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, Pairs(k, v), hidden, 0.0, None), tensors)
