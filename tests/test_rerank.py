"""The laws of re-ranking: both models' scores are added, nothing else is found, and a weight of 0 changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs import PAIRS, SHORT, tiny_config, write_run
from torch import Tensor

from nmt import rerank
from nmt.batches import BOS, EOS, Padded
from nmt.cli import run as nmt
from nmt.config import Config, RecurrentConfig
from nmt.device import compute
from nmt.errors import ModelError
from nmt.models.interface import Seq2Seq
from nmt.rerank import Reverse
from nmt.search.hypotheses import length_penalty
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import Loaded, load_model
from nmt.translate import Translator
from nmt.translation import Output

SOURCES = [source for source, _ in PAIRS]
WIDE = SHORT.model_copy(update={"beam_size": 5, "n_best": 3, "rerank_weight": 9.0})
PLAIN = WIDE.model_copy(update={"n_best": 5})


def turned(config: Config) -> Config:
    """The config of the other direction."""
    data = config.data.model_copy(update={"source_lang": "de", "target_lang": "en"})
    return config.model_copy(update={"data": data})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs from English to German, one that reads little, and three back, two of them with other tokenizers."""
    folder = tmp_path_factory.mktemp("rerank")
    recurrent = RecurrentConfig(embedding=8, dim=8)
    for seed, (name, config) in enumerate(
        {
            "there": tiny_config(),
            "other": tiny_config().model_copy(update={"model": recurrent}),
            "narrow": tiny_config(max_length=20),
            "back": turned(tiny_config()),
            "words": turned(tiny_config("word", is_shared=False)),
            "short": turned(tiny_config("char", max_length=12)),
        }.items()
    ):
        write_run(folder / name, config, seed=seed)
    return folder


def loaded(folder: Path, *names: str, back: str | None = "back", threads: int = 1) -> Translator:
    paths = [folder / name for name in names]
    reverse = folder / back if back else None
    return Translator.load(paths, device="cpu", threads=threads, rerank=reverse, fork=threads > 1)


@torch.inference_mode()
def score(back: Loaded, given: str, wanted: str, longest: int) -> float:
    """The score of a source, found token by token."""
    _, tokenizers, model = back
    source = tokenizers.source.encode([given])[0][:longest]
    target = tokenizers.target.encode([wanted])[0][:longest]
    memory = model.encode(Padded(torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1])))
    state, nats = model.start(memory, 1, len(target) + 1), 0.0
    for before, after in zip([BOS, *target], [*target, EOS], strict=True):
        logits, state = model.step(torch.tensor([[before]]), state, memory)
        nats += float(logits[0, 0].log_softmax(-1)[after])
    return nats / length_penalty(len(target) + 1, WIDE.length_penalty)


@pytest.mark.slow
@pytest.mark.parametrize(("back", "longest"), [("back", 511), ("words", 511), ("short", 11)])
def test_scores_of_both_directions_are_added(folder: Path, back: str, longest: int) -> None:
    """Whatever the tokenizers of the other model, and of texts too long for it as much as it reads."""
    plain = loaded(folder, "there", back=None).translate_block(SOURCES, PLAIN)
    ranked = loaded(folder, "there", back=back).translate_block(SOURCES, WIDE)
    reverse = load_model(folder / back, torch.device("cpu"))
    for source, before, after in zip(SOURCES, plain, ranked, strict=True):
        joined = [
            (output.score + WIDE.rerank_weight * score(reverse, output.text, source, longest), output)
            for output in before.hypotheses
        ]
        assert len(joined) == WIDE.beam_size
        best = sorted(joined, key=lambda pair: -pair[0])[: WIDE.n_best]
        for output, (joint, found) in zip(after.hypotheses, best, strict=True):
            assert (output.text, output.pieces) == (found.text, found.pieces)
            assert output.log_probability == pytest.approx(found.log_probability, abs=1e-5)
            assert output.score == pytest.approx(joint, abs=1e-3)
    firsts = [[output.pieces for output in each.hypotheses[: WIDE.n_best]] for each in plain]
    assert firsts != [[output.pieces for output in each.hypotheses] for each in ranked]


@pytest.mark.parametrize("n_best", [1, 3, 5])
def test_a_weight_of_nothing_changes_nothing(folder: Path, n_best: int) -> None:
    options = WIDE.model_copy(update={"rerank_weight": 0.0, "n_best": n_best})
    lines = [*SOURCES, "", "A man rides a bicycle. " * 40]
    expected = loaded(folder, "there", back=None).translate_block(lines, options)
    assert loaded(folder, "there").translate_block(lines, options) == expected


class Copier:
    """A model that is all but sure to say what it reads."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary, self.read = vocabulary, list[tuple[int, int]]()

    def __call__(self, source: Padded, target: Tensor) -> Tensor:
        self.read += [(length, target.shape[1]) for length in source.lengths.tolist()]
        time = target.shape[1]
        said = F.pad(source.ids, (0, max(0, time - source.ids.shape[1])))[:, :time]
        return 20.0 * F.one_hot(said, self.vocabulary)


def copier(folder: Path, longest: int = 100) -> Reverse:
    tokenizers = Tokenizers.load(folder / "back")
    model: Seq2Seq[None, None] = Copier(tokenizers.target.size)  # type: ignore[assignment]
    return Reverse(tokenizers, model, longest, torch.device("cpu"))


def outputs(*texts: str) -> list[Output]:
    return [Output(text, -float(place), -2.0 * place, (text,)) for place, text in enumerate(texts)]


def test_what_tells_its_source_wins_if_it_weighs_enough(folder: Path) -> None:
    """Of what is a copy of the source a model that copies is sure; an empty text says nothing of it."""
    found = [outputs("A dog.", "", "A man rides."), outputs("Two dogs run.", "A dog"), []]
    sources = ["A man rides.", "Two dogs run.", "The woman"]
    for weight, best in ((0.0, "A dog."), (0.01, "A dog."), (1.0, "A man rides.")):
        options = WIDE.model_copy(update={"rerank_weight": weight})
        ranked = copier(folder).rerank(found, sources, options)
        assert [each[0].text for each in ranked[:2]] == [best, "Two dogs run."]
        assert ranked[2] == []
    assert [output.text for output in ranked[0]] == ["A man rides.", "A dog.", ""]
    assert ranked[0][0].score == pytest.approx(-2.0, abs=1e-3)
    assert ranked[0][0].log_probability == -4.0
    assert len(copier(folder).rerank(found, sources, SHORT)[0]) == SHORT.n_best == 1


def test_among_equals_the_order_of_the_search_holds(folder: Path) -> None:
    twice = [Output("A man", -1.0, -2.0, ("A",)), Output("A man", -1.0, -3.0, ("man",))]
    assert [each.log_probability for each in copier(folder).rerank([twice], ["A man"], WIDE)[0]] == [-2.0, -3.0]


def test_of_longer_texts_than_it_reads_the_rest_is_left_out(folder: Path) -> None:
    reverse = copier(folder, longest=3)
    reverse.rerank([outputs("Two dogs run through the snow.")], ["A man rides a bicycle."], WIDE)
    assert reverse.model.read == [(4, 4)]  # type: ignore[attr-defined]


def test_pairs_are_read_in_batches_that_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sources = [outputs(*(target for _, target in PAIRS)) for _ in SOURCES], SOURCES
    expected = loaded(folder, "there")._reverse
    assert expected is not None
    whole = expected.rerank(found, sources, PLAIN)
    monkeypatch.setattr(rerank, "LOGITS", 1)
    for mine, other in zip(expected.rerank(found, sources, PLAIN), whole, strict=True):
        assert [output.text for output in mine] == [output.text for output in other]
        assert [output.score for output in mine] == pytest.approx([output.score for output in other], abs=1e-4)


# ---- the translator ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
def test_neighbours_and_batch_size_change_nothing(folder: Path, batch_tokens: int) -> None:
    translator = loaded(folder, "there")
    lines = [*SOURCES, "", *SOURCES[:2], " ".join(SOURCES)]
    together = translator.translate_block(lines, WIDE.model_copy(update={"batch_tokens": batch_tokens}))
    for line, translation in zip(lines, together, strict=True):
        (alone,) = translator.translate_block([line], WIDE)
        assert [output.text for output in translation.hypotheses] == [output.text for output in alone.hypotheses]
        assert translation.score == pytest.approx(alone.score, abs=1e-4)


def test_blank_lines_reach_neither_model(folder: Path) -> None:
    translator = loaded(folder, "there", back=None)
    copies = copier(folder)
    config, tokenizers, model = translator.config, translator.tokenizers, translator.model
    ranked = Translator(config, tokenizers, model, compute("cpu", "fp32", 1), reverse=copies)
    assert [each.text for each in ranked.translate_block(["", " \u200b"], WIDE)] == ["", ""]
    assert copies.model.read == []  # type: ignore[attr-defined]
    lines = ranked.translate(["", SOURCES[0], "\t"], WIDE)
    assert [bool(line) for line in lines] == [False, True, False]
    assert len(copies.model.read) == WIDE.beam_size  # type: ignore[attr-defined]


def test_each_part_of_a_long_line_is_ranked_by_itself(folder: Path) -> None:
    translator = loaded(folder, "narrow")
    parts = ["A man rides a bicycle.", "The child rides a man.", "A book rides a child."]
    each = [found.hypotheses[0] for found in translator.translate_block(parts, WIDE)]
    (whole,) = translator.translate_block([" ".join(parts)], WIDE)
    plain = loaded(folder, "narrow", back=None).translate(parts, WIDE)
    assert whole.parts == len(parts)
    assert whole.text == " ".join(output.text for output in each)
    assert whole.text != " ".join(plain)
    assert whole.score == pytest.approx(sum(output.score for output in each), abs=1e-4)


def test_processes_translate_as_one_thread_does(folder: Path) -> None:
    small = WIDE.model_copy(update={"batch_tokens": 16})
    expected = loaded(folder, "there").translate_block(SOURCES, small)
    assert loaded(folder, "there", threads=2).translate_block(SOURCES, small) == expected
    torch.set_num_threads(1)


def test_ensembles_are_ranked_too(folder: Path) -> None:
    plain = loaded(folder, "there", "other", back=None).translate_block(SOURCES, PLAIN)
    ranked = loaded(folder, "there", "other").translate_block(SOURCES, PLAIN)
    assert [each.text for each in plain] != [each.text for each in ranked]
    for before, after in zip(plain, ranked, strict=True):
        assert {output.text for output in before.hypotheses} == {output.text for output in after.hypotheses}


def test_a_model_of_the_same_direction_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"other: translates en to de, to re-rank de to en is needed; give a model of"):
        loaded(folder, "there", back="other")


# ---- the command ------------------------------------------------------------------------------------------------

LIMITS = ("--max-length-ratio", "0.5", "--max-length-offset", "3", "--threads", "1", "--device", "cpu")


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "input").write_text("".join(f"{line}\n" for line in [*SOURCES, ""]))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NMT_MODEL", "there")
    return folder


def read(capfd: pytest.CaptureFixture[str], arguments: Sequence[str]) -> list[str]:
    assert nmt(["translate", "input", "-q", *arguments, *LIMITS]) == 0
    torch.set_num_threads(1)
    return capfd.readouterr().out.splitlines()


def test_the_command_re_ranks(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    translator = loaded(here, "there")
    for more, weight in ([], 0.5), (["--rerank-weight", "9"], 9.0):
        options = SHORT.model_copy(update={"beam_size": 5, "rerank_weight": weight})
        assert read(capfd, ["--rerank", "back", *more]) == translator.translate([*SOURCES, ""], options)
    lines = read(capfd, ["--rerank", "back", "--n-best", "3", "--format", "jsonl"])
    assert len(lines) == len(SOURCES) + 1
    for record in map(json.loads, lines[:-1]):
        scores = [each["score"] for each in record["hypotheses"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("--rerank other", 4, "other: translates en to de, to re-rank de to en is needed"),
        ("--rerank none", 4, "--rerank none: no such folder; give a run folder"),
        ("--rerank back --mbr chrf", 2, "--rerank back: re-ranks what a beam holds; leave out --sample and --mbr"),
        ("--rerank back --sample", 2, "--rerank back: re-ranks what a beam holds; leave out --sample and --mbr"),
        ("--rerank-weight 0.0", 2, "--rerank-weight 0.0: weighs the model of --rerank; name one, too"),
        ("--rerank back --rerank-weight -1", 2, "Invalid value for '--rerank-weight'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], line: str, code: int, message: str
) -> None:
    assert nmt(["translate", "input", *line.split()]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert message in shown.err.splitlines()[-1]
