"""Which part of a model's attention is meant: its kind, layer and head; it knows nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nmt.errors import OptionError
from nmt.inspect.maps import CROSS, DECODER, ENCODER, Case, Map, Reading, Sheet, best_head, by_words, sheet

MEAN, BEST = "mean", "best"
NAMES = {CROSS: "cross-attention", ENCODER: "encoder self-attention", DECODER: "decoder self-attention"}


class Asked(NamedTuple):
    """What was asked for, as it was typed."""

    kind: str
    layer: str  # a number from 1, or mean; empty: not said
    head: str  # a number from 1, mean or best; empty: not said


class View(NamedTuple):
    """One head, or a mean."""

    kind: str
    layer: int | None  # from 0; none: the mean over all layers
    head: int | None  # from 0; none: the mean over all heads
    is_best: bool = False  # the head that aligns best, of the layer or, without one, of all


def resolve(asked: Asked, heads: Mapping[str, tuple[int, int]]) -> View:
    """Return the view that was asked for, of a model with so many layers and heads of each kind.

    Nothing said means the best head of cross-attention, and the mean of self-attention, which aligns nothing.
    """
    kind, layer, head = asked
    if kind not in heads:
        raise OptionError(f"--kind {kind}: this model has no such attention; give {' or '.join(heads)}")
    layers, width = heads[kind]
    chosen = None if layer in ("", MEAN) else _number("--layer", layer, layers, MEAN)
    if head == BEST or (not head and kind == CROSS and layer != MEAN):
        return _best(kind, layer, chosen)
    if head in ("", MEAN):
        return View(kind, chosen, None)
    number = _number("--head", head, width, f"{MEAN} or {BEST}")
    if chosen is None and layers > 1:
        raise OptionError(f"--head {head}: heads of different layers have nothing in common; add --layer 1 to {layers}")
    return View(kind, chosen or 0, number)


def _best(kind: str, layer: str, chosen: int | None) -> View:
    if kind != CROSS:
        raise OptionError(f"--head {BEST}: only cross-attention aligns; give a number or {MEAN}")
    if layer == MEAN:
        raise OptionError(f"--head {BEST}: is a head of one layer; give --layer a number, or leave it out")
    return View(kind, chosen, None, is_best=True)


def _number(option: str, value: str, count: int, others: str) -> int:
    """Return a number that was counted from 1, counted from 0."""
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= count):
        numbers = "1" if count == 1 else f"1 to {count}"
        raise OptionError(f"{option} {value}: this model has {numbers}; give one of them, or {others}")
    return int(value) - 1


def settle(view: View, cases: Sequence[Case]) -> View:
    """Return the view with the head that aligns best, where that is asked for."""
    if not view.is_best:
        return view
    layer, head = best_head(cases, view.layer)
    return view._replace(layer=layer, head=head)


def describe(view: View, found: Map) -> str:
    """Return what is shown, in words."""
    layers, heads = found.weights.shape[:2]
    if layers == heads == 1:
        return NAMES[view.kind]
    layer = f"mean of {layers} layers" if view.layer is None else f"layer {view.layer + 1}"
    head = f"mean of {heads} heads" if view.head is None else f"head {view.head + 1}"
    parts = [NAMES[view.kind], layer, head, *(["which aligns best"] if view.is_best else [])]
    return ", ".join(parts)


def seen(found: Mapping[str, Map], view: View, *, words: bool) -> Sheet:
    """Return what the view shows of the maps, by words or by tokens."""
    chosen = found[view.kind]
    return sheet(by_words(chosen) if words else chosen, view.layer, view.head)


def readings(case: Case, view: View) -> Sequence[Reading]:
    """Return the translations whose maps differ: the encoder looks at a sentence once, whatever is made of it."""
    return case.readings[:1] if view.kind == ENCODER else case.readings
