"""What the commands share that make training pairs with models: options, what names the work, its end on stderr."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from nmt.cli import options as shared
from nmt.errors import ModelError, OptionError

if TYPE_CHECKING:
    from nmt.config import DataConfig, SearchConfig
    from nmt.partial import Finished
    from nmt.synthetic import Block, Limits, Plan, Shard

Item = TypeVar("Item")


def _check_shard(value: str) -> str:
    found = re.fullmatch(r"([1-9]\d{0,6})/([1-9]\d{0,6})", value, re.ASCII)
    if not found or int(found[1]) > int(found[2]):
        raise typer.BadParameter(f"{value} is not I/N with I from 1 to N, as 2/4")
    return value


Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="OUT.tsv", help="Pairs, source TAB target; the work lies in .parts.")
]
ShardOf = Annotated[
    str, typer.Option("--shard", metavar="I/N", callback=_check_shard, help="Every N-th block, from the I-th on.")
]
BlockLines = Annotated[int, typer.Option(min=1, help="Lines of a block: what a kill can cost.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
Ratio = Annotated[float, typer.Option(min=1, help="Tokens of the longer side per token of the shorter at most.")]
Score = Annotated[float | None, typer.Option(help="Log-probability per token (nats) at least.")]
Chrf = Annotated[float | None, typer.Option(min=0, max=100, help="chrF2 of a line translated there and back at least.")]


class Place(NamedTuple):
    """Where the pairs go, and what must not be written over."""

    output: Path
    inputs: Sequence[Path]
    task: Mapping[str, Any]
    force: bool


def way_back(model: str | None, least: float | None, there: DataConfig) -> Path | None:
    """Return the model of --round-trip, if there is one: it goes with --min-chrf, and back from where `there` goes."""
    if (model is None) != (least is None):
        raise OptionError("--round-trip: goes with --min-chrf; give both, or neither")
    if model is None:
        return None
    path = shared.existing(model, "--round-trip")
    back = shared.config_of(path).data
    if (back.source_lang, back.target_lang) != (there.target_lang, there.source_lang):
        what = f"translates {back.direction}, which is not the way back from {there.direction}"
        raise ModelError(f"--round-trip {model}: {what}; give a model of that direction")
    return path


def as_shard(text: str) -> Shard:
    """Return the shard that is written I/N."""
    from nmt.synthetic import Shard

    return Shard(*map(int, text.split("/")))


def task(
    command: str, models: Sequence[Path | None], search: SearchConfig, back: SearchConfig | None = None
) -> dict[str, Any]:
    """Return what names the work of models: their bytes, and how they search, one that translates back as well."""
    from nmt.sealed import entry_of, read_file

    digests = [path and entry_of(read_file(path / shared.MANIFEST)).sha256 for path in models]
    # The size of a batch changes nothing.
    options, backwards = (each and each.model_dump(mode="json", exclude={"batch_tokens"}) for each in (search, back))
    return {"command": command, "models": digests, "search": options} | ({"back": backwards} if back else {})


def check_place(output: Path, inputs: Sequence[Path], written: tuple[str, str], *, force: bool) -> None:
    """Refuse an output that cannot be written, or would be read the wrong way round, before anything of weight is done.

    `written` are the languages of its columns.
    """
    from nmt.partial import check
    from nmt.specs import named_languages

    is_tsv = output.name.endswith((".tsv", ".tsv.gz"))  # of others no name is asked for the order
    if is_tsv and written[0] != written[1] and (told := named_languages(str(output))) == written[::-1]:
        right = output.name.replace("-".join(told), "-".join(written)).replace("_".join(told), "_".join(written))
        raise OptionError(f"-o {output}: its columns are {written[0]} and {written[1]}, in that order; name it {right}")
    check(output, inputs, force=force)


def work_through(
    plan: Plan[Item], make: Callable[[Block[Item]], Finished], place: Place, say: Callable[[str], None]
) -> None:
    """Do the work, from where it was left, and tell what came of it."""
    from nmt.partial import open_partial
    from nmt.synthetic import told, work

    with open_partial(place.output, place.inputs, place.task, force=place.force) as partial:
        try:
            counts = work(plan, make, partial, say)
        except KeyboardInterrupt:
            say(f"interrupted: finished blocks are in {partial.folder}; the same command goes on from there")
            raise
    say(f"{place.output}: {told(counts)}")


def shown(limits: Limits) -> Mapping[str, object]:
    """Return the limits as JSON can hold them."""
    return {name: str(value) if math.isinf(value) else value for name, value in limits._asdict().items()}
