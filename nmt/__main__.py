"""`python -m nmt` and the console script: run the command line and leave with its exit code."""

import gc
import io
import os
import sys
from typing import TextIO

from nmt.cli import run


class Notes(io.TextIOWrapper):
    """A stderr that takes no word where its disk is full: what the command is for goes on."""

    original: TextIO

    def write(self, text: str) -> int:
        """Write the text, or leave it."""
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, if it is taken."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError:
            pass


def notes(stream: TextIO | None) -> TextIO:
    """Return a stderr that neither ends the command nor, where it is closed, leaves print with stdout in its place."""
    if stream is None:
        return open(os.devnull, "w")
    taken = Notes(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
    taken.original = stream  # which would close the file if nobody had it any more
    return taken


def main() -> None:
    """Run `nmt` on the arguments of this process."""
    sys.stderr = notes(sys.stderr)
    code = run(sys.argv[1:])
    gc.freeze()  # else Python looks once more for garbage in all of torch, for a third of a second
    sys.exit(code)


if __name__ == "__main__":
    main()
