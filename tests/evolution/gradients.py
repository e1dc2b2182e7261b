"""How far back a loss reaches: the gradient of one target word's loss by each word of the source.

Bengio et al. (1994) and Pascanu et al. (arXiv 1211.5063) showed that the gradient of a recurrent network falls, or
grows, exponentially with the steps it goes back through. Here it is measured: the loss of the first or of the last
word of a translation is differentiated by the embedding of each source token. Its length times the embedding's is
what the loss would change by, in nats, if the embedding changed by as much as it is long; the lengths of embeddings,
which differ between models, cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nmt.batches import PAD, Padded, assemble
from nmt.ragged import Ragged
from nmt.tokenizer import SPACE, Tokenizer, Tokenizers

Which = Literal["first", "last"]
BATCH = 16  # sentences


def reach(model: Any, tokenizers: Tokenizers, pairs: Sequence[tuple[str, str]], which: Which) -> list[list[float]]:
    """Return for each pair the loss's change in nats per source token, the last token of the source first.

    `model` is a Seq2Seq in eval mode on the CPU; which: the word of the target whose loss is taken.
    """
    found = list[list[float]]()
    for start in range(0, len(pairs), BATCH):
        some = pairs[start : start + BATCH]
        sources = tokenizers.source.encode([source for source, _ in some])
        targets = tokenizers.target.encode([target for _, target in some])
        batch = assemble(Ragged.of(sources), Ragged.of(targets))
        wanted = _word(tokenizers.target, targets, batch.target.ids[:, 1:], which)
        changes = _changes(model, batch.source, batch.target.ids, wanted)
        found += [row[: len(ids)].flip(0).tolist() for row, ids in zip(changes, sources, strict=True)]
    return found


def _word(tokenizer: Tokenizer, targets: Sequence[Sequence[int]], labels: Tensor, which: Which) -> Tensor:
    """Return (batch, time) bool, True at the pieces of the first or the last word."""
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    for row, ids in zip(wanted, targets, strict=True):
        starts = [place for place, piece in enumerate(tokenizer.pieces(ids)) if piece.startswith(SPACE)] + [len(ids)]
        first, after = starts[:2] if which == "first" else starts[-2:]
        row[first:after] = True
    return wanted


def _changes(model: Any, source: Padded, target: Tensor, wanted: Tensor) -> Tensor:
    """Return (batch, source) of gradient times embedding, in lengths."""
    read = list[Tensor]()

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        read.append(output.detach().requires_grad_())
        return read[-1]

    # Tied, the target is read through the same matrix, but later.
    hook = model.embeddings.source.register_forward_hook(keep)
    try:
        log_probabilities = model(source, target[:, :-1]).log_softmax(-1)
    finally:
        hook.remove()
    labels = target[:, 1:]
    losses = -log_probabilities.gather(-1, labels[..., None])[..., 0]
    assert not (wanted & (labels == PAD)).any()
    (gradient,) = torch.autograd.grad((losses * wanted).sum(), read[0])
    return gradient.norm(dim=-1) * read[0].detach().norm(dim=-1)


def medians(rows: Sequence[Sequence[float]], least: int = 20) -> list[float]:
    """Return the median over sentences at each distance that at least so many reach."""
    by_distance = [[row[place] for row in rows if place < len(row)] for place in range(max(map(len, rows)))]
    return [torch.tensor(values).median().item() for values in by_distance if len(values) >= least]
