"""Runs as they would be without the running average of their weights, which training itself never reads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save

from nmt import sealed
from nmt.sealed import Content
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.training.average import mean
from nmt.training.merge import last_checkpoints


def write_unaveraged(run: Path, last: int, output: Path) -> None:
    """Write a finished run with the mean of the weights that were learnt at the last checkpoints of a run."""
    weights = mean([load_file(folder / "weights.safetensors") for folder in last_checkpoints(run, last)])
    files: dict[str, Content] = {checkpoint.CONFIG: sealed.read_file(run / checkpoint.CONFIG)}
    files |= Tokenizers.load(run).files() | {checkpoint.WEIGHTS: save(weights)}
    sealed.write_folder(output, files)
