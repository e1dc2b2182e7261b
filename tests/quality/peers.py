"""`make quality-peers`: nmt without a config and its peers with published ones, on few pairs, for the same time.

Everyone learns from the first pairs of Multi30k, English to German, or of Tatoeba, on one thread, for so many minutes
from the start of the command, and translates test_2016_flickr, or dev, with beam 5 and, but for nmt, which chooses it,
length penalty 1. A peer validates on val, or on the last pairs of the training set, which nmt never sees: at the end as
well, to find out whether the average of its last weights is better than those that were best.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from scores import prepared_score, score
from standings import OURS, Result, differences, table
from texts import CORPORA, Corpus, Texts, read_lines, write_texts
from toolkits import BEAM, SETTINGS, JoeyNMT, Marian, Place, Setting, Toolkit, common

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
BENCH = HERE.parent / "bench"
sys.path.insert(0, str(BENCH))  # whose environments, and way to run what is in them, are used here too

import machine  # noqa: E402
import peers.joeynmt  # noqa: E402
import peers.marian  # noqa: E402
import process  # noqa: E402
from environment import Environment, Unavailable, variables  # noqa: E402

ALL = "all"
TOOLKITS: tuple[Toolkit, ...] = (JoeyNMT(), Marian())
PACKAGES = {"joeynmt": peers.joeynmt.PACKAGES, "marian": peers.marian.PACKAGES}
interrupted = threading.Event()  # which ends every command that runs


class Training(NamedTuple):
    """One run to come."""

    corpus: Corpus
    pairs: int
    minutes: float
    folder: Path
    texts: Texts
    data: Path  # the folder above multi30k/
    cache: Path  # of `make bench`


# ---- nmt ----------------------------------------------------------------------------------------------------------


def ours(training: Training) -> Result:
    """Run `nmt train` with nothing but the time, and `nmt translate`."""
    run = training.folder / "run"
    environment = variables(None, PYTHONPATH=str(CHECKOUT), NMT_CACHE=str(training.folder / "cache"), COLUMNS="200")
    nmt: list[str | Path] = [sys.executable, "-m", "nmt"]
    limit = ["--max-time", f"{training.minutes:g}m", "--threads", "1"]
    sides = [f"{training.texts.train}.{language}" for language in (training.corpus.source, training.corpus.target)]
    words = [*nmt, "train", *sides, "-o", run, *limit]
    usage = _run(process.Command(words, environment, training.folder, training.folder / "train.log"))
    output = training.folder / "output.txt"
    source = f"{training.texts.test}.{training.corpus.source}"
    words = [*nmt, "translate", source, "-m", run, "-o", output, "--threads", "1"]
    _run(process.Command(words, environment, training.folder, training.folder / "translate.log"))
    metrics = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").split("\n")[:-1])
    steps = max(record.get("step", 0) for record in metrics)
    scores = _scores(training, output)
    return Result(training.corpus.name, training.pairs, OURS, "none", "", steps, usage.seconds, scores)


# ---- peers --------------------------------------------------------------------------------------------------------


def theirs(training: Training, toolkit: Toolkit, setting: Setting) -> Result:
    """Train a peer and translate with the weights that it leaves."""
    corpus, texts = training.corpus, training.texts
    place = Place(training.folder, texts.train, texts.validation, corpus.source, corpus.target)
    job = {**common(setting, place, training.pairs, corpus.coverage), **toolkit.training(setting, place)}
    job |= {"begun": time.time(), "seconds": training.minutes * 60}
    answer = _inside(training, toolkit, HERE / "inside" / f"train_{toolkit.key}.py", job, "train")
    output = training.folder / "output.txt"
    job = {"do": "translate", "beam": BEAM, "output": str(output), "input": f"{texts.test}.{corpus.source}"}
    job |= toolkit.translation(place)
    _inside(training, toolkit, BENCH / "inside" / f"run_{toolkit.key}.py", job, "translate")
    label = f"{setting.label}, batches of {setting.batch:,}"
    known = answer["weights"], int(answer["steps"]), answer["seconds"]
    return Result(corpus.name, training.pairs, toolkit.name, label, *known, _scores(training, output))


def _scores(training: Training, output: Path) -> dict[str, float]:
    """Return the scores of translations of the test set; those of the papers where there are references of theirs."""
    hypotheses, references = read_lines(output), read_lines(Path(f"{training.texts.test}.{training.corpus.target}"))
    scores = score(hypotheses, references)
    if training.corpus is CORPORA[0]:
        scores["lc-norm-tok"] = prepared_score(hypotheses, training.data)
    return scores


def _inside(training: Training, toolkit: Toolkit, script: Path, job: dict[str, Any], name: str) -> dict[str, Any]:
    """Run a script inside the environment of a toolkit and return its answer."""
    task = {**job, "result": str(training.folder / f"{name}.result.json")}
    file = training.folder / f"{name}.job.json"
    file.write_text(json.dumps(task, indent=1))
    environment = variables(1, PYTHONPATH=str(BENCH / "inside"))
    words = [_environment(training.cache, toolkit).python, script, file]
    log, stdin = training.folder / f"{name}.log", Path(job["input"]) if "input" in job else None
    _run(process.Command(words, environment, training.folder, log, stdin))
    answer: dict[str, Any] = json.loads(Path(task["result"]).read_text())
    return answer


def _run(command: process.Command) -> process.Usage:
    """Run a command, unless all of this is interrupted: what runs is in a session of its own and hears of no Ctrl-C."""
    usage = process.run(command, interrupted.is_set)
    if interrupted.is_set():
        raise process.Failed("interrupted")
    return usage


def _environment(cache: Path, toolkit: Toolkit) -> Environment:
    """Return the one of `make bench`."""
    return Environment(cache / "environments" / toolkit.key, PACKAGES[toolkit.key])


# ---- all ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Train, translate and score what is not there yet, and print the tables."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that what runs ends with this
    options = _options()
    data = Path(os.environ.get("NMT_DATA") or CHECKOUT / "../shared/data").resolve()
    for corpus in _corpora(options):
        if not (data / corpus.name).is_dir():
            raise SystemExit(f"quality-peers: {data / corpus.name} is absent; set NMT_DATA to the folder above it")
    for toolkit in TOOLKITS:
        _environment(options.cache, toolkit).install()
    waiting = _waiting(options, data)
    with ThreadPoolExecutor(options.workers) as pool:
        try:
            results = list(pool.map(lambda each: _result(*each), waiting))
        except KeyboardInterrupt:
            interrupted.set()
            raise
    about = "; ".join(machine.about("tests/quality/peers.py", 1).values())
    print(table(results), *differences(results), about, sep="\n\n")


def _waiting(options: argparse.Namespace, data: Path) -> list[tuple[Callable[[Training], Result], Training]]:
    """Return what there is to train, and how, nmt first."""
    systems: dict[str, tuple[str, Callable[[Training], Result]]] = {OURS: (OURS, ours)}
    for toolkit in TOOLKITS:
        for setting in SETTINGS:
            train = functools.partial(theirs, toolkit=toolkit, setting=setting._replace(batch=options.batch_tokens))
            name = f"{toolkit.key}-{setting.name}"
            systems[name] = (f"{name}-{options.batch_tokens}", train)
    found = []
    for corpus, wanted in itertools.product(_corpora(options), options.pairs or [5_000, 1_000]):
        place = options.output / f"{corpus.name}-{wanted or ALL}"
        pairs, texts = write_texts(corpus, data, place, wanted)
        for name, (kind, train) in systems.items():
            if not options.only or name in options.only:
                folder = place / f"{options.minutes:g}m" / kind
                known = corpus, pairs, options.minutes, folder, texts, data, options.cache
                found.append((train, Training(*known)))
    return found


def _corpora(options: argparse.Namespace) -> list[Corpus]:
    return [corpus for corpus in CORPORA if corpus.name in (options.corpus or [CORPORA[0].name])]


def _result(system: Callable[[Training], Result], training: Training) -> Result:
    """Return what an earlier call kept, or train: from the start, so that nobody's time is longer."""
    kept = training.folder / "result.json"
    if kept.exists():
        return Result(**json.loads(kept.read_text()))
    shutil.rmtree(training.folder, ignore_errors=True)
    training.folder.mkdir(parents=True)
    result = system(training)
    kept.write_text(json.dumps(result._asdict()), encoding="utf-8")
    what = f"{training.folder.name}, {result.pairs:,} pairs of {result.corpus}"
    print(f"quality-peers: {what}: BLEU {result.scores['bleu']:.2f}", flush=True)
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make quality-peers", description=__doc__)
    names = [corpus.name for corpus in CORPORA]
    parser.add_argument(
        "--corpus", action="append", default=[], choices=names, help=f"repeatable; {names[0]} if not given"
    )
    parser.add_argument(
        "--pairs", action="append", type=lambda text: None if text == ALL else int(text), default=[],
        help="first pairs of the training set, or all; repeatable; 5000 and 1000 if not given",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10, help="of each training")
    parser.add_argument("--batch-tokens", type=int, default=4_096, help="of the peers, padded; 4096 is published")
    names = [OURS, *(f"{toolkit.key}-{setting.name}" for toolkit in TOOLKITS for setting in SETTINGS)]
    parser.add_argument("--only", action="append", default=[], choices=names, help="repeatable")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each"
    )
    parser.add_argument("--output", type=Path, default=CHECKOUT / "runs" / "quality-peers")
    cache = Path(os.environ.get("NMT_BENCH") or CHECKOUT / ".bench")
    parser.add_argument(
        "--cache", type=Path, default=cache, help="the environments of the peers, as `make bench` has it"
    )
    options = parser.parse_args()
    options.output, options.cache = options.output.resolve(), options.cache.resolve()
    return options


if __name__ == "__main__":
    try:
        main()
    except (Unavailable, process.Failed) as error:
        raise SystemExit(f"quality-peers: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("quality-peers: interrupted; the same command goes on") from None
