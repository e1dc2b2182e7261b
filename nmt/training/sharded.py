"""A learner for models that do not fit: processes share out all that a step changes (FSDP2, arXiv 2304.11277).

Weights are gathered before they compute and gradients are summed where their shares lie. Checkpoints have whole
tensors, so that a run goes on with any number of processes, sharded or not.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from nmt.batches import Batch
from nmt.config import TrainingConfig
from nmt.device import Compute
from nmt.errors import OptionError, ResourceError, is_out_of_memory
from nmt.models import Model
from nmt.training.learner import Groups, Learner
from nmt.training.world import World

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule


def build_learner(model: Model, config: TrainingConfig, compute: Compute, world: World) -> Learner:
    """Return what learns, sharded where that is asked for and there are several processes."""
    kind = ShardedLearner if config.fsdp and world.size > 1 else Learner
    return kind(model, config, compute, world)


class ShardedLearner(Learner):
    """A learner whose weights, gradients, moments and averages are each in shares; all processes call it together."""

    def __init__(self, model: Model, config: TrainingConfig, compute: Compute, world: World) -> None:
        if compute.dtype == torch.float16:
            raise OptionError("training.fsdp: for bf16 and fp32; set --precision bf16")
        if config.optimizer == "muon":
            raise OptionError("training.fsdp: each process has a share of a matrix; set training.optimizer to adamw")
        self._plain = copy.deepcopy(model)
        super().__init__(model, config, compute, world)

    def plain(self) -> Model:
        """Return a model of this kind, to load weights into."""
        return self._plain

    def averaged(self) -> Model:
        """Return the model to translate with, whole."""
        weights = {name: whole(tensor) for name, tensor in self.average.named_parameters()}
        self._plain.load_state_dict(weights, strict=False)  # of tied matrices the first has all names' weights
        return self._plain

    def tensors(self) -> Groups:
        """Return all that a checkpoint keeps as tensors, each whole and on the CPU."""
        groups = super().tensors()
        return {group: {name: whole(tensor).cpu() for name, tensor in of.items()} for group, of in groups.items()}

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], state: Mapping[str, Any]) -> None:
        """Go back to what `tensors` and `state` returned, each process to its share."""
        own = dict(self.model.named_parameters())
        moments = {name: own[name.rpartition(".")[0]] for name in tensors["optimizer"]}
        like = {group: moments if group == "optimizer" else own for group in tensors}
        shared = {
            group: {name: _share(tensor, like[group][name]) for name, tensor in of.items()}
            for group, of in tensors.items()
        }
        super().restore(shared, state)

    def _fit(self) -> Model:
        for model in dict.fromkeys((self.model, self.average)):
            self._share_out_weights(model)
        return self.model  # which computes in the precision that is asked for by itself

    def _share_out_weights(self, model: Model) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

        mesh: DeviceMesh = init_device_mesh(self.compute.device.type, (self.world.size,))
        for buffer in model.buffers():
            buffer.data = buffer.data.to(self.compute.dtype)
        policy = MixedPrecisionPolicy(param_dtype=self.compute.dtype, reduce_dtype=torch.float32)
        for part in (*_parts(model), model):
            shared = fully_shard(part, mesh=mesh, mp_policy=policy)
            shared.set_gradient_divide_factor(1.0)  # gradients are summed: the loss is divided by all tokens already
            shared.set_force_sum_reduction_for_comms(enable=True)
        register_fsdp_forward_method(model, "states")

    def _sum(self, loss: Tensor) -> None:
        self.world.sum([loss])

    def _clip(self) -> Tensor:
        return whole(super()._clip())

    def _backward(self, batches: Sequence[Batch], tokens: int, first: int) -> Tensor:
        """Give the weights their share of the gradient of the loss, and return this process's part of the loss.

        All processes compute as often, whether a batch has a row for them or not.
        """
        total = torch.zeros((), device=self.compute.device)
        for number, batch in enumerate(batches):
            cast("FSDPModule", self.model).set_requires_gradient_sync(number == len(batches) - 1)
            try:
                with self._drawing(first + number * self.world.size + self.world.rank):
                    loss = self._loss(self._moved(batch.source), self._moved(batch.target).ids) / tokens
                loss.backward()  # type: ignore[no-untyped-call]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                advice = "lower --batch-tokens, or set training.gradient_checkpointing to true"
                raise ResourceError(f"out of memory on {self.compute.device}; {advice}") from error
            total += loss.detach()
        return total


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whose shares all processes have, or one that is whole already."""
    return cast(Tensor, tensor.full_tensor()) if hasattr(tensor, "full_tensor") else tensor


def _share(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's share of a whole tensor, laid out as another one; of numbers there are no shares."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or tensor.dim() == 0:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _parts(model: nn.Module) -> list[nn.Module]:
    """Return what is gathered at a time, inner parts first: a Transformer's layers, of others nothing less than all."""
    modules = reversed([*model.named_modules()])
    return [module for name, module in modules if re.fullmatch(r"(en|de)coder\.\d+(\.cross\.project)?", name)]
