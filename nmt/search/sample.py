"""Drawing translations from the model instead of searching for the best; it knows nothing of models or text.

The uniform numbers of a sentence come from the seed and its number alone, so that neither batch mates nor the batch
size change a sample. Tokens are found by inverting the cumulated probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nmt.config import SearchConfig
from nmt.search.hypotheses import Candidates, Strategy


def sampling(options: SearchConfig, numbers: Sequence[int], steps: int, device: torch.device) -> Strategy:
    """Return the strategy that draws one continuation per hypothesis, for sentences numbered `numbers`."""
    exact = torch.float32 if device.type == "mps" else torch.float64  # which that has not
    uniforms = _uniforms(options, numbers, steps).to(device, exact)  # (batch, steps, samples)

    def draw(further: Tensor, sums: Tensor, rows: Tensor, place: Tensor) -> Candidates:
        tokens = _draw(further, uniforms[rows, place], options)  # (batch, samples)
        chosen = further.gather(2, tokens[:, :, None])[:, :, 0]
        parents = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return Candidates(parents, tokens, chosen + sums)

    return draw


def _uniforms(options: SearchConfig, numbers: Sequence[int], steps: int) -> Tensor:
    """Return (batch, steps, samples) in [0, 1); a longer batch mate only means that more of a stream is read.

    NumPy's seed sequences mix all bits of both numbers; PyTorch's generator reads 32 bits of its seed.
    """
    streams = [np.random.default_rng((options.seed, number)) for number in numbers]
    return torch.from_numpy(np.stack([stream.random((steps, options.n_best)) for stream in streams]))


def _draw(further: Tensor, uniforms: Tensor, options: SearchConfig) -> Tensor:
    """Return one token per hypothesis, (batch, samples), from log-probabilities (batch, samples, vocab)."""
    vocabulary = further.shape[2]
    values, tokens = further, None
    if options.top_k or options.top_p < 1:  # else their order is of no consequence, and sorting takes longest
        values, tokens = further.topk(min(options.top_k or vocabulary, vocabulary))  # likeliest first
    probabilities = (values / options.temperature).softmax(-1)
    cumulated = probabilities.cumsum(-1, dtype=uniforms.dtype)
    mass = cumulated[:, :, -1:].contiguous()
    if options.top_p < 1:
        # arXiv 1904.09751 section 3.1: the smallest set of likeliest tokens whose mass reaches top_p
        kept = (cumulated - probabilities < options.top_p).sum(-1, keepdim=True)  # (batch, samples, 1)
        mass = cumulated.gather(2, kept.clamp(min=1) - 1)
    # The first place past the share that was drawn, which is less than 1, so that the product is less than the mass.
    # Where the rules leave nothing all is NaN, and any place will do.
    place = torch.searchsorted(cumulated, uniforms[:, :, None] * mass, right=True).clamp(max=values.shape[2] - 1)
    return (place if tokens is None else tokens.gather(2, place))[:, :, 0]
