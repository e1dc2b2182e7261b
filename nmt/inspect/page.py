"""Maps for browsers and for programs: one HTML file that needs no network, and JSON; it knows nothing of models.

The keys of the JSON:

    nmt, source_lang, target_lang    who made it, and of which languages
    kind                             cross: rows are target tokens, columns source tokens; encoder: both are source
                                     tokens; decoder: rows are target tokens, columns what was read before them
    layer, head                      of `weights`: a number from 1, or "mean"
    best                             layer and head that align best, by `quality` from 0 to 1; null for other kinds
    unit                             tokens, or words: columns summed, rows averaged over a word's tokens
    sentences[]                      in the order of the input
      source                         its text
      hypotheses[]                   best first, or the one that was given; the best alone for the encoder
        text, log_probability, score     nats; score is log_probability over the length penalty; null: nothing found
        rows, columns                names of the queries and of the keys; the last ones are the ends of the sentences
        weights                      [row][column], what `layer` and `head` name; each row sums to 1
        heads                        [layer][head][row][column], all there are
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from nmt import __version__
from nmt.inspect.maps import CROSS, ENCODER, Axis, Case, Map, Weights, alignment_quality, best_head, by_words
from nmt.inspect.views import MEAN, NAMES, View, readings, seen

DIGITS = 7  # after the point: sums of rows stay within 1e-5 of 1
SCALE = 65_535  # weights of a page are whole numbers of two bytes


class Show(NamedTuple):
    """What is shown of which model."""

    view: View
    words: bool
    source_lang: str
    target_lang: str
    model: str  # its name


def record(cases: Sequence[Case], show: Show) -> dict[str, Any]:
    """Return the maps as JSON has them, see above."""
    view = show.view
    return {
        "nmt": __version__,
        "source_lang": show.source_lang,
        "target_lang": show.target_lang,
        "kind": view.kind,
        "layer": MEAN if view.layer is None else view.layer + 1,
        "head": MEAN if view.head is None else view.head + 1,
        "best": _best(cases) if view.kind == CROSS else None,
        "unit": "words" if show.words else "tokens",
        "sentences": [_sentence(case, show) for case in cases],
    }


def _best(cases: Sequence[Case]) -> dict[str, Any]:
    layer, head = best_head(cases)
    qualities = [alignment_quality(reading.maps[CROSS].weights) for case in cases for reading in case.readings]
    return {"layer": layer + 1, "head": head + 1, "quality": round(float(np.mean(qualities, 0)[layer, head]), DIGITS)}


def _sentence(case: Case, show: Show) -> dict[str, Any]:
    hypotheses = list[dict[str, Any]]()
    for reading in readings(case, show.view):
        found = reading.maps[show.view.kind]
        rows, columns, weights = seen(reading.maps, show.view, words=show.words)
        hypotheses.append(
            {
                "text": reading.text,
                "log_probability": reading.log_probability,
                "score": reading.score,
                "rows": rows,
                "columns": columns,
                "weights": _rounded(weights),
                "heads": _rounded((by_words(found) if show.words else found).weights),
            }
        )
    return {"source": case.source, "hypotheses": hypotheses}


def _rounded(weights: Weights) -> Any:
    return weights.astype(np.float64).round(DIGITS).tolist()


def page(cases: Sequence[Case], show: Show) -> str:
    """Return a page of its own on which sentence, kind, layer, head and unit can be chosen."""
    first = cases[0].readings[0].maps
    best = best_head(cases) if CROSS in first else None
    data = {
        "title": f"{show.source_lang or '?'} to {show.target_lang or '?'}, {show.model}",
        "kinds": {kind: _kind(kind, found) for kind, found in first.items()},
        "start": {**show.view._asdict(), "words": show.words},
        "best": best,
        "sentences": [_shared(case) for case in cases],
    }
    # No text, whatever a model says, may end the element that it stands in.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files("nmt.inspect").joinpath("attention.html").read_text(encoding="utf-8")
    return template.replace('"DATA"', text)


def _kind(kind: str, found: Map) -> dict[str, Any]:
    layers, heads = found.weights.shape[:2]
    return {"name": NAMES[kind], "layers": layers, "heads": heads}


def _shared(case: Case) -> dict[str, Any]:
    """Return a sentence for the page; the encoder looks at it once, whatever the translation."""
    return {
        "text": case.source,
        "hypotheses": [
            {
                "text": reading.text,
                "score": reading.score,
                "logp": reading.log_probability,
                "maps": {kind: _packed(found) for kind, found in reading.maps.items() if kind != ENCODER or not number},
            }
            for number, reading in enumerate(case.readings)
        ],
    }


def _packed(found: Map) -> Mapping[str, Any]:
    numbers = np.rint(found.weights * SCALE).astype("<u2")
    packed = base64.b64encode(numbers.tobytes()).decode()
    return {"rows": _side(found.queries), "columns": _side(found.keys), "weights": packed}


def _side(tokens: Axis) -> dict[str, Any]:
    return tokens._asdict()
