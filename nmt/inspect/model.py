"""What a model is, in names and values; it knows nothing of how they are shown."""

from __future__ import annotations

from pathlib import Path

import torch

from nmt.config import Config
from nmt.sealed import MANIFEST
from nmt.training.checkpoint import STATE, load_fingerprints, load_model, run_folder, steps


def describe(path: Path) -> dict[str, str]:
    """Return what there is to know of a run or checkpoint folder, once every byte of it is verified."""
    config, tokenizers, model = load_model(path, torch.device("cpu"))
    run = run_folder(path)
    vocabulary = f"{tokenizers.source.size:,}"
    if not tokenizers.shared:
        vocabulary += f" and {tokenizers.target.size:,}"
    parameters = sum(weights.numel() for weights in model.parameters())
    size = sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".safetensors", ".model"))
    return {
        "folder": str(path),
        "state": f"checkpoint of {run}" if (path / STATE).exists() else f"finished, sound by its {MANIFEST}",
        "languages": f"{config.data.source_lang or '?'} to {config.data.target_lang or '?'}",
        "model": _model(config),
        "parameters": f"{parameters:,}",
        "size": f"{size / 2**20:.1f} MiB",
        "tokenizer": f"{config.tokenizer.type}, {vocabulary} pieces, {'shared' if tokenizers.shared else 'separate'}",
        "longest source": f"{config.model.max_length} tokens; longer ones are translated in pieces",
        "training data": ", ".join(config.data.train) or "?",
        "search": f"beam {config.search.beam_size}, length penalty {config.search.length_penalty:g}",
        "checkpoints": ", ".join(map(str, steps(run))) or "none",
        "fingerprints": ", ".join(f"{name} {value}" for name, value in load_fingerprints(run).items()) or "none",
    }


def _model(config: Config) -> str:
    model = config.model
    layers = f"{model.encoder_layers} + {model.decoder_layers} layers, width {model.dim}"
    if model.type == "rnn":
        return f"{model.cell}, attention {model.attention}, {layers}"
    return f"transformer, {layers}, {model.heads} heads, feed-forward {model.feed_forward}"
