"""What `nmt info` says of a model: only what was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainings import run_training, tiny, write_corpus

from nmt.errors import ModelError
from nmt.inspect.model import describe, measured
from nmt.training.checkpoint import SHORTLIST, WEIGHTS, step_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    run_training(folder / "run", tiny(write_corpus(folder), {"training.max_steps": 3}))
    return folder / "run"


def test_the_size_is_that_of_what_translates(run: Path) -> None:
    assert (run / SHORTLIST).stat().st_size > 0
    tokenizer = (run / "tokenizer.model").stat().st_size
    assert measured(run, 1, 1.0).size == (run / WEIGHTS).stat().st_size + tokenizer
    step = step_folder(run, 3)
    assert measured(step, 1, 1.0).size == (step / "average.safetensors").stat().st_size + tokenizer


@pytest.mark.parametrize("name", [SHORTLIST, "checkpoints/step-00000003/optimizer.safetensors"])
def test_sound_is_what_was_read_to_the_last_byte(run: Path, name: str) -> None:
    path = run / name
    content = path.read_bytes()
    assert "sound" in describe(run)["state"]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match=path.name):
        describe(path.parent)
    path.write_bytes(content)
    assert describe(path.parent)["languages"] == "en to de"
