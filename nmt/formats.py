"""Sentence pairs in files, plain, TSV or JSON lines: rows in, two sides out; it knows nothing of which pairs are kept.

A side is "" where the row has none, and None where its bytes are undecodable and the pair is to be dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, Protocol

from nmt.errors import DataError, OptionError
from nmt.text import Place, TextOptions, Warnings, is_blank, open_text, read_sides, without_surrogates

USUAL_NAMES = (("source", "target"), ("src", "tgt"))
Key = tuple[str, ...]  # the way to a side of a JSON row: ("de",), or ("translation", "de")


class Languages(NamedTuple):
    """The languages of a corpus, "" where nothing tells them."""

    source: str
    target: str


class Wanted(NamedTuple):
    """Which two columns are the sides."""

    languages: Languages
    columns: tuple[str, str] | None  # names, or numbers from 1 for TSV; None: found by themselves
    is_reversed: bool = False  # the corpus is named x.fr-en.tsv, and the source is en


class Row(NamedTuple):
    """One row of a corpus as it stands there."""

    line: int  # from 1
    source: str | None
    target: str | None


class Part(Protocol):
    """One corpus of those that are read one after the other."""

    @property
    def name(self) -> str:
        """Return what messages call it."""
        ...

    def rows(self, warnings: Warnings) -> Iterator[Row]:
        """Yield every row; raises DataError for what cannot be read."""
        ...

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of each of its files, or of its text, by name."""
        ...


class TextFile(NamedTuple):
    """A file of lines, perhaps gzipped."""

    name: str  # as given
    path: Path
    options: TextOptions

    def lines(self, warnings: Warnings) -> Iterator[str | None]:
        """Yield every line, None for one that is to be dropped."""
        with open_text(self.path) as stream:
            for block in read_sides(stream, self.name, self.options, warnings):
                yield from block

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of the file as it lies there."""
        with self.path.open("rb") as file:
            return {self.name: hashlib.file_digest(file, "sha256").hexdigest()}


class AlignedFiles(NamedTuple):
    """Two plain files whose lines belong together."""

    source: TextFile
    target: TextFile

    @property
    def name(self) -> str:
        """Return the name of the source file."""
        return self.source.name

    def rows(self, warnings: Warnings) -> Iterator[Row]:
        """Yield the lines in pairs; sides of different length are a DataError that counts both."""
        end, count = object(), 0
        sources, targets = self.source.lines(warnings), self.target.lines(warnings)
        for count, (source, target) in enumerate(zip_longest(sources, targets, fillvalue=end), 1):
            if source is end or target is end:
                break
            yield Row(count, source, target)  # type: ignore[arg-type]
        else:
            return
        longer = count + sum(1 for _ in (targets if source is end else sources))
        lengths = (count - 1, longer) if source is end else (longer, count - 1)
        raise DataError(
            f"{self.source.name} has {lengths[0]} lines, {self.target.name} has {lengths[1]}; "
            f"first check line {min(lengths)}"
        )

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of both files."""
        return self.source.fingerprints() | self.target.fingerprints()


class Layout(NamedTuple):
    """Where the two sides stand in the rows of a TSV file."""

    source: int  # from 0
    target: int
    fields: int  # that every row has, or has at least if the columns were numbered
    has_header: bool = False
    is_numbered: bool = False


class TsvFile(NamedTuple):
    """A file with a pair on each line, tabs between its fields; quotes are text."""

    file: TextFile
    wanted: Wanted

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.file.name

    def rows(self, warnings: Warnings) -> Iterator[Row]:
        """Yield the two fields of each line but a header; a blank line is a row with two blank sides."""
        layout = None
        for number, line in enumerate(self.file.lines(warnings), 1):
            if line is None or is_blank(line):
                yield Row(number, line, line)
                continue
            fields = line.split("\t")
            is_first = layout is None
            layout = layout or self._layout(fields)
            if is_first and layout.has_header:
                continue
            if len(fields) != layout.fields and not (layout.is_numbered and len(fields) > layout.fields):
                raise DataError(f"{Place(self.name, number)}: {self._mismatch(len(fields), layout)}")
            yield Row(number, fields[layout.source], fields[layout.target])

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of the file."""
        return self.file.fingerprints()

    def _layout(self, fields: list[str]) -> Layout:
        columns = self.wanted.columns
        if columns and all(column.isdecimal() for column in columns):
            source, target = (int(column) - 1 for column in columns)
            if min(source, target) < 0:
                raise OptionError(f"data.columns {','.join(columns)}: are numbered from 1")
            return Layout(source, target, max(source, target) + 1, is_numbered=True)
        names = columns or named_columns(fields, self.wanted)
        if names:
            for name in names:
                if name not in fields:
                    raise DataError(_not_found(self.name, name, fields))
            return Layout(fields.index(names[0]), fields.index(names[1]), len(fields), has_header=True)
        return Layout(int(self.wanted.is_reversed), int(not self.wanted.is_reversed), 2)

    def _mismatch(self, count: int, layout: Layout) -> str:
        expected = f"expected {'at least ' * layout.is_numbered}{layout.fields}"
        hint = "" if layout.is_numbered or layout.has_header else "; name the two with --set data.columns=[1,2]"
        return f"{count} {'field' if count == 1 else 'fields'}, {expected}{hint or '; repair the line'}"


class JsonFile(NamedTuple):
    """A file with a JSON object on each line, flat or as the hub's {"translation": {"en": ..., "de": ...}}."""

    file: TextFile
    wanted: Wanted

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.file.name

    def rows(self, warnings: Warnings) -> Iterator[Row]:
        """Yield the two sides of each object; blank lines between them are nothing."""
        keys = None
        for number, line in enumerate(self.file.lines(warnings), 1):
            if line is None:
                yield Row(number, None, None)
                continue
            if is_blank(line):
                continue
            place = Place(self.name, number)
            row = _parse(line, place)
            keys = keys or find_keys(row, self.wanted, place)
            yield Row(number, side(row, keys[0], place), side(row, keys[1], place))

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of the file."""
        return self.file.fingerprints()


def named_columns(names: Collection[str], wanted: Wanted) -> tuple[str, str] | None:
    """Return the columns that are named by the languages, or as sides usually are, turned where the corpus is."""
    usual = [pair[::-1] if wanted.is_reversed else pair for pair in USUAL_NAMES]
    for source, target in (wanted.languages, *usual):
        if source != target and source in names and target in names:
            return source, target
    return None


def find_keys(row: Mapping[str, object], wanted: Wanted, where: Place | str) -> tuple[Key, Key]:
    """Return the way to the two sides in rows like `row`."""
    if wanted.columns:
        first, second = ((name,) if name in row else tuple(name.split(".")) for name in wanted.columns)
        return first, second
    translation = row.get("translation")
    inside, prefix = (translation, ("translation",)) if isinstance(translation, dict) else (row, ())
    names = named_columns(inside, wanted)
    if not names and any(language and language in inside for language in wanted.languages):
        missing = next(language for language in wanted.languages if language not in inside)
        raise DataError(_not_found(where, missing or "target", inside))
    if not names and prefix:
        if all(wanted.languages):
            raise DataError(_not_found(where, wanted.languages.source, inside))
        raise OptionError(f"{where}: has {_list(inside)}; say which with --source-lang and --target-lang")
    texts = [name for name, value in inside.items() if value is None or isinstance(value, str)]
    if not names and len(texts) != 2:
        raise DataError(f"{where}: has {_list(inside)}; name the two columns with --set data.columns=[...,...]")
    source, target = names or (texts[::-1] if wanted.is_reversed else texts)
    return (*prefix, source), (*prefix, target)


def side(row: Mapping[str, object], key: Key, where: Place | str) -> str:
    """Return one side of a row as one line, "" for null."""
    value: object = row
    for name in key:
        if not isinstance(value, dict) or name not in value:
            raise DataError(_not_found(where, name, value if isinstance(value, dict) else ()))
        value = value[name]
        if value is None:
            return ""
    if not isinstance(value, str):
        raise DataError(f'{where}: column "{".".join(key)}" holds {type(value).__name__}, expected text; name another')
    return without_surrogates(value.replace("\r\n", " ").replace("\n", " "))


def _parse(line: str, place: Place) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = str(error).partition(":")[0] if isinstance(error, ValueError) else "nested too deeply"
        raise DataError(f"{place}: not JSON ({what}); write one object per line") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: a JSON {type(row).__name__}, expected an object; write one object per line")
    return row


def _not_found(where: Place | str, name: str, names: Collection[str]) -> str:
    return f'{where}: column "{name}" not found; have: {_list(names)}'


def _list(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
