"""The automatic recipe: a corpus on each side of each threshold; what is set stays; a run goes on as it began."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from trainings import run_training, write_corpus

from nmt.config import Config
from nmt.configfile import load_config
from nmt.corpus_profile import CorpusProfile, profile
from nmt.inspect import bench
from nmt.recall import BEST, recall
from nmt.recipe import EVERYTHING_ELSE, Machine, Pace, apply, choose, hurry, is_scheduled, schedule

CPU, GPU = Machine(has_gpu=False, has_bf16=True), Machine(has_gpu=True, has_bf16=True)
PACE = Pace(pairs=29_000, steps_per_epoch=100.0, seconds_per_step=0.1)
ENGLISH_GERMAN = [("A dog runs over the green grass.", "Ein Hund rennt über das grüne Gras.")] * 3
JAPANESE = [("犬が緑の草の上を走っている。", "A dog runs over the green grass.")] * 3
NUMBERS = [("1 2 3 4", "Eins und zwei und drei.")] * 3
RUSSIAN = [("Собака бежит по зелёной траве.", "A dog runs over the green grass.")] * 3


def corpus(pairs: int = 29_000, rows: list[tuple[str, str]] = ENGLISH_GERMAN) -> CorpusProfile:
    return replace(profile(rows), pairs=pairs, faults={})


def chosen(about: CorpusProfile, machine: Machine = CPU, config: Config | None = None) -> dict[str, Any]:
    return {choice.key: choice.value for choice in choose(config or Config(), about, machine)}


def planned(config: Config, pace: Pace = PACE, machine: Machine = CPU) -> dict[str, Any]:
    return {choice.key: choice.value for choice in schedule(config, machine, pace)}


@pytest.mark.parametrize(
    ("machine", "pairs", "key", "below", "above"),
    [
        (CPU, 2_500, "training.average_last", 1, None),
        (CPU, 10_000, "model.encoder_layers", 2, 4),
        (CPU, 10_000, "model.decoder_layers", 2, 4),
        (GPU, 10_000, "model.encoder_layers", 4, 4),
        (CPU, 100_000, "model.dim", 128, 256),
        (GPU, 100_000, "model.dim", 128, 256),
        (GPU, 500_000, "model.dim", 256, 512),
        (GPU, 5_000_000, "model.dim", 512, 1024),
        (GPU, 5_000_000, "model.encoder_layers", 6, 6),
        (CPU, 5_000, "data.hold_out_test", None, True),
        (CPU, 10_000, "training.batch_tokens", 1024, 4096),
        (CPU, 10_000, "training.tune_length_penalty", None, True),
        (CPU, 10_000, "training.tune_beam_size", None, True),
        (CPU, 300_000, "training.batch_tokens", 4096, 8192),
        (CPU, 5_000_000, "model.dim", 256, 256),  # a CPU has no time for more
    ],
)  # fmt: skip
def test_on_either_side_of_a_threshold(machine: Machine, pairs: int, key: str, below: object, above: object) -> None:
    assert (chosen(corpus(pairs - 1), machine).get(key), chosen(corpus(pairs), machine).get(key)) == (below, above)


@pytest.mark.parametrize(
    ("pairs", "passes"),
    [(1_000, 200), (5_872, 200), (5_874, 199.97), (29_000, 90), (9_300_000, 5.03), (9_400_000, 5), (10**9, 5)],
)
def test_passes_have_a_least_and_a_greatest_number(pairs: int, passes: float) -> None:
    flags = {"training.rdrop": 0, "training.max_time": "99d"}
    found = planned(load_config(None, flags=flags), Pace(pairs, 1000.0, 1e-6))
    assert found["training.max_steps"] == pytest.approx(1000 * passes, abs=5)


def test_without_a_limit_a_gpu_has_twice_the_time() -> None:
    assert planned(Config())["training.max_time"] == 3 * 3600
    assert planned(Config(), machine=GPU)["training.max_time"] == 6 * 3600


@pytest.mark.parametrize(
    ("steps", "warmup", "every"),
    [(5, 1, 5), (399, 39, 399), (400, 40, 200), (1_999, 199, 222), (2_000, 200, 200), (19_990, 1_999, 1_999),
     (20_010, 2_000, 2_001), (50_000, 2_000, 5_000)],
)  # fmt: skip
def test_warm_up_and_validations_of_few_and_of_many_steps(steps: int, warmup: int, every: int) -> None:
    found = planned(load_config(None, flags={"training.max_steps": steps}))
    assert (found["training.warmup"], found["training.valid_every"]) == (warmup, every)


@pytest.mark.parametrize(
    ("pairs", "dropout"), [(99_999, 0.3), (100_000, 0.2), (499_999, 0.2), (500_000, 0.1), (10**7, 0.1)]
)
def test_larger_models_on_a_gpu_drop_less(pairs: int, dropout: float) -> None:
    flags = {"training.max_steps": 10**6, "training.rdrop": 0}
    assert planned(load_config(None, flags=flags), Pace(pairs, 100.0, 1e-3), GPU)["model.dropout"] == dropout


def test_validation_pairs_that_are_given_are_enough_to_tune_on() -> None:
    given = load_config(None, flags={"data.valid": ["valid.en", "valid.de"]})
    found = chosen(corpus(500), config=given)
    assert (found["training.tune_length_penalty"], found["training.tune_beam_size"]) == (True, True)
    assert "training.average_last" not in found, "and to tell which weights are best"


@pytest.mark.parametrize("option", ["length_penalty", "beam_size"])
def test_what_is_set_by_hand_is_not_tuned(option: str) -> None:
    given = load_config(None, flags={f"search.{option}": 2})
    other = {"length_penalty": "beam_size", "beam_size": "length_penalty"}[option]
    found = chosen(corpus(10_000), config=given)
    assert f"training.tune_{option}" not in found
    assert found[f"training.tune_{other}"] is True


def test_recurrent_models_are_normed() -> None:
    found = chosen(corpus(), config=load_config(None, flags={"model.type": "rnn"}))
    assert {key: value for key, value in found.items() if key.startswith("model.")} == {"model.layer_norm": True}
    kept = load_config(None, flags={"model.type": "rnn", "model.layer_norm": "false"})
    assert "model.layer_norm" not in chosen(corpus(), config=kept)
    for preset in ("rnnsearch", "luong", "gnmt"):
        found = chosen(corpus(), config=load_config(None, flags={"model.preset": preset}))
        assert not [key for key in found if key.startswith("model.")], "a model of a paper stays as it was"


@pytest.mark.parametrize("search", [{"search.mbr": "chrf"}, {"search.sample": "true"}])
def test_where_translations_are_drawn_no_search_is_tuned(search: dict[str, str]) -> None:
    found = chosen(corpus(10_000), config=load_config(None, flags=search))
    assert not [key for key in found if "tune" in key]


def test_what_is_always_chosen_is_said_too() -> None:
    found = chosen(corpus())
    assert {key: found[key] for key in ("tokenizer.type", "tokenizer.sampling", "search.beam_size")} == {
        "tokenizer.type": "unigram", "tokenizer.sampling": 0.0, "search.beam_size": 5,
    }  # fmt: skip
    assert (found["training.ema"], found["training.label_smoothing"]) == (0.999, 0.1)
    usual = Config()
    assert (usual.tokenizer.type, usual.tokenizer.sampling, usual.search.beam_size) == ("unigram", 0.0, 5)
    assert (usual.training.ema, usual.training.label_smoothing) == (0.999, 0.1)


def test_the_tables_reach_every_corpus() -> None:
    for pairs in (1, 10**12):
        for machine in (CPU, GPU):
            assert chosen(corpus(pairs), machine)["training.batch_tokens"] > 0
    assert EVERYTHING_ELSE > 10**12


@pytest.mark.parametrize(
    ("rows", "shared", "coverage"),
    [(ENGLISH_GERMAN, True, None), (RUSSIAN, False, None), (JAPANESE, False, 0.9995), (NUMBERS, True, None)],
)
def test_scripts_decide_what_languages_share(rows: list[tuple[str, str]], shared: bool, coverage: float | None) -> None:
    found = chosen(corpus(rows=rows))
    assert (found["tokenizer.shared"], found.get("tokenizer.character_coverage")) == (shared, coverage)


def test_half_precision_only_where_it_is_faster() -> None:
    assert chosen(corpus())["training.precision"] == "bf16"
    assert "training.precision" not in chosen(corpus(), Machine(has_gpu=False, has_bf16=False))
    assert "training.precision" not in chosen(corpus(), GPU)  # auto is bf16 there


def test_muon_where_it_was_measured_and_can_be() -> None:
    """That is a Transformer on a CPU, whose matrices are whole."""
    assert chosen(corpus())["training.optimizer"] == "muon"
    assert "training.optimizer" not in chosen(corpus(), GPU)
    for given in ({"model.type": "rnn"}, {"training.fsdp": True}, {"training.optimizer": "adam"}):
        assert "training.optimizer" not in chosen(corpus(), config=load_config(None, flags=given))


def test_embeddings_begin_with_the_pairs_where_that_was_measured() -> None:
    assert chosen(corpus())["model.embeddings"] == "lsa"
    assert "model.embeddings" not in chosen(corpus(), GPU)
    for given in ({"model.type": "rnn"}, {"model.embeddings": "vectors.bin"}):
        assert "model.embeddings" not in chosen(corpus(), config=load_config(None, flags=given))
    assert chosen(corpus(), config=load_config(None, flags={"model.dim": 64}))["model.embeddings"] == "lsa"


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        ({"tokenizer.vocab_size": 3000}, ["tokenizer.vocab_size"]),
        ({"model.preset": "base"}, ["model.dim", "model.encoder_layers", "model.heads", "model.feed_forward"]),
        ({"model.preset": "small"}, ["model.dim", "model.encoder_layers", "model.heads", "model.feed_forward"]),
        ({"model.dim": 64}, ["model.dim", "model.encoder_layers", "model.heads", "model.feed_forward"]),
        ({"model.heads": 2}, ["model.dim", "model.encoder_layers", "model.heads", "model.feed_forward"]),
        ({"model.feed_forward": 64}, ["model.dim", "model.encoder_layers", "model.heads", "model.feed_forward"]),
        ({"model.encoder_layers": 2}, ["model.encoder_layers"]),
        ({"model.type": "rnn"}, ["model.dim", "model.encoder_layers", "model.heads"]),
        ({"data.test": ["a.en", "a.de"]}, ["data.hold_out_test"]),
        ({"training.patience": 3}, ["training.patience"]),
    ],
)
def test_what_is_set_by_hand_stays(given: dict[str, Any], absent: list[str]) -> None:
    config = load_config(None, flags=given)
    choices = choose(config, corpus(), CPU)
    assert not {choice.key for choice in choices} & set(absent)
    applied = apply(config, choices)
    for key in absent:
        section, _, name = key.partition(".")
        if hasattr(getattr(config, section), name):
            assert getattr(getattr(applied, section), name) == getattr(getattr(config, section), name)


@pytest.mark.parametrize(
    "given", [{"model.norm": "post"}, {"model.encoder_layers": 2, "model.decoder_layers": 2}, {"model.max_length": 90}]
)
def test_what_is_no_width_leaves_the_width_to_the_recipe(given: dict[str, Any]) -> None:
    """Or one who only wants another norm would have a model three times as large."""
    choices = chosen(corpus(), config=load_config(None, flags=given))
    assert (choices["model.dim"], choices["model.heads"], choices["model.feed_forward"]) == (128, 4, 256)
    assert not choices.keys() & given.keys()


def test_every_choice_is_an_option_with_a_reason() -> None:
    for rows in (ENGLISH_GERMAN, RUSSIAN, JAPANESE):
        for pairs in (100, 29_000, 200_000, 10**7):
            for machine in (CPU, GPU):
                choices = choose(Config(), corpus(pairs, rows), machine)
                config = apply(Config(), choices)
                choices += schedule(config, machine, PACE._replace(pairs=pairs))
                config = apply(config, choices)
                for choice in choices:
                    section, _, name = choice.key.partition(".")
                    value = getattr(getattr(config, section), name)
                    expected = (choice.value,) if isinstance(value, tuple) else choice.value
                    assert value == (pytest.approx(expected) if isinstance(value, float) else expected)
                    assert len(choice.reason) > 8


# ---- how long -----------------------------------------------------------------------------------------------------


def test_as_many_passes_as_are_worth_it_or_as_there_is_time_for() -> None:
    plenty = planned(Config(), PACE._replace(seconds_per_step=1e-3))
    assert plenty["training.max_steps"] == 27_000  # 270 passes, since readings have to agree
    hour = planned(load_config(None, flags={"training.max_time": "1h", "training.rdrop": 0}), PACE)
    assert hour["training.max_steps"] == 9_000
    minutes = planned(load_config(None, flags={"training.max_time": "5m", "training.rdrop": 0}), PACE)
    assert minutes["training.max_steps"] == pytest.approx(1.5 * 0.9 * 300 / 0.1, abs=1), "in case it gets faster"
    assert minutes["training.warmup"] == pytest.approx(minutes["training.max_steps"] / 10, abs=1)


def test_batches_are_read_twice_where_there_is_time_and_few_pairs() -> None:
    quick = PACE._replace(seconds_per_step=1e-3)
    assert planned(Config(), quick)["training.rdrop"] > 0
    assert planned(Config(), quick._replace(pairs=99_999))["training.rdrop"] > 0
    assert planned(Config(), quick._replace(pairs=100_000))["training.rdrop"] == 0
    for seconds, agrees in ((0.35, True), (0.37, False)):  # 135 passes of two readings in three hours, or a few less
        found = planned(Config(), PACE._replace(seconds_per_step=seconds))
        assert (found["training.rdrop"] > 0) == agrees
        assert found["training.max_steps"] == pytest.approx(1.5 * 0.9 * 3 * 3600 / 0.7 if agrees else 9_000, abs=1)
    for epochs, agrees in ((135, True), (134, False)):
        limited = planned(load_config(None, flags={"training.max_epochs": epochs}), quick)
        assert (limited["training.rdrop"] > 0) == agrees
        assert limited["training.max_steps"] == 100 * epochs
    twice = planned(load_config(None, flags={"training.rdrop": 5, "training.max_time": "5m"}), PACE)
    assert twice["training.max_steps"] == pytest.approx(1.5 * 0.9 * 300 / 0.2, abs=1)  # each step takes as long as two


@pytest.mark.parametrize(
    ("passes", "pairs", "dropout"),
    [
        (1, 10_000, 0.0), (3, 10_000, 0.1), (19, 10_000, 0.1), (21, 10_000, 0.2), (59, 10_000, 0.2), (61, 10_000, 0.3),
        (19, 2_500, 0.2), (31, 2_500, 0.3), (59, 90_000, 0.1), (61, 90_000, 0.2), (5, 100_000, 0.0),
        (500, 100_000, 0.1),
    ],
)  # fmt: skip
def test_pairs_that_are_read_often_take_more_dropout(passes: int, pairs: int, dropout: float) -> None:
    flags = {"training.max_steps": passes * 100, "training.rdrop": 0}
    assert planned(load_config(None, flags=flags), PACE._replace(pairs=pairs))["model.dropout"] == dropout
    flags |= {"model.dropout": 0.25}
    assert "model.dropout" not in planned(load_config(None, flags=flags), PACE._replace(pairs=pairs))


def test_limits_set_by_hand_hold() -> None:
    found = planned(load_config(None, flags={"training.max_steps": 70, "training.max_time": "2h"}))
    assert not {"training.max_steps", "training.max_time"} & found.keys()
    assert found["training.warmup"] == 7
    assert planned(load_config(None, flags={"training.max_epochs": 3}))["training.max_steps"] == 300
    assert planned(load_config(None, flags={"model.type": "rnn"}))["training.learning_rate"] == 1.5e-3
    assert planned(load_config(None, flags={"model.preset": "base"}))["training.learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("tokens", "accumulate", "rate"),
    [(512, 1, 2e-3), (512, 2, 2.83e-3), (512, 4, 4e-3), (4096, 1, 4e-3), ("auto", 1, 4e-3)],
)
def test_small_batches_have_lower_rates(tokens: int | str, accumulate: int, rate: float) -> None:
    flags = {"model.dim": 128, "training.batch_tokens": tokens, "training.accumulate": accumulate}
    assert planned(load_config(None, flags=flags))["training.learning_rate"] == rate


def test_all_that_is_scheduled_is_known() -> None:
    """So that a config with all of it is not timed in vain."""
    config = apply(Config(), schedule(Config(), CPU, PACE))
    assert is_scheduled(config)
    assert not is_scheduled(config.model_copy(update={"model": Config().model})), "dropout"
    for name in config.training.model_fields_set:
        given = config.training.model_fields_set - {name}
        training = config.training.model_construct(given, **config.training.model_dump())
        assert not is_scheduled(config.model_copy(update={"training": training})), name


def test_more_passes_are_more_steps() -> None:
    config = load_config(None, flags={"training.recipe": "auto", "training.max_epochs": 3})
    before = apply(config, schedule(config, CPU, PACE))
    more = load_config(None, flags={"training.recipe": "auto", "training.max_epochs": 6, "training.max_time": "9h"})
    assert recalled(more, before).training.max_steps == 2 * before.training.max_steps
    assert recalled(config, before) == before


def test_a_longer_time_is_more_steps() -> None:
    config = load_config(None, flags={"training.recipe": "auto", "training.max_time": "1h"})
    before = apply(config, schedule(config, CPU, PACE))
    again = recalled(config, before)
    assert again == before
    longer = recalled(load_config(None, flags={"training.recipe": "auto", "training.max_time": "2h"}), before)
    assert longer.training.max_steps == 2 * before.training.max_steps
    fixed = load_config(None, flags={"training.max_time": "2h", "training.max_steps": 5})
    assert recalled(fixed, before).training.max_steps == 5


def recalled(config: Config, before: Config) -> Config:
    return recall(config, before, {})[0]


def test_of_the_reasons_those_stay_that_still_hold() -> None:
    config = load_config(None, flags={"training.recipe": "auto", "training.max_time": "1h"})
    choices = schedule(config, CPU, PACE)
    before, reasons = apply(config, choices), {choice.key: choice.reason for choice in choices}
    assert recall(config, before, reasons) == (before, reasons)
    longer = load_config(None, flags={"training.recipe": "auto", "training.max_time": "2h", "training.warmup": 7})
    _, hold = recall(longer, before, reasons)
    assert set(reasons) - set(hold) == {"training.warmup"}
    assert hold["training.max_steps"] == "2 times as many as before, as the limit is"
    fixed = load_config(None, flags={"training.recipe": "auto", "training.max_time": "2h", "training.max_steps": 5})
    assert "training.max_steps" not in recall(fixed, before, reasons)[1], "it is not the recipe's any more"


@pytest.mark.parametrize(("option", "found"), [("length_penalty", 1.4), ("beam_size", 10)])
def test_what_was_tuned_is_tuned_anew_from_the_usual(option: str, found: float) -> None:
    key, tune = f"search.{option}", f"training.tune_{option}"
    before = load_config(None, flags={"training.recipe": "auto", tune: "true", key: found})
    usual = Config().search.model_dump()[option]
    again, hold = recall(Config(), before, {tune: "it differs", key: BEST})
    assert (again.search.model_dump()[option], hold) == (usual, {tune: "it differs"})
    assert recall(Config(), before, {tune: "it differs"})[0].search == before.search, "it was set by hand"
    given = load_config(None, flags={key: 3})
    again, hold = recall(given, before, {tune: "it differs", key: BEST})
    assert (again.search.model_dump()[option], again.training.model_dump()[f"tune_{option}"], hold) == (3, False, {})


@pytest.mark.parametrize(("limit", "steps"), [({"max_steps": 10**9}, 10**9), ({"max_epochs": 10**5}, 10**7)])
def test_who_says_how_much_gets_it_however_long_it_takes(limit: dict[str, int], steps: int) -> None:
    config = load_config(None, flags={f"training.{key}": value for key, value in limit.items()})
    pace = Pace(29_000, 100.0, 1.0)
    found = apply(config, schedule(config, CPU, pace)).training
    assert (found.max_time, found.max_steps) == (None, steps)
    assert hurry(config, CPU, pace, ["model.dim", "training.batch_tokens"]) == []
    timed = load_config(None, flags={"training.max_time": "1h", **{f"training.{key}": v for key, v in limit.items()}})
    assert apply(timed, schedule(timed, CPU, pace)).training.max_time == 3600


def test_passes_in_both_directions_have_twice_the_steps() -> None:
    flags = {"training.max_epochs": 6, "training.rdrop": 0}
    usual = planned(load_config(None, flags=flags))["training.max_steps"]
    assert usual == 600
    for both, steps in ((2, 800), (9, 1200)):
        found = planned(load_config(None, flags={**flags, "training.both_directions": both}))
        assert found["training.max_steps"] == steps
    given = {"training.max_steps": 1000, "training.both_directions": 2}
    assert planned(load_config(None, flags=given))["training.warmup"] == 100


def test_what_is_cleaned_away_does_not_count() -> None:
    """Of 12,000 pairs of which half are copies 6,000 are learnt from."""
    dirty = replace(corpus(12_000), faults={"a copy": 0.5})
    assert chosen(dirty)["training.batch_tokens"] == chosen(corpus(6_000))["training.batch_tokens"] == 1024
    kept = load_config(None, flags={"data.clean": "false"})
    assert chosen(dirty, config=kept)["training.batch_tokens"] == 4096
    assert "6,000 pairs" in next(c.reason for c in choose(Config(), dirty, CPU) if c.key == "tokenizer.vocab_size")


WIDE = {"model.dim": 256, "training.batch_tokens": 4096, "training.max_time": "1h"}

SHAPE = [f"model.{name}" for name in ("dim", "encoder_layers", "decoder_layers", "heads", "feed_forward")]


def hurried(
    pace: Pace, machine: Machine = CPU, chosen: Sequence[str] = (*SHAPE, *WIDE), **given: Any
) -> dict[str, Any]:
    config = load_config(None, flags={**WIDE, **{f"training.{key}": value for key, value in given.items()}})
    return {choice.key: choice.value for choice in hurry(config, machine, pace, chosen)}


def test_a_wide_model_takes_time_for_five_passes() -> None:
    """In nine tenths of an hour, 3,240 seconds."""
    slow, fast = Pace(200_000, 1_000.0, 3_240 / 4_900), Pace(200_000, 1_000.0, 3_240 / 5_100)
    assert hurried(slow) == {
        "model.dim": 128, "model.encoder_layers": 4, "model.decoder_layers": 4, "model.heads": 4,
        "model.feed_forward": 256,
    }  # fmt: skip
    assert "model.dim" not in hurried(fast)
    assert "model.dim" not in hurried(slow, chosen=["training.batch_tokens"]), "a width that is given stays"
    assert "model.encoder_layers" not in hurried(slow, chosen=SHAPE[:1]), "and so does a number of layers"
    assert hurried(slow, GPU) == {}


def test_a_narrow_model_stays_as_it_is() -> None:
    slow = Pace(200_000, 1_000.0, 1.0)
    config = load_config(None, flags={**WIDE, "model.dim": 128})
    assert "model.dim" not in {choice.key for choice in hurry(config, CPU, slow, [*SHAPE, *WIDE])}
    assert "model.dim" in {choice.key for choice in hurry(load_config(None, flags=WIDE), CPU, slow, [*SHAPE, *WIDE])}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
@pytest.mark.parametrize(("part", "tokens"), [(1.0, None), (0.9999, 2048), (0.5, 2048), (0.4999, 1024), (0.001, 1024)])
def test_batches_are_halved_until_enough_steps_fit(part: float, tokens: int | None, optimizer: str) -> None:
    """Of a corpus of which 20 passes are enough, of some that are wanted, or of a pass that is cut short."""
    steps, how = round(part * {"adam": 10_000, "adamw": 10_000, "muon": 3_000}[optimizer], 1), {"optimizer": optimizer}
    pace = Pace(587_250, steps / 20, 1e-6)
    assert hurried(pace, **how).get("training.batch_tokens") == tokens
    assert hurried(pace, GPU, **how) == {}, "which has no use for small ones"
    assert hurried(pace, chosen=["model.dim"], **how) == {}, "a batch that is given stays"
    assert hurried(pace, max_steps=100, **how) == {}, "which would hold less"
    short = pace._replace(steps_per_epoch=steps / 7)
    assert hurried(short, max_epochs=7, **how).get("training.batch_tokens") == tokens
    hasty = Pace(587_250, 10_000.0, 3_240 * (1 - 1e-9) / steps)
    assert hurried(hasty, chosen=["training.batch_tokens"], **how).get("training.batch_tokens") == tokens


@pytest.mark.parametrize(("limit", "validations"), [("1m", 1), ("8m", 4), ("19m", 9), ("3h", 10)])
def test_validations_take_no_great_part_of_a_short_time(limit: str, validations: int) -> None:
    """A model that has learnt next to nothing translates slowly."""
    found = planned(load_config(None, flags={"training.max_time": limit}), PACE._replace(seconds_per_step=1e-3))
    assert found["training.valid_every"] == round(found["training.max_steps"] / validations)


# ---- the command --------------------------------------------------------------------------------------------------


def nmt(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nmt", *map(str, words)], capture_output=True, text=True)


SMALL = [
    word
    for setting in ("model.dim=16", "model.heads=2", "model.feed_forward=16", "model.encoder_layers=1",
                    "model.decoder_layers=1", "tokenizer.vocab_size=290", "training.threads=1", "training.device=cpu",
                    "search.max_length_offset=2", "search.beam_size=2")
    for word in ("--set", setting)
]  # fmt: skip


def test_a_measurement_has_the_recipe_of_the_device_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    config = load_config(None, flags={"data.train": write_corpus(tmp_path), "training.recipe": "auto"})
    found = bench.prepare(config, None, tmp_path, "cpu").config
    assert (found.training.optimizer, found.model.embeddings) == ("muon", ("lsa",)), "as on a CPU"


@pytest.mark.slow
def test_two_files_are_enough_and_choices_are_told_and_kept(tmp_path: Path) -> None:
    files = write_corpus(tmp_path, 200)
    run = tmp_path / "run"
    valid = [word for file in write_corpus(tmp_path, 20, "valid", 2) for word in ("--valid", file)]
    given = [*valid, *SMALL, "--max-steps", 20, "--max-time", "2m"]
    first = nmt("train", *files, "-o", run, *given)
    assert first.returncode == 0, first.stderr
    tree = yaml.safe_load((run / "config.yaml").read_text())
    assert "training.max_steps" not in tree["recipe"]
    for key in ("data.clean", "tokenizer.shared", "model.dropout", "training.learning_rate", "training.schedule"):
        assert f"  {key} " in first.stderr
        assert tree["recipe"][key] in first.stderr
    assert (tree["data"]["clean"], tree["training"]["schedule"], tree["model"]["dim"]) == (True, "cosine", 16)
    assert "length penalty" in first.stderr
    again = nmt("train", *files, "-o", run, *given)
    assert (again.returncode, "finished" in again.stderr) == (0, True)
    weights = (run / "model.safetensors").read_bytes()
    repeated = nmt("train", run / "config.yaml", "-o", tmp_path / "other")
    assert repeated.returncode == 0, repeated.stderr
    assert "the recipe" not in repeated.stderr  # nothing is left to choose
    assert (tmp_path / "other" / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_another_option_is_another_run(tmp_path: Path) -> None:
    files, run = write_corpus(tmp_path, 200), tmp_path / "run"
    words = ["train", *files, "-o", run, *SMALL, "--max-steps", 2, "--max-time", "2m"]
    assert nmt(*words).returncode == 0
    other = nmt(*words, "--set", "model.dropout=0.01")
    assert other.returncode == 2
    assert "model.dropout" in other.stderr


@pytest.mark.slow
def test_a_run_goes_on_with_a_beam_that_is_given(tmp_path: Path) -> None:
    """Nothing is tuned then, which makes it no other run."""
    files, run = write_corpus(tmp_path, 200), tmp_path / "run"
    valid = [word for file in write_corpus(tmp_path, 20, "valid", 2) for word in ("--valid", file)]
    words = ["train", *files, "-o", run, *valid, *SMALL[:-2], "--max-time", "2m"]
    first = nmt(*words, "--max-steps", 2)
    assert (first.returncode, first.stderr.count("BLEU on validation pairs")) == (0, 2), first.stderr
    again = nmt(*words, "--max-steps", 4, "--set", "search.beam_size=3", "--set", "search.length_penalty=0.7")
    assert (again.returncode, again.stderr.count("BLEU on validation pairs")) == (0, 0), again.stderr
    assert "resuming at step 2" in again.stderr
    search = load_config(run / "config.yaml").search
    assert (search.beam_size, search.length_penalty) == (3, 0.7)


@pytest.mark.slow
def test_a_config_and_a_start_from_another_model_are_as_they_say(tmp_path: Path) -> None:
    files, run = write_corpus(tmp_path, 60), tmp_path / "run"
    plain = nmt("train", *files, "-o", run, *SMALL, "--max-steps", 2, "--set", "training.recipe=none")
    assert plain.returncode == 0
    assert "the recipe" not in plain.stderr
    spaced = nmt("train", *files, "-o", tmp_path / "spaced", *SMALL, "--max-steps", 1, "--set", "training.recipe =none")
    assert (spaced.returncode, "the recipe" in spaced.stderr) == (0, False), spaced.stderr
    asked = ("--set", "training.recipe=auto", "--set", "training.device=cpu", "--max-steps", 1)
    auto = nmt("train", *files, "-o", tmp_path / "auto", "--from", run, *asked)
    assert (auto.returncode, "the recipe" in auto.stderr, "begin near" in auto.stderr) == (0, True, False), auto.stderr
    tuned = nmt(
        "train", *files, "-o", tmp_path / "tuned", "--from", run, "--max-steps", 2, "--set", "training.device=cpu"
    )
    assert tuned.returncode == 0, tuned.stderr
    assert "the recipe" not in tuned.stderr
    recurrent = ("--set", "training.device=cpu", "--set", "training.recipe=none", "--max-steps", 1)
    shape = [word for name in ("dim=16", "embedding=16") for word in ("--set", f"model.{name}")]
    first = nmt("train", *files, "-o", tmp_path / "rnn", "--set", "model.type=rnn", *shape, *recurrent)
    assert first.returncode == 0, first.stderr
    words = ("-o", tmp_path / "less", "--from", tmp_path / "rnn", "--set", "model.dropout=0.4", *recurrent)
    less = nmt("train", *files, *words)
    assert less.returncode == 0, less.stderr
    assert load_config(tmp_path / "less" / "config.yaml").model.dropout == 0.4


@pytest.mark.slow
def test_where_time_is_short_the_learning_rate_falls_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that was timed at ten thousand times its speed; all of it as a user has it but for that."""
    monkeypatch.setattr("nmt.training.pace.measure", lambda *parts: Pace(60, 100.0, 1e-5))
    files = write_corpus(tmp_path, 60)
    for name, given in (
        ("planned", {"training.warmup": 3}),
        ("given", {"training.max_steps": 200_000, "training.max_epochs": 20_000}),
    ):
        run = tmp_path / name
        flags = {"data.train": files, "training.recipe": "auto", "training.max_time": "12s", "training.log_every": 5}
        flags.update(given)
        told = run_training(run, load_config(None, [word for word in SMALL if word != "--set"], flags))
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rates = [record["learning_rate"] for record in records if record["kind"] == "train"]
        assert "training ended: max_time 12 s" in told
        assert (rates[-1] < 0.05 * max(rates)) == (name == "planned"), rates
        assert len(rates) > 5
        kept = load_config(run / "config.yaml").training
        assert (kept.max_steps < 30_000, kept.max_time) == (name == "planned", 12), "what there was time for"
        assert kept.max_steps == pytest.approx(records[-1]["step"], rel=0.05) or name == "given"
        assert (kept.warmup == 3) == (name == "planned"), "and what was set"
        same = load_config(None, [word for word in SMALL if word != "--set"], flags)
        assert "finished; to go on" in run_training(run, same), "with the same words it is the same run"
    again = load_config(tmp_path / "planned" / "config.yaml", ["training.max_time=30s"])
    told = run_training(tmp_path / "again", again)
    assert f"training ended: max_steps {again.training.max_steps};" in told, "repeated, it ends where its rate does"
    more = {**flags, "training.max_steps": 300_000, "training.max_time": "16s"}
    more.pop("training.max_epochs")
    told = run_training(tmp_path / "planned", load_config(None, [word for word in SMALL if word != "--set"], more))
    assert "training ended: max_time 16 s;" in told  # what is given is not shortened, whoever chose it before


@pytest.mark.parametrize(
    ("limit", "said"), [("12s", "about 12s here"), ("10m", "about 10m here"), ("1.5h", "about 1.5h here")]
)
def test_the_time_is_said_in_its_own_unit(limit: str, said: str) -> None:
    plan = schedule(Config.model_validate({"training": {"max_time": limit}}), CPU, PACE)
    reason = next(choice.reason for choice in plan if choice.key == "training.max_steps")
    assert said in reason
    assert "with --max-time" in reason


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_pieces_are_counted_where_there_are_pieces(kind: str) -> None:
    config = Config.model_validate({"tokenizer": {"type": kind}})
    assert ("tokenizer.vocab_size" in chosen(corpus(), CPU, config)) == (kind in ("unigram", "bpe"))


def test_all_that_cleaning_drops_is_a_hundred_percent() -> None:
    nothing = replace(corpus(1000), faults={"repeated": 1.0})
    reason = next(choice.reason for choice in choose(Config(), nothing, CPU) if choice.key == "data.clean")
    assert reason.startswith("drops 100 % of the pairs")
