"""Translates with CTranslate2."""

from __future__ import annotations

import time

import ctranslate2
from meter import answer, job, lines, write
from sentencepiece import SentencePieceProcessor

task = job()
tokenizer = SentencePieceProcessor(model_file=task["tokenizer"])
engine = ctranslate2.Translator(
    task["model"], device="cpu", compute_type=task["type"], inter_threads=task["workers"], intra_threads=task["threads"]
)
begun = time.perf_counter()
pieces = tokenizer.encode(lines(task["input"]), out_type=str)
results = engine.translate_batch(
    pieces, beam_size=task["beam"], length_penalty=1.0, max_batch_size=task["rows"], batch_type="examples",
    max_decoding_length=2 * max(map(len, pieces)) + 20,
)  # fmt: skip
write(task["output"], tokenizer.decode([result.hypotheses[0] for result in results]))
answer(task, seconds=time.perf_counter() - begun)
