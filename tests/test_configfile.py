"""YAML, presets and the command line become one config, or one line that says what is wrong and where."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nmt.config import Config, RecurrentConfig, TransformerConfig
from nmt.configfile import load_config, shipped
from nmt.errors import DataError, OptionError, ResourceError
from nmt.presets import PRESETS

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a config and gives its path."""

    def written(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


# ---- YAML -------------------------------------------------------------------------------------------------------

READ: dict[str, tuple[str, str, str, Any]] = {  # text, section, option, value
    "Norwegian": ("data: {source_lang: no}", "data", "source_lang", "no"),
    "exponent": ("training: {learning_rate: 1e-3}", "training", "learning_rate", 0.001),
    "no octal": ("training: {warmup: 010}", "training", "warmup", 10),
    "no base 60": ("data: {train: 1:30}", "data", "train", ("1:30",)),
    "quoted": ('data: {source_lang: "null"}', "data", "source_lang", "null"),
    "null": ("training: {max_epochs: ~}", "training", "max_epochs", None),
    "list": ("data:\n  train:\n  - a.en\n  - a.de\n", "data", "train", ("a.en", "a.de")),
    "yes": ("model: {tie_embeddings: no}", "model", "tie_embeddings", False),
    "mark": ("\ufefftraining: {seed: 3}", "training", "seed", 3),
    "empty section": ("training:\n  # seed: 3\nsearch: {seed: 4}", "search", "seed", 4),
    "version and data of a run": ("nmt: 0.1.0\nfingerprints: {a: b}\nsearch: {seed: 4}", "search", "seed", 4),
}


@pytest.mark.parametrize(("text", "section", "option", "value"), READ.values(), ids=READ.keys())
def test_scalars_mean_what_they_look_like(write: Write, text: str, section: str, option: str, value: object) -> None:
    found = getattr(getattr(load_config(write(text)), section), option)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but words\n", "---\n"])
def test_empty_file_is_all_defaults(write: Write, text: str) -> None:
    assert load_config(write(text)) == load_config(None) == Config()


WRONG = {  # text, what is said after the name of the file
    "unknown key": ("data:\n  trian: a\n", r":2: data.trian: is not an option; did you mean data.train\?"),
    "unknown section": ("\ntrainnig:\n  seed: 1\n", r":2: trainnig: is not an option; did you mean training\?"),
    "key without section": (
        "batch_tokens: 1\n",
        r":1: batch_tokens: is not an option; did you mean training.batch_tok",
    ),
    "key of another section": (
        "training: {dropout: 1}",
        r":1: training.dropout: is not .* did you mean model.dropout\?",
    ),
    "key of the other model": (
        "model:\n  cell: gru\n",
        r":2: model.cell: is an option of type rnn only; leave it out, or",
    ),
    "nothing near": ("search: {xyzzy: 1}", ":1: search.xyzzy: is not an option; see configs/reference.yaml"),
    "wrong value": ("training:\n\n  seed: x\n", ":3: training.seed: 'x' should be a valid integer"),
    "wrong relation": ("search:\n  n_best: 9\n", ":2: search.n_best: 9 is more than beam_size 5"),
    "two groups": (
        "model: {type: rnn}\ntraining:\n  gradient_checkpointing: true\n",
        ":3: training.gradient_checkpointing: for Transformers only; set it to false",
    ),
    "duplicate": ("data: {}\nsearch: {}\ndata: {}\n", r':3: duplicate key "data" \(first on line 1\); keep one'),
    "duplicate inside": ("data:\n  train: a\n  train: b\n", r':3: duplicate key "train" \(first on line 2\)'),
    "tag": ("data: {train: !!python/object/apply:os.system [true]}", ":1: tags are not allowed"),
    "tag on a scalar": ("training:\n  seed: !!int 3\n", ":2: tags are not allowed"),
    "alias": ("data: {train: &a x, valid: *a}", ":1: aliases are not allowed; write the value out"),
    "merge key": ("<<: {seed: 1}", ":1: <<: is not an option"),
    "list at the top": ("- a\n- b\n", ":1: a list or a scalar; a config is `key: value` lines"),
    "scalar at the top": ("seed\n", ":1: a list or a scalar"),
    "tab": ("data:\n\ttrain: a\n", ":2: not YAML .* indent with spaces"),
    "open list": ("data: {train: [a\n", ":2: not YAML"),
    "two documents": ("data: {}\n---\ndata: {}\n", ":2: not YAML"),
    "no text": ("a: \0", ": not YAML .*; save it as UTF-8 text"),
    "list as a key": ("? [a]\n: b\n", ":1: a list or a mapping as a key"),
    "deep": ("a: " + "[" * 100_000, ":1: nested too deeply"),
    "section is a list": ("data: [a]\n", ":1: data: is no group of options"),
    "section is a word": ("training: fast\n", ":1: training: is no group of options"),
    "model is a word": ("model: tiny\n", ":1: model: is no group of options"),
    "unknown preset": (
        "model:\n  preset: huge\n",
        ":2: model.preset: huge is unknown; choose one of tiny, small, base",
    ),
    "preset is a list": ("model: {preset: [tiny]}", r":1: model.preset: \['tiny'\] is unknown"),
    "preset of another type": (
        "model:\n  preset: luong\n  type: transformer\n",
        ":3: model.type: transformer, but the preset luong is of type rnn; leave one of them out",
    ),
    "unknown type": ("model:\n  type: lstm\n", ":2: model.type: 'lstm' should be 'transformer', 'rnn'"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_said_with_file_and_line(write: Write, text: str, message: str) -> None:
    with pytest.raises(OptionError, match="run.yaml" + message) as refusal:
        load_config(write(text))
    assert len(str(refusal.value)) < 400


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50 << 20)
    begun = time.perf_counter()
    for path in (large, Path("/dev/zero")):
        with pytest.raises(OptionError, match=f"{path}: longer than 1048576 bytes"):
            load_config(path)
    assert time.perf_counter() - begun < 1


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.yaml: no such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="is a directory"):
        load_config(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ResourceError, match="loop: cannot be read: "):
        load_config(tmp_path / "loop")


# ---- presets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_expand(write: Write, preset: str) -> None:
    model = load_config(write(f"model: {{preset: {preset}}}")).model
    assert {key: getattr(model, key) for key in PRESETS[preset]} == PRESETS[preset]
    assert model == type(model).model_validate(PRESETS[preset])


def test_presets_can_be_overridden(write: Write) -> None:
    path = write("model: {preset: rnnsearch, cell: lstm}")
    model = load_config(path, ["model.dim=10"]).model
    assert model == RecurrentConfig(cell="lstm", attention="additive", embedding=620, dim=10)


OVER: list[tuple[str, list[str], dict[str, Any], TransformerConfig | RecurrentConfig]] = [
    # the config's model, --set, flags, the model
    ("{dim: 128, heads: 2, dropout: 0}", [], {"model.preset": "luong"}, RecurrentConfig(**PRESETS["luong"])),
    ("{dim: 128, heads: 2, dropout: 0}", [], {"model.preset": "small"}, TransformerConfig()),
    ("{preset: base, dropout: 0}", ["model.preset=tiny"], {}, TransformerConfig(**PRESETS["tiny"])),
    (
        "{dim: 128}",
        ["model.dropout=0"],
        {"model.preset": "tiny"},
        TransformerConfig(**PRESETS["tiny"] | {"dropout": 0}),
    ),
    ("{type: rnn, cell: lstm}", ["model.type=transformer"], {}, TransformerConfig()),
    ("{preset: base}", ["model.type=rnn"], {}, RecurrentConfig()),
    ("{type: rnn, cell: lstm}", ["model.type=rnn", "model.dim=8"], {}, RecurrentConfig(cell="lstm", dim=8)),
    ("{dim: 128}", ["model.type=transformer"], {}, TransformerConfig(dim=128)),
    ("{preset: luong}", ["model.dim=8"], {}, RecurrentConfig(**PRESETS["luong"] | {"dim": 8})),
]


@pytest.mark.parametrize(("text", "settings", "flags", "model"), OVER)
def test_preset_on_the_command_line_takes_the_place_of_the_model(
    write: Write, text: str, settings: list[str], flags: dict[str, Any], model: TransformerConfig | RecurrentConfig
) -> None:
    config = load_config(write(f"model: {text}\nsearch: {{seed: 7}}\n"), settings, flags)
    assert config.model == model
    assert config.search.seed == 7


# ---- the command line -------------------------------------------------------------------------------------------


def test_flags_hold_over_settings_and_settings_over_the_file(write: Write) -> None:
    path = write("training: {seed: 1, warmup: 1, keep: 1, clip: 1}")
    settings, flags = ["training.warmup=2", "training.keep=2"], {"training.keep": "3", "training.clip": None}
    training = load_config(path, settings, flags).training
    assert (training.seed, training.warmup, training.keep, training.clip) == (1, 2, 3, 1)


@pytest.mark.parametrize(
    ("setting", "section", "option", "value"),
    [
        ("training.max_epochs=null", "training", "max_epochs", None),
        ("training.max_epochs=", "training", "max_epochs", None),
        ("data.columns=[en, de]", "data", "columns", ("en", "de")),
        ("data.train=[a.en, a.de]", "data", "train", ("a.en", "a.de")),
        ("data.train=a=b.tsv", "data", "train", ("a=b.tsv",)),
        ("training.max_time=45m", "training", "max_time", 2700.0),
        ("data.source_lang=no", "data", "source_lang", "no"),
        (" search.seed =7", "search", "seed", 7),
    ],
)
def test_settings_are_read_as_yaml_is(setting: str, section: str, option: str, value: object) -> None:
    assert getattr(getattr(load_config(None, [setting]), section), option) == value


REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    (["training.seed"], {}, "--set training.seed: no value; write --set key.sub=value"),
    (["training.sed=1"], {}, r"--set training.sed: is not an option; did you mean training.seed\?"),
    (["seed=1"], {}, r"--set seed: is not an option; did you mean training.seed\?"),
    (["training=1"], {}, "--set training: is a group of options; name one of them, as training.KEY"),
    (["=1"], {}, "--set : is not an option"),
    (["training.seed.x=1"], {}, r"--set training.seed.x: is not an option; did you mean training.seed\?"),
    (["training.seed=x"], {}, "--set training.seed: 'x' should be a valid integer"),
    (["training.seed="], {}, "--set training.seed: null should be a valid integer"),
    (["data.train=[a"], {}, "--set data.train:1: not YAML"),
    (["data.train=[!!int 1]"], {}, "--set data.train:1: tags are not allowed"),
    (["model.cell=gru"], {}, "--set model.cell: is an option of type rnn only"),
    (["model.preset=huge"], {}, "--set model.preset: huge is unknown; choose one of tiny, small"),
    ([], {"training.max_steps": "many"}, "--max-steps: 'many' should be a valid integer"),
    ([], {"training.max_time": "soon"}, "--max-time: 'soon' should be seconds, or a time such as 90s, 45m, 6h or 2d"),
    ([], {"search.n_best": 9}, "--n-best: 9 is more than beam_size 5; widen the beam"),
]


@pytest.mark.parametrize(("settings", "flags", "message"), REFUSED)
def test_wrong_options_are_named_and_not_the_file(
    write: Write, settings: list[str], flags: dict[str, Any], message: str
) -> None:
    path = write("training: {seed: 1, max_steps: 1, max_time: 1}\nsearch: {n_best: 1}\n")
    with pytest.raises(OptionError, match="^" + message):
        load_config(path, settings, flags)


def test_what_ships_is_found() -> None:
    assert shipped("configs", "phrasebook.yaml").is_file()
    assert shipped("data", "phrasebook", "train.en").is_file()
