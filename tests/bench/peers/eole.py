"""Eole, the successor of OpenNMT-py; its decoder has no post-norm, so that it cannot carry our weights.

It translates with its own, trained for some minutes: not as well as others, but to sentences of the same lengths.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import weights
from environment import TORCH, Environment, Unavailable
from process import Failed
from work import Figures, Mode, Work, read, write

from nmt.tokenizer import Tokenizers
from peers.interface import Script

# Without its own pins, and without what only other tasks need (a build of fasttext, spacy, torchcodec).
NEEDS = (
    "aiohttp configargparse ctranslate2 fastapi huggingface_hub numpy pandas protobuf pyahocorasick pydantic pyonmttok "
    "pyyaml rapidfuzz regex requests rich sacrebleu safetensors sentencepiece==0.2.3 six subword-nmt tensorboard "
    "tokenizers torch-optimi uvicorn waitress"
)
PACKAGES = [[TORCH], ["--no-deps", "eole==0.6.4"], NEEDS.split()]
MODES = (Mode("as shipped", {"precision": ""}), Mode("medium", {"precision": "medium"}, is_shipped=False))
NAME = "eole"  # of the model that translates
SECONDS = 480.0  # of training before translating, in small steps, which bring more in a short time
SMALL_STEPS = {"batch_size": 1024, "learning_rate": 2e-3, "warmup_steps": 300, "average_decay": 0.01}


class Eole:
    """Trains on pieces made before, which it is not charged for."""

    name = "Eole"

    def __init__(self, cache: Path) -> None:
        self.environment = Environment(cache / "environments" / "eole", PACKAGES)
        self._script = Script("run_eole", self.environment)

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return both settings for the Transformer."""
        return MODES if model == "transformer" else ()

    def translations(self) -> Sequence[Mode]:
        """Return both settings."""
        return [Mode(f"{mode.label}, own weights", mode.settings, mode.is_shipped) for mode in MODES]

    def install(self, work: Work) -> str:
        """Make the environment and write the corpora as pieces."""
        self.environment.install()
        before = _learnt_from(work)
        tokenizer = Tokenizers.load(work.run).source
        for corpus in ("captions", "joined"):
            for language in ("en", "de"):
                lines = tokenizer.encode(read(work.text(corpus, "train", language)))
                write(_pieces(work, corpus, language), [" ".join(tokenizer.pieces(row)) for row in lines])
        write(_vocabulary(work), weights.pieces(work.run)[4:])
        if _learnt_from(work) != before:
            shutil.rmtree(_model(work), ignore_errors=True)
        return self.environment.version("eole")

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Train by its own loop."""
        job = {"config": _training(work, corpus, "eole-measured"), **mode.settings}
        return self._script.train(work, work.scratch("eole-train"), job, seconds)

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Translate by its command's function, as its own defaults are but for the beam and the batch."""
        if not _model(work).exists():
            try:
                config = _training(work, "captions", NAME)
                config["training"].update(SMALL_STEPS)
                self._script.train(work, work.scratch("eole-train"), {"config": config, **MODES[0].settings}, SECONDS)
            except Failed as error:
                raise Unavailable(f"there is no model to translate with: {error}") from error
        folder = work.scratch("eole-translate")
        config = {
            "model_path": str(_model(work)), "src": str(folder / "pieces.txt"), "output": str(folder / "output.pieces"),
            "beam_size": work.beam, "batch_size": 64, "batch_type": "sents",
            "world_size": 0, "gpu_ranks": [], "compute_dtype": "fp32",
        }  # fmt: skip
        return self._script.translate(work, folder, {"config": config, **mode.settings}, source)


def _pieces(work: Work, corpus: str, language: str) -> Path:
    return work.cache / "data" / f"{corpus}-pieces" / f"train.{language}"


def _vocabulary(work: Work) -> Path:
    return work.cache / "data" / "captions-pieces" / "vocabulary.txt"


def _learnt_from(work: Work) -> list[bytes]:
    """Return all that the model which translates is made from, as far as it is there."""
    files = [_vocabulary(work), *(_pieces(work, "captions", language) for language in ("en", "de"))]
    return [file.read_bytes() for file in files if file.exists()]


def _model(work: Work) -> Path:
    return work.cache / "models" / NAME


def _training(work: Work, corpus: str, name: str) -> dict[str, Any]:
    ours = weights.config(work.run)
    files = {"path_src": str(_pieces(work, corpus, "en")), "path_tgt": str(_pieces(work, corpus, "de"))}
    return {
        "data": {"bench": {**files, "transforms": []}},
        "src_vocab": str(_vocabulary(work)), "share_vocab": True, "src_vocab_size": 32_000, "tgt_vocab_size": 32_000,
        "overwrite": True, "save_data": str(work.cache / "models" / "eole-data"), "seed": 1, "report_every": 100,
        "model": {
            "architecture": "transformer", "hidden_size": ours.dim, "heads": ours.heads,
            "transformer_ff": ours.feed_forward, "share_embeddings": True, "share_decoder_embeddings": True,
            # The encoder would be trained without the last, and loaded with it as memory happens to be.
            "add_qkvbias": True, "add_ffnbias": True, "add_final_linear_bias": True, "mlp_activation_fn": "relu",
            "position_encoding_type": "SinusoidalInterleaved",
            "embeddings": {"word_vec_size": ours.dim, "position_encoding_type": "SinusoidalInterleaved"},
            "encoder": {"encoder_type": "transformer", "layers": ours.encoder_layers},
            "decoder": {"decoder_type": "transformer", "layers": ours.decoder_layers},
        },
        "training": {
            "world_size": 0, "gpu_ranks": [], "compute_dtype": "fp32", "batch_type": "tokens",
            "batch_size": work.budget, "normalization": "tokens", "num_workers": 0, "bucket_size": 32_768,
            "optim": "adamw", "adam_beta2": 0.98, "learning_rate": 1e-3, "decay_method": "none", "warmup_steps": 600,
            "max_grad_norm": 1.0, "label_smoothing": 0.1, "dropout": [0.1], "attention_dropout": [0.0],
            "train_steps": 10**8, "save_checkpoint_steps": 10**8, "valid_steps": 10**8, "keep_checkpoint": 1,
            "param_init_method": "xavier_uniform", "model_path": str(work.cache / "models" / name),
        },
    }  # fmt: skip
