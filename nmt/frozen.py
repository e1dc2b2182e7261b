"""Linear layers for inference, on a CPU with weights that lie as oneDNN reads them; it knows nothing of models.

oneDNN lays the weights out anew at every product, which costs as much as the product itself where there are few rows,
as in a step of search. The operations that keep a layout are torch's own but not public: where they are missing or
refuse, layers stay as they are.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 320  # that the layout is chosen for; it serves any other number as well

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class FrozenLinear(nn.Module):
    """A linear layer that can no longer be trained."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.is_packed = _can_pack(weight.device.type, weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self.is_packed else weight
        self.bias = bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., features) to (..., rows of the weight)."""
        if not self.is_packed:
            return F.linear(inputs, self.weight, self.bias)
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], ""))


@torch.no_grad()
def freeze(model: AnyModule) -> AnyModule:
    """Return a copy of the model whose linear layers are frozen; where they cannot be packed, the model itself."""
    weights = next(model.parameters())
    if not _can_pack(weights.device.type, weights.dtype):
        return model
    frozen = copy.deepcopy(model)
    for module in frozen.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                bias = None if child.bias is None else child.bias.detach()
                setattr(module, name, FrozenLinear(child.weight.detach(), bias))
    return frozen


@lru_cache
def _can_pack(device: str, dtype: torch.dtype) -> bool:
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight, inputs = torch.ones(16, 16, dtype=dtype), torch.ones(2, 16, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        outputs = torch.ops.mkldnn._linear_pointwise(inputs, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool((outputs == 16).all())
