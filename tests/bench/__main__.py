"""`make bench`: nmt and its peers on the same work, on this machine; writes RESULTS.md and results.json."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import machine
import report
from measure import Found, System, install, rounds, say
from padding import padding
from peers.ctranslate2 import CTranslate2
from peers.eole import Eole
from peers.interface import Peer
from peers.joeynmt import JoeyNMT
from peers.marian import Marian
from peers.ours import Ours, train_weights
from process import Failed
from ratios import SENTENCES, best
from targets import ENGINE, OURS
from work import CHECKOUT, HERE, Figures, Mode, Work, corpora, prepare, read

from nmt.evaluate import score

# Of the minutes, those that training the weights takes, and those of one of some 45 measurements of training.
WEIGHTS, TRAINING = 0.12, 1 / 120


def main() -> None:
    """Measure what was asked for and write it down; after each part, so that a long run that breaks is not lost."""
    options = _options()
    work = Work(options.cache, options.run, options.threads, 1.0 if options.quick else 8.0)
    prepare(work, *((20, 100) if options.quick else (1_000, options.many)))
    say(f"weights: {work.run}")
    try:
        train_weights(work, "60s" if options.quick else f"{options.minutes * WEIGHTS * 60:.0f}s")
    except Failed as error:
        raise SystemExit(f"bench: the weights could not be trained: {error}") from error
    names = [name for name in PARTS if name in options.only or not set(options.only) & set(PARTS)]
    found, kept = _kept(options, names)
    peers = install(_peers(options), work, found)
    parts = _parts(options, work, found)
    for name in sorted(names, key=list(parts).index):
        parts[name](peers)
        _write(options, found, kept)
    say(f"{options.output / 'RESULTS.md'}")


PARTS = ("training", "training-rnn", "training-long", "translation", "translation-long", "one", "scale", "padding")
PEERS: dict[str, Callable[[Path], Peer]] = {
    "marian": Marian, "joeynmt": JoeyNMT, "eole": Eole, "ctranslate2": CTranslate2,
}  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    cache = Path(os.environ.get("NMT_BENCH") or CHECKOUT / ".bench")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--only", action="append", default=[], choices=[*PARTS, "ours", *PEERS], help="a part or a toolkit; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="tiny measurements that only show that all runs")
    parser.add_argument("--minutes", type=float, default=90, help="about how long all of it may take")
    parser.add_argument("--turns", type=int, default=3, help="rounds A B A B of each part")
    parser.add_argument("--threads", type=int, default=cores, help="of every system")
    parser.add_argument("--many", type=int, default=100_000, help="sentences of the long file")
    parser.add_argument("--cache", type=Path, default=cache, help="environments, data and models")
    parser.add_argument("--run", type=Path, help="a trained post-norm Transformer of ours; else one is trained")
    parser.add_argument("--output", type=Path, help="folder of RESULTS.md; with --quick it is in the cache")
    parser.add_argument("--keep", action="store_true", help="what the last results.json has of parts left out now")
    parser.add_argument("--ours", action="append", default=[], metavar="LABEL=OPTIONS", help="more ways to translate")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.run = (options.run or options.cache / "models" / ("quick" if options.quick else "transformer")).resolve()
    options.output = options.output or (options.cache if options.quick else HERE)
    options.turns = 1 if options.quick else options.turns
    return options


def _peers(options: argparse.Namespace) -> list[Peer]:
    """Return the toolkits that are wanted, ours first."""
    extra = [
        Mode(label, {"words": words.split()}) for label, _, words in (text.partition("=") for text in options.ours)
    ]
    wanted = [name for name in options.only if name not in PARTS] or ["ours", *PEERS]
    known: dict[str, Callable[[Path], Peer]] = {"ours": lambda cache: Ours(extra), **PEERS}
    return [make(options.cache) for name, make in known.items() if name in wanted]


def _parts(options: argparse.Namespace, work: Work, found: Found) -> dict[str, Callable[[Sequence[Peer]], None]]:
    """Return what is measured, by name."""

    def training(part: str, corpus: str, model: str, turns: int) -> Callable[[Sequence[Peer]], None]:
        def measure(peers: Sequence[Peer]) -> None:
            systems = [System(peer, mode) for peer in peers for mode in peer.trainings(model)]
            run = lambda system: system.peer.train(work, corpus, model, system.mode, _seconds(options))  # noqa: E731
            rounds(part, systems, turns, run, found)

        return measure

    def translation(part: str, source: Path) -> Callable[[Sequence[Peer]], None]:
        def measure(peers: Sequence[Peer]) -> None:
            systems = [System(peer, mode) for peer in peers for mode in peer.translations()]
            rounds(part, systems, options.turns, lambda system: _translated(system, work, source, found), found)

        return measure

    return {
        "padding": lambda peers: found.other.update(padding=padding(work)),
        "translation": translation("translation", work.text("captions", "test", "en")),
        "one": translation("one", work.text("captions", "one", "en")),
        "training": training("training", "captions", "transformer", options.turns),
        "training-rnn": training("training-rnn", "captions", "rnn", options.turns),
        "scale": lambda peers: _scale(peers, work, found),
        "training-long": training("training-long", "joined", "transformer", 1),
        "translation-long": translation("translation-long", work.text("joined", "test", "en")),
    }


def _seconds(options: argparse.Namespace) -> float:
    """Return how long each training is measured; start and warm-up, about 20 seconds, come before."""
    return 3.0 if options.quick else max(10.0, options.minutes * 60 * TRAINING)


def _translated(system: System, work: Work, source: Path, found: Found) -> Figures:
    """Translate and, where the text is the test set, score."""
    figures = system.peer.translate(work, system.mode, source)
    if source == work.text("captions", "test", "en"):
        reference = read(work.text("captions", "test", "de"))
        found.bleu[system.name] = score(read(Path(figures.output)), [reference])[0].score
    return figures


def _scale(peers: Sequence[Peer], work: Work, found: Found) -> None:
    """Translate few and many sentences with our best single process, and with the engine's best."""
    systems = []
    for peer in peers:
        known = [record for record in found.of("translation") if record.toolkit == peer.name]
        modes = {mode.label: mode for mode in peer.translations()}
        fastest = best([record for record in known if record.mode in modes], SENTENCES)
        if peer.name in (OURS, ENGINE):
            mode = modes[fastest[0].mode] if fastest else list(modes.values())[-1]
            systems += [System(peer, mode._replace(label=f"{mode.label}, {size}")) for size in ("few", "many")]
    run = lambda system: system.peer.translate(  # noqa: E731
        work, system.mode, work.text("numbered", system.mode.label.split(", ")[-1], "en")
    )
    rounds("scale", systems, 1, run, found)


def _kept(options: argparse.Namespace, names: Sequence[str]) -> tuple[Found, dict[str, str]]:
    """Return what is kept of an earlier run, and how that was measured."""
    file = options.output / "results.json"
    if not options.keep or not file.exists():
        return Found([], {}, {}, {}, {}), {}
    document = json.loads(file.read_text(encoding="utf-8"))
    found = report.of_json(document)
    found.records[:] = [record for record in found.records if record.part not in names]
    for name in [name for name in found.absent if name.split(":")[0] in names]:
        del found.absent[name]
    how = ", ".join(f"{document[name]}" for name in ("date", "commit", "command"))
    return found, {"other parts": how} if found.records else {}


def _write(options: argparse.Namespace, found: Found, kept: dict[str, str]) -> None:
    about = {**machine.about("tests/bench", options.threads), **kept}
    heading = "# nmt and its peers\n\nWritten by `make bench`.\n\n" + report.table(
        ("", ""), [list(map(str, row)) for row in about.items()]
    )
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in (("RESULTS.md", report.markdown(found, heading)), ("results.json", report.as_json(found, about))):
        (options.output / name).write_text(_without_places(options, text), encoding="utf-8")


def _without_places(options: argparse.Namespace, text: str) -> str:
    """Return the text without what is only true of this machine: its folders, its package registry."""
    for folder, name in ((options.run, "RUN"), (options.cache, "CACHE"), (corpora(), "CORPORA"), (CHECKOUT, ".")):
        text = text.replace(str(folder), name)
    return re.sub(r"(https?|file)://[^\s\"|,]+", "the registry", text).replace(str(Path.home()), "~")


if __name__ == "__main__":
    main()
