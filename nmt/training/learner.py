"""One optimizer step: batches in, better weights out; it knows nothing of limits, validation, files or text."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.batches import Batch, Padded, shares
from nmt.config import TrainingConfig
from nmt.device import Compute
from nmt.errors import ResourceError, is_out_of_memory
from nmt.graphs import is_recorded
from nmt.models import Model
from nmt.models.dropout import drawing
from nmt.training.average import RunningAverage
from nmt.training.loss import agreeing_cross_entropy, smoothed_cross_entropy
from nmt.training.optimizer import build_optimizer, load_optimizer, optimizer_tensors
from nmt.training.recorded import RecordedGradients
from nmt.training.world import Alone, World
from nmt.workers import Workers

SIDE_BY_SIDE = 4  # shares of a batch at most: each has gradients of its own, as large as the weights

Groups = dict[str, Mapping[str, Tensor]]


class Outcome(NamedTuple):
    """What came of one step; the tensors are on the device, so that nobody waits for them without need."""

    loss: Tensor  # () nats per target token, label smoothing and R-Drop included
    norm: Tensor  # () of the gradient, before clipping
    tokens: int  # labels that counted
    pairs: int
    changed: bool  # false where the gradient was not finite: then everything is as it was


class Learner:
    """A model, its optimizer and its running average; everything a step changes is here and in torch's generators."""

    def __init__(self, model: Model, config: TrainingConfig, compute: Compute, world: World | None = None) -> None:
        """Learn alone, or as one of several processes: of each batch it is given its own rows, and all step alike."""
        self.config, self.compute, self.world = config, compute, world or Alone()
        self.model = model.to(compute.device)
        self.average = copy.deepcopy(self.model) if config.ema else self.model  # the weights to translate with
        self.working = self._fit()  # what computes; the same as the model, or a copy in half precision
        self.working.recomputes = config.gradient_checkpointing
        self._running = RunningAverage(self.average.parameters(), self.model.parameters(), config.ema)
        self.workers = Workers(compute, SIDE_BY_SIDE)
        self._optimizer = build_optimizer(self.model, config, self.workers)
        self.splits = 1  # parts of each worker's share of a batch; more where memory does not suffice
        self._scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.dtype == torch.float16)
        self._scaler.scale(torch.zeros((), device=compute.device))  # it is asked even where a batch has no row for it
        self._recorded: RecordedGradients | None = None
        if is_recorded(compute.device) and not (config.gradient_checkpointing or self._scaler.is_enabled()):
            self._recorded = RecordedGradients(self._differentiated, list(self.model.parameters()))

    def learn(self, batches: Sequence[Batch], step: int, rate: float) -> Outcome:
        """Take optimizer step `step`, counted from 1, on all batches together; each token weighs the same."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.working.train()
        self._refresh()
        tokens = sum(batch.tokens for batch in batches)
        first = int(torch.randint(2**62, ()))  # one number for dropout, however many shares and processes there are
        while (loss := self._backward(batches, tokens, first)) is None:
            self._share_out(batches)
        self._sum(loss)
        self._scaler.unscale_(self._optimizer)
        # One NaN in the norm would make every gradient NaN: nothing is applied unless all of them are finite.
        norm = self._clip()
        changed = bool(norm.isfinite())  # on a GPU the one wait of a step
        if changed:
            self._scaler.step(self._optimizer)
            if self.config.ema:
                self._running.update(step)
        self._scaler.update()
        self.model.zero_grad(set_to_none=True)
        pairs = self.world.size * sum(len(batch.source.lengths) for batch in batches)  # nearly: shares differ by one
        return Outcome(loss, norm, tokens, pairs, changed)

    def plain(self) -> Model:
        """Return a model of this kind, to load weights into."""
        return self.model

    def averaged(self) -> Model:
        """Return the model to translate with, whole."""
        return self.average

    def tensors(self) -> Groups:
        """Return all that a checkpoint keeps as tensors."""
        groups: Groups = {
            "weights": dict(self.model.named_parameters()),
            "optimizer": optimizer_tensors(self.model, self._optimizer),
        }
        return {**groups, "average": dict(self.average.named_parameters())} if self.config.ema else groups

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint keeps beside tensors: torch's generators, which dropout draws from."""
        generators = {"torch": torch.get_rng_state()}
        if self.compute.device.type == "cuda":
            generators["device"] = torch.cuda.get_rng_state(self.compute.device)
        rng = {name: state.numpy().tobytes().hex() for name, state in generators.items()}
        return {
            "rng": rng, "scaler": self._scaler.state_dict(), "threads": torch.get_num_threads(), "splits": self.splits,
        }  # fmt: skip

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], state: Mapping[str, Any]) -> None:
        """Go back to what `tensors` and `state` returned; generators of a device that is not there are left out."""
        _fill(self.model, tensors["weights"])
        if self.config.ema:
            _fill(self.average, tensors["average"])
        load_optimizer(self.model, self._optimizer, tensors["optimizer"])
        if self._scaler.is_enabled() and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.splits = state.get("splits", 1)
        torch.set_rng_state(_bytes(state["rng"]["torch"]))
        if self.compute.device.type == "cuda" and "device" in state["rng"]:
            torch.cuda.set_rng_state(_bytes(state["rng"]["device"]), self.compute.device)

    def _fit(self) -> Model:
        return self.compute.fit(self.model)

    def _sum(self, loss: Tensor) -> None:
        """Add up the loss and the gradients of all processes.

        Not while gradients are computed: a process whose memory does not suffice tries again by itself.
        """
        gradients = (weights.grad for weights in self.model.parameters())
        self.world.sum([loss, *(gradient for gradient in gradients if gradient is not None)])

    def _clip(self) -> Tensor:
        """Bound the norm of the gradient, and return what it was."""
        most = self.config.clip or math.inf
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), most, foreach=True)

    def _backward(self, batches: Sequence[Batch], tokens: int, first: int) -> Tensor | None:
        """Give the weights the gradient of the loss, and return the loss; nothing where memory does not suffice.

        Shares of the batches are computed side by side, and added up in their order, so that sums do not depend on
        which is ready first.
        """
        count, rank, ranks = self.workers.count * self.splits, self.world.rank, self.world.size
        parts = [part for batch in batches if len(batch.source.lengths) for part in shares(batch, count)]
        tasks = [(part, tokens, first + number * ranks + rank) for number, part in enumerate(parts)]
        losses, enough = [torch.zeros((), device=self.compute.device)], True
        total, own = list[Tensor](), list(self.model.parameters())
        for found in self.workers.map(self._attempt, tasks):
            enough = enough and found is not None
            if found is None or not enough:
                continue  # and not away: what is still being computed would take memory from what comes next
            losses.append(found[0].clone())
            if total:
                torch._foreach_add_(total, list(found[1]))
            else:
                total = [mine.to(each.dtype, copy=len(tasks) > 1) for mine, each in zip(found[1], own, strict=True)]
        if not enough:
            return None
        for weights, gradient in zip(own, total or map(torch.zeros_like, own), strict=True):
            weights.grad = gradient
        return torch.stack(losses).sum()

    def _share_out(self, batches: Sequence[Batch]) -> None:
        """Cut batches into twice as many parts from now on: half the memory, and the same gradient."""
        if self.workers.count * self.splits >= max(len(batch.source.lengths) for batch in batches):
            raise ResourceError(
                f"out of memory on {self.compute.device} with a single pair; lower --set data.max_length or model.dim"
            )
        self.splits *= 2

    def _attempt(self, task: tuple[Batch, int, int]) -> tuple[Tensor, Sequence[Tensor]] | None:
        try:
            return self._gradients(task)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _gradients(self, task: tuple[Batch, int, int]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return one share of the loss, and its gradients by all weights that compute."""
        batch, tokens, seed = task
        source, target = self._moved(batch.source), self._moved(batch.target)
        with self._drawing(seed):
            if self._recorded is not None:
                return self._recorded(source.ids, target.ids, torch.full((), float(tokens), device=source.ids.device))
            loss = self._loss(source, target.ids) / tokens
        gradients = torch.autograd.grad(self._scaler.scale(loss), list(self.working.parameters()))
        return loss.detach(), gradients

    def _differentiated(self, source: Tensor, target: Tensor, tokens: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the loss of ids (batch, time) over `tokens` (), and its gradients, by tensors alone."""
        loss = self._loss(Padded(source, torch.empty(0)), target) / tokens
        return loss.detach(), torch.autograd.grad(loss, list(self.working.parameters()))

    def _drawing(self, seed: int) -> AbstractContextManager[None]:
        """Draw what is dropped as `seed` says; on GPUs only where processes would otherwise all drop the same."""
        if self.compute.device.type == "cuda" and self.world.size > 1:
            torch.cuda.manual_seed(seed)
        return drawing(seed)

    def _loss(self, source: Padded, target: Tensor) -> Tensor:
        """Return the loss in nats, summed over the labels, for target ids (batch, time) that begin with BOS."""
        inputs, labels, smoothing = target[:, :-1], target[:, 1:], self.config.label_smoothing
        if not self.config.rdrop:
            states = self.working.states(source, inputs)  # (batch, time, features)
            return smoothed_cross_entropy(states, self.working.output.weight, labels, smoothing)
        twice = Padded(source.ids.repeat(2, 1), source.lengths.repeat(2))
        states = self.working.states(twice, inputs.repeat(2, 1))  # (2 * batch, time, features)
        return agreeing_cross_entropy(states, self.working.output.weight, labels, smoothing, self.config.rdrop)

    @torch.no_grad()
    def _refresh(self) -> None:
        """Give the working copy, if there is one, the weights as they are now."""
        if self.working is not self.model:
            torch._foreach_copy_(list(self.working.parameters()), list(self.model.parameters()))

    def _moved(self, padded: Padded) -> Padded:
        device = self.compute.device
        ids = padded.ids.pin_memory() if device.type == "cuda" else padded.ids
        return Padded(ids.to(device, non_blocking=True), padded.lengths)


@torch.no_grad()
def _fill(model: Model, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
