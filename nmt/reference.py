"""Writes configs/reference.yaml, every option with its default, from the models of `nmt.config`; it reads nothing.

python -m nmt.reference > configs/reference.yaml
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from nmt.config import SECTIONS
from nmt.fields import Section
from nmt.presets import PRESETS

WIDTH = 116
HEAD = """\
# Every option of a run with its default, its unit and its source. A config names only what differs from these;
# `nmt train --set key.sub=value` and the flags of `nmt train` hold over the config. Written by python -m nmt.reference.
#
# model.preset stands for the options of a model of the literature, over which the other options of `model` hold. On the
# command line (--preset) a preset, or another type, takes the place of the config's whole model. The presets are:
#
"""
NAMES = {"integer": "whole number", "boolean": "true or false", "string": "text", "array": "list"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def reference() -> str:
    """Return the text of configs/reference.yaml; what follows the first kind of a section is commented out."""
    lines = [HEAD.removesuffix("\n"), *_presets(), ""]
    for name, kinds in SECTIONS.items():
        for place, kind in enumerate(kinds):
            block = [f"# {_sentence(kind)}", f"{name}:", *_options(kind)]
            lines += [line if not place or line.startswith("# ") else f"# {line}" for line in block]
            lines.append("")
    return "\n".join(lines)


def _presets() -> Iterator[str]:
    for name, options in PRESETS.items():
        text = f"{name:9}  {', '.join(f'{key} {_plain(value)}' for key, value in options.items())}"
        yield from textwrap.wrap(text, WIDTH, initial_indent="#   ", subsequent_indent="#              ")


def _sentence(kind: type[Section]) -> str:
    return (kind.__doc__ or "").strip()


def _options(kind: type[Section]) -> Iterator[str]:
    for key, schema in kind.model_json_schema()["properties"].items():
        text = f"{schema['description']} ({_kind(schema)})"
        yield from textwrap.wrap(text, WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        yield f"  {key}: {_plain(schema['default'])}"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return in words what a value may be."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return ", ".join(map(str, schema.get("enum") or [schema["const"]]))
    bounds = [f" {sign} {schema[bound]:g}" for bound, sign in BOUNDS.items() if bound in schema]
    return NAMES.get(schema["type"], str(schema["type"])) + ",".join(bounds)


def _plain(value: object) -> str:
    """Return a default as YAML writes it; JSON is YAML, but for words, which stay bare."""
    return value if isinstance(value, str) and value else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
