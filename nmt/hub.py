"""Sentence pairs out of Parquet, Arrow and the Hugging Face hub, by way of `datasets`; no code of a data set is run."""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.errors import DataError, OptionError, ResourceError
from nmt.formats import Row, Wanted, find_keys, side
from nmt.text import Place, Warnings

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

ROWS = 1000  # read at a time
ADDRESS = re.compile(r"hf:(?P<name>[^:@#]+)(:(?P<config>[^@#]+))?(@(?P<revision>[^#]+))?(#(?P<split>.+))?")


@dataclass(frozen=True)
class Loaded:
    """A data set and what is to be noted about it."""

    rows: Dataset | IterableDataset
    name: str  # with the revision that was found
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetRows:
    """A corpus that `datasets` reads; it is opened when its rows are first asked for."""

    name: str  # as given
    wanted: Wanted
    load: Callable[[], Loaded] = field(repr=False)
    _digests: list[str] = field(default_factory=list, repr=False)  # of the text, once it was read to its end

    @cached_property
    def loaded(self) -> Loaded:
        """Open the data set; a DataError says why it cannot be."""
        import datasets  # takes 0.4 s to import: only those who read such data pay

        datasets.logging.set_verbosity(logging.CRITICAL)  # its errors are raised too, and said once, by us
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        try:
            return self.load()
        except _faults() as error:
            raise _explained(self.name, error) from error

    def rows(self, warnings: Warnings) -> Iterator[Row]:
        """Yield the two sides of every row; a null is an empty side."""
        for note in self.loaded.notes:
            warnings.note(note)
        digest = hashlib.sha256()
        for first in self._read():
            source, target = find_keys(first, self.wanted, self.name)
            for key in (source, target):
                side(first, key, self.name)  # a missing column is better said before others are put aside
            break
        else:
            self._digests.append(digest.hexdigest())
            return
        for number, row in enumerate(self._read({source[0], target[0]}), 1):
            place = Place(self.name, number)
            sides = side(row, source, place), side(row, target, place)
            if not self._digests:
                for data in map(str.encode, sides):
                    digest.update(len(data).to_bytes(8, "little") + data)
            yield Row(number, *sides)
        self._digests.append(digest.hexdigest())

    def _read(self, columns: Collection[str] = ()) -> Iterator[dict[str, object]]:
        """Yield the rows, of only some columns if these are named."""
        try:
            data = self.loaded.rows
            for batch in (data.select_columns(sorted(columns)) if columns else data).iter(ROWS if columns else 1):
                yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        except _faults() as error:
            raise _explained(self.name, error) from error

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of the text, found while it is first read: files differ between versions of `datasets`."""
        if not self._digests:
            for _ in self.rows(Warnings(lambda line: None)):
                pass
        return {self.loaded.name: self._digests[0]}


def local_rows(name: str, path: Path, split: str, wanted: Wanted) -> DatasetRows:
    """Return the corpus in a Parquet or Arrow file, in a folder of them, or saved by `datasets` itself."""

    def load() -> Loaded:
        import datasets

        if path.is_file():
            kind = {".parquet": "parquet", ".arrow": "arrow"}[path.suffix.lower()]
            # Streamed, the text is not copied into the cache of `datasets`.
            rows = datasets.load_dataset(kind, data_files=glob.escape(str(path)), split="train", streaming=True)
        elif (path / "state.json").exists():
            rows = datasets.load_from_disk(str(path))
        else:
            rows = datasets.load_dataset(str(path.absolute()), split=split, streaming=True)
        return Loaded(rows, name)

    return DatasetRows(name, wanted, load)


def hub_rows(spec: str, wanted: Wanted, *, streaming: bool = False) -> DatasetRows:
    """Return the corpus hf:NAME[:CONFIG][@REVISION][#SPLIT], the newest revision and the split `train` if none.

    With `streaming` it is fetched for each pass over it; nothing of it is kept on the disk.
    """
    address = parse(spec)
    name, config, revision = address["name"], address["config"], address["revision"]

    def load() -> Loaded:
        import datasets

        commit = _commit(name, revision)
        split = address["split"] or "train"
        version = commit or revision or None
        rows = datasets.load_dataset(name, config or None, revision=version, split=split, streaming=streaming)
        found = f"hf:{name}{config and ':' + config}@{version or 'main'}#{split}"
        note = f"{spec}: revision not pinned; name it to have the same text again: {found}"
        return Loaded(rows, found, () if revision else (note,))

    return DatasetRows(spec, wanted, load)


def parse(spec: str) -> dict[str, str]:
    """Return name, config, revision and split of a hub address, "" for what it leaves out."""
    match = ADDRESS.fullmatch(spec)
    if not match:
        raise OptionError(f"{spec}: not a data set's address; write hf:NAME[:CONFIG][@REVISION][#SPLIT]")
    return match.groupdict(default="")


def _commit(name: str, revision: str) -> str:
    """Return the commit a revision stands for now, "" if the hub does not say."""
    if Path(name).exists():  # a folder here holds for `datasets` over the hub's data set of that name
        return ""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision or None, timeout=10).sha or ""
    except Exception:  # of many libraries; what matters of it, loading says again, and from its cache it may succeed
        return ""


def _faults() -> tuple[type[Exception], ...]:
    """Return what reading a data set can raise; some of the classes of `datasets` are no others'."""
    from datasets.exceptions import DatasetsError

    return OSError, ValueError, RuntimeError, TypeError, DatasetsError


def _explained(name: str, error: Exception) -> DataError | ResourceError:
    """Return what to say of an error; where `datasets` has wrapped one that says why, of that one."""
    why = error.__cause__ or error
    text = " ".join(str(why).split()) or type(why).__name__
    if isinstance(why, OSError) and why.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"{name}: {text}; free some, or let HF_HOME name another place")
    if "scripts are no longer supported" in text or "trust_remote_code" in text:
        return DataError(f"{name}: this dataset needs code; convert it to Parquet")
    return DataError(f"{name}: cannot be read by datasets: {text}")
