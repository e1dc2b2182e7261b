"""Maps of attention: what is collected from each model, how tokens become words, which head aligns best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from every_model import MODELS
from runs import CPU, PAIRS, SHORT, tiny_config
from trainings import options

from nmt.batches import BOS, EOS, Padded
from nmt.config import Config
from nmt.configfile import load_config
from nmt.errors import DataError, OptionError
from nmt.inspect.attention import heads, observe
from nmt.inspect.maps import Axis, Case, Line, Map, Reading, alignment_quality, best_head, by_words, sheet
from nmt.inspect.pieces import axis, read_before
from nmt.inspect.views import Asked, View, describe, resolve, settle
from nmt.models import build
from nmt.search.hypotheses import length_penalty
from nmt.tokenizer import Tokenizers
from nmt.translate import Translator

LINES = [Line("stdin:1", "Two dogs run."), Line("stdin:2", "A man reads a book, and her child sleeps.")]
LOOKING = [name for name in MODELS if "none" not in name and not name.startswith(("rnn", "lstm"))]


def translator(name: str, kind: str = "unigram") -> Translator:
    config = load_config(None, options(MODELS[name]))
    config = Config.model_validate({**config.model_dump(), "tokenizer": tiny_config(kind).tokenizer.model_dump()})
    tokenizers = Tokenizers.train(PAIRS * 4, config.tokenizer)
    torch.manual_seed(1)
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared)
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 2  # so that attention is not even
    return Translator(config, tokenizers, model.eval(), CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOKING)
def test_rows_sum_to_one_and_are_those_of_each_hypothesis_alone(name: str) -> None:
    found = translator(name)
    two = SHORT.model_copy(update={"n_best": 2})
    cases = observe(found, LINES, two)
    assert [case.source for case in cases] == [line.text for line in LINES]
    for case in cases:
        source = found.tokenizers.source.encode([case.source])[0]
        for output, reading in zip(found.translate_block([case.source], two)[0].hypotheses, case.readings, strict=True):
            assert reading.text == output.text
            target = found.tokenizers.target.ids(output.pieces)
            alone = Padded(torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1]))
            with torch.inference_mode():
                maps = found.model.attention(alone, torch.tensor([[BOS, *target]]))
            assert reading.maps.keys() == maps.keys() == heads(found).keys()
            for kind, each in reading.maps.items():
                assert each.weights.shape[:2] == heads(found)[kind]
                assert each.weights.shape[2:] == (len(each.queries.tokens), len(each.keys.tokens))
                assert np.abs(each.weights.sum(-1) - 1).max() < 1e-5
                assert np.abs(by_words(each).weights.sum(-1) - 1).max() < 1e-5
                np.testing.assert_allclose(each.weights, maps[kind][0].numpy(), atol=1e-3)


def test_without_attention_there_are_no_heads() -> None:
    assert heads(translator("gru-none")) == {}


def test_a_given_translation_is_read_in_place_of_the_models_own() -> None:
    found = translator("gru-additive")
    own = found.translate_block([LINES[0].text], SHORT)[0].hypotheses[0]
    (case,) = observe(found, LINES[:1], SHORT, Line("--target", "Zwei Hunde laufen."))
    (reading,) = case.readings
    assert reading.text == "Zwei Hunde laufen." != own.text
    assert reading.maps["cross"].queries.words == ("Zwei", "Hunde", "laufen.", "</s>")
    size = len(reading.maps["cross"].queries.tokens)
    assert reading.score is not None
    assert reading.log_probability is not None
    assert reading.score == pytest.approx(reading.log_probability / length_penalty(size, SHORT.length_penalty))
    # What the search found has, when it is given, the score that it was found with.
    if found.tokenizers.target.encode([own.text])[0] == found.tokenizers.target.ids(own.pieces):
        (again,) = observe(found, LINES[:1], SHORT, Line("--target", own.text))[0].readings
        assert again.log_probability == pytest.approx(own.log_probability, abs=1e-3)


def test_what_the_model_cannot_read_whole_is_refused() -> None:
    found = translator("gru-additive")
    with pytest.raises(DataError, match=r"stdin:7: \d+ tokens, the model reads 511 at a time; give a shorter sentence"):
        observe(found, [*LINES, Line("stdin:7", "man " * 600)], SHORT)
    with pytest.raises(DataError, match=r"--target: \d+ tokens"):
        observe(found, LINES[:1], SHORT, Line("--target", "Hund " * 600))


def test_unknown_words_keep_their_names() -> None:
    (case,) = observe(translator("gru-additive", "word"), [Line("", "Two zebras run through Ohio.")], SHORT)
    columns = case.readings[0].maps["cross"].keys
    assert columns.tokens == columns.words
    assert "zebras" in columns.tokens


# ---- tokens and words ---------------------------------------------------------------------------------------------


def joined(pieces: Sequence[str]) -> Axis:
    return axis(pieces, lambda places: "".join(pieces[place] for place in places).replace("\u2581", " "))


SHOWN = [  # pieces, as they are shown, words
    ("▁A ▁man ▁ri des .", "A man ri ·des .", "A man rides."),
    ("▁ A , b", "▁ A , ·b", "A,b"),
    ("▁我 喜欢 狗 。", "我 喜欢 狗 。", "我 喜欢 狗 。"),
    ("▁ 我", "▁ 我", "我"),
    ("▁東京 タワー is", "東京 タワー is", "東京 タワー is"),
    ("▁дом а", "дом ·а", "дома"),
    ("▁one <unk> ▁two", "one <unk> two", "one <unk> two"),
]


@pytest.mark.parametrize(("pieces", "tokens", "words"), SHOWN)
def test_pieces_are_shown_as_people_read_them(pieces: str, tokens: str, words: str) -> None:
    found = joined(pieces.split())
    assert found.tokens == (*tokens.split(), "</s>")
    assert found.words == (*words.split(), "</s>")
    assert len(found.owners) == len(found.tokens)


def test_what_a_decoder_reads_is_a_step_late() -> None:
    produced = joined(["▁ri", "des", "▁on"])
    assert read_before(produced) == Axis(("<s>", "ri", "·des", "on"), ("<s>", "rides", "on"), (0, 1, 1, 2))


def test_columns_of_a_word_are_summed_and_its_rows_averaged() -> None:
    source, target = joined(["▁the", "▁ca", "r"]), joined(["▁la", "▁voi", "ture"])
    weights = np.array([[6, 1, 1, 2], [1, 3, 4, 2], [1, 5, 4, 0], [0, 0, 1, 9]], np.float32) / 10
    merged = by_words(Map(target, source, weights[None, None]))
    assert merged.queries.tokens == ("la", "voiture", "</s>")
    assert merged.keys.tokens == ("the", "car", "</s>")
    np.testing.assert_allclose(merged.weights[0, 0], [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0, 0.1, 0.9]], atol=1e-6)


# ---- heads --------------------------------------------------------------------------------------------------------

NEAT = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]  # each word on one of its own, two of them swapped
STARING = [[0, 1, 0, 0]] * 4  # always at the same word
RESTING = [[0, 0, 0, 1]] * 4  # at the end of the sentence
EVEN = [[0.25] * 4] * 4


def case(*layers: Sequence[object]) -> Case:
    side = joined(["▁a", "▁b", "▁c"])
    return Case("a b c", (Reading("a b c", -1.0, -4.0, {"cross": Map(side, side, np.array(layers, np.float32))}),))


def test_a_head_that_aligns_is_confident_and_leaves_nothing_out() -> None:
    quality = alignment_quality(case([NEAT, STARING], [RESTING, EVEN]).readings[0].maps["cross"].weights)
    np.testing.assert_allclose(quality, [[1, 1 / 3], [0, 1 / 16]], atol=1e-6)


def test_the_best_head_is_that_of_all_sentences() -> None:
    cases = [
        case([STARING, EVEN], [EVEN, NEAT]),
        case([STARING, EVEN], [STARING, EVEN]),
        case([EVEN, EVEN], [RESTING, NEAT]),
    ]
    assert best_head(cases) == (1, 1)
    assert best_head(cases, layer=0) == (0, 0)
    view = settle(View("cross", None, None, is_best=True), cases)
    assert (view.layer, view.head) == (1, 1)
    assert describe(view, cases[0].readings[0].maps["cross"]) == "cross-attention, layer 2, head 2, which aligns best"
    assert settle(View("cross", None, 0), cases) == View("cross", None, 0)


def test_an_empty_translation_aligns_nothing() -> None:
    assert (alignment_quality(np.ones((1, 2, 1, 1), np.float32)) == 0).all()


def test_a_sheet_is_one_head_or_a_mean() -> None:
    found = case([NEAT, STARING], [RESTING, EVEN]).readings[0].maps["cross"]
    np.testing.assert_allclose(sheet(found, 1, 1).weights, EVEN)
    np.testing.assert_allclose(sheet(found, 0, None).weights, (np.array(NEAT) + STARING) / 2)
    np.testing.assert_allclose(sheet(found, None, None).weights, found.weights.mean((0, 1)))


HEADS = {"cross": (3, 4), "encoder": (2, 4)}


@pytest.mark.parametrize(
    ("asked", "view"),
    [
        (Asked("cross", "", ""), View("cross", None, None, is_best=True)),
        (Asked("cross", "2", ""), View("cross", 1, None, is_best=True)),
        (Asked("cross", "2", "best"), View("cross", 1, None, is_best=True)),
        (Asked("cross", "mean", ""), View("cross", None, None)),
        (Asked("cross", "", "mean"), View("cross", None, None)),
        (Asked("cross", "3", "4"), View("cross", 2, 3)),
        (Asked("cross", "3", "mean"), View("cross", 2, None)),
        (Asked("encoder", "", ""), View("encoder", None, None)),
        (Asked("encoder", "1", ""), View("encoder", 0, None)),
    ],
)
def test_layers_and_heads_are_counted_from_one(asked: Asked, view: View) -> None:
    assert resolve(asked, HEADS) == view


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked("decoder", "", ""), "--kind decoder: this model has no such attention; give cross or encoder"),
        (Asked("cross", "4", ""), "--layer 4: this model has 1 to 3; give one of them, or mean"),
        (Asked("cross", "0", ""), "--layer 0: this model has 1 to 3"),
        (Asked("cross", "two", ""), "--layer two: this model has 1 to 3"),
        (Asked("cross", "1", "5"), "--head 5: this model has 1 to 4; give one of them, or mean or best"),
        (Asked("cross", "", "2"), "--head 2: heads of different layers have nothing in common; add --layer 1 to 3"),
        (Asked("cross", "mean", "best"), "--head best: is a head of one layer; give --layer a number, or leave it out"),
        (Asked("encoder", "1", "best"), "--head best: only cross-attention aligns; give a number or mean"),
    ],
)
def test_what_the_model_does_not_have_is_refused(asked: Asked, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        resolve(asked, HEADS)
