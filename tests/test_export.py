"""What is exported to CTranslate2 says what our own model says; what the engine cannot hold is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import CPU, PAIRS, tiny_config, write_run

from nmt.config import Config
from nmt.errors import OptionError
from nmt.export import Parity, compare_greedy, export_ctranslate2
from nmt.training.checkpoint import load_model
from nmt.translate import Translator

LINES = [source for source, _ in PAIRS] + ["Where is the river?", "", "A child reads. " * 60]  # one blank, one long
COMPARED = 6
SHAPES: dict[str, dict[str, object]] = {
    "usual": {},
    "post-norm": {"norm": "post"},
    "gelu": {"activation": "gelu"},
    "swiglu": {"activation": "swiglu"},
    "learned": {"positions": "learned"},
    "untied": {"tie_embeddings": False},
    "deep": {"encoder_layers": 3, "decoder_layers": 2},
}


def with_model(model: dict[str, object], *, is_shared: bool = True) -> Config:
    return Config.model_validate({**tiny_config(is_shared=is_shared).model_dump(), "model": model})


def shaped(changes: dict[str, object], *, is_shared: bool = True) -> Config:
    usual = tiny_config().model.model_dump()
    return with_model({**usual, "max_length": 200, **changes}, is_shared=is_shared)


def translator(folder: Path, config: Config, seed: int = 1) -> Translator:
    return Translator(*load_model(write_run(folder, config, seed=seed), CPU.device), CPU)


@pytest.mark.slow
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "separate"])
def test_the_engine_says_the_same(changes: dict[str, object], is_shared: bool, tmp_path: Path) -> None:
    ours = translator(tmp_path / "run", shaped(changes, is_shared=is_shared))
    export_ctranslate2(ours, tmp_path / "out", "float32")
    assert compare_greedy(ours, tmp_path / "out", LINES) == Parity(COMPARED, COMPARED)


def test_other_weights_are_noticed(tmp_path: Path) -> None:
    first, second = (translator(tmp_path / str(seed), shaped({}), seed) for seed in (1, 2))
    export_ctranslate2(first, tmp_path / "out", "float32")
    assert compare_greedy(second, tmp_path / "out", LINES).equal < COMPARED


def test_the_tokenizers_come_along(tmp_path: Path) -> None:
    ours = translator(tmp_path / "run", shaped({}, is_shared=False))
    export_ctranslate2(ours, tmp_path / "new" / "out", "float32")
    for name, content in ours.tokenizers.files().items():
        assert (tmp_path / "new" / "out" / name).read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_int8_is_smaller(tmp_path: Path) -> None:
    ours = translator(tmp_path / "run", shaped({"dim": 64, "feed_forward": 128}))
    sizes = []
    for quantization in ("float32", "int8"):
        export_ctranslate2(ours, tmp_path / quantization, quantization)
        sizes.append((tmp_path / quantization / "model.bin").stat().st_size)
    assert sizes[1] < sizes[0] / 2


REFUSED = [
    (shaped({"positions": "rotary"}), "no rotary positions here; train with sinusoidal or learned"),
    (with_model({"type": "rnn", "embedding": 8, "dim": 8}), "knows no recurrent model; export a transformer"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=["rotary", "rnn"])
def test_what_the_engine_cannot_hold_is_refused(config: Config, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        export_ctranslate2(translator(tmp_path / "run", config), tmp_path / "out", "float32")
    assert not (tmp_path / "out").exists()


def test_an_older_export_goes_only_by_force(tmp_path: Path) -> None:
    ours, out = translator(tmp_path / "run", shaped({})), tmp_path / "there" / "out"
    export_ctranslate2(ours, out, "float32")
    (out / "old").touch()
    with pytest.raises(OptionError, match="out: exists; use --force"):
        export_ctranslate2(ours, out, "float32")
    export_ctranslate2(ours, out, "float32", force=True)
    assert not (out / "old").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    with pytest.raises(OptionError, match="home: holds something else than an exported model; choose another -o"):
        export_ctranslate2(translator(tmp_path / "run", shaped({})), tmp_path / "home", "float32", force=True)
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_with_nothing_to_compare_nothing_is_compared(tmp_path: Path) -> None:
    ours = translator(tmp_path / "run", shaped({}))
    export_ctranslate2(ours, tmp_path / "out", "float32")
    assert compare_greedy(ours, tmp_path / "out", ["", " ", "\u200b"]) == Parity(0, 0)


def test_a_missing_engine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.export.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="the package is missing; pip install ctranslate2"):
        export_ctranslate2(translator(tmp_path / "run", shaped({})), tmp_path / "out", "float32")
