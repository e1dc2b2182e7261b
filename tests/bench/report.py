"""What was measured as tables in Markdown and as JSON; it measures nothing and judges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from measure import Found, Record
from ratios import PEAK, SENTENCES, SPEED, WHOLE, best, by_system, ratio, spread
from targets import peers_of, targets
from work import Figures

PARTS = {
    "training": "Training, Transformer, captions",
    "training-rnn": "Training, GRU with Bahdanau's attention, captions",
    "training-long": "Training, Transformer, long sentences (captions joined by five)",
    "translation": "Translation, 1,000 captions",
    "translation-long": "Translation, long sentences (captions joined by five)",
    "one": "Translation of one sentence",
    "scale": "Translation of many sentences and of few",
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(found: Found, heading: str) -> str:
    """Return RESULTS.md."""
    parts = [
        heading,
        METHOD,
        "## Targets on a CPU\n",
        table(TARGETS, [target.row() for target in targets(found)]),
    ]
    parts += [
        "## Targets on a GPU\n",
        "Not measured: training (base, big, Multi30k size, LSTM), translation, latency and all from raw text "
        "need a GPU, and this program measures on a CPU.\n",
    ]
    for part, title in PARTS.items():
        if found.of(part):
            parts += [f"## {title}\n", _part(found, part)]
    if found.absent:
        rows = [[name, reason.replace("|", "/")] for name, reason in found.absent.items()]
        parts += ["## What could not be measured\n", table(("what", "why"), rows)]
    parts += ["## Versions\n", table(("toolkit", "version"), [list(pair) for pair in found.versions.items()])]
    return "\n".join(parts)


TARGETS = ("what", "target", "floor", "measured", "against", "")
TRAINING = ("system", "pieces/s", "of the best peer", "peak MiB", "parameters")
TRANSLATION = ("system", "sentences/s", "pieces/s", "whole process, s", "of the best peer", "peak MiB", "BLEU")
ONE = ("system", "whole process, s", "of the best peer", "without load time, s", "peak MiB")
METHOD = """\
Everyone gets the same text (Multi30k, English to German), the same sentencepiece BPE of 8,000 joint pieces, the same
sizes (Transformer: 3+3 layers, 256 wide, feed-forward 1024, 4 heads, post-norm, tied embeddings, dropout 0.1; RNN: GRU
256 wide, encoder in both directions, Bahdanau's attention, dropout 0.2) and the same number of threads.

- Training is the whole loop, with data: target pieces without padding per second, after a warm-up, from batches of at
  most 4,096 padded pieces on the longer side.
- Translation is from text to text with beam 5; pieces are those of the output, with its end of sentence. Without load
  time, but for the column of the whole process, which is from shell to end. Memory is the peak of the proportional set
  size over all processes.
- Hugging Face Marian, JoeyNMT and CTranslate2 translate with our weights. Eole's decoder cannot be post-norm: it trains
  a pre-norm model of the same sizes for eight minutes and translates with that: not well, and to outputs of
  other lengths, so that there are two rows for it, of sentences and of pieces per second.
- nmt and JoeyNMT rank hypotheses by GNMT's score, Marian and CTranslate2 by the mean over their length, so that a few
  outputs differ.
- *medium* is `torch.set_float32_matmul_precision("medium")`, which nmt sets by itself but on Intel's CPUs, given to a
  peer that does not set it. Marian gets plain attention with it, since the default one is several times slower then.
- Eole trains on pieces made beforehand; JoeyNMT and Marian segment the text themselves. JoeyNMT gets one function that
  is gone from sentencepiece 0.2.3.

Ratios of speeds are ours over the best peer's, of seconds and memory likewise, turn by turn in the same run; shown are
the median and, in brackets, the range.
"""


def _part(found: Found, part: str) -> str:
    records = found.of(part)
    groups = by_system(records).values()
    if part.startswith("training"):
        peer = best(peers_of(found, part), SPEED)
        return table(TRAINING, [_trained(group, peer) for group in groups])
    if part == "one":
        quickest = best(peers_of(found, part), WHOLE, is_least=True)
        return table(ONE, [_single(group, quickest) for group in groups])
    peer = best(peers_of(found, part), SENTENCES)
    return table(TRANSLATION, [_translated(group, peer, found) for group in groups])


def _single(group: list[Record], peer: list[Record]) -> list[str]:
    against = ratio(group, peer, WHOLE)
    seconds = (record.figures.seconds for record in group)
    cells = [spread(map(WHOLE, group)).show(2), against.show(2) if against else "-", spread(seconds).show(3)]
    return [group[0].system, *cells, spread(map(PEAK, group)).show()]


def _trained(group: list[Record], peer: list[Record]) -> list[str]:
    against = ratio(group, peer, SPEED)
    return [
        group[0].system, spread(map(SPEED, group)).show(), against.show(2) if against else "-",
        spread(map(PEAK, group)).show(), f"{group[0].figures.parameters:,}",
    ]  # fmt: skip


def _translated(group: list[Record], peer: list[Record], found: Found) -> list[str]:
    against = ratio(group, peer, SENTENCES)
    known = group[0].part == "translation" and group[0].system in found.bleu
    return [
        group[0].system, spread(map(SENTENCES, group)).show(1), spread(map(SPEED, group)).show(),
        spread(map(WHOLE, group)).show(2), against.show(2) if against else "-", spread(map(PEAK, group)).show(),
        f"{found.bleu[group[0].system]:.2f}" if known else "-",
    ]  # fmt: skip


def of_json(document: dict[str, Any]) -> Found:
    """Return what a results.json tells of."""
    records = list[Record]()
    for row in document["records"]:
        toolkit, _, mode = row["system"].partition(", ")
        figures = Figures(**{name: row[name] for name in Figures._fields if name in row})
        records.append(Record(row["part"], toolkit, mode, row["is_shipped"], row["turn"], figures))
    return Found(records, *(document[name] for name in Found._fields[1:]))


def as_json(found: Found, about: dict[str, Any]) -> str:
    """Return results.json."""
    records = [
        {"part": record.part, "system": record.system, "turn": record.turn, "is_shipped": record.is_shipped}
        | {name: value for name, value in record.figures._asdict().items() if name != "output"}
        for record in found.records
    ]
    rows = [
        dict(zip(("what", "target", "floor", "measured", "against", "result"), aim.row(), strict=True))
        for aim in targets(found)
    ]
    document = {**about, **found._asdict(), "records": records, "targets": rows}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
