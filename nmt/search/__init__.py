"""The door to search: `search` finds or draws translations with any model; it knows no model beyond its interface."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from nmt.batches import BOS, PAD, Padded
from nmt.config import SearchConfig
from nmt.graphs import is_recorded
from nmt.models.interface import Memory, Seq2Seq, State
from nmt.search.beam import MULTIPLE, explore, make_plan
from nmt.search.candidates import best_first
from nmt.search.hypotheses import Hypothesis, Requests
from nmt.search.sample import sampling

__all__ = ["Hypothesis", "Requests", "search"]


@torch.inference_mode()
def search(
    model: Seq2Seq[Memory, State], source: Padded, options: SearchConfig, *, requests: Requests | None = None
) -> list[list[Hypothesis]]:
    """Return the `n_best` translations of each source sentence, best first; fewer only if there are not as many.

    The model is used as it is: `eval()` is the caller's. With `options.sample`, `n_best` translations are drawn, and
    may be alike; `beam_size` is not read.
    """
    requests = requests or Requests()
    if not len(source.lengths):
        return []
    if is_recorded(source.ids.device):
        source = Padded(F.pad(source.ids, (0, -source.ids.shape[1] % MULTIPLE), value=PAD), source.lengths)
    plan = make_plan(source, options, requests)
    strategy = best_first(options.beam_size)
    if options.sample:
        numbers = requests.numbers or range(len(source.lengths))
        strategy = sampling(options, numbers, plan.forced.shape[1], source.ids.device)
    found = explore(model, source, options, plan, strategy)
    return _replay(model, source, found) if requests.attention else found


def _replay(model: Seq2Seq[Memory, State], source: Padded, found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
    """Return the hypotheses with their attention of one teacher-forced pass, averaged over all layers and heads."""
    rows = [row for row, hypotheses in enumerate(found) for _ in hypotheses]
    inputs = [torch.tensor((BOS, *hypothesis.ids)) for hypotheses in found for hypothesis in hypotheses]
    if not rows:
        return found
    repeated = Padded(source.ids[torch.tensor(rows, device=source.ids.device)], source.lengths[rows])
    target = pad_sequence(inputs, batch_first=True, padding_value=PAD).to(source.ids.device)  # (hypotheses, time)
    maps = model.attention(repeated, target)
    if "cross" not in maps:
        return found
    weights = iter(maps["cross"].float().mean((1, 2)).cpu())  # (hypotheses, time, source)

    def fill(hypothesis: Hypothesis, size: int) -> Hypothesis:
        return hypothesis._replace(attention=next(weights)[: len(hypothesis.ids) + 1, :size].clone())

    sizes = source.lengths.tolist()
    return [[fill(hypothesis, size) for hypothesis in row] for row, size in zip(found, sizes, strict=True)]
