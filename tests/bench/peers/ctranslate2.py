"""CTranslate2, which translates our weights as `nmt export` writes them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from environment import Environment, variables
from process import Command, run
from work import CHECKOUT, Figures, Mode, Work

from peers.interface import Script

ENGINE = "ctranslate2==4.8.5"
PACKAGES = [[ENGINE, "sentencepiece==0.2.3"]]
QUANTIZATIONS = ("float32", "int8")


class CTranslate2:
    """Does not train."""

    name = "CTranslate2"

    def __init__(self, cache: Path) -> None:
        self.environment = Environment(cache / "environments" / "ctranslate2", PACKAGES)
        self._script = Script("run_ctranslate2", self.environment)

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return nothing."""
        return ()

    def translations(self) -> Sequence[Mode]:
        """Return both precisions in both layouts of workers and threads; its best is what counts."""
        return [
            Mode(f"{kind}, {layout}", {"type": kind, "layout": layout})
            for kind in QUANTIZATIONS
            for layout in ("one worker", "workers of one thread")
        ]

    def install(self, work: Work) -> str:
        """Make the environment and export our weights."""
        self.environment.install()
        export = ["-m", "nmt", "export", "--to", "ctranslate2", "--force", "-m", work.run, "-o"]
        for kind in QUANTIZATIONS:
            folder = work.scratch("export")
            words = [sys.executable, *export, _model(work, kind), "--quantization", kind]
            run(Command(words, variables(work.threads, PYTHONPATH=str(CHECKOUT)), folder, folder / "log.txt"))
        return self.environment.version("ctranslate2")

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Is never asked."""
        raise NotImplementedError

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Run the script."""
        is_one = mode.settings["layout"] == "one worker"
        workers, threads = (1, work.threads) if is_one else (work.threads, 1)
        kind = mode.settings["type"]
        job = {"model": str(_model(work, kind)), "type": kind, "workers": workers, "threads": threads, "rows": 64}
        return self._script.translate(work, work.scratch("ctranslate2"), job, source)


def _model(work: Work, kind: str) -> Path:
    folder = work.cache / "models" / f"ctranslate2-{kind}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
