"""What kinds of values options have, and how they are read from text; it knows nothing of what they mean."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _seconds(value: object) -> object:
    """Read a duration such as `90`, `90s`, `45m`, `6h` or `2d` as seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([smhd]?)", value.strip(), re.ASCII)
    if not match:
        raise ValueError("should be seconds, or a time such as 90s, 45m, 6h or 2d")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _words(value: object) -> object:
    """Read one file as a list of one file."""
    return [value] if isinstance(value, str) else value


TAG = re.compile(r"<(?!pad>|unk>|s>)[a-z][a-z0-9_-]*>", re.ASCII)  # no piece of another meaning looks so


def _is_tag(value: str) -> str:
    """Refuse what could be taken for text or for a special piece."""
    if value and not TAG.fullmatch(value):
        raise ValueError('should be a word such as <bt>, or "" for none')
    return value


Tag = Annotated[str, AfterValidator(_is_tag)]
Duration = Annotated[float, Field(gt=0), BeforeValidator(_seconds)]
Column = Annotated[str, Field(coerce_numbers_to_str=True)]
Corpora = Annotated[tuple[str, ...], BeforeValidator(_words)]
Vectors = Annotated[tuple[str, ...], Field(min_length=1, max_length=2), BeforeValidator(_words)]


class Section(BaseModel):
    """A frozen group of options that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
