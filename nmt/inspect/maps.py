"""Maps of attention: who looks where and how much, by tokens or by words; it knows nothing of models or pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CROSS, ENCODER, DECODER = "cross", "encoder", "decoder"

Weights = NDArray[np.float32]


class Line(NamedTuple):
    """A sentence and where it was found, for messages."""

    where: str
    text: str


class Axis(NamedTuple):
    """The tokens along one side of a map, and the words that they make up."""

    tokens: tuple[str, ...]  # as people read them
    words: tuple[str, ...]
    owners: tuple[int, ...]  # per token the number of its word


class Map(NamedTuple):
    """All attention of one kind for one pair: queries look at keys."""

    queries: Axis
    keys: Axis
    weights: Weights  # (layer, head, query, key); each row sums to 1


class Reading(NamedTuple):
    """One translation with what was looked at while it was made."""

    text: str
    score: float | None  # what hypotheses are ranked by; none where the search found nothing
    log_probability: float | None  # nats, summed
    maps: Mapping[str, Map]  # by kind


class Case(NamedTuple):
    """One source sentence with its translations, best first."""

    source: str
    readings: tuple[Reading, ...]


class Sheet(NamedTuple):
    """One matrix, ready to be shown."""

    rows: tuple[str, ...]  # queries
    columns: tuple[str, ...]  # keys
    weights: Weights  # (row, column); each row sums to 1


def by_words(found: Map) -> Map:
    """Merge tokens into words: what goes to the pieces of a word is summed, what comes from them is averaged."""
    queries, keys = _members(found.queries), _members(found.keys)  # (word, token)
    merged = (queries / queries.sum(1, keepdims=True)) @ found.weights @ keys.T
    return Map(_of_words(found.queries), _of_words(found.keys), merged)


def _members(tokens: Axis) -> Weights:
    """Return which tokens belong to a word, (word, token), 1 or 0."""
    members: Weights = np.zeros((len(tokens.words), len(tokens.owners)), np.float32)
    members[tokens.owners, np.arange(len(tokens.owners))] = 1
    return members


def _of_words(tokens: Axis) -> Axis:
    return Axis(tokens.words, tokens.words, tuple(range(len(tokens.words))))


def sheet(found: Map, layer: int | None, head: int | None) -> Sheet:
    """Return one head of one layer, both from 0; where either is none, the mean over all."""
    layers = slice(None) if layer is None else slice(layer, layer + 1)
    heads = slice(None) if head is None else slice(head, head + 1)
    return Sheet(found.queries.tokens, found.keys.tokens, found.weights[layers, heads].mean((0, 1)))


def alignment_quality(weights: Weights) -> NDArray[Any]:
    """Return how well each head of cross-attention aligns, (layer, head) from 0 to 1; no reference is needed.

    Confidence, the mean over target tokens of the largest weight on a source token, times coverage, the mean over
    source tokens of the largest weight that a target token gives it. The ends of both sentences do not count: a head
    that rests on them aligns nothing, one that always looks at the same word covers nothing.
    """
    inner = weights[..., :-1, :-1]
    if not inner.size:
        return np.zeros(weights.shape[:2])
    quality: NDArray[Any] = inner.max(-1).mean(-1) * inner.max(-2).mean(-1)
    return quality


def best_head(cases: Sequence[Case], layer: int | None = None) -> tuple[int, int]:
    """Return layer and head, from 0, that align best on the mean of all translations; of one layer, where given."""
    quality = sum(alignment_quality(reading.maps[CROSS].weights) for case in cases for reading in case.readings)
    if layer is not None:
        return layer, int(np.asarray(quality)[layer].argmax())
    found = np.unravel_index(np.argmax(quality), np.shape(quality))
    return int(found[0]), int(found[1])
