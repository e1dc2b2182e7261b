"""Models of the literature by name, as options of `nmt.config`."""

from __future__ import annotations

from typing import Any

AS_THEN = {"layer_norm": False}  # said, so that the recipe, which takes it, leaves it
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "type": "transformer", "dim": 128, "encoder_layers": 4, "decoder_layers": 4, "heads": 4, "feed_forward": 256,
        "dropout": 0.3,
    },  # arXiv 2105.14462
    "small": {
        "type": "transformer", "dim": 256, "encoder_layers": 3, "decoder_layers": 3, "heads": 4, "feed_forward": 1024,
    },
    "base": {
        "type": "transformer", "dim": 512, "encoder_layers": 6, "decoder_layers": 6, "heads": 8, "feed_forward": 2048,
    },  # arXiv 1706.03762 table 3
    "big": {
        "type": "transformer", "dim": 1024, "encoder_layers": 6, "decoder_layers": 6, "heads": 16,
        "feed_forward": 4096, "dropout": 0.3,
    },  # arXiv 1706.03762 table 3
    "rnnsearch": {
        "type": "rnn", "cell": "gru", "attention": "additive", "embedding": 620, "dim": 1000, **AS_THEN,
    },  # arXiv 1409.0473 A.2.3
    "luong": {
        "type": "rnn", "cell": "lstm", "attention": "general", "input_feeding": True, "embedding": 1000, "dim": 1000,
        "encoder_layers": 4, "decoder_layers": 4, "bidirectional": False, **AS_THEN,
    },  # arXiv 1508.04025 section 4.1
    "gnmt": {
        "type": "rnn", "cell": "lstm", "attention": "additive", "embedding": 1024, "dim": 1024, "encoder_layers": 4,
        "decoder_layers": 4, "residual": True, **AS_THEN,
    },  # arXiv 1609.08144, at the four layers of its public re-implementations
}  # fmt: skip
