"""`nmt info`: what a model is, in lines; it knows nothing of how it came to be."""

from __future__ import annotations

from typing import Annotated

import typer

from nmt.cli import options as shared
from nmt.cli.options import find_model, speaker
from nmt.errors import OptionError


def info(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Run or checkpoint folder.")] = None,
    option: shared.Model = None,
) -> None:
    """Say what a model is: languages, kind, size, tokenizer, training, and that its files are sound."""
    if model is not None and option is not None:
        raise OptionError(f"-m {option}: {model} is named, too; leave one of them out")
    path = find_model(option if model is None else model, speaker("info"))
    shared.load_torch()
    from nmt.inspect.model import describe

    for name, value in describe(path).items():
        print(f"{name:14} {value}")
