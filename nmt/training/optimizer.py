"""Adam, AdamW or Muon for a model, and its state as named tensors; it knows no schedule and no loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.config import TrainingConfig
from nmt.errors import OptionError
from nmt.training.muon import Muon
from nmt.workers import Workers

EMBEDDINGS = "embeddings."  # and the output matrix: what has a row for each token is no map between features


def build_optimizer(model: nn.Module, config: TrainingConfig, workers: Workers) -> torch.optim.Optimizer:
    """Return the optimizer of the config; weight decay is for matrices, not for biases and norms."""
    inner = [
        weights
        for name, weights in model.named_parameters()
        if config.optimizer == "muon" and _is_matrix(weights) and not name.startswith(EMBEDDINGS)
    ]
    rest = [weights for weights in model.parameters() if all(weights is not matrix for matrix in inner)]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "muon":
        if workers.on.dtype == torch.float16:  # its gradients are scaled, and nothing but AdamW's would be scaled back
            raise OptionError("training.optimizer: muon is for bf16 and fp32; set --precision bf16, or adamw")
        return Muon(groups, inner, config, workers)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    return kind(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=workers.on.is_fused)


def _is_matrix(weights: Tensor) -> bool:
    return weights.dim() == 2 and min(weights.shape) > 1


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as `parameter.moment` -> tensor."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    for name, parameter in model.named_parameters():
        state = {
            key: tensors[f"{name}.{key}"].to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum")
            if f"{name}.{key}" in tensors
        }
        if state:
            optimizer.state[parameter] = state
