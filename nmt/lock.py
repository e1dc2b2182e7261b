"""A folder for one process at a time; it knows nothing of what is done in it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nmt.errors import OptionError, ResourceError


@contextmanager
def locked(file: Path, busy: str, advice: str, *, before: str = "") -> Iterator[None]:
    """Keep others out of the folder of a file, which are created if need be, and locked until the end.

    Raises OptionError where a file is in the folder's place, with `advice` and what is to be tried `before`, or where
    another process holds the lock and is `busy`, and ResourceError where nothing can be written.
    """
    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = file.open("a", encoding="utf-8")
    except (FileExistsError, NotADirectoryError):
        raise OptionError(f"{folder}: a file is in its place; {before}{advice}") from None
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written: {error.strerror}; {advice}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptionError(f"{folder}: {busy} in it; {advice}") from None
        except OSError:  # a file system without locks
            pass
        yield
