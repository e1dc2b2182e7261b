"""Proposing the likeliest ways to go on, which makes a search beam search; it knows nothing of models or rules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.batches import PAD
from nmt.search.hypotheses import Candidates, Strategy

BLOCK = 64  # log-probabilities whose maximum is looked at before they are
NEVER = float("-inf")


def best_first(beam: int) -> Strategy:
    """Return beam search's strategy, which proposes the 2K best continuations of all, best first, for K = `beam`.

    A hypothesis has one EOS, so K of the 2K can go on even if half of them end; and no hypothesis need offer more than
    its K + 1 best, its EOS among them.
    """

    def choose(further: Tensor, sums: Tensor, rows: Tensor, place: Tensor) -> Candidates:
        top, tokens = largest(further, min(beam + 1, further.shape[2]))  # (batch, hypotheses, width)
        totals, tokens = (top + sums[:, :, None]).flatten(1), tokens.flatten(1)
        if totals.shape[1] < beam:  # the vocabulary is smaller than the beam
            missing = (0, beam - totals.shape[1])
            totals, tokens = F.pad(totals, missing, value=NEVER), F.pad(tokens, missing, value=PAD)
        best, places = totals.topk(min(2 * beam, totals.shape[1]))  # (batch, candidates)
        parents = (places // top.shape[2]).clamp(max=top.shape[1] - 1)
        return Candidates(parents, tokens.gather(1, places), best)

    return choose


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest of each row of `values` (..., row) and their places: topk, on a CPU in two stages.

    They lie in the blocks of a row that have the largest maxima; maxima take a tenth of the time of sorting.
    """
    length = values.shape[-1]
    blocks = length // BLOCK
    if values.is_cuda or blocks <= count:
        found = values.topk(count)
        return found.values, found.indices
    maxima = values[..., : blocks * BLOCK].reshape(*values.shape[:-1], blocks, BLOCK).amax(-1)
    within = torch.arange(BLOCK, device=values.device)
    best = (maxima.topk(count).indices[..., None] * BLOCK + within).flatten(-2)  # (..., count * BLOCK)
    rest = torch.arange(blocks * BLOCK, length, device=values.device).expand(*values.shape[:-1], -1)
    places = torch.cat((best, rest), dim=-1)
    found = values.gather(-1, places).topk(count)
    return found.values, places.gather(-1, found.indices)
