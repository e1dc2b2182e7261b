"""Pages of HTML that stand alone: no script, no network, every text escaped; it knows nothing of what they show."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nmt.text import without_surrogates

STYLE = Path(__file__).with_name("page.css")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # no character of HTML
# The browser itself refuses what a text might have smuggled in.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NONE: Mapping[str, str] = {}
SHORT = 16  # characters: a cell of so many stays on one line


class Html(str):
    """Text that is markup; any other text is escaped where it enters an element."""

    __slots__ = ()


def markup(text: str) -> Html:
    """Return text as markup that shows just this text."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(CONTROL.sub("\ufffd", without_surrogates(text))))


def join(parts: Iterable[str], between: str = "") -> Html:
    """Return parts one after the other."""
    return Html(markup(between).join(map(markup, parts)))


def element(name: str, content: str | Iterable[str] = "", attributes: Mapping[str, str] = NONE) -> Html:
    """Return an element around text, markup, or several of them."""
    inner = markup(content) if isinstance(content, str) else join(content)
    given = "".join(f' {key}="{markup(str(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{inner}</{name}>")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Return a table whose first column names its rows; where it is too wide it scrolls, by keyboard too."""
    body = (
        element("tr", [element("th", row[0], {"scope": "row"}), *(_cell(cell) for cell in row[1:])]) for row in rows
    )
    parts = [
        element("caption", caption),
        element("thead", element("tr", [element("th", cell, {"scope": "col"}) for cell in head])),
        element("tbody", body),
    ]
    scrolls = {"class": "wide", "role": "region", "aria-label": caption, "tabindex": "0"}
    return element("div", element("table", parts), scrolls)


def _cell(content: str) -> Html:
    return element("td", content, {"class": "short"} if len(content) <= SHORT else NONE)


def page(title: str, body: Iterable[str]) -> Html:
    """Return a whole page."""
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{markup(POLICY)}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        element("title", title),
        Html(f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>"),
    ]
    whole = element("html", [element("head", join(head, "\n")), element("body", join(body, "\n"))], {"lang": "en"})
    return Html(f"<!doctype html>\n{whole}")
