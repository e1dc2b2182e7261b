"""Neural machine translation: train a translator from parallel text, translate with it, score it.

import nmt
nmt.load("runs/phrasebook").translate(["Where is the station?"])
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nmt.translate import Translator

# Read by OpenMP when torch is loaded. Its threads spin for milliseconds while they wait for each other; where another
# process keeps a core busy, training on all cores all but stops. After a short spin they sleep, and it goes on.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(run: str | Path | Sequence[str | Path], device: str = "auto") -> Translator:
    """Return the translator of a run folder (or of one of its checkpoints), ready to use on `device`.

    Several make an ensemble: their probabilities are averaged.
    """
    from nmt.translate import Translator  # torch takes more than a second to import: only those who translate pay

    return Translator.load(run, device=device)
