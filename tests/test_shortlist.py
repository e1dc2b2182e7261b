"""Likely words are learnt from pairs, and search among them obeys the same laws as among all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from lookup import Lookup, LookupState, at_most, pad, random_sources
from pydantic import TypeAdapter
from torch import Tensor

from nmt import shortlist
from nmt.batches import BOS, EOS, PAD, UNK
from nmt.config import ModelConfig, SearchConfig
from nmt.frozen import FrozenLinear, freeze
from nmt.models import build
from nmt.models.weights import with_output
from nmt.ragged import Ragged
from nmt.search import Hypothesis, Requests, search
from nmt.shortlist import LIKELY, Shortener, Shortlist, learn

torch.set_num_threads(1)

Pair = tuple[Sequence[int], Sequence[int]]

# ---- learning ---------------------------------------------------------------------------------------------------

SOURCE_SIZE, TARGET_SIZE = 70, 90
WORDS = range(EOS + 1, 60)  # of the source; those above are never seen
COMMON = WORDS[0]  # stands in every sentence, as articles do, and so beside every translation
TRANSLATION = dict(zip(WORDS, random.Random(0).sample(range(COMMON + 1, TARGET_SIZE), len(WORDS)), strict=True))
TRANSLATION[COMMON] = COMMON  # the lowest id: it would win wherever two are equally likely


def substituted(count: int, seed: int = 1, words: Sequence[int] = WORDS) -> list[Pair]:
    """Sentences, each with the translation of every word, in any order."""
    chance = random.Random(seed)
    pairs = list[Pair]()
    for _ in range(count):
        source = [COMMON, *chance.choices(words, k=chance.randint(1, 8))]
        pairs.append((source, chance.sample([TRANSLATION[word] for word in source], len(source))))
    return pairs


def learnt(pairs: Sequence[Pair]) -> Shortlist:
    source, target = (Ragged.of([pair[side] for pair in pairs]) for side in (0, 1))
    return learn(source, target, SOURCE_SIZE, TARGET_SIZE)


def first(words: Shortlist) -> dict[int, int]:
    return {word: int(words.likely[word, 0]) for word in WORDS}


def test_the_translation_of_every_word_is_the_likeliest() -> None:
    words = learnt(substituted(600))
    assert words.likely.shape == (SOURCE_SIZE, LIKELY)
    assert first(words) == TRANSLATION


def test_the_likelier_of_two_translations_comes_first() -> None:
    """One word has three translations, of which the rarest has the lowest id."""
    pairs = [([9, 10 + number % 7], [number % 7 + 40, 30 - min(number % 10, 2)]) for number in range(210)]
    likely = learnt(pairs).likely
    assert likely[9, :3].tolist() == [28, 29, 30]
    assert [int(each) for each in likely[10:17, 0]] == [*range(40, 47)]


def test_a_pair_has_no_say_in_the_words_of_another() -> None:
    likely = learnt([([8], [20]), ([9], [21, 22]), ([10], [23])]).likely
    assert likely[8].tolist() == [20] + [EOS] * (LIKELY - 1)
    assert likely[9].tolist() == [21, 22] + [EOS] * (LIKELY - 2)
    assert likely[10].tolist() == [23] + [EOS] * (LIKELY - 1)


def test_only_the_likeliest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = substituted(600)
    expected = learnt(pairs)
    monkeypatch.setattr(shortlist, "LIKELY", 3)
    assert torch.equal(learnt(pairs).likely, expected.likely[:, :3])


def test_the_most_frequent_tokens_may_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "FREQUENT", EOS + 1 + 2)
    words = learnt([([5], [30, 31, 31]), ([6], [32, 33, 33, 33]), ([7], [34])])
    assert sorted(words.frequent.tolist()) == [*range(EOS + 1), 31, 33]
    assert words.of(torch.tensor([7])).tolist() == [*range(EOS + 1), 31, 33, 34]


def test_the_first_ids_are_always_among_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search needs their places, although no translation holds them."""
    monkeypatch.setattr(shortlist, "FREQUENT", EOS + 1)
    words = learnt(substituted(100))
    for source in ([], [COMMON], [EOS], list(WORDS), [SOURCE_SIZE - 1, UNK]):
        assert words.of(torch.tensor(source, dtype=torch.int64))[: EOS + 1].tolist() == [*range(EOS + 1)]


def test_words_are_ascending_and_none_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shape of the source: it is a whole batch with its padding."""
    monkeypatch.setattr(shortlist, "FREQUENT", 8)
    words = learnt(substituted(300))
    for seed in range(20):
        source = torch.randint(0, SOURCE_SIZE, (4, 5), generator=torch.Generator().manual_seed(seed))
        found = words.of(source)
        assert found.dtype == torch.int64
        assert (found.diff() > 0).all()
        assert set(found.tolist()) == {
            int(each) for ids in (words.frequent, words.likely[source].flatten()) for each in ids
        }
        assert {TRANSLATION[word] for word in source.flatten().tolist() if word in TRANSLATION} <= set(found.tolist())


def test_words_never_seen_add_nothing_to_the_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "FREQUENT", 10)
    words = learnt(substituted(100))
    assert words.of(torch.tensor([60, SOURCE_SIZE - 1])).tolist() == sorted(words.frequent.tolist())


@pytest.mark.parametrize("empty", [([], [33]), ([5], []), ([], [])], ids=str)
def test_pairs_with_an_empty_side_say_nothing(empty: Pair) -> None:
    pairs = substituted(100)
    expected = learnt(pairs)
    for place in (0, 1, 50, 100):
        found = learnt([*pairs[:place], empty, empty, *pairs[place:]])
        assert torch.equal(found.likely, expected.likely)
        assert set(found.frequent.tolist()) == set(expected.frequent.tolist())


@pytest.mark.parametrize("pairs", [[], [([], [])], [([5], [])], [([], [33])]], ids=str)
def test_where_there_is_nothing_to_learn_only_the_first_ids_are_sure(pairs: list[Pair]) -> None:
    words = learnt(pairs)
    assert (words.likely == EOS).all()
    assert words.of(torch.tensor([5]))[: EOS + 1].tolist() == [*range(EOS + 1)]


def test_the_same_pairs_give_the_same_words() -> None:
    pairs = substituted(300)
    for mine, other in zip(learnt(pairs), learnt(pairs), strict=True):
        assert mine.dtype == torch.int32
        assert torch.equal(mine, other)


def test_small_integers_are_read_without_overflow() -> None:
    """Corpora are kept in the smallest type that holds their ids; ids are multiplied here."""
    pairs = substituted(300)
    sides = [Ragged.of([pair[side] for pair in pairs]) for side in (0, 1)]
    small = [Ragged(side.ids.astype(np.uint8), side.lengths) for side in sides]
    for found, expected in zip(learn(*small, SOURCE_SIZE, 250), learn(*sides, SOURCE_SIZE, 250), strict=True):
        assert torch.equal(found, expected)


# ---- searching --------------------------------------------------------------------------------------------------

SIZE = 14
KEPT = torch.tensor([*range(EOS + 1), 5, 6, 9, 12, 13])
EXCLUDED = [token for token in range(SIZE) if token not in KEPT]


class Shortened(Lookup):
    """A model that looks at some ids only: its logits are those of `kept`, in this order."""

    def __init__(self, seed: int, kept: Tensor, **options: float) -> None:
        super().__init__(seed, vocabulary=SIZE, **options)
        self.kept = kept

    def step(self, tokens: Tensor, state: LookupState, memory: Any) -> tuple[Tensor, LookupState]:
        logits, after = super().step(tokens, state, memory)
        return logits[..., self.kept], after


def impossible(seed: int, **options: float) -> Lookup:
    """A model that looks at all ids, of which those not kept have no chance."""
    model = Lookup(seed, vocabulary=SIZE, **options)
    model.table[:, EXCLUDED] = -torch.inf
    return model


PREFIXES = [(), (5,), (13, 13), (UNK, 6), (9, 12, 6, 5, 9)] * 4
CASES = {
    "greedy": (at_most(8, beam_size=1), Requests()),
    "beam": (at_most(8, beam_size=4, n_best=4), Requests()),
    "penalty": (at_most(8, beam_size=3, n_best=2, length_penalty=0.0, min_length=3), Requests()),
    "wide": (at_most(4, beam_size=20, n_best=20), Requests()),
    "unigrams": (at_most(12, beam_size=3, no_repeat_ngram=1), Requests()),
    "bigrams": (at_most(12, beam_size=4, n_best=2, no_repeat_ngram=2), Requests()),
    "prefixes": (at_most(8, beam_size=3, n_best=2), Requests(prefixes=PREFIXES)),
    "prefixes without repeats": (at_most(8, beam_size=3, no_repeat_ngram=1, min_length=2), Requests(PREFIXES)),
    "unknown": (at_most(8, beam_size=3), Requests(allow_unk=True)),
    "attention": (at_most(8, beam_size=3), Requests(attention=True)),
    "drawn": (at_most(8, sample=True, n_best=3, seed=4), Requests()),
    "drawn from few": (at_most(8, sample=True, n_best=3, top_k=4, top_p=0.9), Requests(prefixes=PREFIXES)),
}
Case = tuple[SearchConfig, Requests]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def shown(found: list[list[Hypothesis]]) -> list[list[tuple[Any, ...]]]:
    """Hypotheses as what can be compared: attention is a tensor."""
    maps = [[() if each.attention is None else each.attention.tolist() for each in row] for row in found]
    return [
        [(*each[:3], weights) for each, weights in zip(row, rows, strict=True)]
        for row, rows in zip(found, maps, strict=True)
    ]


def ids_of(found: list[list[Hypothesis]]) -> list[list[tuple[int, ...]]]:
    return [[hypothesis.ids for hypothesis in row] for row in found]


@pytest.mark.parametrize("end", [-2.0, 1.0])
def test_with_all_ids_the_search_is_what_it_is_without(case: Case, end: float) -> None:
    options, requests = case
    source, everything = pad(random_sources(20, 1)), torch.arange(SIZE)
    expected = search(Lookup(1, vocabulary=SIZE, end=end), source, options, requests=requests)
    requests = requests._replace(vocabulary=everything)
    assert shown(search(Shortened(1, everything, end=end), source, options, requests=requests)) == shown(expected)


@pytest.mark.parametrize("end", [-2.0, 1.0])
def test_ids_that_are_left_out_are_as_if_they_had_no_chance(case: Case, end: float) -> None:
    """With prefixes and without repeats, drawn or searched for: the law is the same for all."""
    options, requests = case
    source = pad(random_sources(20, 2))
    expected = search(impossible(2, end=end), source, options, requests=requests)
    requests = requests._replace(vocabulary=KEPT)
    found = search(Shortened(2, KEPT, end=end), source, options, requests=requests)
    assert ids_of(found) == ids_of(expected)
    scores = [[[each.score for each in row] for row in each] for each in (found, expected)]
    assert sum(scores[0], []) == pytest.approx(sum(scores[1], []), abs=1e-9)
    assert {token for row in ids_of(found) for ids in row for token in ids} <= set(KEPT.tolist())


def test_the_ids_that_are_left_out_would_have_been_chosen() -> None:
    """Else the test above would have nothing to see."""
    found = search(Lookup(2, vocabulary=SIZE, end=-2.0), pad(random_sources(20, 2)), at_most(8, beam_size=4))
    assert set(EXCLUDED) <= {token for row in ids_of(found) for ids in row for token in ids}


def test_prefixes_are_kept_and_ngrams_are_not_repeated_among_few_words() -> None:
    options = at_most(10, beam_size=3, n_best=3, no_repeat_ngram=2, min_length=6)
    requests = Requests(prefixes=PREFIXES, vocabulary=KEPT)
    found = search(Shortened(3, KEPT, end=-3.0), pad(random_sources(20, 3)), options, requests=requests)
    for prefix, row in zip(PREFIXES, ids_of(found), strict=True):
        assert len(row) == 3
        for ids in row:
            assert ids[: len(prefix)] == prefix
            assert len(set(zip(ids, ids[1:], strict=False))) == len(ids) - 1 >= 5


SHAPE = {"type": "transformer", "dim": 16, "heads": 2, "feed_forward": 32}
TYPES: dict[str, dict[str, object]] = {
    "transformer": {**SHAPE, "encoder_layers": 2, "decoder_layers": 2},
    "transformer-untied": {**SHAPE, "tie_embeddings": False},
    "rnn-additive": {"type": "rnn", "cell": "gru", "embedding": 12, "dim": 16},
    "rnn-feeding": {
        "type": "rnn", "cell": "lstm", "attention": "general", "input_feeding": True, "embedding": 12, "dim": 16,
    },
}  # fmt: skip
LARGE = 1000  # ids, so that likely ones are found block by block
SOURCES = random_sources(16, 30, longest=9)


def whole(options: dict[str, object]) -> Any:
    """A model with strong opinions: of fresh weights every hypothesis would tie."""
    torch.manual_seed(0)
    model = build(TypeAdapter(ModelConfig).validate_python(options), LARGE, LARGE, shared=True).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3.0)
    return model


@pytest.mark.parametrize("options", TYPES.values(), ids=TYPES)
def test_an_output_layer_with_all_rows_changes_nothing(options: dict[str, object]) -> None:
    model, source, config = whole(options), pad(SOURCES), at_most(10, beam_size=4, n_best=2)
    frozen, everything = freeze(model), torch.arange(LARGE)
    expected = search(frozen, source, config)
    shortened = with_output(frozen, FrozenLinear(model.output.weight.detach()[everything]))
    assert search(shortened, source, config, requests=Requests(vocabulary=everything)) == expected


@pytest.mark.parametrize("options", TYPES.values(), ids=TYPES)
def test_an_output_layer_with_some_rows_chooses_among_these(options: dict[str, object]) -> None:
    """The log-probabilities are those of a softmax over these rows alone."""
    model, kept = whole(options), torch.cat((torch.arange(EOS + 1), torch.arange(7, LARGE, 3)))
    weight = model.output.weight.detach().clone()
    shortened = with_output(freeze(model), FrozenLinear(weight[kept]))
    prefixes = [(), (10, 7)] * (len(SOURCES) // 2)
    requests = Requests(prefixes=prefixes, vocabulary=kept)
    config = at_most(10, beam_size=4, n_best=2, no_repeat_ngram=2)
    found = search(shortened, pad(SOURCES), config, requests=requests)
    assert {ids[: len(prefix)] for prefix, row in zip(prefixes, ids_of(found), strict=True) for ids in row} == {
        *prefixes
    }
    places = {token: place for place, token in enumerate(kept.tolist())}
    for source, hypotheses in zip(SOURCES, found, strict=True):
        for ids, log_probability, _, _ in hypotheses:
            with torch.no_grad():
                logits = model.states(pad([source]), torch.tensor([[BOS, *ids]]))[0] @ weight[kept].T
            steps = zip(logits.log_softmax(-1), [*ids, EOS], strict=True)
            assert log_probability == pytest.approx(sum(float(row[places[token]]) for row, token in steps), rel=1e-4)


@pytest.mark.parametrize("options", TYPES.values(), ids=TYPES)
def test_another_output_layer_leaves_the_model_as_it_was(options: dict[str, object]) -> None:
    model, source = whole(options), pad(SOURCES)
    target = torch.full((len(SOURCES), 3), BOS)
    output, expected = model.output, model(source, target)
    shortened = with_output(model, FrozenLinear(output.weight.detach()[:10]))
    assert model.output is output
    assert torch.equal(model(source, target), expected)
    assert shortened(source, target).shape == (len(SOURCES), 3, 10)
    torch.testing.assert_close(shortened(source, target), expected[..., :10], rtol=1e-4, atol=1e-4)
    assert shortened.embeddings.target is model.embeddings.target  # all else is shared, not copied


# ---- the words of a batch ---------------------------------------------------------------------------------------


def few_words() -> Shortlist:
    """Two words for each source token k, 2 k + 12 and 2 k + 13, and two for all of them."""
    likely = (torch.arange(2 * LARGE, dtype=torch.int32).view(LARGE, 2) + 12) % LARGE
    return Shortlist(likely, torch.tensor([300, 0, 1, 2, 3, 200], dtype=torch.int32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", TYPES.values(), ids=TYPES)
def test_the_logits_of_a_batch_are_those_of_its_words(
    options: dict[str, object], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 1)
    model = whole(options).to(dtype)
    source, target = pad([[4, 7], [20]]), torch.tensor([[BOS, 11], [BOS, 300]])
    smaller, ids = Shortener(few_words(), model.output.weight).shorten(freeze(model), source.ids, [11, 999, 11])
    likely = [2 * token + place for token in (PAD, EOS, 4, 7, 20) for place in (12, 13)]
    assert ids.tolist() == [*range(EOS + 1), 11, *likely, 200, 300, 999]
    with torch.inference_mode():
        expected = model(source, target)[..., ids]
        found = smaller(source, target)
    assert found.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("multiple", [1, 16, 250, 256, 2000])
def test_batches_have_few_sizes_and_lose_no_word_by_it(multiple: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More words fill up what is missing, as long as there are more."""
    monkeypatch.setattr(shortlist, "MULTIPLE", multiple)
    words, weight = few_words(), torch.randn(LARGE, 16)
    model = build(TypeAdapter(ModelConfig).validate_python(SHAPE), LARGE, LARGE, shared=True)
    for count in (1, 2, 6, 200, LARGE - 4):
        source = torch.arange(4, 4 + count)[None]
        smaller, ids = Shortener(words, weight).shorten(model, source, [999])
        assert len(ids) % multiple == 0 or len(ids) == LARGE
        assert len(ids) - len({*words.of(source).tolist(), 999}) < multiple
        assert {*words.of(source).tolist(), 999} <= set(ids.tolist())
        assert (ids.diff() > 0).all()
        torch.testing.assert_close(smaller.output(torch.eye(16)), weight[ids].T, rtol=1e-5, atol=1e-5)


def test_a_batch_without_prefixes_needs_none() -> None:
    model = build(TypeAdapter(ModelConfig).validate_python(SHAPE), LARGE, LARGE, shared=True)
    _, ids = Shortener(few_words(), model.output.weight).shorten(model, torch.tensor([[4, 5]]), [])
    assert len(ids) == shortlist.MULTIPLE
