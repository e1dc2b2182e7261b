"""What search and training know of a model, and nothing more: memory belongs to the sentence, state to a hypothesis.

Every tensor of a memory is (batch, ...), every tensor of a state (batch, beam, ...). Both are NamedTuples and may
nest. The one exception is a `Cache`, which stays where it is while hypotheses are reordered: beside it the state says
which entries of it each hypothesis sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from nmt.batches import PAD, Padded

Memory = TypeVar("Memory")
State = TypeVar("State")
Tree = TypeVar("Tree")


class Cache(NamedTuple):
    """Keys and values of all past steps; `select` leaves it alone, `take` picks its batch rows.

    It is the largest thing there is in a search, so tensors are replaced in the list one by one, each old one freed
    before the next is made: a state that was handed on is of no more use.
    """

    tensors: list[Tensor]  # each (batch, ...)

    def replace(self, function: Callable[[Tensor], Tensor]) -> Cache:
        """Put in the place of each tensor what `function` makes of it."""
        for place, tensor in enumerate(self.tensors):
            self.tensors[place] = function(tensor)
        return self


class Seq2Seq(Protocol[Memory, State]):
    """An encoder-decoder over token ids, or several that agree on one: all that search asks for."""

    def __call__(self, source: Padded, target: Tensor) -> Tensor:
        """Teacher forcing: logits (batch, time, vocab) for target inputs (batch, time) that begin with BOS."""
        ...

    def encode(self, source: Padded) -> Memory:
        """Return what the decoder reads of the source, a NamedTuple of (batch, ...); read-only afterwards."""
        ...

    def start(self, memory: Memory, beam: int, length: int) -> State:
        """Return the state before the first token, dense (batch, beam, ...), with room for `length` steps."""
        ...

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """Read one token (batch, beam) per hypothesis and return logits (batch, beam, vocab) and the next state."""
        ...

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """Attention weights by teacher forcing, each (batch, layer, head, query, key).

        Keys are "cross", "encoder", "decoder" for the Transformer, "cross" alone (one layer, one head) for the
        recurrent models, none for a model without attention.
        """
        ...


class Trainable(Seq2Seq[Memory, State], Protocol[Memory, State]):
    """One encoder-decoder, whose loss training computes without all logits at once."""

    recomputes: bool  # layers in the backward pass, instead of keeping what is inside them: slower, in less memory

    def states(self, source: Padded, target: Tensor) -> Tensor:
        """Teacher forcing up to the output layer: what it reads, (batch, time, features)."""
        ...

    @property
    def output(self) -> nn.Linear:
        """The output layer, without bias: logits are what it makes of `states`."""
        ...


def leaves(tree: Any) -> list[Tensor]:
    """Return all tensors of memories and states, in their order."""
    found = list[Tensor]()
    _map(tree, found.append, lambda cache: found.extend(cache.tensors))
    return found


def rebuilt(tree: Tree, tensors: Iterable[Tensor]) -> Tree:
    """Return what is shaped as `tree`, with these tensors as its leaves."""
    rest = iter(tensors)
    built: Tree = _map(tree, lambda _: next(rest), lambda cache: Cache([next(rest) for _ in cache.tensors]))
    return built


def _map(tree: Any, function: Any, cache: Any) -> Any:
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Cache):
        return cache(tree)
    items = [_map(item, function, cache) for item in tree]
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


def select(state: State, parents: Tensor) -> State:
    """Return the state in which hypothesis k of a sentence continues what hypothesis `parents[b, k]` was.

    `parents` is (batch, beam) int64. Tensors are gathered along the beam; a Cache is handed on untouched.
    """

    def reorder(tensor: Tensor) -> Tensor:  # (batch, beam, ...)
        index = parents.view(parents.shape + (1,) * (tensor.dim() - 2)).expand(parents.shape + tensor.shape[2:])
        return tensor.gather(1, index)

    selected: State = _map(state, reorder, lambda cache: cache)
    return selected


def take(tree: Tree, rows: Tensor) -> Tree:
    """Return memory or state of only the batch rows `rows` (int64): sentences leave the batch; a cache is used up."""

    def pick(tensor: Tensor) -> Tensor:
        return tensor.index_select(0, rows)

    taken: Tree = _map(tree, pick, lambda cache: cache.replace(pick))
    return taken


def source_mask(source: Padded) -> Tensor:
    """Return (batch, length) bool, True where a token stands and False on padding, on the device of the ids."""
    return source.ids != PAD  # and not by the lengths, which lie on the CPU: a graph could not read them anew
