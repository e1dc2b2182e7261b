"""How much of what nmt computes is padding, counted on its own batches."""

from __future__ import annotations

from itertools import islice

import numpy as np
from work import Work, read

from nmt.batches import Padded, Position, epoch_batches, pack
from nmt.config import DataConfig, SearchConfig
from nmt.corpus import ParallelCorpus
from nmt.encoded import EncodedCorpus, Encoding
from nmt.tokenizer import Tokenizers

BATCHES = 2_000  # that are counted at most


def padding(work: Work) -> dict[str, float]:
    """Return the shares of cells that are padding: in an epoch of training, and when the test set is encoded."""
    tokenizers = Tokenizers.load(work.run)
    found = dict[str, float]()
    for name, corpus in (("captions", "captions"), ("long sentences", "joined")):
        found[f"training, {name}"] = _training(work, tokenizers, corpus)
        rows = tokenizers.source.encode(read(work.text(corpus, "test", "en")))
        found[f"translation, {name}"] = _translation(np.array([len(row) for row in rows]))
    return found


def _training(work: Work, tokenizers: Tokenizers, corpus: str) -> float:
    config = DataConfig(source_lang="en", target_lang="de", train=[])
    files = [str(work.text(corpus, "train", language)) for language in ("en", "de")]
    encoded = EncodedCorpus.build(ParallelCorpus(files, config), Encoding(tokenizers, config.max_length, 0.0))
    batches = islice(epoch_batches(encoded, 1, work.budget, Position()), BATCHES)
    counts = np.array(
        [(_cells(side), int(side.lengths.sum())) for batch, _ in batches for side in (batch.source, batch.target)]
    )
    cells, tokens = counts.sum(0)
    return float(1 - tokens / cells)


def _cells(side: Padded) -> int:
    return side.ids.numel()


def _translation(lengths: np.ndarray) -> float:
    batches = pack(lengths, lengths, SearchConfig().batch_tokens)
    cells = sum(len(rows) * (int(lengths[rows].max()) + 1) for rows in batches)
    return float(1 - (lengths.sum() + len(lengths)) / cells)
