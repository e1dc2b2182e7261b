"""`make audit`: looks up whether what constraints.txt pins has known holes, where the service that knows is reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "constraints.txt"
LIMIT = 120  # seconds


def main() -> int:
    """Print each hole and return 1 where there is one; where nothing could be looked up, say so."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", PINS, "--no-deps", "--disable-pip"]
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, timeout=LIMIT
        )
        pins = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        pins = []
    known = [pin for pin in pins if "vulns" in pin]  # of the others the service knows nothing, or is not there
    holes = [(pin, hole) for pin in known for hole in pin["vulns"]]
    for pin, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{pin['name']} {pin['version']}: {hole['id']}, mended in {mended}")
    if known:
        print(f"known holes: {len(holes)} in {len(known)} of the pins of {PINS.name}")
    else:
        print("known holes: not looked up, the service cannot be reached")
    return int(bool(holes))


if __name__ == "__main__":
    sys.exit(main())
