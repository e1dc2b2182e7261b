"""Searches whose steps are recorded find what they find without; where no GPU is, a recording does its work again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from every_model import MODELS
from torch import nn

from nmt import graphs
from nmt.batches import EOS, UNK, Padded, pad
from nmt.config import SearchConfig
from nmt.configfile import load_config
from nmt.models import Model, build, past
from nmt.models.ensemble import Ensemble
from nmt.search import Hypothesis, Requests, beam, recorded, search

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VOCABULARY = 40


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return made(request.param)


def made(name: str, seed: int = 1) -> Model:
    torch.manual_seed(seed)
    config = load_config(None, flags=dict(MODELS[name]))
    model = build(config.model, VOCABULARY, VOCABULARY, shared=True).eval()
    for weights in model.parameters():  # no hypothesis is as good as another, and none chaotic
        nn.init.normal_(weights, std=0.1)
    return model.to(DEVICE)


@pytest.fixture
def recording(recording: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Look at what has finished sooner, and forget what was recorded."""
    monkeypatch.setattr(past, "GROWING", set())  # a cache that grows is another one: not where steps are recorded
    monkeypatch.setattr(beam, "POLL", {DEVICE: 3})
    yield recording
    recorded._own.recordings.clear()


def sources(count: int, seed: int) -> Padded:
    lengths = torch.randint(3, 14, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn = [torch.randint(4, VOCABULARY, (n,), generator=torch.Generator().manual_seed(seed + n)) for n in lengths]
    padded = pad([ids.numpy() for ids in drawn], eos=True)
    return Padded(padded.ids.to(DEVICE), padded.lengths)


def plain(model: Any, source: Padded, options: SearchConfig, **how: Any) -> list[list[Hypothesis]]:
    devices, graphs.DEVICES = graphs.DEVICES, set[str]()
    try:
        return search(model, source, options, **how)
    finally:
        graphs.DEVICES = devices


def same(one: list[list[Hypothesis]], other: list[list[Hypothesis]]) -> None:
    assert [[found.ids for found in row] for row in one] == [[found.ids for found in row] for row in other]
    expected = [found.score for row in other for found in row]
    assert [found.score for row in one for found in row] == pytest.approx(expected, rel=1e-5)


def test_recorded_steps_find_the_same(model: Model, recording: list[Any]) -> None:
    options = SearchConfig(beam_size=3, n_best=2)
    for seed in (1, 2, 3):
        same(search(model, sources(9, seed), options), plain(model, sources(9, seed), options))
    assert recording


def test_batches_of_the_same_shapes_are_recorded_once(recording: list[Any]) -> None:
    model = made("transformer")
    options = SearchConfig(beam_size=2, max_length_ratio=1, max_length_offset=0)
    for seed in (1, 2, 1):
        source = sources(1, seed)
        same(search(model, source, options), plain(model, source, options))
        count = len(recording)
    again = len(recording)
    search(model, sources(1, 2), options)
    assert (count, again, len(recording)) == (1, 1, 1)


def test_recordings_for_other_options_are_others(recording: list[Any]) -> None:
    model, source = made("transformer"), sources(4, 5)
    for options in (
        SearchConfig(beam_size=4, n_best=4, length_penalty=1.5),
        SearchConfig(beam_size=4, n_best=1, length_penalty=1.5),
        SearchConfig(beam_size=4, n_best=4, length_penalty=0.0),
        SearchConfig(beam_size=1),
    ):
        same(search(model, source, options), plain(model, source, options))
    assert len(recording) >= 4


def test_what_may_be_produced_is_not_taken_from_another_recording(recording: list[Any]) -> None:
    model, source, options = made("transformer"), sources(6, 5), SearchConfig(beam_size=3)
    likely = search(model, source, options)[0][0].ids[-1]
    with torch.no_grad():
        model.output.weight[UNK] = 2 * model.output.weight[likely]
    for allowed in (False, True):
        how = Requests(allow_unk=allowed)
        found = search(model, source, options, requests=how)
        same(found, plain(model, source, options, requests=how))
        assert any(UNK in best[0].ids for best in found) == allowed


def test_rules_for_some_steps_hold_between_recorded_ones(recording: list[Any]) -> None:
    model, source = made("transformer"), sources(3, 7)
    prefixes = Requests(prefixes=[(5, 6, 7, 8), (), (9,)])
    likely = search(model, source, SearchConfig(beam_size=3))[0][0].ids[-1]
    with torch.no_grad():
        model.output.weight[EOS] = model.output.weight[likely]  # it ends early
    for options in (SearchConfig(beam_size=3, min_length=9), SearchConfig(beam_size=3, no_repeat_ngram=2)):
        same(search(model, source, options), plain(model, source, options))
        found = search(model, source, options, requests=prefixes)
        same(found, plain(model, source, options, requests=prefixes))
        assert found[0][0].ids[:4] == (5, 6, 7, 8)
    assert recording


def test_an_ensemble_is_recorded_as_one(recording: list[Any]) -> None:
    both = Ensemble([made("transformer", 1), made("gru-additive", 2)])
    options = SearchConfig(beam_size=3)
    same(search(both, sources(5, 3), options), plain(both, sources(5, 3), options))
    assert recording


def test_what_is_drawn_is_not_recorded(recording: list[Any]) -> None:
    model, options = made("transformer"), SearchConfig(sample=True, n_best=3, seed=4)
    same(search(model, sources(5, 3), options), plain(model, sources(5, 3), options))
    assert not recording


def test_there_is_room_for_some_recordings(recording: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "ROOM", 1)
    model = made("transformer")
    for count in (2, 3, 2):
        options = SearchConfig(beam_size=3)
        same(search(model, sources(count, 1), options), plain(model, sources(count, 1), options))
    assert len(recording) >= 3
    assert not recorded._own.recordings[model]


def test_recordings_go_with_their_model(recording: list[Any]) -> None:
    model = made("transformer")
    search(model, sources(4, 1), SearchConfig())
    assert len(recorded._own.recordings) == 1
    if DEVICE == "cuda":  # elsewhere the recording is the step itself, which has the model
        del model
        gc.collect()
        assert not recorded._own.recordings


def test_what_is_recorded_does_not_run() -> None:
    device, total = torch.device(DEVICE), torch.zeros(1, device=DEVICE)

    def add() -> None:
        total.add_(1)

    add()
    again = graphs.record(add, device)
    assert float(total) == 1
    again(), again()
    assert float(total) == 3


def test_padding_more_changes_nothing(model: Model) -> None:
    source, options = sources(4, 9), SearchConfig(beam_size=3)
    wider = Padded(torch.nn.functional.pad(source.ids, (0, 5)), source.lengths)
    same(search(model, wider, options), search(model, source, options))
