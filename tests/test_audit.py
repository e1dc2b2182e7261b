"""Known holes are shown, and that nothing was looked up is not taken for there being none."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import audit
import pytest

CLEAN = {"name": "torch", "version": "2.13.0", "vulns": []}
UNKNOWN = {"name": "nowhere", "skip_reason": "not found"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["6.1", "6.2"]}


@pytest.mark.parametrize(
    ("pins", "code", "said"),
    [
        ([CLEAN, UNKNOWN], 0, "known holes: 0 in 1 of the pins of constraints.txt\n"),
        ([UNKNOWN], 0, "known holes: not looked up, the service cannot be reached\n"),
        (None, 0, "known holes: not looked up, the service cannot be reached\n"),
        (
            [CLEAN, {"name": "PyYAML", "version": "5.3", "vulns": [HOLE]}], 1,
            "PyYAML 5.3: PYSEC-1, mended in 6.1, 6.2\nknown holes: 1 in 2 of the pins of constraints.txt\n",
        ),
    ],
)  # fmt: skip
def test_what_was_found_is_said(
    pins: Any, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = "no network" if pins is None else json.dumps({"dependencies": pins})
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: subprocess.CompletedProcess(words, code, answer))
    assert audit.main() == code
    assert capsys.readouterr().out == said
