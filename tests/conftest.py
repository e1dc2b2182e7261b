"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable

import pytest

# Shells start background jobs with SIGINT ignored, nohup with SIGHUP, and children inherit that: Ctrl-C and a hang-up
# could not be tested there.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tests run side by side, one process a core (`pytest -n auto`). Each keeps to its own core, and so do the programs it
# starts: trainings with threads on all cores would wait for each other, and stopwatches would measure that.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if _worker and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker) % len(_cores)]})


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Have what is launched recorded, on a CPU too where no GPU is, and return the list of all recordings made."""
    import torch

    from nmt import graphs

    made = list[Callable[[], None]]()
    record = graphs.record

    def counted(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
        made.append(record(function, device))
        return made[-1]

    monkeypatch.setattr(graphs, "DEVICES", {"cuda" if torch.cuda.is_available() else "cpu"})
    monkeypatch.setattr(graphs, "record", counted)
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured, rows under the heading that `record_property` was given with each."""
    found = defaultdict[str, list[object]](list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for heading, row in report.user_properties:
                    found[heading].append(row)
    for heading, rows in found.items():
        terminalreporter.write_line("")
        for line in (heading, *rows):
            terminalreporter.write_line(str(line))
