"""What holds for every test."""

import os
import signal

# Shells start background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested there.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run side by side, one process a core (`pytest -n auto`). Each keeps to its own core, and so do the programs it
# starts: two trainings with threads on both cores would wait for each other, and stopwatches would measure that.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if _worker and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker) % len(_cores)]})
