"""What a run began with beside its config and training pairs, so that what goes on is the same run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from nmt.corpus import ParallelCorpus
from nmt.errors import OptionError
from nmt.sealed import MANIFEST, canonical, replace_file

FILE = "origin.json"


class Origin(NamedTuple):
    """What the run began with."""

    validation: dict[str, str]  # SHA-256 of each file that it is validated on, by its name; none of held-out pairs
    model: str  # whose weights it started from, "" for random ones
    manifest: str  # SHA-256 of that model's manifest


def origin_of(validation: ParallelCorpus | None, start_from: Path | None) -> Origin:
    """Return what a run begins with."""
    digests = validation.fingerprints() if validation else {}
    return Origin(digests, str(start_from or ""), _manifest(start_from) if start_from else "")


def save(run: Path, origin: Origin) -> None:
    """Write it into the run."""
    replace_file(run / FILE, canonical(origin._asdict()))


def check_validation(run: Path, validation: ParallelCorpus | None) -> None:
    """Raise OptionError where the run was validated on other text: the best weights could not be told any more."""
    before = _load(run)
    if before is None or validation is None:
        return
    now = validation.fingerprints()
    if sorted(before.validation.values()) != sorted(now.values()):
        name = next(name for name in {**before.validation, **now} if before.validation.get(name) != now.get(name))
        raise OptionError(f"{run}: {name} has changed since the run began; choose another folder with -o")


def check_start(run: Path, start_from: Path | None) -> None:
    """Raise OptionError where the run began with the weights of another model than is named now.

    One under the same name may have been trained on since then, and the same one may lie elsewhere.
    """
    before = _load(run)
    if before is None or start_from is None or str(start_from) == before.model:
        return
    if not before.model or _manifest(start_from) != before.manifest:
        began = f"the weights of {before.model}" if before.model else "random weights"
        raise OptionError(f"{run}: began with {began}, not those of {start_from}; choose another folder with -o")


def _load(run: Path) -> Origin | None:
    """Return what was saved; None where there is nothing that can be read, as in a run of an older version."""
    try:
        return Origin(**json.loads((run / FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _manifest(model: Path) -> str:
    """Return the SHA-256 of the manifest of a run or a checkpoint, "" where there is none."""
    file = model / MANIFEST
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
