"""The laws of drawing translations, on models whose distribution is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from lookup import Lookup, at_most, forced_log_probability, normalised, pad, random_sources

from nmt.batches import EOS
from nmt.search import Requests, search
from nmt.search.sample import _draw

SAMPLES = 4000
Distribution = dict[tuple[int, ...], float]


def truncated(log_probabilities: Sequence[float], top_k: int, top_p: float, temperature: float) -> dict[int, float]:
    """The distribution one token is drawn from, written from the options' definitions; ids 0 to 2 are forbidden."""
    weights = {token: math.exp(value / temperature) for token, value in enumerate(log_probabilities) if token >= EOS}
    ranked = sorted(weights, key=lambda token: -weights[token])[: top_k or None]
    mass, kept = 0.0, {}
    for token in ranked:
        if mass < top_p * sum(weights[each] for each in ranked):
            kept[token] = weights[token]
        mass += weights[token]
    return {token: weight / sum(kept.values()) for token, weight in kept.items()}


def outputs(model: Lookup, source: Sequence[int], limit: int, options: dict[str, float]) -> Distribution:
    """The probability of every output of at most `limit` tokens."""
    space: Distribution = {}
    live: Distribution = {(): 1.0}
    for _ in range(limit):
        longer: Distribution = {}
        for ids, share in live.items():
            after = truncated(
                normalised(model, source, ids)[-1],
                int(options.get("top_k", 0)),
                options.get("top_p", 1.0),
                options.get("temperature", 1.0),
            )
            space[ids] = share * after.pop(EOS, 0.0)
            longer |= {(*ids, token): share * each for token, each in after.items()}
        live = longer
    return space | live  # at the limit the EOS is certain


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 2}, {"top_p": 0.7}, {"top_k": 3, "top_p": 0.8}],
    ids=str,
)
def test_frequencies_follow_the_truncated_distribution(options: dict[str, float]) -> None:
    for seed in range(3):
        model, source = Lookup(seed, scale=1.0), random_sources(1, seed)
        (samples,) = search(model, pad(source), at_most(3, sample=True, n_best=SAMPLES, **options))
        counts = Counter(sample.ids for sample in samples)
        expected = outputs(model, source[0], 3, options)
        assert set(counts) <= {ids for ids, share in expected.items() if share > 0}
        for ids, share in expected.items():
            deviation = math.sqrt(SAMPLES * share * (1 - share))  # of a binomial count
            assert abs(counts[ids] - SAMPLES * share) <= 4 * deviation + 1
        common = {ids: SAMPLES * share for ids, share in expected.items() if SAMPLES * share > 5}
        surprise = sum((counts[ids] - count) ** 2 / count for ids, count in common.items())
        assert surprise < len(common) + 4 * math.sqrt(2 * len(common))  # chi-square of n: mean n, variance 2n


def test_log_probability_is_the_model_s_own() -> None:
    model, sources = Lookup(20), random_sources(20, 20)
    options = at_most(6, sample=True, n_best=3, top_k=3, top_p=0.9, temperature=2.0)
    for source, samples in zip(sources, search(model, pad(sources), options), strict=True):
        scores = [sample.score for sample in samples]
        assert scores == sorted(scores, reverse=True)
        assert len(samples) == 3
        for ids, log_probability, _, _ in samples:
            assert log_probability == pytest.approx(forced_log_probability(model, source, ids), abs=1e-10)


def test_coldest_and_narrowest_draws_are_greedy() -> None:
    model, source = Lookup(21, end=-2.0), pad(random_sources(50, 21))
    greedy = [best.ids for (best,) in search(model, source, at_most(6, beam_size=1))]
    for narrow in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}):
        assert [only.ids for (only,) in search(model, source, at_most(6, sample=True, **narrow))] == greedy


def test_seed_and_number_alone_decide() -> None:
    model, sources = Lookup(22, end=-1.0), random_sources(30, 22)
    options = at_most(8, sample=True, n_best=2, seed=7)
    everything = search(model, pad(sources), options)
    assert search(model, pad(sources), options) == everything
    for size in (1, 7):
        for start in range(0, 30, size):
            numbers = range(start, min(start + size, 30))
            batch = pad([sources[number] for number in numbers])
            assert search(model, batch, options, requests=Requests(numbers=numbers)) == everything[start : start + size]
    assert search(model, pad(sources), options.model_copy(update={"seed": 8})) != everything


def test_a_longer_batch_mate_changes_no_sample() -> None:
    model, options = Lookup(23, end=-1.0), at_most(2, sample=True, n_best=3, max_length_ratio=2.0)
    short, long = [4, 5], [6] * 20
    assert search(model, pad([short, long]), options)[0] == search(model, pad([short]), options)[0]


def test_equal_sentences_of_different_numbers_are_drawn_apart() -> None:
    model = Lookup(24, scale=0.5, end=-9.0)
    for numbers in (range(100), range(2**32, 2**32 * 101, 2**32)):  # numbers may differ in their high bits alone
        found = search(model, pad([[4]] * 100), at_most(20, sample=True), requests=Requests(numbers=numbers))
        assert len({sample.ids for (sample,) in found}) > 90


def test_rules_hold_for_samples() -> None:
    model, sources = Lookup(25), random_sources(40, 25)
    options = at_most(6, sample=True, n_best=4, min_length=3, no_repeat_ngram=1)
    found = search(model, pad(sources), options.model_copy(update={"max_length_offset": 4}))
    requests = Requests(prefixes=[(5, 5)] * 40)
    for samples in found:
        for sample in samples:
            assert 3 <= len(sample.ids) == len(set(sample.ids))
    for samples in search(model, pad(sources), options, requests=requests):
        assert all(sample.ids[:2] == (5, 5) for sample in samples)


def test_a_finished_sample_stays_as_it_is() -> None:
    model, source = Lookup(26), pad([[4, 5]])
    model.table = torch.zeros_like(model.table)  # every sample ends with probability 1/5 at each step
    (samples,) = search(model, source, at_most(30, sample=True, n_best=500))
    assert len(samples) == 500
    lengths = Counter(len(sample.ids) for sample in samples)
    assert abs(lengths[0] - 100) < 4 * math.sqrt(500 * 0.2 * 0.8)
    assert all(token > EOS for sample in samples for token in sample.ids)


def test_samples_that_end_late_are_kept_however_good() -> None:
    """Nothing that was drawn is left out for being better than what had ended before it."""
    for seed in range(20):
        model, source = Lookup(seed, scale=1.0, end=-1.0), pad(random_sources(10, seed))
        for samples in search(model, source, at_most(20, sample=True, n_best=8, length_penalty=2.0)):
            assert len(samples) == 8


def test_where_the_rules_leave_nothing_there_are_fewer_samples() -> None:
    model, sources = Lookup(27), random_sources(5, 27)
    for options in ({}, {"top_k": 3}, {"top_p": 0.9}):
        rules = at_most(30, sample=True, n_best=4, min_length=20, no_repeat_ngram=1, **options)
        assert search(model, pad(sources), rules) == [[]] * 5


def test_what_has_no_probability_is_never_drawn() -> None:
    """However little or much is drawn: with a temperature this low all but one token has a probability of 0."""
    further = torch.tensor([-3.0, -2.0, -1.0, -9.0]).expand(1, 2, 4)
    uniforms = torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64)
    for options in ({}, {"top_k": 3}, {"top_p": 0.9}):
        cold = at_most(6, sample=True, n_best=2, temperature=1e-6, **options)
        assert _draw(further, uniforms, cold).tolist() == [[2, 2]]
