"""The table by beam width: what each row is made of, and that the picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nmt.config import SearchConfig
from nmt.evaluate import Score
from nmt.inspect.beams import Width, header, line, plot, records, sweep
from nmt.translation import BLANK, FAILED, Output, Translation

BLEU = Score("BLEU", 50.0, "nrefs:1|tok:13a", {"name": "BLEU", "score": 50.0})


def translate(lines: Sequence[str], search: SearchConfig) -> list[Translation]:
    """Say the beam width; the sentence in place i has log-probability -(i + 1) and half of it as its score."""
    text = str(search.beam_size)
    answers = {"": BLANK, "?": Translation((FAILED,), tokens=1)}
    return [
        answers.get(words, Translation((Output(text, -(place + 1) / 2, -(place + 1), ()),), tokens=3))
        for place, words in enumerate(lines)
    ]


def judge(texts: Sequence[str]) -> list[Score]:
    return [BLEU._replace(score=float(texts[0]))]


def test_each_width_is_searched_scored_and_averaged_over_what_was_found() -> None:
    rows = list(sweep(translate, ["a", "", "b", "?"], SearchConfig(beam_size=7, n_best=3), [1, 5], judge))
    assert [row.beam_size for row in rows] == [1, 5]
    assert [row.scores[0].score for row in rows] == [1.0, 5.0]
    assert {row.log_probability for row in rows} == {-2.0}
    assert {row.model_score for row in rows} == {-1.0}
    assert all(row.seconds > 0 for row in rows)


def test_columns_stand_below_their_names() -> None:
    row = Width(20, [BLEU], -123.456, -20.5, 4.0)
    head, body = header(["BLEU"]), line(row, 1000)
    assert len(head) == len(body)
    assert body.split() == ["20", "50.00", "-123.456", "-20.5000", "4.0", "s", "250.0"]
    added = {"beam_size": 20, "log_probability": -123.456, "model_score": -20.5, "seconds": 4.0}
    assert records(row) == [{"name": "BLEU", "score": 50.0, **added}]


@pytest.mark.slow
@pytest.mark.parametrize("widths", [[1], [20, 1, 5]])
def test_plot_is_drawn_for_any_widths(tmp_path: Path, widths: list[int]) -> None:
    plot([Width(width, [BLEU], -9.0, -2.0, 1.5 * width) for width in widths], tmp_path / "beams.png", "a title")
    assert (tmp_path / "beams.png").read_bytes().startswith(b"\x89PNG")
