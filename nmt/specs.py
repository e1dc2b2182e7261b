"""What the name of a corpus stands for: its place, format and languages; it knows nothing of the text inside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nmt.config import DataConfig
from nmt.errors import DataError, OptionError
from nmt.formats import AlignedFiles, JsonFile, Languages, Part, TextFile, TsvFile, Wanted
from nmt.hub import hub_rows, local_rows, parse
from nmt.text import TextOptions

LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Z][A-Za-z]{1,3})?")
TWO_LANGUAGES = re.compile(r"([a-z]{2,3})[-_]([a-z]{2,3})")
NO_LANGUAGES = {"src", "tgt", "trg", "ref", "hyp", "txt", "tok", "bpe", "raw", "low", "lc", "gz"}
KINDS = {".tsv": "tsv", ".jsonl": "json", ".json": "json", ".parquet": "dataset", ".arrow": "dataset"}


def resolve(name: str | Path) -> Path:
    """Return where a file or folder lies: as given, else below $NMT_DATA, ./data or the project's own data."""
    found = _find(name)
    if found is None:
        raise DataError(f"{name}: no such file, neither here nor in {', '.join(map(str, _folders()))}; set NMT_DATA")
    return found


def languages(specs: Sequence[str], config: DataConfig) -> Languages:
    """Return the two languages as configured, else as the names of the corpora tell, "" where nothing does."""
    source, target = config.source_lang, config.target_lang
    told = Languages("", "") if source and target else next(_told(specs), Languages("", ""))
    if (source and source == told.target) or (target and target == told.source):
        told = Languages(told.target, told.source)  # x.de-en.tsv, and the source is to be en
    return Languages(source or told.source, target or told.target)


def places(specs: Sequence[str], spoken: Languages) -> list[Path]:
    """Return the files and folders that the names stand for, as far as they are there."""
    found = [_find(_named(spec)[0]) for spec in _filled(specs, spoken) if _kind(spec) != "hub"]
    return [path for path in found if path]


def turned(specs: Sequence[str], spoken: Languages) -> list[bool]:
    """Return for each name whether it tells that the target comes first; of two plain files that is not accepted."""
    told = [named_languages(spec) if _kind(spec) != "plain" else spoken for spec in _filled(specs, spoken)]
    return [_is_reversed(each, spoken) for each in told]


def parts(specs: Sequence[str], spoken: Languages, config: DataConfig) -> list[Part]:
    """Return the corpora that the names stand for; plain text files pair up in order, source first."""
    options = TextOptions(config.encoding, config.bad_utf8)
    found: list[Part] = []
    plain: list[TextFile] = []
    for spec, is_reversed in zip(_filled(specs, spoken), turned(specs, spoken), strict=True):
        wanted = Wanted(spoken, config.columns, is_reversed)
        part = _part(spec, wanted, options, streaming=config.streaming)
        if not isinstance(part, TextFile):
            found.append(part)
        elif plain:
            found.append(_aligned(plain.pop(), part, spoken))
        else:
            plain.append(part)
    if plain:
        raise OptionError(f"{plain[0].name}: text files come in pairs, source first; name the other side after it")
    return found


def _filled(specs: Sequence[str], spoken: Languages) -> Iterator[str]:
    for spec in specs:
        if "{lang}" not in spec:
            yield spec
        elif all(spoken):
            yield from (spec.replace("{lang}", language) for language in spoken)
        else:
            raise OptionError(f"{spec}: the languages are unknown; use --source-lang and --target-lang")


def _part(spec: str, wanted: Wanted, options: TextOptions, *, streaming: bool) -> Part | TextFile:
    kind = _kind(spec)
    if kind == "hub":
        return hub_rows(spec, wanted, streaming=streaming)
    name, split = _named(spec)
    path = resolve(name)
    if kind == "dataset":
        return local_rows(spec, path, split or "train", wanted)
    if not path.is_file():
        raise DataError(f"{spec}: is no regular file; a corpus is read more than once: write it to a file first")
    file = TextFile(spec, path, options)
    if kind == "tsv":
        return TsvFile(file, wanted)
    return JsonFile(file, wanted) if kind == "json" else file


def _aligned(source: TextFile, target: TextFile, spoken: Languages) -> AlignedFiles:
    if _is_reversed(Languages(language_of(source.name), language_of(target.name)), spoken):
        raise OptionError(
            f"{source.name}, {target.name}: the source ({spoken.source}) comes first; swap the files or the languages"
        )
    return AlignedFiles(source, target)


def _is_reversed(told: Languages, spoken: Languages) -> bool:
    return told.source != told.target and told == (spoken.target, spoken.source)


def _told(specs: Sequence[str]) -> Iterator[Languages]:
    """Yield the languages that each name, or pair of names, tells."""
    plain: list[str] = []
    for spec in specs:
        if "{lang}" in spec:
            continue
        if _kind(spec) != "plain":
            told = named_languages(spec)
        elif plain:
            told = Languages(language_of(plain.pop()), language_of(spec))
        else:
            plain.append(spec)
            continue
        if all(told) and told.source != told.target:
            yield told


def named_languages(spec: str) -> Languages:
    """Return the languages that a corpus tells by its name, x.de-en.tsv, or by its configuration on the hub, de-en."""
    name = parse(spec)["config"] if _kind(spec) == "hub" else Path(_named(spec)[0]).name
    pair = next(filter(None, map(TWO_LANGUAGES.fullmatch, name.split("."))), None)
    return Languages(pair[1], pair[2]) if pair else Languages("", "")


def language_of(name: str) -> str:
    """Return the language at the end of a file's name, "" if there is none: de of x.lc.norm.tok.de.gz."""
    suffixes = reversed(Path(name).name.split(".")[1:])
    return next((part for part in suffixes if LANGUAGE.fullmatch(part) and part not in NO_LANGUAGES), "")


def _kind(spec: str) -> str:
    """Return how a corpus is read: hub, dataset, tsv, json or plain."""
    if spec.startswith("hf:"):
        return "hub"
    found = _find(_named(spec)[0])
    if found and found.is_dir():
        return "dataset"
    kind = KINDS.get(Path(spec.removesuffix(".gz")).suffix.lower(), "plain")
    if kind == "dataset" and spec.endswith(".gz"):
        raise DataError(f"{spec}: is compressed within already; gunzip it")
    return kind


def _named(spec: str) -> tuple[str, str]:
    """Return name and split of FOLDER#SPLIT."""
    name, mark, split = spec.rpartition("#")
    folder = _find(name) if mark and not _find(spec) else None
    return (name, split) if folder and folder.is_dir() else (spec, "")


def _find(name: str | Path) -> Path | None:
    given = Path(os.path.expanduser(name))  # unlike pathlib's it leaves the ~ of nobody
    # Unlike pathlib's, os.path's question has an answer for names that are too long.
    return next((path for path in (given, *(folder / given for folder in _folders())) if os.path.exists(path)), None)


def _folders() -> list[Path]:
    package = Path(__file__).parent
    own = package / "shipped" / "data" if (package / "shipped").is_dir() else package.parent / "data"
    named = os.environ.get("NMT_DATA")
    return [*([Path(named)] if named else []), Path("data"), own]
