"""Writes the corpus of the experiment: Multi30k's captions alone, and neighbours joined to lines of up to 60 words.

A joined line is as hard as its captions, one after the other, but the way from its first word to its last is longer:
what a model loses on it, it loses to distance. The test has every caption in lines of one, two, three, four and five
captions, so that lines of all lengths hold the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

SIZES = "test.sizes"  # of how many captions each line of the test is
MOST = 5  # captions of twelve words each
PARTS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}  # by the names of Multi30k's files


def cut(captions: int, sizes: Iterator[int]) -> Iterator[int]:
    """Yield how many captions are in each line: what `sizes` says in turn, and what is left over at the end."""
    left = captions
    while left:
        size = min(next(sizes), left)
        yield size
        left -= size


def joined(captions: Sequence[str], sizes: Iterator[int]) -> Iterator[str]:
    """Yield all captions in lines of as many as `sizes` says in turn."""
    rest = iter(captions)
    for size in cut(len(captions), sizes):
        yield " ".join(islice(rest, size))


def lines(part: str, captions: Sequence[str]) -> list[str]:
    """Return the lines of "train", "valid" or "test"."""
    if part == "train":  # half of the words in captions alone
        return [*captions, *joined(captions, cycle(range(2, MOST + 1)))]
    if part == "valid":
        return list(joined(captions, cycle(range(1, MOST + 1))))
    return [line for size in range(1, MOST + 1) for line in joined(captions, cycle([size]))]


def sizes(captions: int) -> list[int]:
    """Return of how many captions each line of a test of so many captions is."""
    return [size for size in range(1, MOST + 1) for size in cut(captions, cycle([size]))]


def write(multi30k: Path, folder: Path, languages: Sequence[str]) -> None:
    """Write train, valid and test of both languages to `folder`, and SIZES."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in PARTS.items():
        for language in languages:
            captions = (multi30k / f"{name}.{language}").read_text("utf-8").rstrip("\n").split("\n")
            text = "".join(f"{line}\n" for line in lines(part, [caption.strip() for caption in captions]))
            (folder / f"{part}.{language}").write_text(text, "utf-8")
        if part == "test":
            (folder / SIZES).write_text("".join(f"{size}\n" for size in sizes(len(captions))), "utf-8")
