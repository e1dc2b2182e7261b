"""Every option is described, has a default that works, and refuses what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nmt.config import SECTIONS, Config
from nmt.configfile import build_config, dump_config, load_config
from nmt.errors import OptionError

CONFIGS = Path(__file__).parents[1] / "configs"
FIELDS = [
    pytest.param(field, id=f"{section}.{kind.__name__}.{name}")
    for section, kinds in SECTIONS.items()
    for kind in kinds
    for name, field in kind.model_fields.items()
]


@pytest.mark.parametrize("field", FIELDS)
def test_every_option_is_described(field: Any) -> None:
    assert field.description
    assert not field.is_required()


def test_sections_are_those_of_a_config() -> None:
    assert list(SECTIONS) == list(Config.model_fields)
    kinds = {type(getattr(Config(), section)) for section in SECTIONS}
    assert kinds <= {kind for kinds in SECTIONS.values() for kind in kinds}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert load_config(path).data.train or path.stem == "reference"


def test_configs_come_back_as_they_were() -> None:
    config = build_config(
        {"training": {"max_time": "6h", "schedule": "cosine", "max_steps": "5"}, "data": {"train": "a"}}
    )
    assert build_config(dump_config(config)) == config
    assert config.training.max_time == 6 * 3600
    assert config.data.train == ("a",)


# ---- values -----------------------------------------------------------------------------------------------------

SECONDS = {
    "90": 90, "90s": 90, "1.5m": 90, "45m": 2700, "6h": 21600, "2d": 172800, " 10 m": 600, ".5h": 1800,
    "1.0e-05": 1e-5, "8.64e+30": 8.64e30,  # as numbers are written into config.yaml
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), SECONDS.items())
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert build_config({"training": {"max_time": text}}).training.max_time == seconds


REFUSED = {  # section, options, what is said
    "duration": ("training", {"max_time": "6 hours"}, "training.max_time: '6 hours' should be seconds, or a time such"),
    "empty duration": ("training", {"max_time": ""}, "training.max_time: '' should be seconds, or a time"),
    "no time": ("training", {"max_time": "0s"}, "training.max_time: 0.0 should be greater than 0"),
    "below": ("training", {"max_steps": "0"}, "training.max_steps: '0' should be greater than 0; see configs"),
    "nan": ("training", {"learning_rate": "nan"}, "training.learning_rate: 'nan' should be a finite number"),
    "penalty": ("search", {"length_penalty": 10.5}, "search.length_penalty: 10.5 should be less than or equal to 10"),
    "seed": ("training", {"seed": 10**18}, "training.seed: 10{18} should be less than 10{18}"),
    "no number": ("training", {"seed": "x"}, "training.seed: 'x' should be a valid integer; see configs"),
    "choice": ("training", {"metric": "ter"}, "training.metric: 'ter' should be 'bleu', 'chrf' or 'loss'"),
    "either": ("tokenizer", {"vocab_size": "x"}, r"[a-z_.]+: 'x' should be a valid integer or should be 'auto'"),
    "null": ("training", {"seed": None}, "training.seed: null should be a valid integer"),
    "device": ("training", {"device": "gpu"}, "training.device: 'gpu' should match pattern"),
    "family": ("model", {"type": "lstm"}, "model.type: 'lstm' should be 'transformer', 'rnn'"),
    "columns": ("data", {"columns": ["1"]}, "data.columns: "),
    "not true": ("model", {"tie_embeddings": "maybe"}, "model.tie_embeddings: 'maybe' should be a valid boolean; see"),
    # what two options cannot be together
    "n_best": ("search", {"n_best": "6"}, "search.n_best: 6 is more than beam_size 5; widen the beam"),
    "heads": ("model", {"dim": "10", "heads": "4"}, "model.heads: 4 does not divide dim 10; choose a divisor"),
    "odd": ("model", {"dim": "9", "heads": "3"}, "model.dim: 9 is odd; choose an even width"),
    "rotary": ("model", {"dim": "12", "positions": "rotary"}, "model.positions: rotary .* a head has 3 features; make"),
    "directions": ("model", {"type": "rnn", "dim": "9"}, "model.dim: 9 cannot be halved for two directions; make it"),
    "feeding": ("model", {"type": "rnn", "input_feeding": "yes"}, "model.input_feeding: .* not to additive; set it to"),
    "char": ("tokenizer", {"type": "char", "sampling": ".1"}, "tokenizer.sampling: 0.1 needs a unigram or bpe"),
    "word": ("tokenizer", {"type": "word", "sampling": ".1"}, "tokenizer.sampling: 0.1 needs a unigram or bpe"),
    "cosine": ("training", {"schedule": "cosine"}, "training.schedule: cosine falls .*; set max_steps"),
}  # fmt: skip


@pytest.mark.parametrize(("section", "options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_in_a_line(section: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^config: {message}") as refusal:
        build_config({section: options})
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("search", {"n_best": "6", "sample": "true"}),
    ("search", {"n_best": "6", "beam_size": "6"}),
    ("model", {"dim": "12", "heads": "3", "positions": "rotary"}),
    ("model", {"type": "rnn", "dim": "9", "bidirectional": "false"}),
    *(("model", {"type": "rnn", "attention": kind, "input_feeding": "true"}) for kind in ("dot", "general", "concat")),
    ("tokenizer", {"type": "bpe", "sampling": ".1"}),
    ("training", {"schedule": "cosine", "max_steps": "10"}),
    ("data", {"columns": [1, 2]}),
]


@pytest.mark.parametrize(("section", "options"), ALLOWED)
def test_what_goes_together_is_allowed(section: str, options: dict[str, Any]) -> None:
    build_config({section: options})
