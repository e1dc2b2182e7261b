"""What one finished training of the experiment shows: `python tests/evolution/measure.py RUN DATA` writes RUN.json."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from gradients import Which, medians, reach
from joined import MOST, SIZES

from nmt.corpus import read_lines
from nmt.evaluate import score
from nmt.models import build
from nmt.training.checkpoint import load_model
from nmt.translate import Translator

BINS = tuple((low, low + 9) for low in range(1, 60, 10))  # words of the source
SHORT, LONG = (10, 20), (40, 60)
WARM_UP = 8  # sentences translated before the clock runs


@dataclass(frozen=True)
class Figures:
    """What is known of one system; BLEU is in percent."""

    parameters: int
    training_seconds: float  # without the work before the first step and after the last
    tokens_per_second: float  # of targets, in training on one core
    sentences_per_second: float  # of processor time, translating with beam 5 on one core
    bleu: float
    by_captions: list[float]  # BLEU of lines of one caption, of two, ...
    by_words: list[float]  # BLEU of lines by BINS
    short: float  # BLEU of SHORT
    long: float
    norms: list[tuple[int, float]]  # step and its gradient norm, at each line of the log
    reach: dict[str, list[float]]  # "untrained first", ...: by distance from the source's end


def measure(run: Path, data: Path, languages: Sequence[str] = ("en", "de")) -> Figures:
    """Translate the test set and differentiate."""
    source, reference = (read_lines(data / f"test.{language}") for language in languages)
    translator = Translator.load(run, device="cpu", precision="fp32", threads=1)
    translator.translate(source[:WARM_UP])
    start = time.process_time()  # of this one thread: what else the machine does shall not count
    translations = translator.translate(source)
    seconds = time.process_time() - start

    def bleu(is_wanted: Callable[[int], bool]) -> float:
        rows = [row for row in range(len(source)) if is_wanted(row)]
        of = [[lines[row] for row in rows] for lines in (translations, reference)]
        return score(of[0], [of[1]], ["bleu"], target_lang=languages[1])[0].score if rows else 0.0

    words = [len(line.split()) for line in source]
    captions = [int(size) for size in (data / SIZES).read_text("utf-8").split()]
    between = lambda low, high: bleu(lambda row: low <= words[row] <= high)  # noqa: E731
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    training = [record for record in records if record["kind"] == "train"]
    longest = [pair for pair, size in zip(zip(source, reference, strict=True), captions, strict=True) if size == MOST]
    return Figures(
        parameters=sum(weights.numel() for weights in load_model(run, torch.device("cpu")).model.parameters()),
        training_seconds=records[-1]["time"] - records[0]["time"],
        tokens_per_second=statistics.median(record["tokens_per_second"] for record in training),
        sentences_per_second=len(source) / seconds,
        bleu=bleu(lambda row: True),
        by_captions=[bleu(lambda row, size=size: captions[row] == size) for size in range(1, MOST + 1)],
        by_words=[between(*limits) for limits in BINS],
        short=between(*SHORT),
        long=between(*LONG),
        norms=[(record["step"], record["gradient_norm"]) for record in training],
        reach=_reaches(run, longest),
    )


def _reaches(run: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    config, tokenizers, trained = load_model(run, torch.device("cpu"))
    torch.manual_seed(config.training.seed)
    untrained = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared).eval()
    whiches: tuple[Which, ...] = ("first", "last")
    return {
        f"{state} {which}": medians(reach(model, tokenizers, pairs, which))
        for state, model in (("untrained", untrained), ("trained", trained))
        for which in whiches
    }


if __name__ == "__main__":
    run, data = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    figures = json.dumps(asdict(measure(run, data)))
    run.with_suffix(".json").write_text(figures, "utf-8")
