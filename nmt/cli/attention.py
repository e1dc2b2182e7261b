"""`nmt attention`: parses the options, asks for the maps and hands them to who shows them; it knows no model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nmt.cli import options as shared
from nmt.cli.translate import Beam, Force, Penalty, search_options
from nmt.errors import DataError, ModelError, OptionError

if TYPE_CHECKING:
    from nmt.inspect.maps import Case, Line, Reading
    from nmt.inspect.page import Show
    from nmt.output import Writer
    from nmt.translate import Translator

PICTURES, PAGES = (".png", ".svg"), (".html",)
MOST_PANELS, MOST_ON_PAGE = 24, 200  # maps
COLUMNS = 100  # of a map where nothing says how wide the terminal is

say = shared.speaker("attention")

Given = Annotated[str | None, typer.Argument(metavar="SENTENCE", help="One sentence; none: the lines of stdin.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="map.png, .svg, .html or .json; none: shown here.")]
Kind = Annotated[Literal["cross", "encoder", "decoder"], typer.Option("--kind", help="cross, or self-attention.")]
Layer = Annotated[str, typer.Option(metavar="N|mean", help="From 1.  [default: the best head's, else mean]")]
Head = Annotated[str, typer.Option(metavar="N|mean|best", help="From 1; best aligns best.  [cross: best, else mean]")]
Words = Annotated[bool, typer.Option("--words", help="Words in place of tokens: columns summed, rows averaged.")]
Target = Annotated[str | None, typer.Option(metavar="TEXT", help="A translation to look at in place of the model's.")]
Best = Annotated[int | None, typer.Option("--n-best", min=1, help="Translations per sentence, at most the beam size.")]


def attention(
    sentence: Given = None,
    model: shared.Model = None,
    output: Output = None,
    force: Force = False,
    kind: Kind = "cross",
    layer: Layer = "",
    head: Head = "",
    words: Words = False,
    target: Target = None,
    n_best: Best = None,
    beam_size: Beam = None,
    length_penalty: Penalty = None,
    device: shared.Device = "auto",
    threads: shared.Threads = 0,
) -> None:
    """Show what a model looks at while it translates a SENTENCE or the lines of stdin."""
    path = shared.find_model(model, say)
    searching = {"--n-best": n_best, "-b": beam_size, "--length-penalty": length_penalty}
    form, given = _form(output), _given(target, searching)
    flags = {"beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "sample": False, "mbr": "none"}
    search = search_options(path, flags)
    with _open(output, force=force) as writer:
        lines = _lines(sentence)
        if given and len(lines) > 1:
            raise OptionError(f"--target: is one translation, and there are {len(lines)} sentences; give one of them")
        _check_size(form, len(lines) * (1 if given else search.n_best))
        shared.load_torch()  # only when the options are right
        from nmt.inspect.attention import heads, observe
        from nmt.inspect.page import Show
        from nmt.inspect.views import Asked, resolve, settle
        from nmt.translate import Translator

        translator = Translator.load(path, device=device, precision="fp32", threads=threads)
        known = heads(translator)
        if not known:
            raise ModelError(f"{path}: has no attention (model.attention is none); name a model that has with -m")
        view = resolve(Asked(kind, layer, head), known)
        cases = observe(translator, lines, search, given)
        show = Show(settle(view, cases), words, *_languages(translator), path.resolve().name)
        SHOWING[form](cases, show, writer)


def _languages(translator: Translator) -> tuple[str, str]:
    data = translator.config.data
    return data.source_lang or "", data.target_lang or ""


# ---- what comes in ------------------------------------------------------------------------------------------------


def _form(output: Path | None) -> str:
    """Return the kind of output by its suffix; empty: the terminal."""
    if output is None:
        return ""
    if output.suffix.lower() not in SHOWING:
        names = ", ".join(filter(None, SHOWING))
        raise OptionError(f"-o {output}: is none of {names}; name it so, or leave -o out")
    return output.suffix.lower()


def _lines(sentence: str | None) -> Sequence[Line]:
    """Return the sentences, none of them blank."""
    from nmt.inspect.maps import Line
    from nmt.text import clean, is_blank

    if sentence is None:
        return _read()
    if is_blank(sentence):
        raise DataError("SENTENCE: is blank; give one with words")
    if os.path.isfile(sentence):  # unlike pathlib's it takes what is too long for a name
        say(f"note: {sentence} is a file, and is taken for a sentence; for its lines: nmt attention < {sentence}")
    return [Line("SENTENCE", clean(sentence))]


def _read() -> list[Line]:
    """Return the lines of stdin with something on them."""
    from nmt.inspect.maps import Line
    from nmt.text import Place, Warnings, clean, is_blank, read_blocks, standard_input

    stream = standard_input()
    if sys.stdin.isatty():
        say("reading from the terminal; one sentence a line, Ctrl-D ends")
    warnings = Warnings(lambda text: say(f"warning: {text}"))
    found = list[Line]()
    numbered = enumerate((line for block in read_blocks(stream, "stdin", warnings=warnings) for line in block), 1)
    for number, text in numbered:
        place = Place("stdin", number)
        if is_blank(text):
            warnings.add("blank line left out", place)
        else:
            found.append(Line(str(place), clean(text)))
    warnings.finish()
    if not found:
        raise DataError('stdin: no line with words; give a sentence: nmt attention "A sentence."')
    return found


def _given(target: str | None, search: Mapping[str, object]) -> Line | None:
    """Return the translation to look at, if one was given."""
    from nmt.inspect.maps import Line
    from nmt.text import clean, is_blank

    if target is None:
        return None
    if is_blank(target):
        raise OptionError("--target: is blank; give a translation, or leave it out")
    if given := next((f"{name} {value}" for name, value in search.items() if value is not None), None):
        raise OptionError(f"{given}: --target is one translation, and none is searched for; leave one of them out")
    return Line("--target", clean(target))


def _check_size(form: str, maps: int) -> None:
    """Refuse what nobody could look at before the time for it is spent."""
    for forms, most, advice in ((PICTURES, MOST_PANELS, "or name an .html or .json file"), (PAGES, MOST_ON_PAGE, "")):
        if form in forms and maps > most:
            advice = ", ".join(filter(None, ["give fewer sentences or a smaller --n-best", advice]))
            raise OptionError(f"-o: {maps:,} maps are too many for {form[1:]}, which holds {most}; {advice}")


def _open(output: Path | None, *, force: bool) -> AbstractContextManager[Writer]:
    from nmt.output import Writer, open_output, standard_output

    if output is None:
        return nullcontext(Writer(standard_output(), "stdout"))
    return open_output(output, [0], force=force)


# ---- what goes out ------------------------------------------------------------------------------------------------


def _show_blocks(cases: Sequence[Case], show: Show, writer: Writer) -> None:
    from nmt.inspect.blocks import LEGEND, blocks
    from nmt.inspect.views import describe, readings, seen

    columns = shutil.get_terminal_size((COLUMNS, 24)).columns
    writer.write([f"{describe(show.view, cases[0].readings[0].maps[show.view.kind])}    {LEGEND}"])
    for case in cases:
        for reading in readings(case, show.view):
            found = seen(reading.maps, show.view, words=show.words)
            writer.write(["", case.source, f"{reading.text}{_score(reading)}", *blocks(found, columns)])


def _score(reading: Reading) -> str:
    return "" if reading.score is None else f"    score {reading.score:.3f}"


def _show_picture(cases: Sequence[Case], show: Show, writer: Writer, form: str) -> None:
    from nmt.inspect.drawing import Panel, draw
    from nmt.inspect.fonts import hint
    from nmt.inspect.views import describe, readings, seen

    view = show.view

    def panel(reading: Reading) -> Panel:
        caption = describe(view, reading.maps[view.kind]) + _score(reading)
        return Panel(seen(reading.maps, view, words=show.words), caption)

    picture = draw([[panel(reading) for reading in readings(case, view)] for case in cases], form)
    writer.write_bytes(picture.data)
    if picture.missing:
        say(f"warning: {hint(picture.missing)}")


def _show_page(cases: Sequence[Case], show: Show, writer: Writer) -> None:
    from nmt.inspect.page import page

    writer.write(page(cases, show).split("\n"))


def _show_json(cases: Sequence[Case], show: Show, writer: Writer) -> None:
    from nmt.inspect.page import record

    writer.write([json.dumps(record(cases, show), ensure_ascii=False)])


SHOWING: dict[str, Callable[[Sequence[Case], Show, Writer], None]] = {
    "": _show_blocks,
    ".png": partial(_show_picture, form="png"),
    ".svg": partial(_show_picture, form="svg"),
    ".html": _show_page,
    ".json": _show_json,
}
