"""One process of several is killed: it is named, all are gone in a minute, and training ends in the same weights."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Part, Row, spread
from together import end, pids, run, start, wait_for
from trainings import digest, words, write_corpus
from world import World

GONE = 60.0  # seconds
PROCESSES = 2
MORE = {"training.max_steps": 150, "training.save_every": 20, "training.valid_every": 40}


def _killed(world: World, share: float) -> Iterator[Row]:
    home = world.folder / "processes"
    corpus = write_corpus(home, 300)
    run(PROCESSES, words(corpus, home / "whole", MORE))
    for seed in range(spread(20, share)):

        def check(folder: Path, seed: int = seed) -> None:
            chance = random.Random(seed)
            rank, command = chance.randrange(PROCESSES), words(corpus, folder / "run", MORE)
            started = start(PROCESSES, command)
            wait_for(folder / "run", f"step {chance.randrange(1, 141)} |")
            time.sleep(chance.uniform(0, 0.1))
            os.kill(pids(started.pid)[rank], signal.SIGKILL)
            before = time.monotonic()
            code, told = end(started)
            assert code != 0
            assert time.monotonic() - before < GONE
            named = rf"error: rank {1 - rank} on \S+: rank {rank} on \S+: killed.*\(exit code 5\)"
            assert re.search(named, told), told
            run(PROCESSES, command)
            assert digest(folder / "run") == digest(home / "whole")

        yield Row(f"kill -9 of one of {PROCESSES} processes, seed {seed}", check)


PARTS = (Part("a killed process of several is named, the others leave, and training goes on", _killed),)
