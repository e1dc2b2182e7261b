"""Scores of runs on test_2016_flickr: cased and detokenised, and as the papers on Multi30k count it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from techniques import READINGS, Place, Reading, Training
from texts import read_lines
from unaveraged import write_unaveraged

from nmt.sealed import MANIFEST

TEST = "multi30k/test_2016_flickr"
METRICS = ("bleu", "lc-norm-tok", "chrf")  # as the table has them


class Row(NamedTuple):
    """One row of the table."""

    label: str
    files: Sequence[Path]  # with scores, one of each seed, or of all
    seeds: int


def measure(place: Place, wanted: Sequence[Training]) -> list[Row]:
    """Translate and score what is not scored yet; return a row of each technique, and of each reading of its runs."""
    rows = []
    for technique in dict.fromkeys(training.technique for training in wanted):
        runs = [training.run for training in wanted if training.technique == technique]
        rows.append(Row(technique.label, [_measured(place, run, [run]) for run in runs], len(runs)))
        for reading in READINGS:
            if reading.of == technique.name and all(_besides(place, run, reading) for run in runs):
                rows.append(Row(f"*{reading.label}*", _read(place, runs, reading), len(runs)))
    return rows


def _besides(place: Place, run: str, reading: Reading) -> bool:
    """Say whether what a reading takes besides the runs it is of is trained."""
    return not reading.beside or (place.folder / _beside(reading.beside[1], run) / MANIFEST).exists()


def _beside(technique: str, run: str) -> str:
    """Return the run of another technique and the same seed."""
    return f"{technique}-{run.rpartition('-')[2]}"


def _read(place: Place, runs: Sequence[str], reading: Reading) -> list[Path]:
    if reading.is_ensemble:
        return [_measured(place, f"{reading.name}-of-{len(runs)}", runs, reading)]
    return [_measured(place, f"{reading.name}-{seed}", [run], reading) for seed, run in enumerate(runs, 1)]


def _measured(place: Place, name: str, runs: Sequence[str], reading: Reading | None = None) -> Path:
    """Translate the test set with one run, or with some as an ensemble, and return the file with the scores."""
    scores = place.folder / f"{name}.json"
    if scores.exists():
        return scores
    models = [place.folder / run for run in runs]
    if reading and reading.last:
        write_unaveraged(models[0], reading.last, place.folder / name)
        models = [place.folder / name]
    words = [word for model in models for word in ("-m", str(model))] + [*(reading.words if reading else ())]
    if reading and reading.beside:
        option, technique = reading.beside
        words += [option, str(place.folder / _beside(technique, runs[0]))]
    translations = _translate(*words, str(place.data / f"{TEST}.en"))
    hypotheses = translations.split("\n")[:-1]
    found = score(hypotheses, read_lines(place.data / f"{TEST}.de"))
    found["lc-norm-tok"] = prepared_score(hypotheses, place.data)
    scores.write_text(json.dumps(found), encoding="utf-8")
    return scores


def _translate(*words: str) -> str:
    command = [sys.executable, "-m", "nmt", "translate", "-q", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout


def score(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return BLEU and chrF2 of translations as they are."""
    metrics = {"bleu": BLEU(), "chrf": CHRF()}
    return {name: metric.corpus_score(hypotheses, [references]).score for name, metric in metrics.items()}


def prepared_score(hypotheses: Sequence[str], data: Path) -> float:
    """Return BLEU of German translations of test_2016_flickr in small letters, normalised and tokenised."""
    papers = [read_lines(data / f"{TEST}.lc.norm.tok.de")]
    return BLEU(tokenize="none", force=True).corpus_score(prepared(hypotheses), papers).score


def prepared(lines: Sequence[str], language: str = "de") -> list[str]:
    """Return lines as the task of Multi30k prepares them: in small letters, normalised, cut by the Moses tokenizer."""
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return [str(tokenizer.tokenize(normalizer.normalize(line.lower()), return_str=True)) for line in lines]


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with mean, range and number of seeds of each row."""
    lines = ["| added | BLEU | lc-norm-tok | chrF2 | seeds |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        found = [json.loads(file.read_text(encoding="utf-8")) for file in row.files]
        cells = [_cell([scores[metric] for scores in found]) for metric in METRICS]
        lines.append(f"| {row.label} | {' | '.join(cells)} | {row.seeds} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}" + (f" ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else "")
