"""`make evolution`: trains the history of attention on one corpus, with one budget, and writes a page about it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from joined import write
from page import write_page
from systems import CHECKOUT, SYSTEMS, Place, run_all, trainings


def main() -> None:
    """Write the corpus, train and measure what is not trained yet, write the page."""
    options = _options()
    captions = Path(os.environ.get("NMT_DATA") or CHECKOUT / "../shared/data").resolve() / "multi30k"
    if not captions.is_dir():
        raise SystemExit(f"evolution: {captions} is absent; set NMT_DATA to the folder above multi30k/")
    place = Place(options.output, options.output / "data", options.device, options.set)
    write(captions, place.data, ("en", "de"))
    wanted = [each for each in trainings(options.seeds) if not options.only or each.config in options.only]
    run_all(place, wanted)
    print(f"evolution: {write_page(place.folder, options.seeds)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make evolution", description=__doc__)
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS") or 1), help="of the main contrast")
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--only", action="append", default=[], choices=names, help="a system; repeatable")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "runs" / "evolution", help="runs and page")
    parser.add_argument("--device", default="cpu", help="cpu: one training per core; cuda: one after the other")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the configs")
    options = parser.parse_args()
    options.output = options.output.resolve()
    return options


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("evolution: interrupted; the same command goes on") from None
