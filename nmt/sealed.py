"""Folders and files written whole or not at all, and verified on load; it knows nothing of what is in them.

A folder is sealed by its MANIFEST.json, written last: size and SHA-256 of every file and a digest of itself, so that
no damaged, missing or swapped byte goes unseen.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nmt.errors import ModelError, ResourceError

MANIFEST = "MANIFEST.json"
FORMAT = 1  # the version written into every manifest; a higher one is refused

Content = bytes | Callable[[], bytes]  # a function where the bytes are many: one file in memory at a time


class Entry(NamedTuple):
    """What a manifest says of one file."""

    size: int  # bytes
    sha256: str


class Sealed(NamedTuple):
    """A folder with a sound manifest; its files are verified as they are read."""

    folder: Path
    files: dict[str, Entry]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file, or raise ModelError if they are not the ones that were sealed."""
        path = self.folder / name
        if name not in self.files:
            raise ModelError(f"{path}: not listed in {MANIFEST}; copy the folder again")
        data = read_file(path)
        if entry_of(data) != self.files[name]:
            raise ModelError(f"{path}: sha256 differs from {MANIFEST}, the file is damaged; copy the folder again")
        return data


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, fixed spaces, ASCII, a newline at the end."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode("ascii")


def entry_of(data: bytes) -> Entry:
    """Return size and SHA-256 of a file's bytes."""
    return Entry(len(data), hashlib.sha256(data).hexdigest())


def seal(files: Mapping[str, Entry]) -> bytes:
    """Return the text of the manifest of these files."""
    body = {"version": FORMAT, "files": {name: entry._asdict() for name, entry in files.items()}}
    return canonical({**body, "digest": entry_of(canonical(body)).sha256})


def unseal(folder: Path) -> Sealed:
    """Read and check a folder's manifest, not yet its files."""
    path = folder / MANIFEST
    data = read_file(path)
    try:
        body = json.loads(data)
        version = body["version"]
        files = {name: Entry(**entry) for name, entry in body["files"].items()}
        text = seal(files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a manifest, the file is damaged; copy the folder again") from error
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(f"{path}: format {version}, this nmt reads {FORMAT}; upgrade nmt")
    if text != data:
        raise ModelError(f"{path}: its digest differs, the file is damaged; copy the folder again")
    for name in files:
        if Path(name).name != name or name == "..":
            raise ModelError(f"{path}: illegal path {name!r} in the manifest; files must lie beside it")
    return Sealed(folder, files)


def read_file(path: Path) -> bytes:
    """Return a file's bytes, or raise ModelError (not there) or ResourceError (not readable)."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ModelError(f"{path}: no such file; copy the folder again, or train the model anew") from None
    except OSError as error:
        raise ResourceError(f"{path}: {error.strerror}; make it readable") from error


def write_folder(final: Path, files: Mapping[str, Content]) -> None:
    """Write a sealed folder so that it is either there as a whole or not at all; an older one of the name goes.

    Order on the disk: every file, the manifest last, the folder, the rename, the parent; fsync each time.
    """
    draft = _draft(final)
    with _guarded(final):
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            entries = {name: _write(draft / name, content) for name, content in files.items()}
            _write(draft / MANIFEST, seal(entries))
            _sync(draft)
            if final.exists():
                os.replace(final, _grave(final))
            os.replace(draft, final)
            _sync(final.parent)
            _sync(final.parent.parent)  # the parent may be as new as the folder itself
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(_grave(final), ignore_errors=True)


def replace_file(path: Path, content: Content) -> Entry:
    """Write a file so that a reader sees the old bytes or the new ones, never a part of either."""
    draft = _draft(path)
    with _guarded(path):
        try:
            entry = _write(draft, content)
            os.replace(draft, path)
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    return entry


def assemble_file(path: Path, draft: Path, chunks: Iterable[bytes]) -> None:
    """Write what memory may not hold into a draft on the same disk, which then takes the file's place and mode."""
    with _guarded(path):
        with draft.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, draft)
        os.replace(draft, path)
        _sync(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there, for good: also after a power cut."""
    with _guarded(path):
        if path.exists():
            path.unlink()
            _sync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, so that no half of it is ever found under its name."""
    with _guarded(path):
        if path.exists():
            os.replace(path, _grave(path))
            shutil.rmtree(_grave(path), ignore_errors=True)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what interrupted writes of dead processes left in a folder, or, there, of one name."""
    for path in folder.glob(f"{glob.escape(name)}*.tmp-*"):
        process = path.name.rpartition("-")[2]
        if not process.isdigit() or _is_alive(int(process)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def _grave(path: Path) -> Path:
    return path.with_name(f"{path.name}.old.tmp-{os.getpid()}")


def _write(path: Path, content: Content) -> Entry:
    """Write and fsync one file."""
    data = content if isinstance(content, bytes) else content()
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return entry_of(data)


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Say in one line, with the path, why the disk refused a write."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some space and run the command again" if is_full else "give a folder that can be written"
        raise ResourceError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()  # what carries our own number is of a process before us
