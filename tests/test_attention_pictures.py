"""Maps as they are shown: in a terminal, as pictures, as a page in a browser, as JSON."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from nmt.inspect import fonts
from nmt.inspect.blocks import blocks, cut, width
from nmt.inspect.drawing import Panel, draw
from nmt.inspect.maps import Axis, Case, Map, Reading, Sheet, sheet
from nmt.inspect.page import SCALE, Show, page, record
from nmt.inspect.views import View

SWAP = Sheet(
    ("la", "voiture", "rouge", "</s>"),
    ("the", "red", "car", "</s>"),
    np.array([[0.9, 0, 0.1, 0], [0, 0.1, 0.6, 0.3], [0, 0.8, 0.2, 0], [0, 0, 0, 1]], np.float32),
)


def side(*words: str) -> Axis:
    return Axis(words, words, tuple(range(len(words))))


def two_heads() -> Case:
    """Return a swap, of which the second head knows nothing, and a second translation."""
    target, source = (
        Axis(("la", "voi", "·ture", "</s>"), ("la", "voiture", "</s>"), (0, 1, 1, 2)),
        side("the", "car", "</s>"),
    )
    clear = np.array([[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 1, 0], [0, 0, 1]], np.float32)
    cross = Map(target, source, np.stack([clear, np.full_like(clear, 1 / 3)])[None])
    encoder = Map(source, source, np.full((1, 2, 3, 3), 1 / 3, np.float32))
    short = Map(side("auto", "</s>"), source, np.full((1, 2, 2, 3), 1 / 3, np.float32))
    first = Reading("la voiture", -0.5, -1.5, {"cross": cross, "encoder": encoder})
    return Case("the <car>", (first, Reading("auto", -2.0, -3.0, {"cross": short, "encoder": encoder})))


def show(view: View, *, words: bool = False) -> Show:
    return Show(view, words, "en", "fr", "tiny")


# ---- terminal -----------------------------------------------------------------------------------------------------

DRAWN = """\
          ╭ the
          │ ╭ red
          │ │ ╭ car
          │ │ │ ╭ </s>
     la ▕██  ░░  ▏
voiture ▕  ░░▓▓▒▒▏
  rouge ▕  ██▒▒  ▏
   </s> ▕      ██▏"""


def test_a_terminal_shows_shades_below_a_stair_of_names() -> None:
    assert "\n".join(blocks(SWAP, 80)) == DRAWN.replace("          ╭", "         ╭").replace(
        "          │", "         │"
    )


def test_what_is_too_wide_goes_on_below() -> None:
    names = tuple(f"w{number}" for number in range(50))
    lines = list(blocks(Sheet(("one", "two"), names, np.full((2, 50), 0.02, np.float32)), 60))
    assert max(map(width, lines)) <= 60
    assert [name for name in names if not any(name in line for line in lines)] == []
    assert sum(line.startswith("one") for line in lines) == 2


def test_columns_of_a_terminal_are_counted_not_letters() -> None:
    assert [width(text) for text in ("red", "狗", "タワー", "e\u0301", "한국")] == [3, 2, 6, 1, 4]
    assert [cut("abcdef", 4), cut("狗狗狗", 4), cut("abc", 3)] == ["abc…", "狗…", "abc"]
    rows = list(blocks(Sheet(("狗", "dog"), ("a",), np.ones((2, 1), np.float32)), 80))[1:]
    assert len(set(map(width, rows))) == 1


# ---- pictures -----------------------------------------------------------------------------------------------------


def test_a_picture_has_a_cell_for_each_pair_and_shows_its_weight_as_grey() -> None:
    half = SWAP._replace(weights=SWAP.weights / 2 + 0.125)  # black and white are 0 and 1, not the ends of what there is
    text = draw([[Panel(half, "caption")]], "svg").data.decode()
    assert draw([[Panel(half, "caption")]], "svg").data.decode() == text
    mesh = text[text.index('id="QuadMesh_1"') :]
    fills = [re.search(r"fill: #(..)", path) for path in re.findall(r"<path [^>]*>", mesh)[:16]]
    shades = [int(fill[1], 16) / 255 if fill else 0.0 for fill in fills]  # SVG's own is black
    assert np.abs(np.array(shades).reshape(4, 4) - half.weights).max() < 0.01
    places = [tuple(map(float, found)) for found in re.findall(r'd="M (\S+) (\S+)', mesh)[:16]]
    across, down = np.array(places).reshape(4, 4, 2).transpose(2, 0, 1)
    assert (np.diff(across, axis=1) > 0).all()  # source to the right
    assert (np.diff(down, axis=0) > 0).all()  # target down


@pytest.mark.slow
def test_pictures_grow_with_what_they_show() -> None:
    one, grid = (
        matplotlib.image.imread(io.BytesIO(draw(rows, "png").data))
        for rows in ([[Panel(SWAP, "")]], [[Panel(SWAP, "")] * 3] * 2)
    )
    assert grid.shape[0] > 1.8 * one.shape[0]
    assert grid.shape[1] > 2.7 * one.shape[1]
    border = np.concatenate([part.reshape(-1, 4) for part in (grid[:3], grid[-3:], grid[:, :3], grid[:, -3:])])
    assert (border == 1).all()  # nothing is cut off


def test_dollars_are_no_formulas() -> None:
    assert draw([[Panel(Sheet(("$5", "$x_1$"), ("\\frac",), np.ones((2, 1), np.float32)), "$^$")]], "png").missing == ""


def test_letters_without_a_font_are_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    own = [entry for entry in font_manager.fontManager.ttflist if entry.name == fonts.OWN]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    found = fonts.find("дом dog 狗 ሀ")
    assert found == fonts.Fonts([fonts.OWN], "ሀ狗")
    assert draw([[Panel(SWAP._replace(rows=("狗", "a", "b", "c")), "")]], "png").missing == "狗"
    assert (
        fonts.hint("狗") == "no font here has 狗; on Debian and Ubuntu: apt install fonts-noto-cjk, elsewhere Noto Sans"
    )
    assert "fonts-noto-cjk fonts-noto-core" in fonts.hint("ሀ狗")
    assert "a b c d e and 2 more; " in fonts.hint("abcdefg")


def test_fonts_are_taken_as_few_as_go() -> None:
    assert fonts.find("Ein Haus, дом, بيت").families == [fonts.OWN]


# ---- JSON ---------------------------------------------------------------------------------------------------------


def test_json_has_what_is_documented() -> None:
    found = json.loads(json.dumps(record([two_heads()], show(View("cross", 0, 0, is_best=True)))))
    assert (found["kind"], found["layer"], found["head"], found["unit"]) == ("cross", 1, 1, "tokens")
    assert found["best"].keys() == {"layer", "head", "quality"}
    (sentence,) = found["sentences"]
    first, second = sentence["hypotheses"]
    assert (sentence["source"], first["text"], first["score"], first["log_probability"]) == (
        "the <car>",
        "la voiture",
        -0.5,
        -1.5,
    )
    assert first["rows"] == ["la", "voi", "·ture", "</s>"]
    assert first["columns"] == ["the", "car", "</s>"]
    assert first["weights"] == first["heads"][0][0] == [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 1, 0], [0, 0, 1]]
    assert np.abs(np.sum(first["heads"], -1) - 1).max() < 1e-5
    assert len(second["weights"]) == 2
    documented = record.__globals__["__doc__"]
    keys = {*found, *sentence, *first}
    assert not [key for key in keys if not re.search(rf"^ +.*\b{key}\b", documented, re.MULTILINE)]


def test_json_by_words_and_of_a_mean() -> None:
    found = record([two_heads()], show(View("cross", None, None), words=True))
    first = found["sentences"][0]["hypotheses"][0]
    assert (found["layer"], found["head"], found["unit"]) == ("mean", "mean", "words")
    assert first["rows"] == ("la", "voiture", "</s>")
    assert np.shape(first["heads"]) == (1, 2, 3, 3)
    np.testing.assert_allclose(first["weights"][1], [1 / 6, 0.75 / 2 + 1 / 6, 0.25 / 2 + 1 / 6], atol=1e-6)
    encoder = record([two_heads()], show(View("encoder", 0, None)))
    assert encoder["best"] is None
    assert len(encoder["sentences"][0]["hypotheses"]) == 1


# ---- page ---------------------------------------------------------------------------------------------------------


def data_of(text: str) -> dict[str, Any]:
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def test_a_page_holds_all_weights_and_needs_no_network() -> None:
    text = page([two_heads(), two_heads()], show(View("cross", 0, 1)))
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|src=|href=", text)
    assert "<car>" not in text  # no text of the model is taken for an element
    found = data_of(text)
    assert found["kinds"]["cross"] == {"name": "cross-attention", "layers": 1, "heads": 2}
    assert [case["text"] for case in found["sentences"]] == ["the <car>"] * 2
    cross = found["sentences"][0]["hypotheses"][0]["maps"]["cross"]
    numbers = np.frombuffer(base64.b64decode(cross["weights"]), "<u2").reshape(1, 2, 4, 3) / SCALE
    np.testing.assert_allclose(numbers, two_heads().readings[0].maps["cross"].weights, atol=1e-5)
    # The encoder looks at a sentence once, whatever is made of it.
    assert ["encoder" in each["maps"] for each in found["sentences"][0]["hypotheses"]] == [True, False]


CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def browse(folder: Path, text: str, script: str) -> str:
    """Return the page as it stands in a browser after a script."""
    (folder / "page.html").write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'user'}",
        "--dump-dom",
        f"file://{folder / 'page.html'}",
    ]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()


def cells(text: str) -> list[list[tuple[str, str, float]]]:
    """Return row, column and weight of each cell of each table."""
    return [
        [
            (row, column, float(weight))
            for row, column, weight in re.findall(r'aria-label="(\S+) looks at (\S+): (\S+)"', table)
        ]
        for table in re.findall(r"<table.*?</table>", html.unescape(text), re.DOTALL)
    ]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_what_python_computes(tmp_path: Path) -> None:
    case = two_heads()
    text = page([case], show(View("cross", 0, 0)))
    first, second = cells(browse(tmp_path, text, ""))
    expected = sheet(case.readings[0].maps["cross"], 0, 0)
    assert [weight for *_, weight in first] == pytest.approx(expected.weights.ravel().tolist(), abs=1e-3)
    assert [row for row, *_ in first[::3]] == list(expected.rows)
    assert len(second) == 2 * 3
    merged = cells(browse(tmp_path, text, f"{PRESS} press('w')"))[0]
    assert merged[3:6] == [("voiture", "the", 0.0), ("voiture", "car", 0.75), ("voiture", "</s>", 0.25)]


PRESS = "const press = key => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_page_is_used_by_keyboard(tmp_path: Path) -> None:
    text = page([two_heads()._replace(source="other"), two_heads()], show(View("cross", 0, 0)))
    moves = "document.querySelector('td[tabindex=\"0\"]').focus(); press('ArrowDown'); press('ArrowRight');"
    found = browse(tmp_path, text, PRESS + moves)
    assert "<bdi>voi</bdi> looks at <bdi>car</bdi>: <b>0.500</b>" in found
    assert 'id="source" dir="auto">other<' in found
    assert 'id="source" dir="auto">the &lt;car&gt;<' in browse(tmp_path, text, f"{PRESS} press('n')")
    head = browse(tmp_path, text, f"{PRESS} press('h')")
    assert {weight for *_, weight in cells(head)[0]} == {0.333}
    kind = browse(tmp_path, text, f"{PRESS} press('k')")
    assert len(cells(kind)) == 1
