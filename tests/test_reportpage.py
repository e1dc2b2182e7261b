"""The page of a report: whole by itself, every text escaped, every plot with its numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from nmt.inspect.html import element, join, markup, table
from nmt.inspect.model import Facts
from nmt.inspect.plots import Curve, curves, intervals
from nmt.inspect.plots import Span as Interval
from nmt.inspect.report import Background, System, build_report
from nmt.inspect.reportpage import report_page
from nmt.testset import Task

EVIL = '<script>alert("x")</script> & \'"><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br"}
FACTS = Facts("transformer", 1_234_567, 3 * 2**20, 3661.0, 2.0, 1.5)


class Reader(HTMLParser):
    """Reads a page and sees that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(task: Task, *systems: System) -> tuple[str, Reader]:
    page = report_page(build_report(task, systems, "13a", Background(notes=[EVIL])))
    return page, Reader(page)


@pytest.mark.slow
def test_text_is_escaped_wherever_it_stands() -> None:
    task = Task(EVIL, [EVIL, "a dog"], [[EVIL + " not", "ein Hund"]], "de")
    page, reader = read(task, System(EVIL, [EVIL, "ein Hund"], FACTS), System("b", ["\x1b[31m\x00 ein", "Hund"]))
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert any('<script>alert("x")</script>' in text for text in reader.text)
    assert "\x1b" not in page
    assert "\x00" not in page


def test_page_stands_alone_and_does_nothing() -> None:
    page, reader = read(Task("t", ["a dog"], [["ein Hund"]], "de"), System("a", ["ein Hund"], FACTS))
    assert not {"script", "link", "iframe", "img", "object", "form"} & set(reader.tags)
    assert not [value for name, value in reader.attributes if name in ("src", "srcset", "action", "style")]
    links = [value or "" for name, value in reader.attributes if name == "href"]
    assert links
    assert all(link.startswith("#") for link in links)
    targets = {value for name, value in reader.attributes if name == "id"}
    assert {link[1:] for link in links} == targets
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.slow
def test_scores_plots_facts_and_sentences_are_there() -> None:
    task = Task("test.en", ["a dog runs", "he has 3 cats"], [["ein Hund rennt", "er hat 3 Katzen"]], "de")
    page, reader = read(
        task, System("first", ["ein Hund läuft", "er hat 4 Katzen"], FACTS), System("second", ["Hund", "er er er"])
    )
    text = " ".join(" ".join(reader.text).split())
    for expected in (
        "first and second on test.en", "2 lines", "BLEU", "chrF2++", "TER", "paired bootstrap", "baseline", "1,234,567",
        "3.0 MiB", "1:01:01", "1.5", "By length of the source", "with numbers", "0 (0%)", "looping outputs",
        "second, line 2: er er er", "Where first is furthest ahead", "nrefs:1|bs:1000|seed:12345|case:mixed",
    ):  # fmt: skip
        assert expected in text, expected
    assert reader.tags.count("polyline") == 4
    assert 'ein Hund <mark class="extra">läuft</mark></dd>' in page
    assert re.search('<mark class="missing">rennt</mark>', page)
    assert '<dd dir="auto" lang="de">' in page


def test_wide_tables_can_be_scrolled_by_keyboard() -> None:
    shown = table("Scores", ["", "a"], [["BLEU", "1"]])
    assert shown.startswith('<div class="wide" role="region" aria-label="Scores" tabindex="0"><table>')
    assert '<th scope="row">BLEU</th><td class="short">1</td>' in shown


def test_markup_is_not_escaped_twice() -> None:
    assert markup("a<b") == "a&lt;b"
    assert markup(markup("a<b")) == "a&lt;b"
    assert element("p", ["<", element("b", "&")], {"title": '"<'}) == '<p title="&quot;&lt;">&lt;<b>&amp;</b></p>'
    assert join(["<", element("b", "")], ", ") == "&lt;, <b></b>"


@pytest.mark.parametrize("values", [[0.0], [100.0, 0.0], [12.5, 55.0, 40.0]])
def test_points_lie_inside_the_plot_the_higher_the_better(values: list[float]) -> None:
    drawn = curves("BLEU", [str(value) for value in values], [1] * len(values), [Curve("a", values)])
    points = re.findall(r"(-?[\d.]+),(-?[\d.]+)", re.search('points="([^"]*)"', drawn)[1])  # type: ignore[index]
    heights = [float(y) for _, y in points]
    assert len(points) == len(values)
    assert all(0 <= float(x) <= 420 for x, _ in points)
    assert all(0 <= height <= 240 for height in heights)
    assert sorted(values, reverse=True) == [value for _, value in sorted(zip(heights, values, strict=True))]


def test_intervals_share_a_scale() -> None:
    drawn = intervals("BLEU", [Interval("a", 20, 18, 22), Interval("b", 20, 20, 20), Interval("c", 30, 29, 31)])
    marks = [float(x) for x in re.findall(r"translate\(([\d.]+),", drawn)]
    assert marks[0] == marks[1] < marks[2]
    assert intervals("BLEU", [Interval("a", 0, 0, 0)])
