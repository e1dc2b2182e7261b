"""`nmt translate` by several processes: a launcher's, or `--workers` of its own; which may be, and how they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from nmt import __version__
from nmt.cli import synthetic as common
from nmt.errors import DataError, OptionError, ResourceError
from nmt.lifeline import end_with_parent
from nmt.ranks import rank

if TYPE_CHECKING:
    from nmt.stream import Job, Stats
    from nmt.translate import Translator

    Through = Callable[[Translator, Job], Stats | None]

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; a kill costs a block; with -o.")]


class Ends(NamedTuple):
    """What is read and what is written."""

    sources: Sequence[Path]
    output: Path | None
    force: bool
    unbuffered: bool


def is_shared(output: Path | None, workers: int | None) -> bool:
    """Say whether blocks are kept beside the output: for several processes, or where work was begun so."""
    from nmt.partial import Partial

    return workers is not None or rank().size > 1 or (output is not None and Partial(output).is_begun())


@contextmanager
def opened(ends: Ends, workers: int | None, how: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Through]:
    """Give what translates as one of several processes; the one that has started them does not come back from here.

    `how` names the work beside the job itself: the models' folders, the precision.
    """
    from nmt.partial import Partial

    output = _checked(ends, workers)

    def through(translator: Translator, job: Job) -> Stats | None:
        from nmt.shards import Shared, translate_shards

        work = Shared(ends.sources, output, _task(ends, how, translator, job), rank(), ends.force)
        return translate_shards(translator, work, job, say, lambda text: say(f"warning: {text}"))

    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun, killed, would leave its processes at work
        end_with_parent()
    try:
        _divide(workers or 1)
        yield through
    except KeyboardInterrupt:
        if not rank().rank:
            parts = Partial(output).folder
            say(f"interrupted: finished blocks are in {parts}; the same command goes on from there")
        raise


def _checked(ends: Ends, workers: int | None) -> Path:
    """Refuse what several processes cannot do, or what stands in the way; return the output."""
    from nmt.partial import Partial, check

    here = rank()
    if workers is not None and here.size > 1:
        what = f"--workers {workers}: this is one of {here.size} processes that a launcher has started"
        raise OptionError(f"{what}; leave --workers out")
    if ends.output is None:
        who = f"{here.size} processes" if workers is None else f"--workers {workers}"
        raise OptionError(f"{who}: blocks become a file, not stdout; name it with -o")
    if ends.unbuffered:
        raise OptionError("--unbuffered: blocks become a file, not lines; leave it out")
    for path in ends.sources:
        if str(path) == "-" and workers is None and here.size == 1:
            parts = Partial(ends.output).folder
            raise OptionError(f"{parts}: holds blocks of other work; repeat its command, remove it, or give another -o")
        if str(path) == "-":
            raise OptionError("stdin: is read by one process alone; write it to a file, and name that")
        if not path.is_file():
            raise DataError(f"{path}: is no regular file; each process reads it: write it to a file first")
    if not here.rank:
        check(ends.output, ends.sources, force=ends.force)
    return ends.output


def _task(ends: Ends, how: Mapping[str, Any], translator: Translator, job: Job) -> dict[str, Any]:
    """Return what names the work: whatever decides a byte of what comes out, and how it is cut into blocks."""
    from nmt.formats import TextFile

    task = dict(how) | common.task("translate", how["models"], job.search)
    options = {name: value for name, value in job._asdict().items() if name not in ("search", "text")}
    reading = dict(zip(("encoding", "bad_utf8", "max_line_bytes"), job.text, strict=True))
    files = [TextFile(str(path), path, job.text) for path in ends.sources]
    texts = {name: digest for file in files for name, digest in file.fingerprints().items()}
    where = {"device": translator.device.type, "batch_tokens": job.search.batch_tokens, "version": __version__}
    return task | options | reading | where | {"order": [*map(str, ends.sources)], "text": texts}


def _divide(count: int) -> None:
    """Go on as one of several processes; the one that is there already waits for them, and leaves as they have left."""
    if count == 1:
        return
    sys.stderr.flush()
    parent, children = os.getpid(), dict[int, int]()  # number, from 0, by process
    try:
        for number in range(count):
            if not (child := os.fork()):
                children.clear()
                _begin(number, count, parent)
                return
            children[child] = number
        _watch(children)
    finally:  # empty where all have ended, and in the processes themselves
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
    raise typer.Exit


def _begin(number: int, count: int, parent: int) -> None:
    """Be a process that ends when the one that started it does, and that leaves Ctrl-C to it."""
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = {"RANK": number, "WORLD_SIZE": count, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in names.items()})


def _watch(children: dict[int, int]) -> None:
    """Wait for all processes; raise ResourceError, with its own exit code, where one ends badly."""
    count = len(children)
    while children:
        child, status = os.wait()
        name, code = f"rank {children.pop(child)} of {count}", os.waitstatus_to_exitcode(status)
        if code < 0:
            advice = "give it more memory, or lower --workers; the same command goes on from there"
            raise ResourceError(f"{name} was killed by {signal.Signals(-code).name}; {advice}")
        if code:
            error = ResourceError(
                f"{name} ended with exit code {code}; see what it says, and run the same command again"
            )
            error.exit_code = code
            raise error
