"""Where encoded corpora are kept, so that the next training on the same text begins at once.

The files of a corpus lie in a folder of the cache that is named by the SHA-256 of text, tokenizers and options:

    source.ids  source.offsets  target.ids  target.offsets     ids end to end, and where each sequence begins
    source.text source.places   target.text target.places      the same of the texts, where ids are drawn
    corpus.json                                                counts and the size of each file
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from nmt.encoding import ABOUT, Encoding, chunks, write
from nmt.errors import ResourceError

FORMAT = 1  # changes whenever the files or what is written into them change
OURS = re.compile(r"[0-9a-f]{64}(\.lock)?|[0-9a-f]{16}-\w+")  # a corpus, its lock, or one that is being written
KEPT = 30 * 86_400  # seconds for which a corpus is kept that no training begins with


def cache_folder() -> Path:
    """Return $NMT_CACHE, else $XDG_CACHE_HOME/nmt, else ~/.cache/nmt, else a folder that goes when the process ends."""
    candidates = [
        os.environ.get("NMT_CACHE"),
        os.environ.get("XDG_CACHE_HOME") and os.path.join(os.environ["XDG_CACHE_HOME"], "nmt"),
        os.path.expanduser("~/.cache/nmt"),
    ]
    for folder in map(Path, filter(None, candidates)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    temporary = tempfile.mkdtemp(prefix="nmt-cache-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def kept(pairs: Iterable[tuple[str, str]], encoding: Encoding, cache: Path, fingerprint: str | None = None) -> Path:
    """Return the folder of the pairs in the cache, encoded first if they are not there.

    `pairs` is gone through twice: to hash the text and, unless it is cached, to encode it. A `fingerprint` that
    changes with the text saves the first pass. Raises ResourceError if the disk is full.
    """
    folder = cache / _key(fingerprint or _digest(pairs), encoding)
    with suppress(OSError):  # it is not there, or another user's, to be read all the same
        os.utime(folder)
    if not _whole(folder):
        try:
            with _alone(folder):
                if not _whole(folder):
                    _forget(cache)
                    _build(pairs, encoding, folder)
        except OSError as error:
            raise ResourceError(
                f"{folder}: the encoded corpus cannot be written: {error.strerror}; make room or set NMT_CACHE"
            ) from None
    return folder


def _forget(cache: Path) -> None:
    """Make room: remove what has long been of no use; what a training still reads stays until it ends."""
    for path in cache.iterdir():
        with suppress(OSError):
            if OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of the texts and of where each of them ends."""
    digest = hashlib.sha256()
    for chunk in chunks(pairs):
        for side in chunk:
            digest.update(np.fromiter(map(len, side), np.int64, len(side)).tobytes())
            digest.update("".join(side).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _key(fingerprint: str, encoding: Encoding) -> str:
    source, target = encoding.tokenizers
    facts = [FORMAT, fingerprint, source.sha256, target.sha256, encoding.max_length, encoding.is_drawn]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _whole(folder: Path) -> bool:
    """Say whether the folder holds a corpus all of whose files have the size they were written with."""
    try:
        sizes = json.loads((folder / ABOUT).read_bytes())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait while another process builds the same corpus; where files cannot be locked, both build it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_suffix(".lock")
    with lock.open("w") as handle:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _build(pairs: Iterable[tuple[str, str]], encoding: Encoding, folder: Path) -> None:
    """Write the corpus beside its folder and rename it, so that two processes at once cannot harm each other."""
    building = Path(tempfile.mkdtemp(prefix=f"{folder.name[:16]}-", dir=folder.parent))
    try:
        write(pairs, encoding, building)
        if folder.exists() and not _whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            building.rename(folder)
        except OSError:
            if not _whole(folder):  # else another process was quicker
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
