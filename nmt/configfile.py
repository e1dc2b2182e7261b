"""Reads configs: YAML without its traps, presets, `--set key=value`; it knows nothing of what the options do.

Scalars stay as they are written (`no` is Norwegian, `1e-3` a number, `010` ten): the types of `nmt.config` decide what
they mean. Tags and aliases are refused, so no config can run code or grow.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from nmt.config import SECTIONS, Config
from nmt.errors import DataError, OptionError, ResourceError
from nmt.presets import PRESETS

MAX_BYTES = 1 << 20
MAX_DEPTH = 8  # lists and mappings inside each other
NULLS = ("null", "Null", "NULL", "~", "")
EXTRAS = ("nmt", "fingerprints", "recipe")  # keys that a run folder's config.yaml has beside the options
REFERENCE = "see configs/reference.yaml"
FAMILY = "transformer"  # of a model whose config does not say
Tree = dict[str, Any]


class Origin(NamedTuple):
    """Where the options came from, so that an error can say it."""

    name: str = "config"  # of the file
    lines: Mapping[str, int] = {}  # of dotted keys in the file
    given: Mapping[str, str] = {}  # by dotted key the option of the command line, which holds over the file

    def of(self, key: str) -> str:
        """Return the place of a dotted key."""
        line = f":{self.lines[key]}" if key in self.lines else ""
        return self.given.get(key) or f"{self.name}{line}: {key}"


def load_config(path: Path | None, settings: Iterable[str] = (), flags: Mapping[str, Any] | None = None) -> Config:
    """Return the config of a YAML file (None: the defaults), changed by `key.sub=value` settings, then by flags.

    `flags` maps dotted keys to values; None means that the flag was not given. A preset or a type of model given by
    one of them takes the place of the file's whole model. Raises OptionError with file and line.
    """
    tree, lines = ({}, {}) if path is None else read_yaml(path)
    tree = {key: {} if options is None else options for key, options in tree.items() if key not in EXTRAS}
    changes, given = _changes(settings, flags or {})
    origin = Origin(str(path) if path else "config", lines, given)
    for section, options in changes.items():
        under = {} if section == "model" and _is_another_model(tree.get("model"), options) else tree.get(section, {})
        if not isinstance(under, dict):
            raise OptionError(f"{origin.of(section)}: is no group of options; {REFERENCE}")
        tree[section] = {**under, **options}
    return build_config(tree, origin)


def build_config(tree: Tree, origin: Origin | None = None) -> Config:
    """Check a tree of options and return the Config; `origin` is what errors name."""
    origin = origin or Origin()
    model = tree.get("model")
    if isinstance(model, dict):
        tree = {**tree, "model": _expand_preset(model, origin)}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise OptionError(_explain(error, origin)) from None


def _changes(settings: Iterable[str], flags: Mapping[str, Any]) -> tuple[dict[str, Tree], dict[str, str]]:
    """Return what the command line sets as a tree, and by dotted key the option that does it."""
    changes: dict[str, Tree] = {}
    given: dict[str, str] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        where = f"--set {key}"
        if not equals:
            raise OptionError(f"--set {setting}: no value; write --set key.sub=value")
        section, dot, name = key.strip().partition(".")
        if not name or section not in SECTIONS:
            raise OptionError(f"{where}: {_unknown(key.strip())}")
        changes.setdefault(section, {})[name] = _scalar_or_list(text, where)
        given[f"{section}.{name}"] = where
    for key, value in flags.items():
        if value is not None:
            section, _, name = key.partition(".")
            changes.setdefault(section, {})[name] = value
            given[key] = f"--{name.replace('_', '-')}"
    return changes, given


def _is_another_model(model: object, changes: Tree) -> bool:
    """Say whether the command line asks for a model with which the file's options have nothing to do."""
    if not isinstance(model, dict) or "preset" in changes:
        return True
    family = model.get("type") or PRESETS.get(str(model.get("preset")), {}).get("type") or FAMILY
    return bool(changes.get("type", family) != family)


def _expand_preset(model: Tree, origin: Origin) -> Tree:
    chosen = dict(model)
    preset = chosen.pop("preset", None)
    if preset is None:
        return {"type": FAMILY, **chosen}
    if str(preset) not in PRESETS:
        raise OptionError(f"{origin.of('model.preset')}: {preset} is unknown; choose one of {', '.join(PRESETS)}")
    options = PRESETS[str(preset)]
    if chosen.get("type", options["type"]) != options["type"]:
        raise OptionError(
            f"{origin.of('model.type')}: {chosen['type']}, but the preset {preset} is of type {options['type']}; "
            "leave one of them out"
        )
    return {**options, **chosen}


# ---- YAML -------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> tuple[Tree, dict[str, int]]:
    """Return the mapping in a YAML file, scalars as strings, and the line of each dotted key."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a config that exists") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory; give a config file") from None
    except OSError as error:
        raise ResourceError(f"{path}: cannot be read: {error.strerror}; give another config") from None
    if len(text) > MAX_BYTES:
        raise OptionError(f"{path}: longer than {MAX_BYTES} bytes; give a config, which is a few lines of text")
    lines: dict[str, int] = {}
    tree = _parse(text.decode("utf-8-sig", errors="replace"), str(path), lines)
    if tree is None:
        return {}, lines
    if not isinstance(tree, dict):
        raise OptionError(f"{path}:1: a list or a scalar; a config is `key: value` lines")
    return tree, lines


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes without tags, aliases and deep nesting, none of which a config needs."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an event before a node is made of it."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        where = f"{self.name}:{_line(event.start_mark)}"
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise OptionError(f"{where}: aliases are not allowed; write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag not in (None, "!"):
            raise OptionError(f"{where}: tags are not allowed; write plain values")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise OptionError(f"{where}: nested too deeply; {REFERENCE}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _parse(text: str, name: str, lines: dict[str, int]) -> Any:
    try:
        loader = _PlainLoader(text)
        loader.name = name
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        where, problem = f"{name}:{_line(error.problem_mark)}", error.problem
        raise OptionError(f"{where}: not YAML ({problem}); indent with spaces, write `key: value`") from None
    except yaml.YAMLError as error:
        raise OptionError(f"{name}: not YAML ({' '.join(str(error).split())}); save it as UTF-8 text") from None
    return None if node is None else _value(node, name, "", lines)


def _line(mark: Any) -> int:
    """Return the line, from 1, of a mark of `yaml`, whose types say that there may be none."""
    return int(mark.line) + 1 if mark else 1


def _value(node: yaml.Node, name: str, prefix: str, lines: dict[str, int]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in NULLS else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, name, prefix, lines) for item in node.value]
    tree: Tree = {}
    for key_node, value_node in node.value:
        line = _line(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise OptionError(f"{name}:{line}: a list or a mapping as a key; write `key: value`")
        key = key_node.value
        dotted = f"{prefix}.{key}".lstrip(".")
        if key in tree:
            raise OptionError(f'{name}:{line}: duplicate key "{key}" (first on line {lines[dotted]}); keep one')
        lines[dotted] = line
        tree[key] = _value(value_node, name, dotted, lines)
    return tree


def _scalar_or_list(text: str, name: str) -> Any:
    return _parse(text, name, {}) if text.lstrip().startswith("[") or text in NULLS else text


# ---- errors -----------------------------------------------------------------------------------------------------


def _explain(error: ValidationError, origin: Origin) -> str:
    """Say the first problem of a config in one line: where, what was given, what is expected."""
    problem = error.errors()[0]
    if not problem["loc"]:  # options of two groups that cannot be together
        key, _, text = str(problem["ctx"]["error"]).partition(": ")
        return f"{origin.of(key)}: {text}"
    section, *inside = map(str, problem["loc"])
    name = "".join(inside[section == "model" :][:1])  # under model stands the type first
    key = f"{section}.{name}" if name else section
    if problem["type"] == "extra_forbidden":
        return f"{origin.of(key)}: {_unknown(key)}"
    if problem["type"] == "value_error" and not name:  # two options that cannot be together
        name, _, text = str(problem["ctx"]["error"]).partition(": ")
        return f"{origin.of(f'{section}.{name}')}: {text}"
    if problem["type"] == "union_tag_invalid":
        given, expected = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
        return f"{origin.of('model.type')}: {given!r} should be {expected}; {REFERENCE}"
    if not name:
        return f"{origin.of(key)}: is no group of options; {REFERENCE}"
    expected = " or ".join(
        _expected(other["msg"]) for other in error.errors() if other["loc"][:2] == problem["loc"][:2]
    )
    given = "null" if problem["input"] is None else repr(problem["input"])[:80]
    return f"{origin.of(key)}: {given} {expected}; {REFERENCE}"


def _expected(message: str) -> str:
    """Return what pydantic expected, without its words for what it got."""
    text = re.sub(r"^(Value error, |\w+ (?=should))", "", message)
    return text.partition(", unable")[0].partition(", got")[0]


def _unknown(key: str) -> str:
    """Say that there is no such option, and which one was probably meant."""
    section, _, name = key.partition(".")
    if section in SECTIONS and not name:
        return f"is a group of options; name one of them, as {section}.KEY"
    for kind in SECTIONS.get(section, ()):
        if name in kind.model_fields:  # of the other model
            family = kind.model_fields["type"].default
            return f"is an option of type {family} only; leave it out, or set model.type to {family}"
    near = _nearest(key)
    return f"is not an option; {f'did you mean {near}?' if near else REFERENCE}"


def _nearest(key: str) -> str:
    """Return the option with the name of `key`, or with nearly its name, of the same section first; or nothing."""
    section, dot, name = key.partition(".") if "." in key else ("", "", key)
    known = [*((group, each) for group, kinds in SECTIONS.items() for kind in kinds for each in kind.model_fields)]
    known += [("model", "preset"), *(() if dot else (("", group) for group in SECTIONS))]
    known.sort(key=lambda option: option[0] != section)
    near = [name, *difflib.get_close_matches(name, [each for _, each in known], 1)]
    return next((f"{group}.{each}".lstrip(".") for close in near for group, each in known if each == close), "")


# ---- the other way ----------------------------------------------------------------------------------------------


def dump_config(config: BaseModel) -> Tree:
    """Return the effective config as plain YAML-ready values."""
    return config.model_dump(mode="json")


def shipped(*parts: str) -> Path:
    """Return a path of what ships with the project: inside the installed package, else in the checkout."""
    package = Path(__file__).parent
    root = package / "shipped"
    return (root if root.is_dir() else package.parent).joinpath(*parts)
