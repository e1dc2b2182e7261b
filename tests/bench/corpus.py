"""Prepares and trains on made-up corpora of millions of pairs: seconds and memory of every phase.

    python tests/bench/corpus.py --pairs 1000000 10000000 --folder .bench/corpora [--recipe] [--json]

A corpus of 10 million pairs takes 1.3 GB on the disk, and as much again encoded. Seconds are told twice, by the clock
and of the processors (all processes, user and system): where others work on the machine the second tell more.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
WORDS, SHORTEST, LONGEST = 200_000, 8, 20  # different words of a side; words of a sentence
REPEATED = 0.03  # of the pairs came before
TOGETHER = 100_000  # pairs that are written at a time
STEPS = 100
MODEL = {"model.preset": "tiny", "training.batch_tokens": 1024, "training.device": "cpu"}
PIECES = 16_000  # so few that batches and beams over all of them take no more memory than preparing does


class Phase(NamedTuple):
    """One part of a training."""

    name: str
    seconds: float  # by the clock
    cpu: float  # seconds of all processes that have ended, and of this one
    peak: float  # MiB resident, of the largest process so far


# ---- the corpus -------------------------------------------------------------------------------------------------


def write(folder: Path, pairs: int) -> list[Path]:
    """Write two aligned files, if they are not there: words as frequent as Zipf has it, always the same ones."""
    files = [folder / f"{pairs}.{side}" for side in ("xx", "yy")]
    if all(file.exists() for file in files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    vocabularies = [_words("bcdfghjklm"), _words("nprstvwzqx")]
    begun = [file.with_name(f"{file.name}.part") for file in files]
    with begun[0].open("w") as source, begun[1].open("w") as target:
        for at in range(0, pairs, TOGETHER):
            block = _block(np.random.default_rng(at), vocabularies, min(TOGETHER, pairs - at))
            for file, lines in zip((source, target), block, strict=True):
                file.write("".join(f"{line}\n" for line in lines))
    for old, new in zip(begun, files, strict=True):
        old.rename(new)
    return files


def _words(consonants: str) -> np.ndarray:
    """Return words of one to four syllables, the shortest first."""
    syllables = [consonant + vowel for consonant in consonants for vowel in "aeiouy"]
    words = list(syllables)
    for word in words:
        if len(words) >= WORDS:
            break
        words += [word + syllable for syllable in syllables]
    return np.array(words[:WORDS], object)


def _block(chance: np.random.Generator, vocabularies: list[np.ndarray], pairs: int) -> list[list[str]]:
    ends = np.cumsum(chance.integers(SHORTEST, LONGEST + 1, pairs))
    ranks = (WORDS ** chance.random(ends[-1])).astype(np.int64) - 1  # 1 / rank
    spans = list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    repeated = np.flatnonzero(chance.random(pairs) < REPEATED)
    for row, earlier in zip(repeated.tolist(), chance.integers(0, pairs, len(repeated)).tolist(), strict=True):
        spans[row] = spans[earlier]
    texts = [words[ranks] for words in vocabularies]
    return [[" ".join(text[first:last]) for first, last in spans] for text in texts]


# ---- a training, with a watch on its phases ---------------------------------------------------------------------


def _watched(words: list[str], options: argparse.Namespace) -> list[Phase]:
    """Run `nmt` in this process, up to the first step if there are to be none."""
    from nmt import batches, cleaning, vocabulary
    from nmt.cli import run
    from nmt.corpus import ParallelCorpus
    from nmt.training import pace, prepare
    from nmt.training import run as training

    phases = list[Phase]()

    def watch(where: Any, function: str, name: str) -> None:
        setattr(where, function, _timed(getattr(where, function), name, phases))

    if options.sample:
        cleaning.MOST_CHARACTERS = options.sample
        vocabulary.draw = functools.partial(vocabulary.draw, size=options.sample)  # type: ignore[assignment]
    watch(prepare, "profile", "profile")
    watch(ParallelCorpus, "statistics", "count")
    watch(prepare, "hold_out", "hold out")
    watch(prepare, "_tokenizers", "tokenizer")
    watch(prepare, "_encode", "encode")
    watch(pace, "measure", "pace")
    whole = _timed(prepare.prepare, "preparation", phases)

    def prepared(*given: Any) -> Any:
        parts = whole(*given)
        plan = _timed(lambda: next(batches.epoch_batches(parts.corpus, 1, 4096, batches.Position())), "plan", phases)
        plan()
        if not options.steps:
            raise SystemExit(0)
        return parts

    training.prepare = prepared  # type: ignore[assignment]
    try:
        code = _timed(run, "whole command", phases)(words)
    except SystemExit as enough:
        code = enough.code
    if code:
        raise SystemExit(code)
    return phases


def _timed(function: Callable[..., Any], name: str, phases: list[Phase]) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        clock, cpu = time.monotonic(), _cpu()
        try:
            return function(*given, **named)
        finally:
            phases.append(Phase(name, time.monotonic() - clock, _cpu() - cpu, _peak()))

    return timed


def _usages() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def _cpu() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in _usages())


def _peak() -> float:
    return max(usage.ru_maxrss for usage in _usages()) / 1024


# ---- the command ------------------------------------------------------------------------------------------------


def measure(folder: Path, pairs: int, options: argparse.Namespace) -> list[Phase]:
    """Return the phases of a training in a process of its own, with a cache of its own."""
    files = write(folder, pairs)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        log, found = Path(place) / "log", Path(place) / "phases.json"
        words = ["train", *map(str, files), "--source-lang", "xx", "--target-lang", "yy", "-o", f"{place}/run"]
        given = {**MODEL, "training.max_steps": max(1, options.steps)}
        given["tokenizer.vocab_size"] = "auto" if options.sample else PIECES
        given["training.recipe"] = "auto" if options.recipe else "none"
        words += [f"--set={key}={value}" for key, value in given.items()]
        same = ["--sample", str(options.sample), "--steps", str(options.steps)]
        command = [sys.executable, __file__, "--within", str(found), *same, "--", *words]
        environment = {**os.environ, "NMT_CACHE": f"{place}/cache", "PYTHONPATH": str(ROOT)}
        with log.open("wb") as stream:
            code = subprocess.run(command, env=environment, stdout=stream, stderr=stream).returncode
        if code:
            sys.exit(f"{pairs} pairs: exit {code}\n{log.read_text()}")
        return [Phase(*phase) for phase in json.loads(found.read_text())]


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench" / "corpora")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training; 0: only preparation")
    parser.add_argument("--recipe", action="store_true", help="let the recipe choose, which also cleans")
    parser.add_argument("--sample", type=int, default=0, help="characters of text that a phase may hold; 0: as it is")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        options.within.write_text(json.dumps(_watched(options.words, options)))
        return
    for pairs in options.pairs:
        phases = measure(options.folder, pairs, options)
        if options.json:
            print(json.dumps({"pairs": pairs, "phases": [phase._asdict() for phase in phases]}), flush=True)
            continue
        print(f"{pairs:,} pairs{'phase':>12}{'seconds':>12}{'CPU s':>10}{'MiB':>8}")
        for name, seconds, cpu, peak in phases:
            print(f"{name:>30}{seconds:12.1f}{cpu:10.1f}{peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
