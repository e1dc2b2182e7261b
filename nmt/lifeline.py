"""A process that ends when the one that has started it does, however that comes about."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def end_with_parent() -> None:
    """Have this process killed when the thread that has started it ends; elsewhere than on Linux nothing is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
