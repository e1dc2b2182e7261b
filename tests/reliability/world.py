"""What the parts are tried on: a corpus and runs that nothing ever stopped, made once; and what they are told by."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from nursery import run  # noqa: E402
from trainings import Setting, digest, words, write_corpus  # noqa: E402

STEPS = 12  # of a training; one is saved every third, one validated every fourth


class World:
    """A folder with all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def corpus(self) -> list[str]:
        """Return the names of two aligned files."""
        return write_corpus(self.folder / "corpus")

    def words(self, folder: Path, changes: dict[str, Setting] | None = None) -> list[str]:
        """Return the arguments of the training; dropout, subword sampling and averages are on."""
        return words(self.corpus, folder / "run", changes)

    @cached_property
    def finished(self) -> Path:
        """Return the run of the training."""
        folder = self.folder / "finished"
        folder.mkdir()
        ended = run(self.words(folder), folder)
        assert ended.code == 0, ended.told
        return folder / "run"

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of its weights."""
        return digest(self.finished)
