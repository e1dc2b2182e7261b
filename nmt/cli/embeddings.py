"""`nmt embeddings`: vectors of a tokenizer's pieces, learnt from text in one language or several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nmt.cli import options as shared
from nmt.cli.tokenizer import load
from nmt.cli.translate import Force

if TYPE_CHECKING:
    from nmt.text import TextOptions

FORMS = (".txt", ".vec", ".bin")

app = typer.Typer(
    help="Learn word vectors to start a training from.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _embeddings() -> None:
    """Learn word vectors to start a training from."""


Texts = Annotated[list[str], typer.Argument(metavar="TEXT ...", help="Texts, gzipped or not, found as corpora are.")]
Model = Annotated[Path, typer.Option("--tokenizer", metavar="MODEL", help="A run folder, or a tokenizer's file.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="vectors.txt, .vec (text) or .bin.")]
Method = Annotated[Literal["skip-gram", "cbow"], typer.Option("--method", help="Of word2vec.")]
Dim = Annotated[
    int | None,
    typer.Option(min=1, help="Width of the vectors.  [default: as the embeddings of the tokenizer's run, or 256]"),
]
Window = Annotated[int, typer.Option(min=1, max=1000, help="Pieces before and after that belong together.")]
Negative = Annotated[int, typer.Option(min=1, max=1000, help="Pieces drawn at random for each one that is there.")]
MinCount = Annotated[int, typer.Option(min=1, help="Rarer pieces get no vector.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the text.")]
Threads = Annotated[int, typer.Option(min=0, help="0: one per core; only one finds the same vectors each time.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the first vectors and of what is drawn.")]
BadUtf8 = Annotated[Literal["error", "replace", "drop"], typer.Option(help="What undecodable bytes do.")]


@app.command("train")
def train(
    texts: Texts,
    tokenizer: Model,
    output: Output,
    method: Method = "skip-gram",
    dim: Dim = None,
    window: Window = 5,
    negative: Negative = 5,
    min_count: MinCount = 5,
    epochs: Epochs = 5,
    threads: Threads = 1,
    seed: Seed = 1,
    encoding: shared.Encoding = "utf-8",
    bad_utf8: BadUtf8 = "error",
    force: Force = False,
) -> None:
    """Learn vectors of a tokenizer's pieces from text, for model.embeddings of a config."""
    from nmt import word2vec
    from nmt.errors import OptionError
    from nmt.output import open_output
    from nmt.specs import resolve
    from nmt.text import TextOptions

    if output.suffix not in FORMS:
        raise OptionError(f"-o {output}: is none of {', '.join(FORMS)}; name it so")
    word2vec.check_gensim()
    pieces = load(tokenizer)
    files = {text: resolve(text) for text in texts}
    width = dim or _width(tokenizer if tokenizer.is_dir() else tokenizer.parent)
    options = word2vec.Word2vec(
        method == "skip-gram", width, window, negative, min_count, epochs, threads or os.cpu_count() or 1, seed
    )
    with open_output(output, files.values(), force=force) as writer:
        found = word2vec.train(_blocks(files, TextOptions(encoding, bad_utf8)), pieces, options)
        word2vec.write(found, writer, is_binary=output.suffix == ".bin")
    shared.speaker("embeddings train")(
        f"{output}: vectors of {len(found.pieces):,} of {pieces.size:,} pieces, "
        f"from {found.lines:,} lines of {found.tokens:,} pieces, {width} wide"
    )


def _width(run: Path) -> int:
    """Return how wide the embeddings of a run are; 256 where the folder is none."""
    if not (run / "config.yaml").exists():
        return 256
    model = shared.config_of(run).model
    return model.embedding if model.type == "rnn" else model.dim


def _blocks(files: dict[str, Path], options: TextOptions) -> Iterator[list[str]]:
    from nmt.text import open_text, read_sides

    for name, path in files.items():
        with open_text(path) as stream:
            for block in read_sides(stream, name, options):
                yield [line for line in block if line is not None]
