"""More data from a corpus alone: models of both directions translate it, a third learns from it all (arXiv 1911.01986).

It is a plan of other commands, each of which goes on where it was stopped, and so does the whole.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nmt.config import Config, DataConfig
from nmt.configfile import dump_config, load_config, read_yaml
from nmt.corpus import Languages, Pair, ParallelCorpus
from nmt.errors import DataError, OptionError, ResourceError
from nmt.lifeline import end_with_parent
from nmt.partial import Partial
from nmt.recipe import BUDGET_CPU
from nmt.sealed import replace_file
from nmt.text import clean
from nmt.tokenizer import Tokenizers
from nmt.training.heldout import FEWEST_WITH_TEST, hold_out
from nmt.training.signals import Interrupt, Interrupted
from nmt.vocabulary import automatic_size

TEACHERS, STUDENT = 0.2, 0.5  # of the time, each teacher and, at least, the student, who has what translating leaves
CLOCK = "seconds"  # file with what the teachers have taken
REAL = 2  # times as often as what a model wrote is a pair of the corpus read (docs/quality.md)
MORE_DROPOUT, MUCH_DROPOUT = 0.1, 0.2  # for the student, up to so much (docs/quality.md)
BEAM = 5
STEPS = 5
NMT = sys.executable, "-m", "nmt"
PARTS = "train", "valid", "test"
# Options that say how the corpus is read, since what is written of it is plain text; and those that are flags here.
OWN = {
    *(f"data.{name}" for name in ("train", "valid", "test", "source_lang", "target_lang", "hold_out_test")),
    *(f"data.{name}" for name in ("streaming", "columns", "encoding", "bad_utf8")),
    *(f"training.{name}" for name in ("max_time", "seed", "device", "threads", "precision")),
}

Say = Callable[[str], None]


class Texts(NamedTuple):
    """The corpus in parts, each two files; to validate on and to test there may be none."""

    train: list[str]  # source and target
    valid: list[str]
    test: list[str]
    pairs: int  # to train on


class Step(NamedTuple):
    """A command of nmt, and the text for which it is needed."""

    words: list[str]
    makes: Path | None = None  # None: it says itself whether it was done
    is_teacher: bool = False

    @property
    def is_taken(self) -> bool:
        """Say whether it was done; a teacher stays as it is once it has begun to write."""
        return self.makes is not None and (self.makes.exists() or (self.is_teacher and Partial(self.makes).is_begun()))


class Plan(NamedTuple):
    """What there is to do, and what all commands have in common."""

    texts: Texts
    folder: Path  # of the teachers and what they write
    run: Path  # of the student
    config: Config  # as the user gave it
    settings: Sequence[str]  # of --set, whatever they set

    @property
    def machine(self) -> list[str]:
        """Return the flags of every command; a precision that is not set the recipe chooses."""
        training = self.config.training
        flags = ["--device", training.device, "--threads", str(training.threads)]
        return flags + (["--precision", training.precision] if "precision" in training.model_fields_set else [])

    def carry_out(self, say: Say) -> None:
        """Take each step that was not taken yet; raise an error with the exit code of one that fails.

        What the teachers have written stays as it is: a longer time later is the student's.

        Raises OptionError, before any of that, where another run has the student's place.
        """
        if (file := self.run / "config.yaml").exists():
            corpora = load_config(file).data.train
            if [*corpora[:2]] != self.texts.train:
                raise OptionError(f"{self.run}: holds a run on {corpora[0]}; choose another folder with -o")
        elif self.run.exists() and not self.run.is_dir():
            raise OptionError(f"{self.run}: is no folder; name one with -o")
        for number, step in enumerate(self.teaching(), 1):
            if not step.is_taken:
                before = time.monotonic()
                try:
                    _take(step, number, say)
                finally:
                    taken = self._taken() + time.monotonic() - before
                    replace_file(self.folder / CLOCK, f"{taken:.0f}\n".encode())
        _take(self.learning(), STEPS, say)

    @property
    def teachers(self) -> list[Path]:
        """Return the runs of both teachers, the second of which reads what is to be written."""
        return [self.folder / "forward", self.folder / "backward"]

    @property
    def written(self) -> list[Path]:
        """Return where they write."""
        return [self.folder / "forward.tsv", self.folder / "backward.tsv"]

    def teaching(self) -> list[Step]:
        """Return how both teachers are trained and translate the corpus."""
        texts, (there, back), (forward, backward) = self.texts, self.teachers, self.written
        how = ["--beam-size", str(BEAM), *self.machine]
        return [
            Step(self._training(texts.train, texts.valid, there, 0), forward, is_teacher=True),
            Step(["distill", "-m", str(there), *texts.train, "-o", str(forward), *how], forward),
            Step(self._training(texts.train[::-1], texts.valid[::-1], back, 1), backward, is_teacher=True),
            Step(["backtranslate", "-m", str(back), texts.train[1], "-o", str(backward), *how], backward),
        ]

    def learning(self) -> Step:
        """Return how the student is trained, of the shape that the recipe chose for its first teacher."""
        new = [str(file) for file in self._new()]
        if not new:
            raise DataError(
                f"{self.folder}: the teachers only repeat the corpus, or write no translations yet; "
                "use nmt train, or another folder and a longer --max-time"
            )
        chosen = {**self._shape(), "data.weights": [REAL, *[1] * len(new)]}
        words = self._training([*self.texts.train, *new], self.texts.valid, self.run, 2, chosen)
        return Step([*words, *(word for file in self.texts.test for word in ("--test", file))])

    def _taken(self) -> float:
        """Return the seconds that training and asking the teachers has taken, stopped ones included."""
        file = self.folder / CLOCK
        return float(file.read_text()) if file.exists() else 0.0

    def _new(self) -> Iterator[Path]:
        """Yield the files that hold a pair which is no fault of a translation, and not in the corpus before."""
        source, target = (Path(file).suffix[1:] for file in self.texts.train)
        spoken = DataConfig(source_lang=source, target_lang=target)
        whole = ParallelCorpus([*self.texts.train, *map(str, self.written)], spoken, is_cleaned=True)
        found = {number for number, _ in whole.numbered()}
        yield from (file for number, file in enumerate(self.written, 1) if number in found)

    def _shape(self) -> dict[str, Any]:
        """Return what the recipe is not to choose from the larger corpus: no word of that is new."""
        file = self.teachers[0] / "config.yaml"
        teacher, reasons = dump_config(load_config(file)), read_yaml(file)[0].get("recipe") or {}
        shape = dict[str, Any]()
        for section, name in (key.split(".") for key in reasons):
            if section in ("model", "tokenizer"):
                shape[f"{section}.{name}"] = teacher[section][name]
        size = automatic_size(self.texts.pairs)
        if "tokenizer.vocab_size" in shape and all(each.size == size for each in Tokenizers.load(self.teachers[0])):
            shape["tokenizer.vocab_size"] = size  # else the text decides, as it did for the teacher
        if "model.dropout" in shape:
            own = shape["model.dropout"]
            shape["model.dropout"] = min(round(own + MORE_DROPOUT, 2), max(own, MUCH_DROPOUT))
        return shape

    def _training(
        self,
        corpora: Sequence[str],
        valid: Sequence[str],
        run: Path,
        number: int,
        chosen: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return the words of `nmt train` of a teacher, 0 or 1, or the student, with a seed of its own.

        What the user sets comes last; no pairs are held out for a test, which is done.
        """
        source, target = (Path(name).suffix[1:] for name in corpora[:2])
        words = ["train", *corpora, "--source-lang", source, "--target-lang", target, "-o", str(run)]
        words += [word for file in valid for word in ("--valid", file)]
        training = self.config.training
        budget = training.max_time or BUDGET_CPU
        left = budget - self._taken() if (self.folder / CLOCK).exists() else 0.0
        seconds = max(left, budget * STUDENT) if number == 2 else budget * TEACHERS
        words += ["--max-time", f"{max(seconds, 1.0):.0f}s", "--seed", str(training.seed + number), *self.machine]
        settings = ["data.hold_out_test=false", *(f"{key}={value}" for key, value in (chosen or {}).items())]
        settings += [each for each in self.settings if each.partition("=")[0].strip() not in OWN]
        return [*words, *(word for setting in settings for word in ("--set", setting))]


def write_texts(data: DataConfig, seed: int, folder: Path, say: Say) -> Texts:
    """Write the corpus, cleaned, into a folder, and what is held out of it, so that no model learns from that.

    Raises OptionError where the folder holds another one.
    """
    if data.weights or data.tags:
        raise OptionError("data.weights, data.tags: all corpora become one here; leave them out, or use nmt train")
    is_cleaned = data.clean or "clean" not in data.model_fields_set
    corpus = ParallelCorpus(data.train, data, is_cleaned=is_cleaned)
    spoken = Languages(corpus.languages.source or "source", corpus.languages.target or "target")
    if spoken.source == spoken.target or not all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in spoken):
        advice = "name two by letters, digits, - and _ with --source-lang and --target-lang"
        raise OptionError(f"languages {spoken.source} and {spoken.target}: name files here; {advice}")
    wants_test = data.hold_out_test or "hold_out_test" not in data.model_fields_set
    has_test = wants_test and not data.test and corpus.statistics().kept >= FEWEST_WITH_TEST
    split = hold_out(corpus, seed, has_valid=not data.valid, has_test=has_test)
    for message in (*corpus.statistics().messages(), *split.notes):
        say(message)
    training = list(split.training)
    valid, test = (
        list(ParallelCorpus(given, data)) if given else held
        for given, held in ((data.valid, split.valid), (data.test, split.test))
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = [_write(pairs, folder / name, spoken) for name, pairs in zip(PARTS, (training, valid, test), strict=True)]
    return Texts(files[0], files[1], files[2], len(training))


def _write(pairs: Iterable[Pair], file: Path, spoken: Languages) -> list[str]:
    """Write both sides and return the files; there are none without pairs."""
    files = []
    for language, side in zip(spoken, zip(*pairs, strict=True), strict=False):
        path, content = Path(f"{file}.{language}"), "".join(f"{clean(line)}\n" for line in side).encode()
        if not path.exists():
            replace_file(path, content)
        elif path.read_bytes() != content:
            raise OptionError(f"{path}: is of another corpus, seed or cleaning; choose another folder with -o")
        files.append(str(path))
    return files


def _take(step: Step, number: int, say: Say) -> None:
    """Run a command; a signal to this process goes on to it."""
    what = f"command {number} of {STEPS}"
    say(f"{what}: {shlex.join(['nmt', *step.words])}")
    # In a session of its own it hears of a Ctrl-C from here alone: of a second one it would die unsaved.
    child = subprocess.Popen([*NMT, *step.words], start_new_session=True, preexec_fn=end_with_parent)
    try:
        with Interrupt():
            code = child.wait()
    except Interrupted as leaving:
        child.send_signal(leaving.exit_code - 128)
        child.wait()
        say("interrupted; the same command goes on from there")
        raise
    if code:
        how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
        error = ResourceError(f"{what} {how}; see what it says, and run the same command again")
        error.exit_code = code if code > 0 else ResourceError.exit_code
        raise error
