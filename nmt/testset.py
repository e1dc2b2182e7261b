"""What is scored: lines and references from files, or the test set of a model's run; it knows nothing of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nmt.errors import OptionError
from nmt.evaluate import check_counts

if TYPE_CHECKING:  # a command line that is wrong is answered before anything of weight is imported
    from nmt.config import DataConfig
    from nmt.formats import Languages


class Task(NamedTuple):
    """Lines to translate, or translations, beside what they are compared with."""

    name: str
    lines: list[str]
    references: list[list[str]]
    target_lang: str  # empty where nothing tells it
    note: str = ""  # what the user should know of the choice of the set
    files: tuple[Path, ...] = ()  # that hold it


def read_task(lines: Path, references: Sequence[Path], say: Callable[[str], None]) -> Task:
    """Read a task from files with one line per sentence, gzipped or not; `-` is stdin. What is no UTF-8 is told."""
    from nmt.specs import resolve

    names = [str(path) for path in (lines, *references)]
    texts = {name: read_scored(name, say) for name in dict.fromkeys(names)}
    check_counts(texts)
    files = [resolve(name) for name in texts if name != "-"]
    first, *others = (texts[name] for name in names)
    return Task(names[0], first, others, _language(references[0]), files=tuple(files))


def own_task(config: DataConfig, run: Path) -> Task:
    """Return the corpus that a model's config names for tests, or the one its run has held out, else for validation."""
    from nmt.corpus import ParallelCorpus
    from nmt.specs import languages, places
    from nmt.training import heldout

    parts: dict[heldout.Part, tuple[str, ...]] = {"test": config.test, "valid": config.valid}
    part = next((part for part, names in parts.items() if names or heldout.is_saved(run, part, config)), None)
    if part is None:
        raise OptionError("data.test: the model's config names no test corpus; give --source and --reference")
    spoken = languages((*config.train, *parts[part]), config)
    files = places(parts[part], spoken) if parts[part] else [*heldout.paths(run, part, config)]
    names = parts[part] or [path.name for path in files]
    sources, targets = ParallelCorpus(names, config).sides() if parts[part] else heldout.load(run, part, config)
    note = "" if part == "test" else "the model's config has no test corpus; this is its validation corpus"
    return Task(" ".join(names), sources, [targets], model_languages(config).target, note, tuple(files))


def model_languages(config: DataConfig) -> Languages:
    """Return the languages that a model translates from and into, as configured or as its corpora tell."""
    from nmt.specs import languages

    return languages((*config.train, *config.test), config)


def read_scored(path: str, say: Callable[[str], None]) -> list[str]:
    """Return the lines of a file, or of stdin for `-`; a warning is said where bytes are no UTF-8."""
    from nmt.corpus import read_lines
    from nmt.text import AS_UTF8, Warnings, read_blocks, standard_input

    warnings = Warnings(
        lambda text: say(f"warning: {text}"), "if the text is Latin-1, iconv -f latin-1 -t utf-8 mends it"
    )
    if path != "-":
        lines = read_lines(path, AS_UTF8, warnings)
    else:
        lines = [line for block in read_blocks(standard_input(), "stdin", AS_UTF8, warnings) for line in block]
    warnings.finish()
    return lines


def _language(reference: Path) -> str:
    """Return the end of a file's name where it can be a language: zh of ref.A.zh.gz."""
    from nmt.specs import language_of

    return language_of(reference.name) or language_of(reference.name.lower())
