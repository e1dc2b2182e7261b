"""A sample of what `make torture` tries whole."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import MODULES, Part
from world import World

PARTS = [(module, part) for module in MODULES for part in importlib.import_module(module).PARTS]
SHARE = 0.02
MOST = 12  # rows of a part


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "part"), PARTS, ids=[f"{module}: {part.promise}" for module, part in PARTS])
def test_a_sample_of_all_that_is_tried(module: str, part: Part, world: World, tmp_path: Path) -> None:
    for number, row in enumerate(_some(part.rows(world, SHARE))):
        folder = tmp_path / str(number)
        folder.mkdir()
        row.check(folder)


def _some(rows: Iterator[object]) -> list[object]:
    """Return at most so many rows, evenly spread."""
    every = list(rows)
    return every[:: -(-len(every) // MOST)]
