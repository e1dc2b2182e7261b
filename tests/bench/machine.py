"""When, where and with what was measured; it knows nothing of what."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import torch

CHECKOUT = Path(__file__).resolve().parents[2]


def about(program: str, threads: int) -> dict[str, str]:
    """Return date, commit, machine, versions and the command that ran `program`, each system with so many threads."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "machine": f"{_processor()}, {threads} threads, {os.cpu_count()} cores, {platform.system()}",
        "Python, torch": f"{platform.python_version()}, {torch.__version__}",
        "command": shlex.join(["python", program, *sys.argv[1:]]),
    }


@cache
def _commit() -> str:
    """Return the commit as it is when first asked for: before results that belong to it are written over."""
    found = subprocess.run(["git", "-C", CHECKOUT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    """Return the name of the processor, which alone may stand for several generations."""
    text = Path("/proc/cpuinfo").read_text()
    facts = dict(re.findall(r"^([^\t:]+)\t*: (.*)$", text, re.M))
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    generation = ", ".join(f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts)
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in text]
    return f"{facts['model name']} ({generation}; {', '.join(flags) or 'no bf16 products'})"
