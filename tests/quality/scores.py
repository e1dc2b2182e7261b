"""Scores of runs on test_2016_flickr: cased and detokenised, and as the papers on Multi30k count it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from sacrebleu.metrics import BLEU, CHRF
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from techniques import Place, Technique, Training

TEST = "multi30k/test_2016_flickr"


def measure(place: Place, training: Training) -> None:
    """Translate the test set with a run, beside which scores and translations are kept."""
    scores = place.folder / f"{training.run}.json"
    if scores.exists():
        return
    source = place.data / f"{TEST}.en"
    command = [sys.executable, "-m", "nmt", "translate", "-q", "-m", str(place.folder / training.run), str(source)]
    done = subprocess.run(command, env={**os.environ}, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    hypotheses = done.stdout.split("\n")[:-1]
    scores.write_text(json.dumps(score(hypotheses, place.data)), encoding="utf-8")


def score(hypotheses: Sequence[str], data: Path) -> dict[str, float]:
    """Return BLEU and chrF2 of German translations as they are, and BLEU of lowercased, normalised, tokenised text."""
    references = [_lines(data / f"{TEST}.de")]
    papers = [_lines(data / f"{TEST}.lc.norm.tok.de")]
    return {
        "bleu": BLEU().corpus_score(hypotheses, references).score,
        "chrf": CHRF().corpus_score(hypotheses, references).score,
        "lc-norm-tok": BLEU(tokenize="none", force=True).corpus_score(prepared(hypotheses), papers).score,
    }


def prepared(lines: Sequence[str], language: str = "de") -> list[str]:
    """Return lines as the task of Multi30k prepares them: in small letters, normalised, cut by the Moses tokenizer."""
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return [str(tokenizer.tokenize(normalizer.normalize(line.lower()), return_str=True)) for line in lines]


def table(place: Place, wanted: Sequence[Training]) -> str:
    """Return a Markdown table with mean, spread and number of seeds of each technique."""
    rows = ["| added | BLEU | lc-norm-tok | chrF2 | seeds |", "| --- | --- | --- | --- | --- |"]
    for technique in dict.fromkeys(training.technique for training in wanted):
        rows.append(_row(place, technique, [each for each in wanted if each.technique == technique]))
    return "\n".join(rows)


def _row(place: Place, technique: Technique, wanted: Sequence[Training]) -> str:
    found = [json.loads((place.folder / f"{each.run}.json").read_text()) for each in wanted]
    cells = []
    for metric in ("bleu", "lc-norm-tok", "chrf"):
        values = [scores[metric] for scores in found]
        spread = f" ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else ""
        cells.append(f"{mean(values):.2f}{spread}")
    return f"| {technique.label} | {' | '.join(cells)} | {len(found)} |"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]
