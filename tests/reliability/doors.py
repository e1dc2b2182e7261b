"""Closed doors: ends that are closed, full, not there, or of another kind than they should be, by a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rows import Part, Row
from world import World

ROOT = Path(__file__).parents[2]


class Door(NamedTuple):
    """A command line, what it ends with, what it says, and what is in `output` then."""

    line: str
    code: int
    says: str = ""
    output: str | None = None


# NMT is the command with a model; `input` holds three lines, the second blank, and `said` what comes of them.
DOORS = {
    "A35 | head": Door("yes '1 2' | NMT -b 1 | head -1 > output; exit ${PIPESTATUS[1]}", 141, "", None),
    "A36 > /dev/full": Door("NMT input > /dev/full", 5, "stdout: no space left on device after"),
    "A36 one line > /dev/full": Door("echo 1 | NMT > /dev/full", 5, "stdout: no space left on device after"),
    "A37 >&-": Door("NMT input >&-", 5, "stdout is closed"),
    "A37 2>&-": Door("printf '\\xff\\n' | NMT 2>&- > output && test $(wc -l < output) = 1", 0),
    "A37 2> /dev/full": Door("printf '\\xff\\n' | NMT 2> /dev/full > output && test $(wc -l < output) = 1", 0),
    "A38 <&-": Door("NMT <&-", 3, "stdin is closed"),
    "A13 UTF-16": Door("iconv -t UTF-16 input | NMT", 3, "looks like UTF-16; convert with iconv"),
    "A42 gzip on stdin": Door("gzip -c input | NMT", 3, "zcat"),
    "A43 a folder": Door("NMT .", 3, "is a directory"),
    "A43 a missing file": Door("NMT nowhere", 3, "nowhere"),
    "A44 the same file": Door("cp input same; NMT same -o same", 2, "same file"),
    "A44 by a hard link": Door("ln input hard; NMT input -o hard --force", 2, "same file"),
    "A44 by a symbolic link": Door("ln -s input soft; NMT input -o soft --force", 2, "same file"),
    "A44 added to itself": Door("cp input same; timeout 20 bash -c 'NMT < same >> same'", 2, "same file"),
    "A29 a line without an end": Door("yes | tr -d '\\n' | NMT", 3, "line longer than 64 MiB"),
    "A46 nothing can be written": Door("chmod a-w . && NMT < input > /dev/null", 0),
    "A45 an existing output": Door("echo old > output; NMT input -o output", 2, "--force", "old\n"),
    "A45 with --force": Door("echo old > output; NMT input -o output --force && cmp output said", 0),
    "A45 a failed run keeps the old": Door("echo old > output; NMT nowhere -o output --force", 3, "nowhere", "old\n"),
    "A1 nothing": Door("NMT < /dev/null > output", 0, "", ""),
    "A2 a blank line": Door("echo | NMT > output", 0, "", "\n"),
    "A10 stdin as a file": Door("NMT < input > output && cmp output said", 0),
    "A10 gzip as a file": Door("gzip -k input; NMT input.gz > output && cmp output said", 0),
    "A40 LC_ALL=C": Door("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 NMT < input > output && cmp output said", 0),
    "A40 POSIX": Door("LC_ALL=POSIX NMT < input > output && cmp output said", 0),
    "A40 ASCII": Door("PYTHONIOENCODING=ascii NMT < input > output && cmp output said", 0),
    "A84 odd names": Door("cp input $'a \\n -\\xff'; NMT ./$'a \\n -\\xff' > output && cmp output said", 0),
}


def _rows(world: World, share: float) -> Iterator[Row]:
    nmt = f"{sys.executable} -m nmt translate -m {world.finished} --threads 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    text = "1 2 3\n\n4 5 ß\n"

    def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line.replace("NMT", nmt)], cwd=folder, env=environment, capture_output=True, text=True,
            errors="replace", check=False, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    for name, door in DOORS.items():

        def check(folder: Path, door: Door = door) -> None:
            (folder / "input").write_text(text, encoding="utf-8")
            if "said" in door.line:
                assert shell("NMT input > said", folder).returncode == 0
                assert (folder / "said").read_text(encoding="utf-8").count("\n") == 3
            done = shell(door.line, folder)
            assert done.returncode == door.code, (done.returncode, done.stderr)
            assert "Traceback" not in done.stderr, done.stderr
            assert door.says in done.stderr, done.stderr
            assert door.output is None or (folder / "output").read_text() == door.output

        yield Row(name, check)


PARTS = (Part("closed doors have their exit codes and a line", _rows),)
