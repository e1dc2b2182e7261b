"""Linear layers for inference on a CPU, whose weights lie as oneDNN reads them; it knows nothing of models.

oneDNN lays the weights out anew at every product, which costs as much as the product itself where there are few rows,
as in a step of search. The operations that keep a layout are torch's own but not public: where they are missing or
refuse, layers stay as they are.
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

ROWS = 320  # that the layout is chosen for; it serves any other number as well

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class FrozenLinear(nn.Module):
    """A linear layer that can no longer be trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., features) as the layer did."""
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], ""))


@torch.no_grad()
def freeze(model: AnyModule) -> AnyModule:
    """Return a copy of the model that computes the same faster, or the model itself where that cannot be done."""
    if not _can_freeze(next(model.parameters())):
        return model
    kept = copy.deepcopy(model)
    for module in kept.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, FrozenLinear(child))
    return kept


def _can_freeze(weights: Tensor) -> bool:
    if weights.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    layer = nn.Linear(16, 16).to(weights.dtype)
    inputs = torch.ones(2, 16, dtype=weights.dtype)
    try:
        return bool(torch.allclose(FrozenLinear(layer)(inputs), layer(inputs), rtol=1e-2, atol=1e-2))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
