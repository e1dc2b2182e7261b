"""What a search is asked for, what it returns and how hypotheses are ranked; it knows nothing of models or text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor


class Hypothesis(NamedTuple):
    """One translation of one sentence, in token ids."""

    ids: tuple[int, ...]  # without BOS and EOS
    log_probability: float  # nats, summed over the tokens and the EOS
    score: float  # what hypotheses are ranked by: log_probability over the length penalty
    attention: Tensor | None = None  # (target, source) weights, both with EOS; filled on request by replaying


class Requests(NamedTuple):
    """What is asked beside the options, for the sentences of one batch."""

    prefixes: Sequence[Sequence[int]] = ()  # per sentence the ids its translations begin with; empty: none for all
    numbers: Sequence[int] = ()  # per sentence the number that seeds its samples; empty: its place in the batch
    attention: bool = False  # fill `Hypothesis.attention`
    vocabulary: Tensor | None = None  # (size,) int64, the id that each logit stands for, ascending; None: all ids
    allow_unk: bool = False  # UNK may be produced, for tokenizers that cannot spell every word


class Candidates(NamedTuple):
    """Ways to go on, of which a strategy proposes at least as many as there are hypotheses."""

    parents: Tensor  # (batch, candidates) int64, the hypothesis that is continued
    tokens: Tensor  # (batch, candidates) int64
    log_probabilities: Tensor  # (batch, candidates) nats, summed from the start; -inf: no candidate at all


# A strategy: (further (batch, beam, vocab), sums (batch, beam), rows (batch,), place (1,)) -> candidates. `further` is
# the log-probability of each next token, `sums` that of each hypothesis; `rows` are the sentences still in the batch;
# `place` is the number of the step.
Strategy = Callable[[Tensor, Tensor, Tensor, Tensor], Candidates]


def length_penalty(length: float, alpha: float) -> float:
    """Return ((5 + length) / 6) ** alpha, the divisor of GNMT's score (arXiv 1609.08144 equation 14).

    `length` counts tokens with the EOS.
    """
    return float(((5.0 + length) / 6.0) ** alpha)
