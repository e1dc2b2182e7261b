"""`nmt backtranslate`: text in the target's language and a model of the other direction in, training pairs out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from nmt import __version__
from nmt.cli import options as shared
from nmt.cli import synthetic as common
from nmt.cli.train import BadUtf8
from nmt.cli.translate import Beam, Heat, Penalty, Seed, Size, TopK, filled, search_options
from nmt.errors import OptionError

if TYPE_CHECKING:
    from nmt.config import DataConfig
    from nmt.formats import TextFile
    from nmt.text import TextOptions

Texts = Annotated[list[str], typer.Argument(metavar="TEXT ...", help="Text to translate, one sentence a line, or .gz.")]
Reverse = Annotated[
    str, typer.Option("--model", "-m", metavar="REVERSE", help="Model from the language of TEXT, which is the target.")
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Draw from the model, arXiv 1808.09381; so it is without --beam-size.")
]
Length = Annotated[
    int | None, typer.Option(min=1, help="Tokens of either side at most.  [default: data.max_length of REVERSE]")
]
Forward = Annotated[str | None, typer.Option(metavar="MODEL", help="Translates back what is to have --min-chrf.")]
Copies = Annotated[bool, typer.Option("--keep-copies", help="Keep translations that are mostly the words of TEXT.")]
Duplicates = Annotated[bool, typer.Option("--keep-duplicates", help="Keep lines that were there before.")]

say = shared.speaker("backtranslate")


def backtranslate(
    texts: Texts,
    model: Reverse,
    output: common.Output,
    sample: Sample = False,
    top_k: TopK = None,
    temperature: Heat = None,
    seed: Seed = None,
    beam_size: Beam = None,
    length_penalty: Penalty = None,
    max_length: Length = None,
    max_ratio: common.Ratio = 3.0,
    min_score: common.Score = None,
    round_trip: Forward = None,
    min_chrf: common.Chrf = None,
    keep_copies: Copies = False,
    keep_duplicates: Duplicates = False,
    shard: common.ShardOf = "1/1",
    block_lines: common.BlockLines = 2048,
    batch_tokens: Size = "auto",
    encoding: shared.Encoding = "utf-8",
    bad_utf8: BadUtf8 = "error",
    device: shared.Device = "auto",
    precision: shared.Precision = "auto",
    threads: shared.Threads = 0,
    force: common.Force = False,
) -> None:
    """Make training pairs by translating text of the target's language; the same command again goes on."""
    path = shared.existing(model, "-m")
    drawing = {"sample": sample or None, "top_k": top_k, "temperature": temperature, "seed": seed}
    search = search_options(path, _flags(drawing, {"beam_size": beam_size, "length_penalty": length_penalty}))

    from nmt.text import TextOptions

    data = shared.config_of(path).data
    back = common.way_back(round_trip, min_chrf, data)
    files = [_text(name, data, TextOptions(encoding, bad_utf8)) for name in texts]
    written = data.target_lang, data.source_lang
    common.check_place(output, [file.path for file in files], written, force=force)
    shared.load_torch()
    from nmt.synthetic import BackTranslation, Limits, Mono, Plan
    from nmt.translate import Translator

    reverse = Translator.load(path, device=device, precision=precision, threads=threads, fork=True)
    forward = None
    if back is not None:
        forward = Translator.load(back, device=device, precision=precision, threads=threads, fork=True)
    longest = min(max_length or data.max_length, reverse.config.model.max_length) - 1  # the EOS counts
    least = -math.inf if min_score is None else min_score
    limits = Limits(longest, max_ratio, least, min_chrf or 0.0, keep_copies, keep_duplicates)
    mono = Mono(files, lambda text: say(f"warning: {text}"))
    task = common.task("backtranslate", [path, back], search, forward.config.search if forward else None)
    task |= {"shard": shard, "block_lines": block_lines, "device": reverse.device.type, "version": __version__}
    task |= {"limits": common.shown(limits), "precision": precision, "encoding": encoding, "bad_utf8": bad_utf8}
    task |= {"text": {name: digest for file in files for name, digest in file.fingerprints().items()}, "order": texts}
    plan = Plan(mono, len(mono), block_lines, common.as_shard(shard))
    make = BackTranslation(reverse, filled(search, reverse, batch_tokens), limits, mono.is_first, forward)
    common.work_through(plan, make.pairs, common.Place(output, [file.path for file in files], task, force), say)


def _flags(drawing: Mapping[str, object], searching: Mapping[str, object]) -> dict[str, object]:
    """Return the options of the search: drawing without restriction unless told otherwise, or a beam."""
    drawn, searched = (
        {name: value for name, value in each.items() if value is not None} for each in (drawing, searching)
    )
    if drawn and searched:
        one, other = (next(iter(each)).replace("_", "-") for each in (drawn, searched))
        raise OptionError(f"--{one}: is for drawing, --{other} for searching; leave one of them out")
    if searched:
        return {"n_best": 1, "mbr": "none", **searched, "sample": False}
    usual = {"n_best": 1, "mbr": "none", "top_k": 0, "top_p": 1.0, "temperature": 1.0, "seed": 1}
    return {**usual, **drawn, "sample": True}


def _text(name: str, data: DataConfig, options: TextOptions) -> TextFile:
    """Return a file of lines in the language that the model reads."""
    from nmt.errors import DataError
    from nmt.formats import TextFile
    from nmt.specs import language_of, resolve

    path = resolve(name)
    if not path.is_file():
        raise DataError(f"{name}: is no regular file; a text is read more than once: write it to a file first")
    told = language_of(name)
    if told and told == data.target_lang != data.source_lang:
        raise OptionError(
            f"{name}: is {told}, which the model translates into, from {data.source_lang}; "
            f"give a model from {told}, or rename the file"
        )
    return TextFile(name, path, options)
