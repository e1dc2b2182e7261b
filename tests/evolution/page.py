"""The page of the experiment: tables, and pictures that lie beside it too; it knows nothing of how it was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import pictures
from measure import LONG, SHORT, Figures
from systems import CONTRAST, SYSTEMS, UNCLIPPED, System, seeded

from nmt.inspect.attention import heads, observe
from nmt.inspect.drawing import Panel, draw
from nmt.inspect.html import Html, element, page, table
from nmt.inspect.maps import Line
from nmt.inspect.views import Asked, describe, resolve, seen, settle
from nmt.training.progress import duration
from nmt.translate import Translator

SENTENCE = "Two young women in red dresses are riding brown horses along the beach."
HEAD = ("", "parameters", "training", "tokens/s", "sentences/s", "BLEU", "{0}-{1} words", "{2}-{3} words", "ratio")


def write_page(folder: Path, seeds: int) -> Path:
    """Write index.html and the pictures to `folder`/page from the figures there, and return the page's path."""
    names = [system.name for system in SYSTEMS] + [UNCLIPPED]
    names += [seeded(name, seed) for name in CONTRAST for seed in range(2, seeds + 1)]
    files = {name: folder / f"{name}.json" for name in names}
    found = {name: Figures(**json.loads(file.read_text("utf-8"))) for name, file in files.items() if file.exists()}
    drawn = {
        "bleu": pictures.bleu(found),
        "reach": pictures.reach(found),
        "norms": pictures.norms(found),
    }
    if panels := _maps(folder, [system for system in SYSTEMS if system.name in found]):
        drawn["attention"] = draw([panels[start : start + 2] for start in range(0, len(panels), 2)], "svg").data
    place = folder / "page"
    place.mkdir(exist_ok=True)
    for name, picture in drawn.items():
        (place / f"{name}.svg").write_bytes(picture)
    (place / "index.html").write_text(_page(found, drawn, seeds), "utf-8")
    return place / "index.html"


def _page(found: Mapping[str, Figures], drawn: Mapping[str, bytes], seeds: int) -> str:
    head = [cell.format(*SHORT, *LONG) for cell in HEAD]
    body: list[str] = [
        element("h1", "The evolution of attention, measured"),
        element("p", "Eight systems of one size, trained on the same captions in the same order for as many steps."),
        element("h2", "Speed, size and BLEU"),
        table("Systems", head, rows(found)),
        element("p", "Speed on one core: target tokens in training, sentences translated with beam 5."),
        element("h2", "BLEU over length"),
        _inline(drawn["bleu"]),
        element("h2", f"With and without attention, {seeds} seed{'s' if seeds > 1 else ''}"),
        table("Main contrast", ["", *head[-4:]], contrast(found, seeds)),
        element("h2", "How far back a loss reaches"),
        element(
            "p", "Gradient of a word's loss by the source's embeddings, times their length: medians over sentences."
        ),
        _inline(drawn["reach"]),
        element("h2", "Clipping"),
        _inline(drawn["norms"]),
    ]
    if "attention" in drawn:
        body += [element("h2", "What attention looks at"), _inline(drawn["attention"])]
    return page("The evolution of attention", body)


def rows(found: Mapping[str, Figures]) -> list[list[str]]:
    """Return the cells of the table of all systems."""
    return [
        [
            system.label, f"{one.parameters:,}", duration(one.training_seconds), f"{one.tokens_per_second:,.0f}",
            f"{one.sentences_per_second:.1f}", f"{one.bleu:.1f}", f"{one.short:.1f}", f"{one.long:.1f}",
            f"{ratio(one):.2f}",
        ]
        for system in SYSTEMS
        if (one := found.get(system.name))
    ]  # fmt: skip


def contrast(found: Mapping[str, Figures], seeds: int) -> list[list[str]]:
    """Return the cells of the table of both systems of the main contrast, mean and range over seeds."""
    labels = {system.name: system.label for system in SYSTEMS}
    cells = []
    for name in CONTRAST:
        of = [found[run] for seed in range(1, seeds + 1) if (run := seeded(name, seed)) in found]
        if not of:
            continue
        values = [[one.bleu for one in of], [one.short for one in of], [one.long for one in of], [*map(ratio, of)]]
        cells.append(
            [labels[name], *(_spread(each, digits) for each, digits in zip(values, (1, 1, 1, 2), strict=True))]
        )
    return cells


def ratio(one: Figures) -> float:
    """Return what is left of BLEU on long lines."""
    return one.long / one.short if one.short else 0.0


def _spread(values: Sequence[float], digits: int) -> str:
    mean, low, high = statistics.fmean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _inline(picture: bytes) -> Html:
    """Return the element of a picture without what only a file of its own needs."""
    text = picture.decode()
    return Html(f'<div class="wide">{text[text.index("<svg") :]}</div>')


def _maps(folder: Path, systems: Sequence[System]) -> list[Panel]:
    """Return what each system that attends looks at while it translates one sentence."""
    panels = []
    for system in systems:
        translator = Translator.load(folder / system.name, device="cpu", precision="fp32", threads=1)
        known = heads(translator)
        if known:
            cases = observe(translator, [Line("SENTENCE", SENTENCE)], translator.config.search)
            view = settle(resolve(Asked("cross", "", ""), known), cases)
            maps = cases[0].readings[0].maps
            panels.append(Panel(seen(maps, view, words=True), f"{system.label}: {describe(view, maps[view.kind])}"))
    return panels
