"""What a model is, in names and values; it knows nothing of how they are shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from nmt.config import Config
from nmt.sealed import MANIFEST
from nmt.training.checkpoint import (
    STATE,
    WEIGHTS,
    load_fingerprints,
    load_model,
    run_folder,
    step_folder,
    steps,
    verify,
)


@dataclass(frozen=True)
class Facts:
    """What is worth knowing of a model beside its translations."""

    kind: str
    parameters: int
    size: int  # bytes of weights and tokenizers
    training_seconds: float | None  # up to the last checkpoint; None: no checkpoint is left
    seconds: float  # to translate the test set, without loading
    sentences_per_second: float


def describe(path: Path) -> dict[str, str]:
    """Return what there is to know of a run or checkpoint folder, once every byte of it is verified."""
    config, tokenizers, model = load_model(path, torch.device("cpu"))
    verify(path)
    run = run_folder(path)
    vocabulary = f"{tokenizers.source.size:,}"
    if not tokenizers.shared:
        vocabulary += f" and {tokenizers.target.size:,}"
    parameters = sum(weights.numel() for weights in model.parameters())
    return {
        "folder": str(path),
        "state": f"checkpoint of {run}" if (path / STATE).exists() else f"finished, sound by its {MANIFEST}",
        "languages": config.data.direction or "?",
        "model": _model(config),
        "parameters": f"{parameters:,}",
        "size": f"{_size(path) / 2**20:.1f} MiB",
        "tokenizer": f"{config.tokenizer.type}, {vocabulary} pieces, {'shared' if tokenizers.shared else 'separate'}",
        "longest source": f"{config.model.max_length} tokens; longer ones are translated in pieces",
        "training data": ", ".join(config.data.train) or "?",
        "search": config.search.summary,
        "checkpoints": ", ".join(map(str, steps(run))) or "none",
        "fingerprints": ", ".join(f"{name} {value}" for name, value in load_fingerprints(run).items()) or "none",
    }


def measured(path: Path, lines: int, seconds: float) -> Facts:
    """Return the facts of a model that has translated so many lines in so many seconds."""
    config, _, model = load_model(path, torch.device("cpu"))
    parameters = sum(weights.numel() for weights in model.parameters())
    return Facts(_model(config), parameters, _size(path), _training_seconds(path), seconds, lines / max(seconds, 1e-9))


def _size(path: Path) -> int:
    """Return the bytes of the weights that translate, and of the tokenizers."""
    names = (WEIGHTS, "average.safetensors", "weights.safetensors")
    weights = next(path / name for name in names if (path / name).exists())
    return sum(file.stat().st_size for file in (weights, *run_folder(path).glob("*.model")))


def _training_seconds(path: Path) -> float | None:
    """Return the wall-clock seconds that the newest checkpoint, or the one that is meant, has seen."""
    run = run_folder(path)
    states = [path / STATE, *(step_folder(run, step) / STATE for step in reversed(steps(run)))]
    state = next((state for state in states if state.is_file()), None)
    return None if state is None else float(json.loads(state.read_bytes())["seconds"])


def _model(config: Config) -> str:
    model = config.model
    layers = f"{model.encoder_layers} + {model.decoder_layers} layers, width {model.dim}"
    if model.type == "rnn":
        return f"{model.cell}, attention {model.attention}, {layers}"
    return f"transformer, {layers}, {model.heads} heads, feed-forward {model.feed_forward}"
