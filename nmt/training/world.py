"""The processes that train one model together, as torchrun starts them; it knows nothing of models or of training.

    torchrun --nproc-per-node 4 -m nmt train ...

What is sent is numbers and text, never pickled. Tensors go by NCCL between GPUs, all else by gloo.
"""

from __future__ import annotations

import json
import math
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.errors import DivergedError, OptionError, ResourceError
from nmt.ranks import Rank, rank
from nmt.training.signals import Interrupt, Interrupted
from nmt.training.watch import Watch, advice

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store  # not in every build of torch

TOGETHER = timedelta(minutes=10)  # the longest wait for each other between steps; who is dead is known far earlier
TOLD = 200  # characters of what torch says
AGAIN = 0.02  # seconds between two looks at who has come
PREPARING = timedelta(days=30)  # the longest wait for the first process to read and encode a corpus


class World(Protocol):
    """One process of `size`, all of which call the same methods in the same order."""

    rank: int
    size: int

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Give each tensor its sum over all processes; they have one dtype and one device."""
        ...

    def most(self, *numbers: float) -> list[float]:
        """Return the greatest of each number over all processes."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return what every process gives, in the order of ranks; it is sent as JSON."""
        ...

    def in_turn(self) -> Any:
        """Let the first process through a block of code, and after it all others."""
        ...


class Alone:
    """One process, which agrees with itself."""

    rank, size = 0, 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors as they are."""

    def most(self, *numbers: float) -> list[float]:
        """Return the numbers."""
        return list(numbers)

    def gather(self, value: Any) -> list[Any]:
        """Return the value."""
        return [value]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Wait for nobody."""
        yield


class Together:
    """One process of several."""

    def __init__(self, own: Rank, store: Store, watch: Watch, interrupt: Interrupt) -> None:
        self.rank, self.size = own.rank, own.size
        self._store, self._watch, self._interrupt, self._turns = store, watch, interrupt, 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Give each tensor its sum over all processes; they have one dtype and one device."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._reduce(flat, dist.ReduceOp.SUM)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def most(self, *numbers: float) -> list[float]:
        """Return the greatest of each number over all processes."""
        found = torch.tensor(numbers, dtype=torch.float64)
        self._reduce(found, dist.ReduceOp.MAX)
        return [float(number) for number in found]

    def gather(self, value: Any) -> list[Any]:
        """Return what every process gives, in the order of ranks; it is sent as JSON."""
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        (longest,) = self.most(len(own))
        places = torch.zeros(self.size, int(longest), dtype=torch.uint8)
        places[self.rank, : len(own)] = own
        self._reduce(places, dist.ReduceOp.SUM)
        return [json.loads(place.numpy().tobytes().rstrip(b"\0")) for place in places]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process through a block of code, and after it all others."""
        self._turns += 1
        name = f"turn-{self._turns}"
        if self.rank:
            self._store.wait([name], PREPARING)
        yield
        if not self.rank:
            self._store.set(name, "")

    def _reduce(self, tensor: Tensor, how: dist.ReduceOp.RedOpType) -> None:
        try:
            dist.all_reduce(tensor, how)
        except RuntimeError as error:
            self._interrupt.ignore()  # torchrun ends all processes where one is gone: this one ends by itself
            broken = f"the connection to another process broke ({' '.join(str(error).split())[:TOLD]})"
            raise ResourceError(advice(self._watch.cause(broken))) from error


@contextmanager
def join(interrupt: Interrupt, stream: TextIO) -> Iterator[World]:
    """Give the world that torchrun has made; it ends when the work that is done together is done.

    A process that fails tells the others why. Raises ResourceError where they do not find each other, or one of them is
    gone: it names that one.
    """
    own = rank()
    if own.size == 1:
        yield Alone()
        return
    if not dist.is_available():
        raise OptionError("torchrun: this build of torch cannot train in several processes; install another")
    store, watch = _meet(own, stream)
    try:
        world = Together(own, store, watch, interrupt)
        yield world
        world.most(0)  # all of them are here
    except Interrupted:
        raise
    except BaseException as error:
        interrupt.ignore()
        watch.fail(" ".join(str(error).split()) or type(error).__name__)
        raise
    finally:
        watch.end()
        dist.destroy_process_group()


def check_apart(world: World, device: torch.device) -> None:
    """Raise OptionError where processes would share a GPU, which NCCL cannot do."""
    gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""
    known = [tuple(own) for own in world.gather([socket.gethostname(), gpu])]
    if gpu and len(set(known)) < len(known):
        what = f"{len(known)} processes on {len(set(known))} GPUs"
        raise OptionError(f"torchrun: {what}; start one for each with --nproc-per-node, or give --device cpu")


def compare(world: World, model: torch.nn.Module, step: int) -> None:
    """Raise DivergedError where processes have come to have different weights, which nothing they do may cause."""
    total = float(torch.stack([weights.detach().double().sum() for weights in model.parameters()]).sum())
    most, least = world.most(total, -total)
    if most != -least and not math.isnan(total):
        where = "the processes have different weights; is nmt the same version on all hosts? resume from a checkpoint"
        raise DivergedError(f"step {step}: {where}")


def _meet(own: Rank, stream: TextIO) -> tuple[Store, Watch]:
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        found, _, _ = next(rendezvous("env://", own.rank, own.size, timeout=TOGETHER))
        name = _agree(own, found)
        store = PrefixStore(name, found)
        watch = Watch(own, PrefixStore(name, found.clone()), stream)
        dist.init_process_group(store=store, rank=own.rank, world_size=own.size, timeout=TOGETHER)
        watch.begin()
    except (RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ResourceError(
            f"torchrun: the {own.size} processes did not find each other: {what}; start them again"
        ) from error
    return store, watch


def _agree(own: Rank, store: Store) -> str:
    """Return a name that all processes have and none had before them.

    Where torchrun starts processes again it keeps the store, in which their predecessors' addresses and words stand. So
    each says a number that nobody said before, and the first process repeats what it hears until all heard their own.
    Raises RuntimeError when that takes too long.
    """
    number, late = uuid.uuid4().hex, time.monotonic() + TOGETHER.total_seconds()
    others = range(1, own.size)
    if own.rank:
        store.set(f"number-{own.rank}", number)
    while time.monotonic() < late:
        if own.rank:
            heard = _said(store, "numbers").split()
            if number in heard:
                store.set(f"heard-{own.rank}", heard[0])
                return heard[0]
        else:
            store.set("numbers", " ".join([number, *(_said(store, f"number-{other}") for other in others)]))
            if all(_said(store, f"heard-{other}") == number for other in others):
                return number
        time.sleep(AGAIN)
    raise RuntimeError(f"not all were there after {TOGETHER}")


def _said(store: Store, key: str) -> str:
    """Return what stands in the store, or nothing."""
    return str(store.get(key).decode()) if store.check([key]) else ""
