"""`python -m nmt` and the console script: run the command line and leave with its exit code."""

import gc
import sys

from nmt.cli import run


def main() -> None:
    """Run `nmt` on the arguments of this process."""
    code = run(sys.argv[1:])
    gc.freeze()  # else Python looks once more for garbage in all of torch, for a third of a second
    sys.exit(code)


if __name__ == "__main__":
    main()
