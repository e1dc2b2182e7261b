"""A model whose whole space of translations can be enumerated, for tests of search."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.batches import BOS, EOS, PAD, Padded
from nmt.config import SearchConfig
from nmt.models.interface import source_mask

torch.set_num_threads(1)


class LookupMemory(NamedTuple):
    keys: Tensor  # (batch,) a hash of the source


class LookupState(NamedTuple):
    keys: Tensor  # (batch, beam) a hash of the source and of all tokens read


class Lookup:
    """A model whose logits depend on the source and on the whole history: a hash of both picks a row of a table."""

    def __init__(self, seed: int, *, vocabulary: int = 8, scale: float = 2.0, end: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = scale * torch.randn(4096, vocabulary, dtype=torch.float64, generator=generator)
        self.table[:, EOS] += end
        self.words = tuple(range(EOS + 1, vocabulary))
        self.steps = self.rows_read = 0

    def mix(self, keys: Tensor, tokens: Tensor) -> Tensor:
        return (keys * 31_337 + tokens * 7_919 + 1_013) % 1_000_003

    def encode(self, source: Padded) -> LookupMemory:
        keys = torch.zeros(len(source.ids), dtype=torch.int64)
        for tokens, is_token in zip(source.ids.T, source_mask(source).T, strict=True):
            keys = torch.where(is_token, self.mix(keys, tokens), keys)
        return LookupMemory(keys)

    def start(self, memory: LookupMemory, beam: int, length: int) -> LookupState:
        return LookupState(memory.keys[:, None].expand(-1, beam).clone())

    def step(self, tokens: Tensor, state: LookupState, memory: LookupMemory) -> tuple[Tensor, LookupState]:
        self.steps += 1
        self.rows_read += len(memory.keys)
        keys = self.mix(state.keys, tokens)
        return self.table[keys % len(self.table)], LookupState(keys)

    def __call__(self, source: Padded, target: Tensor) -> Tensor:
        memory = self.encode(source)
        state = self.start(memory, 1, target.shape[1])
        logits = []
        for tokens in target.T:
            one, state = self.step(tokens[:, None], state, memory)
            logits.append(one)
        return torch.cat(logits, dim=1)

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """Two layers of three heads, all of which look at place t mod length at step t."""
        places = torch.arange(target.shape[1])[None] % source.lengths[:, None]  # (batch, query)
        looks = F.one_hot(places, source.ids.shape[1]).double()
        return {"cross": looks[:, None, None].expand(-1, 2, 3, -1, -1)}


class Inattentive(Lookup):
    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        return {}


def pad(rows: Sequence[Sequence[int]]) -> Padded:
    lengths = torch.tensor([len(row) + 1 for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), PAD)
    for place, row in enumerate(rows):
        ids[place, : len(row) + 1] = torch.tensor([*row, EOS])
    return Padded(ids, lengths)


def random_sources(count: int, seed: int, longest: int = 6) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randint(4, 7) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def normalised(model: Lookup, source: Sequence[int], ids: Sequence[int]) -> list[list[float]]:
    """Log-probabilities [place][token] after each prefix of `ids`, by teacher forcing."""
    logits = model(pad([source]), torch.tensor([[BOS, *ids]]))
    table: list[list[float]] = logits[0].double().log_softmax(-1).tolist()
    return table


def forced_log_probability(model: Lookup, source: Sequence[int], ids: Sequence[int]) -> float:
    return sum(row[token] for row, token in zip(normalised(model, source, ids), [*ids, EOS], strict=True))


def at_most(length: int, **options: float) -> SearchConfig:
    """Options under which every output has at most `length` tokens."""
    return SearchConfig.model_validate({"max_length_ratio": 1e-9, "max_length_offset": length, **options})
