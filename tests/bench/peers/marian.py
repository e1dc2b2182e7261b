"""Hugging Face transformers: MarianMTModel, trained and used by a plain loop (inside/run_marian.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import weights
from environment import TORCH, Environment
from work import Figures, Mode, Work

from peers.interface import Script

PACKAGES = [[TORCH], ["transformers==5.23.0", "sentencepiece==0.2.3"]]
# Under "medium" the default attention is ten times slower, so there it gets the plain one.
MODES = (
    Mode("as shipped", {"precision": "", "attention": "sdpa"}),
    Mode("medium, eager attention", {"precision": "medium", "attention": "eager"}, is_shipped=False),
)


class Marian:
    """Translates with our weights."""

    name = "Hugging Face Marian"

    def __init__(self, cache: Path) -> None:
        self.environment = Environment(cache / "environments" / "marian", PACKAGES)
        self._script = Script("run_marian", self.environment)

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return both settings for the Transformer; there is no recurrent model."""
        return MODES if model == "transformer" else ()

    def translations(self) -> Sequence[Mode]:
        """Return both settings."""
        return MODES

    def install(self, work: Work) -> str:
        """Make the environment and write our weights in the format of the model."""
        self.environment.install()
        folder = work.cache / "models" / "marian"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**_config(work), "architectures": ["MarianMTModel"]}))
        (folder / "generation_config.json").write_text(json.dumps(_tokens()))
        weights.save_marian(work.run, folder / "model.safetensors")
        return self.environment.version("transformers")

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Run the script's loop."""
        job = {"config": _config(work), "tokenizer": str(work.tokenizer), "budget": work.budget, **mode.settings}
        job |= {side: str(work.text(corpus, "train", code)) for side, code in (("source", "en"), ("target", "de"))}
        return self._script.train(work, work.scratch("marian-train"), job, seconds)

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Run the script with our weights."""
        job = {"model": str(work.cache / "models" / "marian"), "rows": 64, **mode.settings}
        return self._script.translate(work, work.scratch("marian-translate"), job, source)


def _tokens() -> dict[str, Any]:
    ids = weights.IDS
    return {
        "pad_token_id": ids.pad, "eos_token_id": ids.eos, "decoder_start_token_id": ids.bos,
        "bad_words_ids": [[ids.pad], [ids.bos]],
    }  # fmt: skip


def _config(work: Work) -> dict[str, Any]:
    """Return the sizes of our model; what is not named here is as shipped."""
    ours = weights.config(work.run)
    sizes: dict[str, Any] = {"d_model": ours.dim}
    for side, layers in (("encoder", ours.encoder_layers), ("decoder", ours.decoder_layers)):
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": ours.heads, f"{side}_ffn_dim": ours.feed_forward}
    vocabulary = weights.pieces(work.run)
    tokens = {name: value for name, value in _tokens().items() if name != "bad_words_ids"}
    return {
        "model_type": "marian", "vocab_size": len(vocabulary), "decoder_vocab_size": len(vocabulary),
        "max_position_embeddings": ours.max_length, "activation_function": "relu", "scale_embedding": True,
        "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True, "dropout": 0.1,
        **sizes, **tokens, "forced_eos_token_id": None,
    }  # fmt: skip
