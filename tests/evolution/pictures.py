"""The pictures of the experiment as SVG; they know names and numbers, and nothing of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from measure import BINS, Figures
from systems import SYSTEMS, UNCLIPPED

from nmt.inspect.curves import DPI
from nmt.inspect.drawing import saved

COLORS = {"rnn": "#ee6677", "gru": "#228833", "lstm": "#4477aa", "transformer": "#aa3377"}  # Paul Tol's bright ones
DASHES = {"additive": "solid", "general": "dashed", "": "dotted"}
LEAST = 1e-6  # nats: a vanilla RNN goes far below, where the others could not be told apart
MARKS = {"additive": "o", "general": "s", "": "v"}


def bleu(found: Mapping[str, Figures]) -> bytes:
    """Draw BLEU over the length of the source, in words and in captions."""
    figure, (words, captions) = _figure(1, 2, 4.2)
    labels = [f"{low}-{high}" for low, high in BINS]
    for name, label in _known(found):
        words.plot(labels, found[name].by_words, label=label, **_style(name), **_mark(name))
        sizes = range(1, len(found[name].by_captions) + 1)
        captions.plot(sizes, found[name].by_captions, **_style(name), **_mark(name))
    words.set_xlabel("words of the source")
    captions.set_xlabel("captions in a line: the same text in each")
    captions.set_xticks(range(1, len(captions.lines[0].get_xdata()) + 1))
    for axes in (words, captions):
        axes.set_title("BLEU", loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
    return _done(figure)


def reach(found: Mapping[str, Figures]) -> bytes:
    """Draw how the gradient of a word's loss falls with the distance of source words."""
    figure, rows = _figure(2, 2, 7.5)
    for row, which in zip(rows, ("last", "first"), strict=True):
        for axes, state in zip(row, ("untrained", "trained"), strict=True):
            for name, label in _known(found):
                values = found[name].reach[f"{state} {which}"]
                axes.plot(range(len(values)), values, label=label, **_style(name))
            axes.set_title(f"{state}, loss of the {which} word", loc="left", fontsize=10)
            axes.set_xlabel("source tokens between it and the end of the source")
            axes.set_yscale("log")
            axes.set_ylim(bottom=LEAST)
    rows[0][0].set_ylabel("nats")
    rows[1][0].set_ylabel("nats")
    return _done(figure)


def norms(found: Mapping[str, Figures]) -> bytes:
    """Draw the gradient's norm over the training of the vanilla RNN with and without clipping."""
    figure, (axes,) = _figure(1, 1, 3.6)
    drawn = (("lstm", "LSTM, fixed vector, clipped at 1"), ("rnn", "vanilla RNN, clipped at 1"))
    for name, label in (*drawn, (UNCLIPPED, "vanilla RNN, not clipped")):
        if name in found:
            style = _style(name) | {"linestyle": "solid" if name == UNCLIPPED else "dotted"}
            axes.plot(*zip(*found[name].norms, strict=True), label=label, **style)
    axes.set_title("L2 norm of the gradient, before clipping", loc="left", fontsize=10)
    axes.set_xlabel("optimizer steps")
    axes.set_yscale("log")
    return _done(figure)


def _known(found: Mapping[str, Figures]) -> Iterator[tuple[str, str]]:
    return ((system.name, system.label) for system in SYSTEMS if system.name in found)


def _figure(rows: int, columns: int, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid if rows > 1 else grid[0]


def _style(name: str) -> dict[str, Any]:
    cell, _, attention = name.partition("-")
    return {"color": COLORS[cell], "linestyle": DASHES.get(attention, "solid"), "linewidth": 1.4} | (
        {"linestyle": "solid", "linewidth": 2.0} if cell == "transformer" else {}
    )


def _mark(name: str) -> dict[str, Any]:
    return {"marker": MARKS[name.partition("-")[2]], "markersize": 4}


def _done(figure: Any) -> bytes:
    names, seen = figure.axes[0].get_legend_handles_labels()
    figure.legend(names, seen, loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return saved(figure, "svg", DPI)
