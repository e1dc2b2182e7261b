"""`nmt average`: several models of one shape become one; it knows nothing of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.cli import options as shared
from nmt.errors import OptionError

Names = Annotated[
    list[str], typer.Argument(metavar="MODEL ...", help="Run or checkpoint folders; with --last one run folder.")
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The run folder to write.")]
Last = Annotated[
    int | None, typer.Option("--last", min=1, metavar="N", help="Average the last N checkpoints of a run.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a finished run without checkpoints.")]


def average(models: Names, output: Output, last: Last = None, force: Force = False) -> None:
    """Write a model whose weights are the mean of those of several checkpoints or runs of one shape."""
    say = shared.speaker("average")
    paths = [shared.existing(name, "MODEL") for name in models]
    if last is not None and len(paths) > 1:
        raise OptionError(f"--last {last}: takes one run folder, and {len(paths)} are named; leave one")
    shared.load_torch()
    from nmt.training.merge import last_checkpoints, merge

    paths = paths if last is None else last_checkpoints(paths[0], last)
    merge(paths, output, force=force)
    say(f"mean of {', '.join(map(str, paths))}: {output}")
