"""Trainings in several processes: starts them as torchrun does, and is itself what it starts where more is to be seen.

As a script it is `nmt` with an ear on what each process learns from ($SEEN, a folder), or with a process that fails
($FAILS, its rank).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainings import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]


def start(
    processes: int,
    arguments: Sequence[str],
    changes: Mapping[str, str] | None = None,
    *,
    script: bool = False,
    restarts: int = 0,
) -> subprocess.Popen[str]:
    """Start `nmt` in several processes of one host; what it tells is in `stderr`."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **(changes or {})}
    what = [str(Path(__file__))] if script else ["-m", "nmt"]
    command = [*TORCHRUN, "--nproc-per-node", str(processes), "--max-restarts", str(restarts), *what, *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(
    processes: int, arguments: Sequence[str], changes: Mapping[str, str] | None = None, *, script: bool = False
) -> str:
    """Run `nmt` in several processes to its good end, and return what it told."""
    code, told = end(start(processes, arguments, changes, script=script))
    assert code == 0, f"exit code {code}: {but_steps(told)}"
    return told


def but_steps(told: str) -> str:
    """Return what was told without the steps, in which the rest is lost."""
    return "\n".join(line for line in told.splitlines() if not line.startswith("step "))


def end(started: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str]:
    """Wait for all processes and return torchrun's exit code and what was told."""
    try:
        _, told = started.communicate(timeout=timeout)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    return started.returncode, told


def wait_for(run: Path, text: str, timeout: float = 120) -> None:
    """Wait until a training has told something."""
    deadline = time.monotonic() + timeout
    while text not in (run / "train.log").read_text() if (run / "train.log").exists() else True:
        assert time.monotonic() < deadline, f"{text} was not told"
        time.sleep(0.02)


def pids(torchrun: int) -> dict[int, int]:
    """Return the processes that a torchrun has started by their ranks."""
    children = (Path("/proc") / str(torchrun) / "task" / str(torchrun) / "children").read_text().split()
    found = dict[int, int]()
    for child in children:
        variables = (Path("/proc") / child / "environ").read_bytes().decode().split("\0")
        ranks = [variable.removeprefix("RANK=") for variable in variables if variable.startswith("RANK=")]
        found |= {int(rank): int(child) for rank in ranks}
    return found


def losses(run: Path) -> dict[int, float]:
    """Return the loss of each step that was recorded."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record["loss"] for record in records if record["kind"] == "train"}


def seen(folder: Path) -> Counter[str]:
    """Return how often each pair was learnt from, by all processes."""
    return Counter(line for path in folder.iterdir() for line in path.read_text().splitlines())


def _listen(folder: Path) -> None:
    from nmt.training.learner import Learner

    learn, own = Learner.learn, folder / f"{os.environ.get('RANK')}-{os.getpid()}"

    def listening(self, batches, step, rate):  # type: ignore[no-untyped-def]
        with own.open("a") as file:
            for batch in batches:
                for source, target in zip(batch.source.ids.tolist(), batch.target.ids.tolist(), strict=True):
                    print([n for n in source if n], [n for n in target if n], file=file)
        return learn(self, batches, step, rate)

    Learner.learn = listening  # type: ignore[method-assign]


def _fail() -> None:
    from nmt.errors import DataError
    from nmt.training.learner import Learner

    learn = Learner.learn

    def failing(self, batches, step, rate):  # type: ignore[no-untyped-def]
        if step == 3:
            raise DataError("corpus.txt: unreadable here; copy it again")
        return learn(self, batches, step, rate)

    Learner.learn = failing  # type: ignore[method-assign]


if __name__ == "__main__":
    from nmt.cli import run as command

    if "SEEN" in os.environ:
        _listen(Path(os.environ["SEEN"]))
    if os.environ.get("FAILS") == os.environ["RANK"]:
        _fail()
    sys.exit(command(sys.argv[1:]))
