"""The command line as a shell sees it: arguments, bytes and files in; exit code, bytes and files out.

`Terminal` forks a process that has the libraries in memory already, so that each command is a process of its own and
yet starts at once. `fresh` starts Python as a user does.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ABSENT = ("NMT_MODEL", "NMT_DATA", "NMT_DEBUG", "COLUMNS")  # what the caller's shell may have set
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
PRELOADED = (
    "nmt.cli", "typer._adapters", "nmt.stream", "nmt.training.run", "nmt.inspect.model", "sacrebleu",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "torch._dynamo", "torch.utils.tensorboard",
)  # fmt: skip


class Done(NamedTuple):
    """What came of a command."""

    code: int
    data: bytes
    error: str

    @property
    def out(self) -> str:
        return self.data.decode("utf-8")

    @property
    def lines(self) -> list[str]:
        return self.out.removesuffix("\n").split("\n") if self.data else []

    def ok(self) -> Done:
        """Return itself if the command succeeded."""
        assert self.code == 0, self.error
        return self


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ABSENT}
    return {**kept, **OFFLINE, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **changes}


def fresh(
    *arguments: str | Path, stdin: str | bytes = "", folder: Path = ROOT, python: tuple[str, ...] = (), **changes: str
) -> Done:
    """Run `nmt` as a user does; `python` are options of the interpreter, `changes` of the environment."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    command = [sys.executable, *(python or ("-m", "nmt")), *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, cwd=folder, env=environment(changes), check=False)
    return Done(done.returncode, done.stdout, done.stderr.decode())


class Terminal:
    """Runs commands in forks of one process that listens at a socket; `close` ends it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.address = f"{self._folder.name}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            command = [sys.executable, __file__, "serve", str(listener.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment({}))
        script = Path(self._folder.name) / "nmt"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} ask {self.address} "$@"\n')
        script.chmod(0o755)

    def nmt(self, *arguments: str | Path, stdin: str | bytes = "", folder: Path, **changes: str) -> Done:
        """Run one command in a folder, with changes of the environment."""
        words, variables = [*map(str, arguments)], environment({"OMP_NUM_THREADS": "1", **changes})
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            files = [file.fileno() for file in (given, out, error)]
            code = ask(self.address, {"arguments": words, "folder": str(folder), "variables": variables}, files)
            for file in (out, error):
                file.seek(0)
            return Done(code, out.read(), error.read().decode())

    def shell(self, lines: str, *, folder: Path, **changes: str) -> Done:
        """Run lines of a shell in which `nmt` is found."""
        variables = environment(changes)
        variables["PATH"] = f"{self._folder.name}:{variables['PATH']}"
        command = ["bash", "-e", "-o", "pipefail", "-c", lines]
        done = subprocess.run(command, capture_output=True, cwd=folder, env=variables, check=False)
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()
        self._folder.cleanup()


def ask(address: str, request: Mapping[str, object], files: Sequence[int]) -> int:
    """Have a command run that reads and writes the files (stdin, stdout, stderr), and return its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], files)
        return int(connection.recv(64))


def serve(listener: socket.socket) -> None:
    """Answer each connection in a process of its own."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # tensorboard is an extra
            importlib.import_module(name)
    draw_curve()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child = os.fork()
            if child == 0:
                os._exit(run(connection))
            _, status = os.waitpid(child, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        connection.close()


def draw_curve() -> None:
    """Have matplotlib find its fonts."""
    import matplotlib.figure

    axes = matplotlib.figure.Figure().subplots()
    axes.plot([0, 1], label="curve")
    axes.legend()
    axes.figure.savefig(io.BytesIO())


def run(connection: socket.socket) -> int:
    """Be the process that a shell would have started."""
    data, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    request = json.loads(data)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    sys.argv = ["nmt", *request["arguments"]]
    from nmt.__main__ import main

    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    here = {"arguments": sys.argv[3:], "folder": os.getcwd(), "variables": dict(os.environ)}
    sys.exit(ask(sys.argv[2], here, (0, 1, 2)) % 256)
