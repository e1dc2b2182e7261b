"""The steps of a search as one launch each, on a GPU; it knows nothing of beams or models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from nmt import graphs
from nmt.models.interface import leaves, rebuilt

LEFT = 8  # steps that have to be left, for which recording one pays
ROOM = 2**32  # bytes of inputs of recordings that are kept for batches of the same shapes

Carry = TypeVar("Carry")
Known = TypeVar("Known")


class _Recording(NamedTuple):
    inputs: list[Tensor]  # which a step reads where they are, and overwrites as far as they are what it hands on
    replay: Callable[[], None]

    @property
    def size(self) -> int:
        """Return the bytes of the inputs."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.inputs)


class _Own(threading.local):
    """Two threads must not write to the same inputs."""

    def __init__(self) -> None:
        self.recordings = WeakKeyDictionary[Any, dict[Hashable, _Recording]]()


_own = _Own()


class Recorder(Generic[Carry, Known]):
    """Does the same step of a search again and again; what has run once is recorded, and launched from then on."""

    def __init__(self, step: Callable[[Carry, Known], Carry], model: Any, name: Hashable) -> None:
        """Recordings are kept with the model, under `name`, which tells apart what differs in anything but tensors."""
        self._step, self._name = step, name
        self._kept = _own.recordings.setdefault(model, {})
        self._seen: Hashable = None
        self._current: _Recording | None = None

    def __call__(self, carry: Carry, known: Known, left: int) -> tuple[Carry, Known]:
        """Return what the step makes of `carry`, and where `known` lies from now on; `left` steps are to come."""
        tensors = leaves((carry, known))
        current = self._current
        if current is None or not all(map(_is, tensors, current.inputs)):
            current = self._current = self._found(carry, known, tensors, left)
        if current is None:
            return self._step(carry, known), known
        current.replay()
        return rebuilt((carry, known), current.inputs)

    def _found(self, carry: Carry, known: Known, tensors: list[Tensor], left: int) -> _Recording | None:
        """Return the recording for tensors of these shapes, with the tensors in it, or nothing yet."""
        key = (self._name, tuple((tensor.shape, tensor.dtype) for tensor in tensors))
        if key in self._kept:
            for mine, given in zip(self._kept[key].inputs, tensors, strict=True):
                if mine is not given:
                    mine.copy_(given)
            return self._kept[key]
        if self._seen != key or left < LEFT:
            self._seen = key
            return None
        inputs, step = tensors, self._step

        def again() -> None:
            before, given = rebuilt((carry, known), inputs)
            after = leaves(step(before, given))
            for old, new in zip(inputs, after, strict=False):
                if old is not new:
                    old.copy_(new)

        recording = _Recording(inputs, graphs.record(again, tensors[0].device))
        self._keep(key, recording)
        return recording

    def _keep(self, key: Hashable, recording: _Recording) -> None:
        """Keep a recording and as many of the latest others as there is room for."""
        self._kept[key] = recording
        total = sum(each.size for each in self._kept.values())
        for old in [*self._kept]:
            if total <= ROOM:
                break
            total -= self._kept.pop(old).size


def _is(one: Tensor, other: Tensor) -> bool:
    return one is other
