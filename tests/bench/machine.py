"""When, where and with what was measured; it knows nothing of what."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

CHECKOUT = Path(__file__).resolve().parents[2]


def about(program: str, threads: int) -> dict[str, str]:
    """Return date, commit, machine, versions and the command that ran `program`, each system with so many threads."""
    commit = subprocess.run(["git", "-C", CHECKOUT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{_processor()}, {threads} threads, {os.cpu_count()} cores, {platform.system()}",
        "Python, torch": f"{platform.python_version()}, {torch.__version__}",
        "command": shlex.join(["python", program, *sys.argv[1:]]),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in Path("/proc/cpuinfo").read_text()]
            return f"{line.split(':')[1].strip()} ({', '.join(flags) or 'no bf16 products'})"
    return platform.processor() or platform.machine()
