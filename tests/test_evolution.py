"""The experiment in tests/evolution: its corpus, its systems, its measures, and all of it once on a tiny corpus."""

import json
import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from corpora import invented

from nmt.batches import pad
from nmt.configfile import load_config
from nmt.models import build
from nmt.tokenizer import Tokenizers

HERE = Path(__file__).parent / "evolution"
sys.path.append(str(HERE))

from gradients import medians, reach  # noqa: E402
from joined import MOST, PARTS, cut, joined, lines, sizes  # noqa: E402
from systems import CONFIGS, SYSTEMS, trainings  # noqa: E402

CAPTIONS = [f"caption {number}" for number in range(23)]


# ---- corpus -------------------------------------------------------------------------------------------------------


def test_joined_lines_are_all_captions_in_order() -> None:
    found = list(joined(CAPTIONS, cycle([2, 3])))
    assert found[:2] == ["caption 0 caption 1", "caption 2 caption 3 caption 4"]
    assert " ".join(found) == " ".join(CAPTIONS)
    assert list(cut(5, cycle([2]))) == [2, 2, 1]


@pytest.mark.parametrize(("part", "times"), [("train", 2), ("valid", 1), ("test", MOST)])
def test_each_part_has_each_caption_as_often(part: str, times: int) -> None:
    found = " ".join(lines(part, CAPTIONS)).replace("caption ", "").split()
    assert sorted(found, key=int) == sorted([str(number) for number in range(23)] * times, key=int)


def test_sizes_are_those_of_the_test() -> None:
    assert sizes(len(CAPTIONS)) == [line.count("caption") for line in lines("test", CAPTIONS)]


# ---- systems ------------------------------------------------------------------------------------------------------


def test_configs_differ_in_the_model_alone() -> None:
    trees = [yaml.safe_load((CONFIGS / f"{system.name}.yaml").read_text("utf-8")) for system in SYSTEMS]
    assert {path.stem for path in CONFIGS.iterdir()} == {system.name for system in SYSTEMS}
    for tree in trees:
        tree.pop("model")
        assert tree == trees[0]


def test_all_systems_are_as_large_as_the_transformer() -> None:
    counts = {}
    for system in SYSTEMS:
        config = load_config(CONFIGS / f"{system.name}.yaml")
        model = build(config.model, 4000, 4000, shared=True)
        counts[system.name] = sum(weights.numel() for weights in model.parameters())
    assert all(abs(count / counts["transformer"] - 1) <= 0.1 for count in counts.values()), counts


def test_the_contrast_alone_has_more_seeds() -> None:
    runs = [training.run for training in trainings(3)]
    assert len(runs) == len(set(runs)) == len(trainings(1)) + 4
    assert {"lstm-2", "lstm-3", "lstm-general-2", "lstm-general-3"} <= set(runs)


# ---- gradients ----------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer of words for sentences of "a" to "z", two pieces for those with a dash."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[4 + "-abcdefgh".index(c) for c in text.replace(" ", "")] for text in texts]

    def pieces(self, ids: list[int]) -> list[str]:
        return [("" if number > 0 and ids[number - 1] == 4 else "▁") + str(each) for number, each in enumerate(ids)]


def model(**changes: Any) -> Any:
    from nmt.config import RecurrentConfig

    torch.manual_seed(1)
    kind = {"cell": "gru", "attention": "none", "dim": 16, "embedding": 8, "bidirectional": False, "dropout": 0.0}
    return build(RecurrentConfig.model_validate({"type": "rnn", **kind, **changes}), 16, 16, shared=True).eval()


TOKENIZERS: Any = Tokenizers(Words(), Words())  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "last"])
@pytest.mark.parametrize("changes", [{}, {"attention": "additive"}, {"tie_embeddings": True}], ids=str)
def test_reach_is_the_slope_of_the_loss(which: Any, changes: dict[str, Any]) -> None:
    """By finite differences: the loss when one source token's embedding grows by a little along the gradient."""
    one = model(**changes).double()
    source, target = "a b c d", "-a c -b"
    (found,) = reach(one, TOKENIZERS, [(source, target)], which)
    ids, labels = TOKENIZERS.source.encode([source]), TOKENIZERS.target.encode([target])[0]
    chosen = slice(0, 2) if which == "first" else slice(3, 5)
    read = one.embeddings.source(pad(ids, eos=True).ids).detach()

    def loss(embedded: torch.Tensor) -> torch.Tensor:
        calls: list[int] = []

        def swap(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return embedded if len(calls) == 1 else output

        hook = one.embeddings.source.register_forward_hook(swap)
        logits = one(pad(ids, eos=True), pad([labels], bos=True).ids)[0]
        hook.remove()
        every = -logits.double().log_softmax(-1)[torch.arange(len(labels)), labels]
        return every[chosen].sum()

    expected = []
    for place in reversed(range(4)):
        slopes = []
        for axis in range(read.shape[-1]):
            moved = read.clone()
            moved[0, place, axis] += 1e-6
            slopes.append((loss(moved) - loss(read)).item() / 1e-6)
        expected.append(torch.tensor(slopes).norm() * read[0, place].norm())
    assert found == pytest.approx([float(value) for value in expected], rel=1e-3, abs=1e-7)


def test_reach_does_not_depend_on_what_stands_beside() -> None:
    pairs = [("a b c", "c b a"), ("a b c d e f g h", "h g f e d c b a")]
    both = reach(model(), TOKENIZERS, pairs, "last")
    assert [len(row) for row in both] == [3, 8]
    for pair, row in zip(pairs, both, strict=True):
        assert reach(model(), TOKENIZERS, [pair], "last")[0] == pytest.approx(row, rel=1e-4)


def test_an_untrained_fixed_vector_forgets_what_is_far() -> None:
    pair = (" ".join("abcdefgh" * 4), "a b c")
    (vector,) = reach(model(), TOKENIZERS, [pair], "first")
    (attention,) = reach(model(attention="additive"), TOKENIZERS, [pair], "first")
    assert vector[-1] < 0.01 * vector[0]
    assert attention[-1] > 0.1 * max(attention)


def test_medians_stop_where_few_sentences_reach() -> None:
    assert medians([[1.0, 5.0], [2.0, 7.0], [9.0]], least=2) == [2.0, 5.0]


# ---- all of it ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path: Path) -> None:
    captions = tmp_path / "data" / "multi30k"
    captions.mkdir(parents=True)
    for seed, name in enumerate(PARTS.values()):
        for language, side in zip(("en", "de"), zip(*invented(80, seed), strict=True), strict=True):
            (captions / f"{name}.{language}").write_text("".join(f"{line}\n" for line in side), "utf-8")
    few = ("lstm", "lstm-general", "transformer")
    tiny = [
        "training.log_every=1", "training.max_steps=8", "training.valid_every=8", "tokenizer.vocab_size=400",
        "data.test=[]", "search.max_length_ratio=0.1", "search.max_length_offset=3",
    ]  # fmt: skip
    variables = os.environ | {"NMT_DATA": str(tmp_path / "data"), "PYTHONPATH": str(HERE.parents[1])}
    for names in (("lstm",), few):  # the second time one is there
        words = [sys.executable, str(HERE), "--output", str(tmp_path / "out"), "--seeds", "2"]
        words += [word for name in names for word in ("--only", name)]
        words += [word for each in tiny for word in ("--set", each)]
        done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "out" / "page" / "index.html").read_text("utf-8")
    assert all((system.label in page) == (system.name in few) for system in SYSTEMS)
    assert page.count("<svg") == 4 == len(list((tmp_path / "out" / "page").glob("*.svg")))
    figures = json.loads((tmp_path / "out" / "lstm-general-2.json").read_text("utf-8"))
    assert figures["parameters"] > 500_000
    assert len(figures["by_captions"]) == MOST


@pytest.mark.slow
def test_what_is_missing_or_fails_is_said(tmp_path: Path) -> None:
    def told(data: Path, *words: str) -> str:
        variables = os.environ | {"NMT_DATA": str(data), "PYTHONPATH": str(HERE.parents[1])}
        command = [sys.executable, str(HERE), "--output", str(tmp_path / "out"), *words]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    assert told(tmp_path) == f"evolution: {tmp_path}/multi30k is absent; set NMT_DATA to the folder above multi30k/"
    (tmp_path / "multi30k").mkdir()
    for name in PARTS.values():
        for language in ("en", "de"):
            (tmp_path / "multi30k" / f"{name}.{language}").write_text("A dog.\n" * 3, "utf-8")
    out = tmp_path / "out"
    assert told(tmp_path, "--only", "gru", "--set", "model.dim=0") == f"evolution: gru failed; see {out}/gru.log"
