"""`nmt curves`: draws how trainings went or go, from their run folders; it knows nothing of how that is drawn."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nmt.cli import options as shared
from nmt.cli.translate import Force
from nmt.errors import DataError, OptionError

if TYPE_CHECKING:
    from nmt.inspect.courses import Course
    from nmt.output import Writer

FORMS = (".png", ".svg")
METRICS = "metrics.jsonl"
WAIT = 1.0  # seconds between two looks at a run
COLUMNS, LINES = 100, 50  # where nothing says how large the terminal is

say = shared.speaker("curves")

Runs = Annotated[list[str], typer.Argument(metavar="RUN", help="Run folders; several are drawn over one another.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="curves.png or .svg; none: shown here.")]
Over = Annotated[Literal["steps", "tokens", "time"], typer.Option("--over", help="What the curves run over.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show again what is new until all runs are finished.")]


def curves(
    runs: Runs, output: Output = None, force: Force = False, over: Over = "steps", follow: Follow = False
) -> None:
    """Draw loss, BLEU, learning rate and speed of trainings, or watch them."""
    folders = [_folder(name) for name in dict.fromkeys(runs)]
    if output and output.suffix.lower() not in FORMS:
        raise OptionError(f"-o {output}: is none of {', '.join(FORMS)}; name it so, or leave -o out")
    with _open(output, folders, force=force) as writer:
        was_interrupted = follow and _follow(folders, over)
        if output and writer:
            _draw(_known(folders), over, output.suffix.lower()[1:], writer)
        elif not follow:
            _show(_known(folders), over)
    if was_interrupted:
        raise KeyboardInterrupt


def _open(output: Path | None, folders: Sequence[Path], *, force: bool) -> AbstractContextManager[Writer | None]:
    from nmt.output import open_output

    if output is None:
        return nullcontext()
    return open_output(output, [folder / METRICS for folder in folders], force=force)


def _folder(name: str) -> Path:
    path = shared.existing(name, "RUN")
    return path.parent if path.name == METRICS else path


def _read(folders: Sequence[Path]) -> list[Course]:
    from nmt.inspect.courses import Course
    from nmt.training.progress import read_records

    return [
        Course(str(folder), read_records(folder / METRICS), (folder / shared.MANIFEST).is_file()) for folder in folders
    ]


def _known(folders: Sequence[Path]) -> list[Course]:
    """Read runs of which there must be something to see."""
    found = _read(folders)
    for course in found:
        if not course.records:
            what = "holds no record yet" if (Path(course.name) / METRICS).exists() else "is not there"
            raise DataError(f"{course.name}/{METRICS}: {what}; name a run of nmt train, or wait for it with --follow")
    return found


def _draw(courses: Sequence[Course], over: str, form: str, writer: Writer) -> None:
    from nmt.inspect.curves import picture
    from nmt.inspect.fonts import hint

    drawn = picture(courses, over, form)
    writer.write_bytes(drawn.data)
    if drawn.missing:
        say(f"warning: {hint(drawn.missing)}")


def _show(courses: Sequence[Course], over: str, above: int = 0) -> int:
    """Print the view, over one of so many lines that stands `above`; return how many lines it has."""
    from nmt.inspect.blocks import cut
    from nmt.inspect.curves import lines
    from nmt.output import Writer, standard_output

    columns, height = shutil.get_terminal_size((COLUMNS, LINES))
    view = list(lines(courses, over, columns))
    if sys.stdout.isatty():
        view = [cut(line, columns) for line in view[: height - 1]]  # what has left a terminal cannot be drawn again
    back = f"\x1b[{above}A\x1b[J" if above else ""
    Writer(standard_output(), "stdout").write([back + view[0], *view[1:]])
    return len(view)


def _follow(folders: Sequence[Path], over: str) -> bool:
    """Show the runs whenever there is something new, until all are finished; say whether Ctrl-C came first."""
    above, seen = 0, None
    try:
        while True:
            courses = _read(folders)
            if courses != seen:
                above = _show(courses, over, above if sys.stdout.isatty() else 0)
                seen = courses
            if all(course.is_finished for course in courses):
                return False
            time.sleep(WAIT)
    except KeyboardInterrupt:
        return True
