"""Training data is never shifted, and what is wrong with it is said: rows A49 to A72, by the command itself."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from nursery import Command, run
from rows import Part, Row
from trainings import options, words
from world import World

from nmt.config import DataConfig
from nmt.corpus import ParallelCorpus

EN = [f"{number} {number + 1}" for number in range(40)]
DE = [f"n{number}" for number in range(40)]
WORDS = ["--set", "training.max_steps=2", "--set", "training.valid_every=2"]


class Case(NamedTuple):
    """Files, what is trained on, the exit code and what is said."""

    files: Mapping[str, bytes]
    corpus: str
    code: int
    says: str  # a pattern


def _lines(lines: list[str], end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def _with(lines: list[str], place: int, text: str) -> list[str]:
    return [*lines[: place - 1], text, *lines[place:]]


def _two(source: bytes, target: bytes) -> dict[str, bytes]:
    return {"a.en": source, "a.de": target}


ROOT = Path(__file__).parents[2]
LONG = 1_000  # bytes of a line of a large corpus
MEMORY = 1 << 30  # bytes of data (RLIMIT_DATA) that a process may take: torch and its libraries need half of that
HELD_OUT = 1_000  # pairs at most
PATIENCE = 1_800  # seconds

BOTH = "a.en a.de"
FINE = _two(_lines(EN), _lines(DE))
CASES = {
    "A49 a line less": Case(
        _two(_lines(EN), _lines(DE[:-1])),
        BOTH, 3, "a.en has 40 lines, .*a.de has 39; first check line 39",
    ),
    "A50 a blank on one side": Case(
        _two(_lines(_with(EN, 17, "")), _lines(DE)),
        BOTH, 0, r"dropped 1 of 40 pairs: empty side \(first: line 17\)",
    ),
    "A53 a bad byte": Case(
        _two(_lines(EN), _lines(DE[:11]) + b"\xff\n" + _lines(DE[12:])),
        BOTH, 3, r"a.de:12: invalid UTF-8 \(byte 0xff at column 1\)",
    ),
    "A53 a bad byte dropped": Case(
        _two(_lines(EN), _lines(DE[:11]) + b"\xff\n" + _lines(DE[12:])),
        f"{BOTH} --set data.bad_utf8=drop", 0, "dropped 1 of 40 pairs",
    ),
    "A54 nothing": Case(_two(b"", b""), BOTH, 3, "no usable pairs"),
    "A54 only blanks": Case(_two(b"\n" * 40, b"\n" * 40), BOTH, 3, "no usable pairs: 40 read, 40 dropped"),
    "A54 all too long": Case(
        FINE,
        f"{BOTH} --set data.max_length=1", 3, "no pair is left, .* 40 one of more than 1 tokens",
    ),
    "A55 the same on both sides": Case(_two(_lines(EN), _lines(EN)), BOTH, 0, "identical"),
    "A56 no validation set": Case(FINE, f"{BOTH} --set data.valid=[b.en,b.de]", 3, "b.en"),
    "A56 an empty validation set": Case(
        {**FINE, "b.en": b"", "b.de": b""},
        f"{BOTH} --set data.valid=[b.en,b.de]", 3, "b.en",
    ),
    "A57 one pair": Case(
        _two(b"1 2\n", b"eins\n"),
        f"{BOTH} --set tokenizer.type=char --set tokenizer.sampling=0 --set tokenizer.vocab_size=auto",
        0,
        "finished in",
    ),
    "A59 a pair larger than a batch": Case(
        _two(_lines([*EN, "1 " * 60]), _lines([*DE, "n " * 60])),
        f"{BOTH} --set training.batch_tokens=20", 0, "finished in",
    ),
    "A62 a typo": Case(
        {"c.yaml": b"training:\n  lerning_rate: 1\n"},
        "c.yaml", 2, "c.yaml:2: .*did you mean training.learning_rate",
    ),
    "A63 a number in YAML": Case(
        {**FINE, "c.yaml": b"data:\n  train: [a.en, a.de]\n  source_lang: no\ntraining:\n  learning_rate: 1e-3\n"},
        "c.yaml", 0, "finished in",
    ),
    "A63 a key twice": Case(
        {"c.yaml": b"training:\n  seed: 1\n  seed: 2\n"},
        "c.yaml", 2, r'c.yaml:3: duplicate key "seed"',
    ),
    "A63 tabs": Case({"c.yaml": b"training:\n\tseed: 1\n"}, "c.yaml", 2, "c.yaml:2: "),
    "A63 a list": Case({"c.yaml": b"- 1\n"}, "c.yaml", 2, "c.yaml:1: "),
    "A64 a tag": Case(
        {"c.yaml": b"data: !!python/object/apply:os.system [true]\n"},
        "c.yaml", 2, "c.yaml:1: tags are not allowed",
    ),
    "A65 an alias bomb": Case(
        {"c.yaml": b"a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n"},
        "c.yaml", 2, "aliases are not allowed",
    ),
    "A65 50 MB": Case({"c.yaml": b"# " + b"x" * 50_000_000}, "c.yaml", 2, "longer than 1048576 bytes"),
    "A66 a file in the run's place": Case({**FINE, "run": b""}, BOTH, 2, "a file is in its place"),
    "A69 a missing field": Case(
        {"a.jsonl": b'{"en": "1", "fr": "un"}\n'},
        "a.jsonl --set data.source_lang=en --set data.target_lang=de", 3, "a.jsonl",
    ),
    "A71 a ragged row": Case(
        {"a.tsv": _lines([f"{s}\t{t}" for s, t in zip(EN, DE, strict=True)] + ["1\t2\t3"])},
        "a.tsv", 3, "a.tsv:41: 3 fields, expected 2",
    ),
    "A74 a line of 10,000 bytes": Case(
        _two(_lines([*EN, "1" * 10_000]), _lines([*DE, "n"])),
        BOTH, 0, r"finished in",
    ),
}  # fmt: skip


def _said(world: World, share: float) -> Iterator[Row]:
    for name, case in CASES.items():

        def check(folder: Path, case: Case = case) -> None:
            for file, data in case.files.items():
                (folder / file).write_bytes(data)
            corpus, *more = case.corpus.split(" --set ")
            settings = [word for setting in more for word in ("--set", setting)]
            usual = [word for setting in options() if "_lang" not in setting for word in ("--set", setting)]
            names = [str(folder / file) for file in corpus.split()]
            ended = run(["train", *names, "-o", str(folder / "run"), *usual, *WORDS, *settings], folder)
            assert ended.code == case.code, ended
            assert re.search(case.says, ended.told), ended.told
            assert "Traceback" not in ended.told
            assert case.code == 0 or ended.told.rstrip().rsplit("\n", 1)[-1].startswith("nmt train: error: ")

        yield Row(name, check)


SAME = {  # what is read as the same pairs
    "A51 U+2028 on one side": (_lines(_with(EN, 5, "4\u20285")), _lines(DE)),
    "A51 U+2028 on both, in different lines": (_lines(_with(EN, 5, "4\u20285")), _lines(_with(DE, 9, "n\u20298"))),
    "A51 every other line end of Unicode": (_lines(_with(EN, 5, "4\x0b\x0c\x1c\x1d\x1e\x855")), _lines(DE)),
    "A51 a carriage return inside": (_lines(_with(EN, 5, "4\r5")), _lines(DE)),
    "A52 CRLF against LF": (_lines(EN, "\r\n"), _lines(DE)),
    "A52 a BOM on one side": (b"\xef\xbb\xbf" + _lines(EN), _lines(DE)),
    "no newline at the end": (_lines(EN)[:-1], _lines(DE)),
    "a NUL": (_lines(_with(EN, 5, "4\x005")), _lines(DE)),
    "gzip against text": (gzip.compress(_lines(EN)), _lines(DE)),
}


def _aligned(world: World, share: float) -> Iterator[Row]:
    """Each pair has the number of its line on both sides, so that a shift by one is seen."""
    for name, (source, target) in SAME.items():

        def check(folder: Path, source: bytes = source, target: bytes = target) -> None:
            gz = source.startswith(b"\x1f\x8b")
            one, other = folder / f"a.en{'.gz' * gz}", folder / "a.de"
            one.write_bytes(source)
            other.write_bytes(target)
            pairs = list(ParallelCorpus([str(one), str(other)], DataConfig()))
            numbers = [tuple(int(re.findall(r"\d+", side)[0]) for side in pair) for pair in pairs]
            assert numbers == [(number, number) for number in range(40)], numbers
            assert not any(mark in side for pair in pairs for side in pair for mark in "\ufeff\n")
            assert not any(side.endswith("\r") for pair in pairs for side in pair)

        yield Row(name, check)
    for place in range(1, 41):

        def dropped(folder: Path, place: int = place) -> None:
            blank = (_with(EN, place, " "), DE) if place % 2 else (EN, _with(DE, place, ""))
            for file, lines in zip(("a.en", "a.de"), blank, strict=True):
                (folder / file).write_bytes(_lines(lines))
            pairs = list(ParallelCorpus([str(folder / "a.en"), str(folder / "a.de")], DataConfig()))
            assert pairs == [pair for pair in zip(EN, DE, strict=True) if pair[0] != EN[place - 1]]

        yield Row(f"A50 line {place} blank on one side", dropped)


def _twice(world: World, share: float) -> Iterator[Row]:
    def check(folder: Path) -> None:
        endless = world.words(folder, {"training.max_steps": 10**6, "training.log_every": 1})
        first = Command(endless, folder)
        assert first.wait_for(lambda told: "step 3 |" in told)
        (folder / "second").mkdir()
        second = run(world.words(folder), folder / "second")
        assert second.code == 2, second
        assert "another training is running in it" in second.told
        first.signal(15)
        assert first.wait().code == 143

    yield Row("A67 two trainings in one folder", check)


def _large(world: World, share: float) -> Iterator[Row]:
    """A corpus of three times the memory that the process may take, or a share of it: it is mapped, not read in."""

    def check(folder: Path) -> None:
        pairs = round(3 * MEMORY * share) // (2 * LONG)
        text = " ".join(str(number % 10) for number in range(LONG))
        files = [str(folder / name) for name in ("text.en", "text.de")]
        for name in files:
            with open(name, "w", encoding="utf-8") as file:
                file.writelines(f"{number:07} {text}"[: LONG - 1] + "\n" for number in range(pairs))
        changes = {"data.max_length": 2 * LONG, "model.max_length": 2 * LONG, "training.batch_tokens": 2 * LONG}
        changes |= {"training.max_steps": 4, "search.max_length_ratio": 0.1}
        changes |= {"tokenizer.type": "char", "tokenizer.sampling": 0, "tokenizer.vocab_size": "auto"}
        # Of an algebra that nothing here uses, with memory of its own for each core.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        limited = f'ulimit -d {MEMORY >> 10}; exec "$0" -m nmt "$@"'
        done = subprocess.run(
            ["bash", "-c", limited, sys.executable, *words(files, folder / "run", changes)], capture_output=True,
            text=True, timeout=PATIENCE, check=False, env={**environment, "NMT_CACHE": str(folder / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        kept = re.search(r"(\d+) pairs, cpu", done.stderr)
        assert kept, done.stderr[-500:]
        assert pairs - HELD_OUT <= int(kept[1]) <= pairs, kept

    yield Row(f"a corpus of three times {MEMORY >> 20} MiB, {share:.0%} of it", check)


PARTS = (
    Part("pairs stay pairs", _aligned),
    Part("a corpus larger than the memory trains", _large),
    Part("what is wrong with a corpus or a config is said", _said),
    Part("two trainings never share a folder", _twice),
)
