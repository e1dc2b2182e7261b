"""The command `nmt`: one file per command, and the one handler that turns every error into a line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from nmt import __version__
from nmt.cli.attention import attention
from nmt.cli.average import average
from nmt.cli.backtranslate import backtranslate
from nmt.cli.bench import bench
from nmt.cli.compare import compare
from nmt.cli.curves import curves
from nmt.cli.distill import distill
from nmt.cli.diversify import diversify
from nmt.cli.embeddings import app as embeddings
from nmt.cli.eval import eval_
from nmt.cli.export import export
from nmt.cli.info import info
from nmt.cli.tokenizer import app as tokenizer
from nmt.cli.train import train
from nmt.cli.translate import translate
from nmt.errors import NmtError, is_out_of_memory
from nmt.ranks import rank
from nmt.training.signals import Interrupted

GROUPS = {"tokenizer": tokenizer, "embeddings": embeddings}  # commands with commands of their own

app = typer.Typer(
    name="nmt",
    help="Train a translator from parallel text, translate with it, score it.",
    add_completion=False,
    rich_markup_mode=None,  # rich's help takes longer to import than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train)
app.command("translate")(translate)
app.command("eval")(eval_)
app.command("compare")(compare)
app.command("average")(average)
app.command("attention")(attention)
app.command("curves")(curves)
app.command("info")(info)
app.command("bench")(bench)
app.command("export")(export)
app.command("backtranslate")(backtranslate)
app.command("distill")(distill)
app.command("diversify")(diversify)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"nmt {__version__}")
        raise typer.Exit


@app.callback()
def _nmt(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train a translator from parallel text, translate with it, score it."""


RESOURCE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOMEM,
    errno.EMFILE,
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr."""
    words = list(arguments) if " ".join(arguments) not in ("", *GROUPS) else [*arguments, "--help"]
    try:
        result = app(args=words, prog_name="nmt", standalone_mode=False)
    except Interrupted as leaving:
        if rank().size > 1:
            print(_numbered(f"{_command(words)}: ", "interrupted", leaving.exit_code), file=sys.stderr)
        return leaving.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _die_of_sigpipe()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # typer has answered it with an exit of its own
            return _die_of_sigpipe()
        raise
    except Exception as error:
        return _report(_command(words), error)
    return result if isinstance(result, int) else 0


def _command(words: Sequence[str]) -> str:
    """Return the name of the command that is meant, as far as it is known: nmt tokenizer train."""
    first, second, *_ = (*words, "", "")
    known = [first] if first in (*_names(app), *GROUPS) else []
    known += [second] if first in GROUPS and second in _names(GROUPS[first]) else []
    return " ".join(["nmt", *known])


def _names(group: typer.Typer) -> list[str | None]:
    return [command.name for command in group.registered_commands]


def _die_of_sigpipe() -> int:
    """End as other filters do when nobody reads on: quietly, by the signal itself."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    return 141


def _report(name: str, error: Exception) -> int:
    """Print the one line that an error deserves and return its exit code."""
    if os.environ.get("NMT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, NmtError):
        code, text = error.exit_code, str(error)
    elif isinstance(error, typer.TyperException):
        code, text = 2, _usage(error.format_message(), name)
    elif is_out_of_memory(error):
        code, text = 5, "out of memory; lower --batch-tokens, or take a smaller model"
    elif isinstance(error, OSError) and error.errno in RESOURCE_ERRORS:
        code, text = 5, f"{error.filename or 'output'}: {error.strerror}; free the resource and run it again"
    else:
        code, text = 1, f"{type(error).__name__}: {error}; a bug in nmt: NMT_DEBUG=1 shows where, please report it"
    print(_numbered(f"{name}: error: ", " ".join(text.split()), code), file=sys.stderr)
    return code


def _numbered(name: str, text: str, code: int) -> str:
    """Return a message with the rank of this process and its exit code, if it is one of several.

    torchrun ends with 1 whatever its processes end with.
    """
    own = rank()
    if own.size == 1:
        return f"{name}{text}"
    return f"{name}rank {own.rank} on {socket.gethostname()}: {text} (exit code {code})"


def _usage(message: str, name: str) -> str:
    """Return typer's words for a wrong command line as one sentence that ends with what to do."""
    what, _, advice = message.replace("Value error, ", "").rstrip(".").partition(". Did you mean")
    return f"{what}; did you mean{advice}" if advice else f"{what}; see {name} --help"
