"""Which of several processes this one is, by the environment that torchrun gives it; it knows nothing of their work."""

from __future__ import annotations

import os
from typing import NamedTuple

VARIABLES = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}  # and what they are alone


class Rank(NamedTuple):
    """A process among those that were started together."""

    rank: int  # 0 .. size - 1
    size: int
    local: int  # the same on its own host
    local_size: int


def rank() -> Rank:
    """Return this process's rank; without torchrun it is the only one."""
    return Rank(*(int(os.environ.get(name, usual)) for name, usual in VARIABLES.items()))
