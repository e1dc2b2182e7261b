"""Text that tests read: real sentence pairs where they are at hand, and invented ones that need no file."""

import os
import random
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("NMT_DATA") or Path(__file__).parents[1] / "../shared/data")


def multi30k(split: str, lines: int | None = None) -> list[tuple[str, str]]:
    """Return English-German pairs; without the corpus the test is skipped, in CI it fails."""
    files = [ROOT / "multi30k" / f"{split}.{language}" for language in ("en", "de")]
    if not all(file.exists() for file in files):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{files[0]} is absent; set NMT_DATA to the corpora")
    source, target = (file.read_bytes().decode().removesuffix("\n").split("\n") for file in files)
    return list(zip(source, target, strict=True))[:lines]


def invented(pairs: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return pairs of sentences of one to twenty invented words."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abdefghiklmnoprstuvzäöü", k=chance.randint(2, 8))) for _ in range(300)]

    def sentence() -> str:
        return " ".join(chance.choices(words, k=chance.randint(1, 20))).capitalize() + chance.choice(".!?")

    return [(sentence(), sentence()) for _ in range(pairs)]
