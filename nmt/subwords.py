"""Draws segmentations of words into pieces at random, the same ones for the same generator; it knows nothing of text.

Sentencepiece draws too, but salts its generator anew in every process, so that no run could be repeated or resumed.
Letters in shapes: C characters of all words end to end, A arcs (pieces that fit somewhere), T words to be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.ragged import Index, Ragged

SYMBOLS = 1 << 17  # that BPE works on at a time, of words of nearly equal length


class Sampler(Protocol):
    """A way to draw segmentations."""

    def draw(self, words: Sequence[str], tokens: Index, chance: np.random.Generator) -> Ragged:
        """Return the pieces of words[tokens[0]], words[tokens[1]], ..., each drawn by itself.

        Every character of every word must be a piece.
        """
        ...


class _Table:
    """A map from keys to numbers, -1 where there is none, for many keys at a time."""

    def __init__(self, entries: Mapping[int, int]) -> None:
        self._keys = np.array(sorted(entries) or [-1], np.int64)
        self._values = np.array([entries.get(key, -1) for key in self._keys.tolist()], np.int64)

    def __getitem__(self, keys: Index) -> Index:
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._values[places], -1)


def _characters(words: Sequence[str]) -> tuple[Index, Index]:
    """Return the code points of all words end to end and the length of each word."""
    points = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32).astype(np.int64)  # (C,)
    return points, np.fromiter(map(len, words), np.int64, len(words))


class UnigramSampler:
    """Draws from all segmentations of a word in proportion to P ** alpha (arXiv 1804.10959 section 3.2, l infinite).

    Pieces do not reach across words, so that words drawn by themselves are a sentence drawn as a whole. Forward
    filtering, backward sampling (section 3.1 of the same), from the right to the left and back.
    """

    def __init__(self, pieces: Mapping[str, int], scores: NDArray[np.float64], alpha: float) -> None:
        self._scores = alpha * scores  # (pieces,) nats
        self._longest = max(map(len, pieces))
        states = {"": 0}
        for piece in pieces:
            for end in range(1, len(piece) + 1):
                states.setdefault(piece[:end], len(states))
        self._next = _Table({states[p[:-1]] << 21 | ord(p[-1]): state for p, state in states.items() if p})
        self._piece = np.array([pieces.get(prefix, -1) for prefix in states], np.int64)

    def draw(self, words: Sequence[str], tokens: Index, chance: np.random.Generator) -> Ragged:
        """Return the pieces of words[tokens[0]], words[tokens[1]], ..., each drawn by itself."""
        if len(tokens) == 0:
            return Ragged.of([])
        characters, lengths = _characters(words)
        ends = np.repeat(np.cumsum(lengths), lengths)  # (C,) where the word of the character ends
        start, end, piece = self._arcs(characters, ends)
        share = self._shares(start, end, piece, ends)
        first = np.flatnonzero(np.diff(start, prepend=-1))  # (C,) the first arc of each character
        last = np.append(first[1:], len(start)) - 1
        # Searched for `character + u`: the arc whose share holds the uniform number u of its character.
        sums = np.cumsum(share)
        bounds = start + sums - np.repeat(sums[first] - share[first], last - first + 1)
        bounds[last] = np.arange(1, len(first) + 1)
        place, alive = (np.cumsum(lengths) - lengths)[tokens], np.arange(len(tokens))
        who, what = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while len(alive):
            drawn = np.searchsorted(bounds, place + chance.random(len(place)), side="right")
            arc = np.clip(drawn, first[place], last[place])
            who.append(alive)
            what.append(piece[arc])
            goes_on = end[arc] < ends[place]
            place, alive = end[arc][goes_on], alive[goes_on]
        order = np.argsort(np.concatenate(who), kind="stable")
        return Ragged(np.concatenate(what)[order], np.bincount(np.concatenate(who), minlength=len(tokens)))

    def _arcs(self, characters: Index, ends: Index) -> tuple[Index, Index, Index]:
        """Return first character, character after the last and id of every piece that fits, by first character."""
        place, state = np.arange(len(characters)), np.zeros(len(characters), np.int64)
        found = []
        for length in range(1, self._longest + 1):
            inside = place + length <= ends[place]
            place, state = place[inside], state[inside]
            state = self._next[state << 21 | characters[place + length - 1]]
            place, state = place[state >= 0], state[state >= 0]
            piece = self._piece[state]
            is_piece = piece >= 0
            found.append((place[is_piece], place[is_piece] + length, piece[is_piece]))
        start, end, piece = (np.concatenate(parts) for parts in zip(*found, strict=True))  # each (A,)
        order = np.argsort(start, kind="stable")
        return start[order], end[order], piece[order]

    def _shares(self, start: Index, end: Index, piece: Index, ends: Index) -> NDArray[np.float64]:
        """Return the probability of each arc once its first character is reached."""
        total = np.zeros(len(ends) + 1)  # log of the sum over all segmentations from a character to the word's end
        weight = self._scores[piece]  # (A,)
        left = (ends - np.arange(len(ends)))[start]  # (A,) characters up to the word's end
        order = np.argsort(left, kind="stable")
        bounds = np.searchsorted(left[order], np.arange(1, left.max(initial=0) + 2))
        for low, high in zip(bounds[:-1], bounds[1:], strict=True):
            arcs = order[low:high]  # of all characters that are as far from the end: they need only nearer ones
            weight[arcs] += np.where(end[arcs] < ends[start[arcs]], total[end[arcs]], 0.0)
            first = np.flatnonzero(np.diff(start[arcs], prepend=-1))
            total[start[arcs[first]]] = np.logaddexp.reduceat(weight[arcs], first)
        return np.exp(weight - total[start])


class BpeSampler:
    """BPE whose merges are left out, each at each step, with probability `dropout` (arXiv 1910.13267 algorithm 1)."""

    def __init__(self, pieces: Mapping[str, int], scores: NDArray[np.float64], dropout: float) -> None:
        self._dropout = dropout
        self._scores = np.append(scores, -np.inf)  # the last is the score of -1, no piece
        self._characters = _Table({ord(piece): number for piece, number in pieces.items() if len(piece) == 1})
        splits = (
            (piece[:cut], piece[cut:], number) for piece, number in pieces.items() for cut in range(1, len(piece))
        )
        self._merges = _Table(
            {pieces[a] << 32 | pieces[b]: number for a, b, number in splits if a in pieces and b in pieces}
        )

    def draw(self, words: Sequence[str], tokens: Index, chance: np.random.Generator) -> Ragged:
        """Return the pieces of words[tokens[0]], words[tokens[1]], ..., each drawn by itself."""
        if len(tokens) == 0:
            return Ragged.of([])
        characters, lengths = _characters(words)
        symbols = Ragged(self._characters[characters], lengths)
        order = np.argsort(lengths[tokens], kind="stable")
        sums = np.cumsum(lengths[tokens[order]])
        groups = np.split(order, np.searchsorted(sums, np.arange(SYMBOLS, sums.max(initial=0), SYMBOLS)))
        drawn = [self._merge(symbols.take(tokens[group]), chance) for group in groups if len(group)]
        by_length = Ragged(*(np.concatenate(parts) for parts in zip(Ragged.of([]), *drawn, strict=True)))
        return by_length.take(np.argsort(order))

    def _merge(self, words: Ragged, chance: np.random.Generator) -> Ragged:
        """Merge what is not left out, of all words at a time, one pair of each at each step."""
        columns = np.arange(words.lengths.max() + 1)
        symbols = np.full((len(words.lengths), len(columns)), -1)  # (words, symbols + 1), -1 after the last
        symbols[columns < words.lengths[:, None]] = words.ids
        merged = self._merged(symbols[:, :-1], symbols[:, 1:])  # (words, symbols) what it and the next one make, or -1
        rows = np.arange(len(symbols))
        while len(rows):
            scores = self._scores[merged[rows]]
            scores[chance.random(scores.shape) < self._dropout] = -np.inf
            best = scores.argmax(1)
            possible = scores[np.arange(len(rows)), best] > -np.inf
            rows, best = rows[possible], best[possible]
            self._join(symbols, merged, rows, best)
        return Ragged(symbols[symbols >= 0], (symbols >= 0).sum(1))

    def _join(self, symbols: Index, merged: Index, rows: Index, best: Index) -> None:
        """Replace the pair at `best` of each of the rows by the piece it makes."""
        symbols[rows, best] = merged[rows, best]
        columns = np.arange(symbols.shape[1] - 1)
        symbols[rows[:, None], columns] = symbols[rows[:, None], columns + (columns > best[:, None])]
        symbols[rows, -1] = -1
        nexts = np.minimum(columns + (columns > best[:, None]), len(columns) - 1)
        merged[rows[:, None], columns] = merged[rows[:, None], nexts]
        for place in (best, np.maximum(best - 1, 0)):
            merged[rows, place] = self._merged(symbols[rows, place], symbols[rows, place + 1])

    def _merged(self, left: Index, right: Index) -> Index:
        return np.where(right < 0, -1, self._merges[left << 32 | right])
