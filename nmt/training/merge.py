"""Models of one shape merged into one: a finished run with the mean of their weights; it knows nothing of training.

The models are checkpoints of one training, or were started from one another: means of weights that were found apart
translate nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save as format_tensors
from torch import Tensor

from nmt import sealed
from nmt.config import Config
from nmt.configfile import dump_config
from nmt.errors import ModelError, OptionError
from nmt.sealed import Content
from nmt.training import checkpoint, heldout
from nmt.training.average import mean

# Options that leave no trace in a model.
LOOSE = ("embeddings", "dropout", "attention_dropout", "activation_dropout", "word_dropout")


def last_checkpoints(run: Path, count: int) -> list[Path]:
    """Return the folders of the last checkpoints of a run."""
    known = checkpoint.steps(run)
    if len(known) < count:
        raise OptionError(
            f"--last {count}: {run} has {len(known)} checkpoints; give a run folder with as many (training.keep), or "
            "a smaller number"
        )
    return [checkpoint.step_folder(run, step) for step in known[-count:]]


def merge(models: Sequence[Path], output: Path, *, force: bool = False) -> None:
    """Write a finished run of the mean weights of runs or checkpoints; all else is that of the first.

    Raises ModelError for models of another shape or with other tokenizers than the first, OptionError where `output`
    is in the way.
    """
    _check_place(output, force=force)
    configs, weights = list[Config](), list[dict[str, Tensor]]()
    for path, loaded in zip(models, checkpoint.load_models(models, torch.device("cpu")), strict=True):
        configs.append(loaded.config)
        _check_shape(path, loaded.config, models[0], configs[0])
        weights.append({name: tied.detach() for name, tied in loaded.model.named_parameters()})  # what is tied once
    run = checkpoint.run_folder(models[0])
    files: dict[str, Content] = {checkpoint.CONFIG: sealed.read_file(run / checkpoint.CONFIG)}
    files |= loaded.tokenizers.files()
    files |= {checkpoint.WEIGHTS: format_tensors(mean(weights))} | _shortlist(run) | _held_out(run, configs[0])
    sealed.write_folder(output.resolve(), files)


def _check_place(output: Path, *, force: bool) -> None:
    """Refuse to write over anything but a finished run without checkpoints, and over that too unless told to."""
    if not output.exists():
        return
    if not force:
        raise OptionError(f"{output}: exists; use --force")
    if not ((output / checkpoint.CONFIG).is_file() and checkpoint.is_finished(output)):
        raise OptionError(f"{output}: is no finished run, and nothing else is overwritten; choose another -o")
    if checkpoint.steps(output):
        raise OptionError(f"{output}: has checkpoints, which would be lost; choose another -o")


def _check_shape(path: Path, config: Config, first: Path, expected: Config) -> None:
    own, other = (dump_config(each.model) for each in (config, expected))
    for name in {**other, **own}:
        if name not in LOOSE and own.get(name) != other.get(name):
            raise ModelError(
                f"{path}: model.{name} is {own.get(name)}, and {other.get(name)} in {first}; give models of one shape"
            )


def _held_out(run: Path, config: Config) -> dict[str, Content]:
    """Return the files of pairs that a run held out: `nmt eval` scores them."""
    paths = [path for part in heldout.PARTS for path in heldout.paths(run, part, config.data) if path.exists()]
    return {path.name: sealed.read_file(path) for path in paths}


def _shortlist(run: Path) -> dict[str, Content]:
    """Return the shortlist of a run as it lies there, or nothing."""
    if not checkpoint.is_finished(run):
        return {}
    content = sealed.unseal(run)
    is_there = checkpoint.SHORTLIST in content.files and (run / checkpoint.SHORTLIST).exists()
    return {checkpoint.SHORTLIST: content.read(checkpoint.SHORTLIST)} if is_there else {}
