"""The laws of search, on models whose whole space of translations can be enumerated."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lookup import (
    Inattentive,
    Lookup,
    LookupMemory,
    LookupState,
    at_most,
    forced_log_probability,
    normalised,
    pad,
    random_sources,
)
from pydantic import TypeAdapter
from torch import Tensor

from nmt.batches import BOS, EOS, PAD, UNK, Padded
from nmt.config import ModelConfig, SearchConfig
from nmt.models import build
from nmt.search import Hypothesis, Requests, beam, candidates, search


def score(log_probability: float, ids: Sequence[int], alpha: float) -> float:
    return float(log_probability / ((5 + len(ids) + 1) / 6) ** alpha)  # arXiv 1609.08144 equation 14


def ids_of(found: list[list[Hypothesis]]) -> list[list[tuple[int, ...]]]:
    return [[hypothesis.ids for hypothesis in row] for row in found]


def naive_beam(model: Lookup, source: Sequence[int], width: int, alpha: float, limit: int) -> list[tuple[int, ...]]:
    """Beam search as it is defined, one hypothesis at a time, until `width` are settled; ids, best first."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[tuple[float, tuple[int, ...]]] = []
    bar = float("inf")
    while live and sum(value >= bar for value, _ in finished) < width:
        candidates = []
        for total, ids in live:
            after = normalised(model, source, ids)[-1]
            allowed = (EOS,) if len(ids) == limit else (EOS, *model.words)
            candidates += [(total + after[token], (*ids, token)) for token in allowed]
        candidates.sort(reverse=True)
        ended = [(total, ids[:-1]) for total, ids in candidates[:width] if ids[-1] == EOS]
        finished += [(score(total, ids, alpha), ids) for total, ids in ended if score(total, ids, alpha) <= bar]
        finished = sorted(finished, reverse=True)[:width]
        live = [(total, ids) for total, ids in candidates if ids[-1] != EOS][:width]
        if width == 1 and finished:  # greedy
            break
        if live:
            total, ids = live[0]
            reach = score(total, (*ids, *[EOS] * (beam.AHEAD - 1))[:limit], alpha)
            bar = min([bar, *(value for value, _ in finished if value >= reach)])
    return [ids for _, ids in finished]


def naive_greedy(model: Lookup, source: Sequence[int], limit: int, no_repeat: int = 0) -> tuple[int, ...]:
    ids: tuple[int, ...] = ()
    while len(ids) < limit:
        after = normalised(model, source, ids)[-1]
        seen = {ids[end - no_repeat : end] for end in range(no_repeat, len(ids) + 1)} if no_repeat else set()
        allowed = [word for word in model.words if (*ids, word)[-no_repeat:] not in seen or not no_repeat]
        best = max((EOS, *allowed), key=lambda token: after[token])
        if best == EOS:
            break
        ids = (*ids, best)
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_wide_beam_is_exhaustive(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam, "AHEAD", 5)  # as long as any output
    space = [ids for length in range(6) for ids in itertools.product(range(4, 8), repeat=length)]
    for seed in range(4):
        model = Lookup(seed, end=-float(seed))
        (source,) = random_sources(1, seed)
        totals = {ids: forced_log_probability(model, source, ids) for ids in space}
        ranked = sorted(space, key=lambda ids: -score(totals[ids], ids, alpha))
        options = at_most(5, beam_size=len(space), n_best=len(space), length_penalty=alpha)
        (found,) = search(model, pad([source]), options)
        assert [hypothesis.ids for hypothesis in found] == ranked
        for ids, log_probability, value, _ in found:
            assert log_probability == pytest.approx(totals[ids], abs=1e-10)
            assert value == pytest.approx(score(totals[ids], ids, alpha), abs=1e-10)


def test_agrees_with_naive_beam_search() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        width, alpha, limit = rng.randint(1, 5), rng.choice((0.0, 0.6, 1.0, 2.0)), rng.randint(0, 7)
        model = Lookup(seed, scale=rng.choice((0.5, 2.0, 4.0)), end=rng.choice((-2.0, 0.0, 2.0)))
        sources, n_best = random_sources(2, seed), rng.randint(1, width)
        found = search(model, pad(sources), at_most(limit, beam_size=width, n_best=n_best, length_penalty=alpha))
        assert ids_of(found) == [naive_beam(model, source, width, alpha, limit)[:n_best] for source in sources]


class Sure(Lookup):
    """Says one word ten times and then ends; before that an ending comes second, with less than a hundredth."""

    def step(self, tokens: Tensor, state: LookupState, memory: LookupMemory) -> tuple[Tensor, LookupState]:
        logits, state = super().step(tokens, state, memory)
        first, second = (4, EOS) if self.steps <= 10 else (EOS, 4)
        logits = torch.full_like(logits, -20.0)
        logits[..., first], logits[..., second] = 5.0, 0.0
        return logits, state


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_endings_that_nobody_believes_in_do_not_end_the_search(width: int, alpha: float) -> None:
    options = at_most(20, beam_size=width, length_penalty=alpha)
    assert ids_of(search(Sure(0), pad([[4]]), options)) == [[(4,) * 10]]


class Late(Lookup):
    """Ends at once, or says one word so many times for sure, which has a hundredth the better score with alpha = 1."""

    def __init__(self, words: int) -> None:
        super().__init__(0)
        self.words_said, low, high = words, 0.5, 1.0
        while high - low > 1e-12:
            middle = (low + high) / 2
            is_better = math.log(1 - middle) / ((6 + words) / 6) > 0.99 * math.log(middle)
            low, high = (middle, high) if is_better else (low, middle)
        self.ending = low

    def step(self, tokens: Tensor, state: LookupState, memory: LookupMemory) -> tuple[Tensor, LookupState]:
        logits, state = super().step(tokens, state, memory)
        logits = torch.full_like(logits, -30.0)
        if self.steps == 1:
            logits[..., EOS], logits[..., 4] = math.log(self.ending), math.log(1 - self.ending)
        else:
            logits[..., EOS if self.steps > self.words_said else 4] = 0.0
        return logits, state


@pytest.mark.parametrize("words", range(1, 8))
def test_a_live_hypothesis_is_granted_three_tokens_to_win(words: int) -> None:
    assert beam.AHEAD == 3
    best = (4,) * words if words <= 3 else ()
    for n_best in (1, 2, 3):
        options = at_most(20, beam_size=3, n_best=n_best, length_penalty=1.0)
        ((first, *_),) = ids_of(search(Late(words), pad([[4]]), options))
        assert first == best


def test_lists_of_the_n_best_begin_with_those_of_fewer() -> None:
    """Also where long translations have much the better scores, so that many come when others are settled."""
    for seed in range(40):
        model, source = Lookup(seed, scale=2.0, end=-1.0), pad(random_sources(20, seed))
        lists = [search(model, source, at_most(12, beam_size=4, n_best=n, length_penalty=2.0)) for n in (1, 2, 3, 4)]
        for fewer, more in itertools.pairwise(lists):
            assert fewer == [row[: len(row) - 1] for row in more]


def test_one_beam_is_greedy() -> None:
    model, sources = Lookup(0), random_sources(1000, 0)
    found = search(model, pad(sources), at_most(8, beam_size=1))
    assert ids_of(found) == [[naive_greedy(model, source, 8)] for source in sources]


def test_batch_mates_and_batch_size_change_nothing() -> None:
    model, sources = Lookup(1, end=-1.0), random_sources(60, 1)
    options = SearchConfig(beam_size=4, n_best=3, max_length_ratio=1.5, max_length_offset=2)
    alone = [search(model, pad([source]), options)[0] for source in sources]
    for size in (7, 60):
        batches = [sources[start : start + size] for start in range(0, len(sources), size)]
        assert [row for batch in batches for row in search(model, pad(batch), options)] == alone
    assert search(model, pad(sources[::-1]), options) == alone[::-1]


def test_n_best_is_sorted_distinct_and_begins_with_the_best() -> None:
    model, source = Lookup(2), pad(random_sources(50, 2))
    found = search(model, source, at_most(8, beam_size=5, n_best=5))
    for hypotheses in found:
        scores = [hypothesis.score for hypothesis in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({hypothesis.ids for hypothesis in hypotheses}) == 5
    for n_best in (1, 2):
        assert search(model, source, at_most(8, beam_size=5, n_best=n_best)) == [row[:n_best] for row in found]


def test_search_ends_as_soon_as_nothing_can_change() -> None:
    model, source = Lookup(3, end=20.0), pad(random_sources(20, 3))
    assert ids_of(search(model, source, at_most(100, beam_size=4))) == [[()]] * 20
    assert model.steps == 1  # one translation has finished, and no other can overtake it
    search(model, source, at_most(100, beam_size=4, n_best=4))
    assert model.steps == 1 + 2  # four are wanted: the first step ends one of them, the second three


def test_finished_sentences_leave_the_batch() -> None:
    model, sources = Lookup(4, end=-9.0), random_sources(20, 4, longest=20)
    search(model, pad(sources), SearchConfig(beam_size=2, max_length_ratio=1, max_length_offset=0))
    needed = sum(len(source) + 1 for source in sources)
    assert needed <= model.rows_read < needed / 0.75


def test_looking_seldom_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source, options = pad(random_sources(40, 16)), at_most(10, beam_size=3, n_best=2)
    expected = search(Lookup(16), source, options)
    monkeypatch.setitem(beam.POLL, "cpu", 4)
    assert search(Lookup(16), source, options) == expected


@pytest.mark.parametrize("width", [1, 4])
def test_lengths_stay_within_their_bounds(width: int) -> None:
    sources = random_sources(50, 5)
    options = SearchConfig(beam_size=width, n_best=width, min_length=4, max_length_ratio=1.5, max_length_offset=1)
    for end in (-9.0, 0.0, 9.0):
        model = Lookup(5, end=end)
        for source, hypotheses in zip(sources, search(model, pad(sources), options), strict=True):
            for ids, log_probability, _, _ in hypotheses:
                assert 4 <= len(ids) <= max(4, int(1.5 * len(source)) + 1)
                assert log_probability == pytest.approx(forced_log_probability(model, source, ids), abs=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_occurs_twice(n: int) -> None:
    model, sources = Lookup(6, end=-2.0), random_sources(100, 6)
    greedy = search(model, pad(sources), at_most(12, beam_size=1, no_repeat_ngram=n))
    assert ids_of(greedy) == [[naive_greedy(model, source, 12, n)] for source in sources]
    for hypotheses in search(model, pad(sources), at_most(12, beam_size=4, n_best=4, no_repeat_ngram=n)):
        for ids in (hypothesis.ids for hypothesis in hypotheses):
            ngrams = [ids[start : start + n] for start in range(len(ids) - n + 1)]
            assert len(set(ngrams)) == len(ngrams)


def test_prefix_is_kept_and_counted() -> None:
    model, sources = Lookup(7), random_sources(40, 7)
    prefixes = [(), (4,), (5, 5, 5), (UNK, 6), (4, 5, 6, 7, 4, 5, 6, 7)] * 8
    options = at_most(5, beam_size=3, n_best=2, no_repeat_ngram=2, min_length=2)
    found = search(model, pad(sources), options, requests=Requests(prefixes=prefixes))
    for source, prefix, hypotheses in zip(sources, prefixes, found, strict=True):
        assert len(hypotheses) == (1 if len(prefix) > 5 else 2)  # a prefix that fills the output leaves only its EOS
        for ids, log_probability, _, _ in hypotheses:
            assert ids[: len(prefix)] == prefix
            assert UNK not in ids[len(prefix) :]
            assert log_probability == pytest.approx(forced_log_probability(model, source, ids), abs=1e-10)
    assert found[::5] == search(model, pad(sources[::5]), options)


def test_special_tokens_are_never_produced() -> None:
    model, source = Lookup(8), pad(random_sources(20, 8))
    model.table[:, [PAD, UNK, BOS]] += 20
    options = at_most(6, beam_size=4, n_best=4)
    produced = {token for row in ids_of(search(model, source, options)) for ids in row for token in ids}
    assert produced <= set(model.words)
    with_unk = search(model, source, options, requests=Requests(allow_unk=True))
    produced = {token for row in ids_of(with_unk) for ids in row for token in ids}
    assert UNK in produced
    assert not {PAD, BOS} & produced


def test_vocabulary_may_be_smaller_than_the_beam() -> None:
    model, sources = Lookup(9, vocabulary=5), random_sources(10, 9)
    for hypotheses in ids_of(search(model, pad(sources), at_most(3, beam_size=20, n_best=20))):
        assert sorted(hypotheses) == [(), (4,), (4, 4), (4, 4, 4)]


def test_half_precision_logits_are_summed_in_full() -> None:
    model, sources = Lookup(10, end=-2.0), random_sources(30, 10)
    model.table = model.table.bfloat16()
    for source, (best,) in zip(sources, search(model, pad(sources), at_most(20)), strict=True):
        assert best.log_probability == pytest.approx(forced_log_probability(model, source, best.ids), rel=1e-5)


def test_attention_is_trimmed_to_target_and_source() -> None:
    model, sources = Lookup(11), random_sources(12, 11)
    options = at_most(8, n_best=2)
    found = search(model, pad(sources), options, requests=Requests(attention=True))
    assert ids_of(found) == ids_of(search(model, pad(sources), options))
    for source, hypotheses in zip(sources, found, strict=True):
        for ids, _, _, attention in hypotheses:
            assert attention is not None
            places = [place % (len(source) + 1) for place in range(len(ids) + 1)]  # where the double looks
            assert attention.tolist() == F.one_hot(torch.tensor(places), len(source) + 1).tolist()


def test_model_without_attention_has_none_to_show() -> None:
    found = search(Inattentive(12), pad(random_sources(3, 12)), at_most(8), requests=Requests(attention=True))
    assert [hypothesis.attention for (hypothesis,) in found] == [None, None, None]


def test_no_sentences_no_translations() -> None:
    nothing = Padded(torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert search(Lookup(13), nothing, SearchConfig()) == []


@pytest.mark.parametrize("possible", [1.0, 0.01, 0.0])
@pytest.mark.parametrize("length", [5, 64, 65, 129, 640, 1000])
@pytest.mark.parametrize("count", [1, 6, 11])
def test_the_largest_of_a_row_are_found_in_its_blocks(count: int, length: int, possible: float) -> None:
    """Rows that end within a block, rows of fewer blocks than are wanted, rows of which little but -inf is left."""
    generator = torch.Generator().manual_seed(length)
    for _ in range(20):
        values = torch.randn(3, 4, length, generator=generator)
        is_possible = torch.rand(values.shape, generator=generator) < possible
        values = values.masked_fill(~is_possible, -torch.inf)
        found, places = candidates.largest(values, min(count, length))
        assert torch.equal(found, values.topk(min(count, length)).values)
        assert torch.equal(values.gather(-1, places), found)
        assert all(len(set(row)) == len(row) for row in places.flatten(0, 1).tolist())


def test_the_largest_are_found_wherever_they_stand() -> None:
    """At either end of a block, and in what is left of a row after its last whole one."""
    for place in range(candidates.BLOCK * 13 + 7):
        values = torch.zeros(1, candidates.BLOCK * 13 + 7)
        values[0, place] = 1.0
        found, places = candidates.largest(values, 3)
        assert found.tolist() == [[1.0, 0.0, 0.0]]
        assert places[0, 0] == place


MODELS: list[dict[str, object]] = [
    {"type": "transformer", "dim": 16, "heads": 2, "feed_forward": 32, "encoder_layers": 2, "decoder_layers": 2},
    {"type": "rnn", "cell": "gru", "embedding": 12, "dim": 16},
    {"type": "rnn", "cell": "lstm", "attention": "general", "input_feeding": True, "embedding": 12, "dim": 16},
    {"type": "rnn", "cell": "rnn", "attention": "none", "embedding": 12, "dim": 16},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", MODELS, ids=lambda options: "-".join(map(str, list(options.values())[:3])))
def test_real_models_are_searched_by_the_same_laws(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model: Any = build(TypeAdapter(ModelConfig).validate_python(options), 12, 12, shared=True).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # fresh weights are nearly indifferent: every hypothesis would tie
    sources = random_sources(24, 30, longest=9)
    search_options = at_most(10, beam_size=4, n_best=2, length_penalty=0.6)
    alone = [search(model, pad([source]), search_options)[0] for source in sources]
    together = search(model, pad(sources), search_options)
    assert ids_of(together) == ids_of(alone)
    for source, hypotheses in zip(sources, together, strict=True):
        for ids, log_probability, value, _ in hypotheses:
            with torch.no_grad():
                logits = model(pad([source]), torch.tensor([[BOS, *ids]]))[0].log_softmax(-1)
            expected = sum(float(row[token]) for row, token in zip(logits, [*ids, EOS], strict=True))
            assert log_probability == pytest.approx(expected, rel=1e-5, abs=1e-5)
            assert value == pytest.approx(score(expected, ids, 0.6), rel=1e-5, abs=1e-5)
