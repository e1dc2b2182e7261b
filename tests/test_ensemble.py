"""The laws of ensembles: one model that averages probabilities, for search, for the translator and for the commands."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lookup import Lookup, at_most, pad, random_sources
from runs import PAIRS, SHORT, learnt, tiny_config, weights_of, write_run
from safetensors.torch import load_file
from torch import Tensor

import nmt as package
from nmt import shortlist
from nmt.batches import BOS, EOS, Padded
from nmt.cli import run as nmt
from nmt.config import Config, ModelConfig, RecurrentConfig, SearchConfig, TransformerConfig
from nmt.errors import ModelError, OptionError
from nmt.models import Model, build
from nmt.models.ensemble import Ensemble, log_mean, together
from nmt.models.interface import select, take
from nmt.search import Requests, search
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.translate import Extras, Translator

SOURCES = [source for source, _ in PAIRS]
LISTS = SHORT.model_copy(update={"n_best": 2})
VOCAB, TIME, BEAM = 13, 9, 3  # more steps than the Transformer's cache first has room for
SHAPES: dict[str, ModelConfig] = {
    "transformer": TransformerConfig(dim=8, heads=2, feed_forward=12, encoder_layers=2, decoder_layers=2),
    "rotary": TransformerConfig(
        dim=12, heads=2, feed_forward=8, encoder_layers=1, decoder_layers=1, positions="rotary"
    ),
    "gru": RecurrentConfig(embedding=6, dim=8),
    "lstm": RecurrentConfig(cell="lstm", attention="general", input_feeding=True, embedding=6, dim=10),
    "vector": RecurrentConfig(attention="none", embedding=6, dim=8),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)


def members(*names: str) -> list[Model]:
    """Models in float64, with weights large enough that they disagree."""
    models = [build(SHAPES[name], VOCAB, VOCAB, shared=True).double().eval() for name in names]
    for parameter in (each for model in models for each in model.parameters()):
        torch.nn.init.normal_(parameter.data, mean=parameter.data.mean().item(), std=0.4)
    return models


def sources() -> Padded:
    return pad([[4, 5, 6, 7], [8], [9, 4, 11]])


def words(*shape: int) -> Tensor:
    ids = torch.randint(EOS + 1, VOCAB, shape)
    ids[..., 0] = BOS
    return ids


# ---- the model --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_step_is_the_logarithm_of_the_mean_probability() -> None:
    parts, source, tokens = members("transformer", "gru", "lstm"), sources(), words(3, BEAM)
    ensemble = Ensemble(parts)
    memory = ensemble.encode(source)
    found, _ = ensemble.step(tokens, ensemble.start(memory, BEAM, TIME), memory)
    memories = [member.encode(source) for member in parts]
    each = [
        member.step(tokens, member.start(own, BEAM, TIME), own)[0].softmax(-1)
        for member, own in zip(parts, memories, strict=True)
    ]
    torch.testing.assert_close(found, (sum(each) / 3).log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, BEAM).double(), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(
    "names", [("transformer", "gru"), ("lstm", "rotary", "vector"), ("transformer",)], ids="-".join
)
def test_step_equals_forward_whatever_was_selected_or_left(names: tuple[str, ...]) -> None:
    ensemble, source = Ensemble(members(*names)), sources()
    tokens = words(3, BEAM, TIME)
    memory = ensemble.encode(source)
    state, histories = ensemble.start(memory, BEAM, TIME), tokens[:, :, :0]
    for time in range(TIME):
        if time == 6:  # the second sentence has ended
            rows = torch.tensor([0, 2])
            memory, state, histories, tokens = take((memory, state, histories, tokens), rows)
            source = Padded(source.ids[rows], source.lengths[rows])
        parents = torch.randint(0, BEAM, histories.shape[:2])
        state = select(state, parents)
        histories = histories.gather(1, parents[..., None].expand_as(histories))
        histories = torch.cat((histories, tokens[:, :, time : time + 1]), dim=2)
        found, state = ensemble.step(tokens[:, :, time], state, memory)
        for slot in range(BEAM):
            expected = ensemble(source, histories[:, slot])[:, -1]
            torch.testing.assert_close(found[:, slot], expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mean_of_half_precision_is_taken_in_fp32(dtype: torch.dtype) -> None:
    logits = [(3 * torch.randn(4, 500)).to(dtype) for _ in range(3)]
    exact = torch.stack([each.double().softmax(-1) for each in logits]).mean(0).log()
    found = log_mean(logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)


def test_what_no_member_thinks_likely_is_possible_still() -> None:
    assert torch.isfinite(log_mean([torch.tensor([0.0, -200.0])] * 2)).all()
    assert torch.isnan(log_mean([torch.tensor([0.0, 1.0]), torch.tensor([0.0, math.nan])])).all()


@torch.no_grad()
def test_attention_is_the_mean_of_those_who_attend() -> None:
    parts, source, tokens = members("transformer", "vector", "gru"), sources(), words(3, TIME)
    found = Ensemble(parts).attention(source, tokens)
    transformer, gru = (parts[place].attention(source, tokens)["cross"] for place in (0, 2))
    assert set(found) == {"cross"}
    expected = (transformer.mean((1, 2)) + gru[:, 0, 0]) / 2
    torch.testing.assert_close(found["cross"][:, 0, 0].double(), expected, rtol=0, atol=1e-6)
    assert Ensemble(members("vector", "vector")).attention(source, tokens) == {}


# ---- search -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_wide_beam_finds_what_is_best_on_average() -> None:
    """The best of all outputs by the mean of probabilities is that of no member alone."""
    parts, differing = [Lookup(seed, end=-0.5) for seed in (1, 2, 3)], 0
    for ids in random_sources(8, 5):
        source = pad([ids])
        (found,) = search(Ensemble(parts), source, at_most(3, beam_size=100, length_penalty=0))
        scores = {
            output: _forced(parts, source, output)
            for length in range(4)
            for output in itertools.product(parts[0].words, repeat=length)
        }
        best = max(scores, key=lambda output: scores[output])
        assert found[0].ids == best
        assert found[0].log_probability == pytest.approx(scores[best], abs=1e-9)
        differing += all(
            search(part, source, at_most(3, beam_size=100, length_penalty=0))[0][0].ids != best for part in parts
        )
    assert differing


def _forced(parts: list[Lookup], source: Padded, output: tuple[int, ...]) -> float:
    """The logarithm of an output's mean probability token by token; at three tokens the end is certain to come."""
    target = torch.tensor([[BOS, *output]])
    mean = sum(part(source, target)[0].softmax(-1) for part in parts) / len(parts)
    return sum(math.log(float(row[token])) for row, token in zip(mean, [*output, EOS], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_a_model_with_itself_is_the_model(name: str, times: int) -> None:
    (model,) = members(name)
    options = SearchConfig(beam_size=4, n_best=4, max_length_ratio=1, max_length_offset=5)
    alone = search(model, sources(), options)
    for mine, expected in zip(search(Ensemble([model] * times), sources(), options), alone, strict=True):
        assert [each.ids for each in mine] == [each.ids for each in expected]
        assert [each.score for each in mine] == pytest.approx([each.score for each in expected], abs=1e-5)


def test_attention_of_a_hypothesis_is_that_of_the_ensemble() -> None:
    ensemble = Ensemble(members("transformer", "gru"))
    options = SearchConfig(beam_size=2, max_length_ratio=1, max_length_offset=5)
    for (found,), length in zip(
        search(ensemble, sources(), options, requests=Requests(attention=True)), sources().lengths.tolist(), strict=True
    ):
        assert found.attention is not None
        assert found.attention.shape == (len(found.ids) + 1, length)
        torch.testing.assert_close(found.attention.sum(1), torch.ones(len(found.ids) + 1), rtol=0, atol=1e-5)


def test_one_model_needs_no_ensemble() -> None:
    first, second = members("gru", "lstm")
    assert together([first]) is first
    assert isinstance(together([first, second]), Ensemble)


# ---- the translator ---------------------------------------------------------------------------------------------


def recurrent(kind: str = "unigram", **options: Any) -> Config:
    return tiny_config(kind).model_copy(update={"model": RecurrentConfig(embedding=8, dim=8, **options)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: two Transformers and a recurrent model with one tokenizer, and one of another."""
    folder = tmp_path_factory.mktemp("ensemble")
    for name, config in (
        ("a", tiny_config()),
        ("b", tiny_config()),
        ("rnn", recurrent()),
        ("words", tiny_config("word")),
    ):
        write_run(folder / "runs" / name, config, seed=len(name), has_shortlist=name != "b")
    checkpoint.finish(folder / "runs" / "b", weights_of(folder / "runs" / "b", 5))
    (folder / "input").write_text("".join(f"{line}\n" for line in [*SOURCES, "", "Unheard of words."]))
    (folder / "reference").write_text("".join(f"{line}\n" for _, line in PAIRS))
    (folder / "source").write_text("".join(f"{line}\n" for line in SOURCES))
    return folder


def loaded(folder: Path, *names: str, **options: Any) -> Translator:
    return Translator.load([folder / "runs" / name for name in names], device="cpu", threads=1, **options)


def texts(translator: Translator, options: SearchConfig = LISTS, lines: list[str] = SOURCES) -> list[list[str]]:
    found = translator.translate_block(lines, options)
    return [[output.text for output in translation.hypotheses] for translation in found]


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ("rnn", "rnn", "rnn")], ids="-".join)
def test_twice_the_same_run_translates_as_once(folder: Path, names: tuple[str, ...]) -> None:
    alone = Translator.load(folder / "runs" / names[0], device="cpu", threads=1).translate_block(SOURCES, LISTS)
    for mine, expected in zip(loaded(folder, *names).translate_block(SOURCES, LISTS), alone, strict=True):
        assert [output.text for output in mine.hypotheses] == [output.text for output in expected.hypotheses]
        assert mine.score == pytest.approx(expected.score, abs=1e-5)


def test_members_that_differ_say_something_else(folder: Path) -> None:
    both = texts(loaded(folder, "a", "rnn"))
    assert both != texts(loaded(folder, "a"))
    assert both != texts(loaded(folder, "rnn"))
    assert both == texts(loaded(folder, "rnn", "a"))


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
def test_neighbours_and_batch_size_change_nothing(folder: Path, batch_tokens: int) -> None:
    translator = loaded(folder, "a", "rnn")
    lines = [*SOURCES, "", *SOURCES[:2], "A dog. " * 8]
    all_of_them = translator.translate_block(lines, SHORT.model_copy(update={"batch_tokens": batch_tokens}))
    for line, translation in zip(lines, all_of_them, strict=True):
        (alone,) = translator.translate_block([line], SHORT)
        assert translation.text == alone.text
        assert translation.score == pytest.approx(alone.score, abs=1e-4)


@pytest.mark.slow
def test_processes_translate_as_one_thread_does(folder: Path) -> None:
    lines, extras = [*SOURCES, "", *SOURCES], Extras(alignments=True)
    small = LISTS.model_copy(update={"batch_tokens": 16})
    expected = loaded(folder, "a", "rnn").translate_block(lines, small, extras)
    paths = [folder / "runs" / name for name in ("a", "rnn")]
    assert Translator.load(paths, device="cpu", threads=2, fork=True).translate_block(lines, small, extras) == expected


def test_a_line_is_split_for_the_member_that_reads_least(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "short", tiny_config(max_length=10))
    paths = [folder / "runs" / "a", tmp_path / "short"]
    for order in (paths, paths[::-1]):
        (found,) = Translator.load(order, device="cpu", threads=1).translate_block(["Dogs run. Dogs run."], SHORT)
        assert found.parts == 2


@pytest.mark.slow
def test_a_shortlist_is_that_of_the_first_for_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 1)
    few, tokenizers = loaded(folder, "a", "b", "rnn", shortlist=True), Tokenizers.load(folder / "runs" / "a")
    listed = learnt(tokenizers)
    for source in SOURCES:
        ids = listed.of(torch.tensor([*tokenizers.source.encode([source])[0], EOS])).tolist()
        (found,) = few.translate_block([source], LISTS)
        assert {piece for output in found.hypotheses for piece in output.pieces} <= set(tokenizers.target.pieces(ids))
    assert texts(few) != texts(loaded(folder, "a", "b", "rnn"))
    monkeypatch.setattr(shortlist, "MULTIPLE", 10_000)
    assert texts(few) == texts(loaded(folder, "a", "b", "rnn"))
    with pytest.raises(ModelError, match=r"b: has no shortlist\.safetensors"):
        loaded(folder, "b", "a", shortlist=True)


def test_other_tokenizers_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"words: its tokenizer is not that of .*a; give models trained on the same"):
        loaded(folder, "a", "words")


def test_models_of_another_direction_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    run, turned = folder / "runs" / "a", tmp_path / "turned"
    shutil.copytree(run, turned)
    config = checkpoint.load_config(run)
    there = config.data.source_lang, config.data.target_lang
    data = config.data.model_copy(update={"source_lang": there[1], "target_lang": there[0]})
    checkpoint.save_config(turned, config.model_copy(update={"data": data}), {})
    checkpoint.finish(turned, load_file(run / checkpoint.WEIGHTS))
    with pytest.raises(ModelError, match=rf"turned: translates {there[1]} to {there[0]}, not {' to '.join(there)} as"):
        list(checkpoint.load_models([run, turned], torch.device("cpu")))
    assert len(list(checkpoint.load_models([turned, turned], torch.device("cpu")))) == 2


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match="no model is named; give a run folder, or several for an ensemble"):
        package.load([])


# ---- the commands -----------------------------------------------------------------------------------------------

OPTIONS = ("--max-length-ratio", "0.5", "--max-length-offset", "3", "-b", "2", "--threads", "1", "--device", "cpu")


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    return folder


def test_a_recurrent_model_and_a_transformer_translate_together(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert nmt(["translate", "-m", "runs/rnn", "-m", "runs/a", "input", *OPTIONS]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    lines = (here / "input").read_text().splitlines()
    assert shown.out.splitlines() == package.load(["runs/rnn", Path("runs/a")], device="cpu").translate(lines, SHORT)
    torch.set_num_threads(1)


def test_the_first_run_says_how_to_search(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(here / "runs" / "greedy", ignore_errors=True)
    config = tiny_config().model_copy(
        update={"search": SHORT.model_copy(update={"beam_size": 1, "max_length_ratio": 1.0})}
    )
    write_run(here / "runs" / "greedy", config)
    outputs = []
    for models in (["greedy", "rnn"], ["rnn", "greedy"]):
        named = [word for name in models for word in ("-m", f"runs/{name}")]
        assert nmt(["translate", *named, "input", "--threads", "1", "-b", "1", "--max-length-offset", "3"]) == 0
        outputs.append(capfd.readouterr().out)
    assert len(outputs[0]) < len(outputs[1])  # the default lets translations be twice as long as their source


@pytest.mark.slow
def test_eval_scores_what_an_ensemble_translates(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models = ["-m", "runs/a", "-m", "runs/rnn", "-b", "1", "--threads", "1"]
    assert nmt(["eval", "--source", "source", "--reference", "reference", "-o", "out", "--force", *models]) == 0
    shown = capfd.readouterr().out
    greedy = SearchConfig(beam_size=1)
    assert (here / "out").read_text().splitlines() == loaded(here, "a", "rnn").translate(SOURCES, greedy)
    assert nmt(["eval", "--hypothesis", "out", "--reference", "reference"]) == 0
    assert capfd.readouterr().out == shown


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("translate -m runs/a -m runs/words input", 4, "runs/words: its tokenizer is not that of runs/a; give models"),
        ("translate -m runs/a -m runs/none input", 4, "-m runs/none: no such folder"),
        ("eval -m runs/a -m runs/words --source source --reference reference", 4, "runs/words: its tokenizer is not"),
        ("eval -m runs/a -m runs/b --report x.html", 2, "--report x.html: takes one model, and 2 are named; leave one"),
        (
            "eval -m runs/a -m runs/b --hypothesis input --reference input",
            2,
            "-m runs/a runs/b: --hypothesis is scored",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], line: str, code: int, message: str
) -> None:
    assert nmt(line.split()) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert message in shown.err.splitlines()[-1]
