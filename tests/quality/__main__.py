"""`make quality`: trains what docs/quality.md compares, each from several seeds, scores it and prints the table."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scores import measure, table
from techniques import TECHNIQUES, Place, run_all, trainings

CHECKOUT = Path(__file__).resolve().parents[2]
PAIRS = 5_000


def main() -> None:
    """Train and score what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(prog="make quality", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], choices=[technique.name for technique in TECHNIQUES])
    parser.add_argument("--max-steps", type=int, default=4_500, help="fewer only try it out")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "runs" / "quality")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each"
    )
    options = parser.parse_args()
    captions = Path(os.environ.get("NMT_DATA") or CHECKOUT / "../shared/data").resolve() / "multi30k"
    if not captions.is_dir():
        raise SystemExit(f"quality: {captions} is absent; set NMT_DATA to the folder above multi30k/")
    folder = options.output.resolve() / f"{options.max_steps}-steps"  # what was only tried out is no part of a table
    place = Place(folder, captions.parent, options.max_steps)
    _write_few(captions, place.folder)
    wanted = trainings(options.only, options.seeds)
    run_all(place, wanted, options.workers)
    print(table(measure(place, wanted)))


def _write_few(captions: Path, folder: Path) -> None:
    """Write the first pairs of the training set, and the targets of the others, where a config looks for data."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for language in ("en", "de"):
        lines = (captions / f"train.{language}").read_bytes().removesuffix(b"\n").split(b"\n")
        (data / f"few.{language}").write_bytes(b"\n".join(lines[:PAIRS]) + b"\n")
    (data / "more.de").write_bytes(b"\n".join(lines[PAIRS:]) + b"\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("quality: interrupted; the same command goes on") from None
