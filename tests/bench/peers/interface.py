"""What every peer answers, and how a script is run inside its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from environment import Environment, variables
from process import Command, Usage, run
from work import HERE, Figures, Mode, Work, finished, read


class Peer(Protocol):
    """A toolkit."""

    name: str

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return the ways in which it trains a `transformer` or an `rnn`; none where it does not."""
        ...

    def translations(self) -> Sequence[Mode]:
        """Return the ways in which it translates."""
        ...

    def install(self, work: Work) -> str:
        """Make it ready and return its version; raises Unavailable with the reason."""
        ...

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Train for some seconds after the warm-up."""
        ...

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Translate a file."""
        ...


class Script:
    """A script of `inside/` in the environment of a peer."""

    def __init__(self, name: str, environment: Environment) -> None:
        self.file, self.environment = HERE / "inside" / f"{name}.py", environment

    def train(self, work: Work, folder: Path, job: Mapping[str, Any], seconds: float) -> Figures:
        """Run a training job in a folder."""
        times = {"warmup": work.warmup, "seconds": seconds}
        answer, usage = self._run(work, folder, {"do": "train", **times, **job})
        return Figures(answer["pieces"], answer["seconds"], usage.seconds, usage.peak, parameters=answer["parameters"])

    def translate(
        self, work: Work, folder: Path, job: Mapping[str, Any], source: Path, *, is_stdin: bool = False
    ) -> Figures:
        """Run a translation job in a folder; the input is named in the job or is the standard input."""
        output = folder / "output.txt"
        task = {"do": "translate", "beam": work.beam, "input": str(source), "output": str(output)}
        task |= {"tokenizer": str(work.tokenizer)}
        answer, usage = self._run(work, folder, {**task, **job}, source if is_stdin else None)
        pieces = answer["pieces"] if "pieces" in answer else work.count(output)
        return Figures(pieces, answer["seconds"], usage.seconds, usage.peak, len(read(source)), output=str(output))

    def _run(
        self, work: Work, folder: Path, job: Mapping[str, Any], stdin: Path | None = None
    ) -> tuple[dict[str, Any], Usage]:
        task = {**job, "result": str(folder / "result.json")}
        (folder / "job.json").write_text(json.dumps(task, indent=1))
        words = [self.environment.python, self.file, folder / "job.json"]
        command = Command(words, variables(work.threads), folder, folder / "log.txt", stdin)
        usage = run(command)
        return finished(task), usage
