"""Preparing a corpus takes time in proportion to its pairs, and memory for none of them that holds a text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "bench" / "corpus.py"
FEW, MANY = 60_000, 300_000
SAMPLE = 500_000  # characters, so few that samples are equally large
PER_PAIR = 75  # bytes; a number in a set takes 84, the two texts of a pair take 250


def phases(folder: Path, pairs: int, *options: str) -> dict[str, dict[str, float]]:
    """Return what each phase of preparing took, by its name; of one that comes twice the first."""
    words = ["--folder", folder, "--pairs", pairs, "--sample", SAMPLE, "--steps", 0, "--json", *options]
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {phase["name"]: phase for phase in reversed(json.loads(done.stdout)["phases"])}


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--recipe"]])
def test_memory_is_not_for_pairs_and_time_is_in_proportion(tmp_path: Path, options: list[str]) -> None:
    few, many = (phases(tmp_path, pairs, *options) for pairs in (FEW, MANY))
    for name in ("count", "hold out", "encode"):
        grown = (many[name]["peak"] - few[name]["peak"]) * 2**20 / (MANY - FEW)
        assert grown < PER_PAIR, f"{name}: {grown:.0f} bytes of memory a pair"
        ratio = many[name]["cpu"] / few[name]["cpu"]
        assert ratio < 2 * MANY / FEW, f"{name}: {ratio:.1f} times the time for {MANY / FEW:.0f} times the pairs"
    assert many["plan"]["seconds"] < 10
