"""`make torture`: tries what the promises are about, many times, and prints how often each was tried and kept."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from rows import MODULES, Part  # noqa: E402
from world import World  # noqa: E402


def main() -> int:
    """Try all parts, or those that are named, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all rows of each part")
    parser.add_argument("--only", action="append", default=[], choices=MODULES, help="a module; repeatable")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="nmt-torture-") as name:
        world = World(Path(name))
        for module in options.only or MODULES:
            for part in importlib.import_module(module).PARTS:
                failed += try_part(part, world, options.share)
    return int(failed > 0)


def try_part(part: Part, world: World, share: float) -> int:
    """Try the rows of a part, print a line, and return how many failed."""
    began, tried, failed = time.monotonic(), 0, 0
    for row in part.rows(world, share):
        tried += 1
        with tempfile.TemporaryDirectory(prefix="row-", dir=world.folder) as folder:
            try:
                row.check(Path(folder))
            except Exception:
                failed += 1
                print(f"FAILED: {row.name}\n{traceback.format_exc()}", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{part.promise:55} tried {tried:7,}  passed {tried - failed:7,}  {seconds:7.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
