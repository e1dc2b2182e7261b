"""`python -m nmt` and the console script: run the command line and leave with its exit code."""

import sys

from nmt.cli import run


def main() -> None:
    """Run `nmt` on the arguments of this process."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
