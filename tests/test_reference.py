"""configs/reference.yaml says of every option what the models of `nmt.config` say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from nmt.config import SECTIONS, Config
from nmt.configfile import build_config, load_config
from nmt.presets import PRESETS
from nmt.reference import reference

FILE = Path(__file__).parents[1] / "configs" / "reference.yaml"


def test_reference_is_what_the_models_say() -> None:
    """If this fails: python -m nmt.reference > configs/reference.yaml."""
    assert FILE.read_text(encoding="utf-8") == reference()


def test_reference_is_a_config_of_all_defaults() -> None:
    written = yaml.safe_load(reference())
    assert load_config(FILE) == Config()
    assert {key: set(options) for key, options in written.items()} == {
        section: set(kinds[0].model_fields) for section, kinds in SECTIONS.items()
    }


def test_reference_has_the_other_family_commented_out() -> None:
    commented = reference().partition("# model:\n")[2].partition("\n\n")[0]
    options = yaml.safe_load(re.sub(r"^# ", "", commented, flags=re.MULTILINE))
    (recurrent,) = SECTIONS["model"][1:]
    assert build_config({"model": options}).model == recurrent()
    assert options.keys() == recurrent.model_fields.keys()


def test_reference_names_the_presets() -> None:
    assert re.findall(r"^#   ([a-z]+) ", reference(), re.MULTILINE) == list(PRESETS)
