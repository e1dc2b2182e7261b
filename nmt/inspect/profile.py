"""Where the time of training steps and of a search goes; it knows nothing of settings, speeds or how they are shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from nmt.batches import Batch, Padded
from nmt.config import SearchConfig
from nmt.device import Compute
from nmt.training.learner import Learner
from nmt.translate import Translator
from nmt.workers import Workers

STEPS = 3  # that are looked into
OPERATIONS = {"aten::topk": "top-k", "aten::sort": "top-k", "aten::gather": "reorder"}  # what each is for in search

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler writes its own log to stderr


def now(on: Compute) -> float:
    """Return the time in seconds, once the device has done what it was told."""
    if on.device.type == "cuda":
        torch.cuda.synchronize(on.device)
    return time.perf_counter()


def parts_of_training(learner: Learner, batches: Iterator[Batch], on: Compute) -> dict[str, float]:
    """Return the shares of data, forward, backward (with output layer and loss) and optimizer in a few steps."""
    watch = _Watch(on)
    hooks = (
        register_optimizer_step_pre_hook(watch.marker("backward")),
        register_optimizer_step_post_hook(watch.marker("optimizer")),
    )
    states = learner.working.states

    def timed(source: Padded, target: Tensor) -> Tensor:
        watch.lap("data")
        result = states(source, target)
        watch.lap("forward")
        return result

    workers, learner.workers = learner.workers, Workers(on, 1)  # what is done side by side cannot be told apart
    learner.working.states = timed  # type: ignore[method-assign]
    try:
        for step in range(STEPS):
            learner.learn([next(batches)], step + 1, 1e-5)
            watch.lap("optimizer")  # and averages
    finally:
        del learner.working.states  # the method is there again
        learner.workers = workers
        for hook in hooks:
            hook.remove()
    return _shares(watch.seconds)


def parts_of_search(translator: Translator, lines: Sequence[str], options: SearchConfig) -> dict[str, float]:
    """Return the shares of encoding, steps of the decoder, top-k, reordering and all else, as a profiler sees them."""
    model, together = translator.model, translator._translate
    translator.model = _Timed(model)  # type: ignore[assignment]
    translator._translate = partial(map, translator._outputs)  # a profiler sees this thread alone
    try:
        with torch.profiler.profile() as profile:
            began = time.perf_counter()
            translator.translate_block(lines, options)
            spent = (time.perf_counter() - began) * 1e6
    finally:
        translator.model, translator._translate = model, together
    parts = dict.fromkeys(("encode", "step", "top-k", "reorder"), 0.0)
    for event in profile.key_averages():
        name = OPERATIONS.get(event.key, event.key)
        if name in parts:
            parts[name] += event.cpu_time_total
    return _shares({**parts, "other": max(spent - sum(parts.values()), 0.0)})


class _Watch:
    """Adds up the time between two moments under the name of the second."""

    def __init__(self, on: Compute) -> None:
        self._on, self._last, self.seconds = on, now(on), dict[str, float]()

    def lap(self, name: str) -> None:
        moment = now(self._on)
        self.seconds[name] = self.seconds.get(name, 0.0) + moment - self._last
        self._last = moment

    def marker(self, name: str) -> Callable[..., None]:
        """Return a hook that ends a part."""
        return lambda *_: self.lap(name)


class _Timed:
    """A model whose calls a profiler sees by name."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def encode(self, source: Any) -> Any:
        with torch.profiler.record_function("encode"):
            return self._model.encode(source)

    def start(self, memory: Any, beam: int, length: int) -> Any:
        with torch.profiler.record_function("encode"):
            return self._model.start(memory, beam, length)

    def step(self, tokens: Any, state: Any, memory: Any) -> Any:
        with torch.profiler.record_function("step"):
            return self._model.step(tokens, state, memory)


def _shares(parts: dict[str, float]) -> dict[str, float]:
    total = sum(parts.values()) or 1.0
    return {name: part / total for name, part in parts.items()}
