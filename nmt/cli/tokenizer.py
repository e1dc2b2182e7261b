"""`nmt tokenizer`: learn a tokenizer from text, and see what it makes of text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nmt.text import TextOptions, Warnings
    from nmt.tokenizer import Tokenizer

DIGITS = 20  # of a number; that of a piece has fewer

app = typer.Typer(
    help="Learn a tokenizer from text, and see what it makes of text.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Files = Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Text; stdin when none is named.")]
Model = Annotated[Path, typer.Option("-m", "--model", help="A tokenizer's file, or a folder with tokenizer.model.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="The file to write; stdout when none is named.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
Ids = Annotated[bool, typer.Option("--ids", help="Numbers instead of pieces.")]


@app.command("train")
def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    files: Files = None,
    kind: Annotated[str | None, typer.Option("--type", help="unigram, bpe, char or word; default unigram.")] = None,
    vocab_size: Annotated[str | None, typer.Option(help="Pieces; default auto: grows with the text.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the config, as tokenizer.byte_fallback=false."),
    ] = None,
    force: Force = False,
) -> None:
    """Learn a tokenizer from the lines of text files."""
    from nmt import vocabulary
    from nmt.configfile import load_config
    from nmt.errors import OptionError
    from nmt.output import check_output
    from nmt.sealed import replace_file
    from nmt.text import TextOptions, Warnings

    check_output(output, files or [0], force=force)
    for setting in settings or ():
        if not setting.startswith("tokenizer.") or setting.startswith("tokenizer.sampling"):
            raise OptionError(f"--set {setting}: is no option of learning a tokenizer; leave it out")
    config = load_config(None, settings or (), {"tokenizer.type": kind, "tokenizer.vocab_size": vocab_size}).tokenizer
    blocks = _blocks(files, TextOptions(bad_utf8="error"), Warnings(lambda line: None))
    replace_file(output, vocabulary.train((line for block in blocks for line in block), config))


@app.command("encode")
def encode(model: Model, files: Files = None, output: Output = None, ids: Ids = False, force: Force = False) -> None:
    """Write each line of text as pieces, with a space between them."""
    tokenizer = load(model)

    def write(line: list[int]) -> str:
        return " ".join(map(str, line) if ids else tokenizer.pieces(line))

    _filter(lambda lines: map(write, tokenizer.encode(lines)), files, output, force=force)


@app.command("decode")
def decode(model: Model, files: Files = None, output: Output = None, ids: Ids = False, force: Force = False) -> None:
    """Write each line of pieces as text."""
    from nmt.errors import DataError

    tokenizer = load(model)

    def read(line: str) -> list[int]:
        pieces = [piece for piece in line.split(" ") if piece]
        if not ids:
            return tokenizer.ids(pieces)
        if wrong := next(
            (piece for piece in pieces if not (piece.isascii() and piece.isdigit() and len(piece) < DIGITS)), None
        ):
            raise DataError(f"{wrong[:40]}: not the number of a piece; leave out --ids to decode pieces")
        return list(map(int, pieces))

    _filter(lambda lines: tokenizer.decode(list(map(read, lines))), files, output, force=force)


def load(model: Path) -> Tokenizer:
    """Return the tokenizer of a file, or of a folder that has one for both languages."""
    from nmt.errors import OptionError
    from nmt.tokenizer import Tokenizer

    if os.path.exists(model / "source.model"):  # pathlib's question has no answer for names that are too long
        raise OptionError(f"{model}: has two tokenizers; name {model}/source.model or {model}/target.model")
    return Tokenizer.load(model / "tokenizer.model" if os.path.isdir(model) else model)


def _blocks(files: list[Path] | None, options: TextOptions, warnings: Warnings) -> Iterator[list[str]]:
    """Yield the lines of the files, or of stdin, as they come."""
    from nmt.text import open_text, read_blocks, standard_input

    if not files:
        yield from read_blocks(standard_input(), "stdin", options, warnings)
    for file in files or []:
        with open_text(file) as stream:
            yield from read_blocks(stream, str(file), options, warnings)


def _filter(
    change: Callable[[list[str]], Iterable[str]], files: list[Path] | None, output: Path | None, *, force: bool
) -> None:
    """Write one line for each line."""
    from nmt.cli.options import speaker
    from nmt.output import Writer, open_output, standard_output
    from nmt.text import AS_UTF8, Warnings

    say = speaker("tokenizer")
    inputs: list[Path] | list[int] = files or [0]
    warnings = Warnings(lambda text: say(f"warning: {text}"))
    with ExitStack() as stack:
        if output:
            writer = stack.enter_context(open_output(output, inputs, force=force))
        else:
            writer = Writer(standard_output(inputs), "stdout")
        for block in _blocks(files, AS_UTF8, warnings):
            writer.write(change(block))
    warnings.finish()
