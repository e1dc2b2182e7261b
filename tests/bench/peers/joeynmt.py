"""JoeyNMT, the one peer with an RNN of Bahdanau's kind too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import weights
import yaml
from environment import TORCH, Environment
from work import Figures, Mode, Work, write

from peers.interface import Script

# Without its own pins, which are older than Python 3.11 (protobuf < 3.21) or leave something out (importlib_metadata).
NEEDS = (
    "importlib_metadata matplotlib numpy packaging plotly protobuf pyyaml sacrebleu sentencepiece==0.2.3 setuptools "
    "subword-nmt tensorboard tqdm"
)
PACKAGES = [[TORCH], ["--no-deps", "joeynmt==2.3.0"], NEEDS.split()]
MODES = (Mode("as shipped", {"precision": ""}), Mode("medium", {"precision": "medium"}, is_shipped=False))


class JoeyNMT:
    """Translates with our weights."""

    name = "JoeyNMT"

    def __init__(self, cache: Path) -> None:
        self.environment = Environment(cache / "environments" / "joeynmt", PACKAGES)
        self._script = Script("run_joeynmt", self.environment)

    def trainings(self, model: str) -> Sequence[Mode]:
        """Return both settings for both models."""
        return MODES

    def translations(self) -> Sequence[Mode]:
        """Return both settings."""
        return MODES

    def install(self, work: Work) -> str:
        """Make the environment and write our weights in the format of the model."""
        self.environment.install()
        return self.environment.version("joeynmt")

    def train(self, work: Work, corpus: str, model: str, mode: Mode, seconds: float) -> Figures:
        """Train by its own loop."""
        folder = work.scratch(f"joeynmt-{model}")
        config = _config(work, folder, model)
        config["data"] |= {"train": str(work.text(corpus, "train", "en").with_suffix(""))}
        return self._script.train(work, folder, {"config": _written(config, folder), **mode.settings}, seconds)

    def translate(self, work: Work, mode: Mode, source: Path) -> Figures:
        """Translate the standard input."""
        folder = work.scratch("joeynmt-translate")
        (folder / "model").mkdir()
        weights.save_joeynmt(work.run, folder / "model" / "best.ckpt")
        config = _config(work, folder, "transformer")
        job = {"config": _written(config, folder), **mode.settings}
        return self._script.translate(work, folder, job, source, is_stdin=True)


def _written(config: dict[str, Any], folder: Path) -> str:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder / "config.yaml")


def _config(work: Work, folder: Path, model: str) -> dict[str, Any]:
    vocabulary = folder / "vocabulary.txt"
    write(vocabulary, ["<unk>", "<pad>", "<s>", "</s>", *weights.pieces(work.run)[4:]])
    tokenizer = {"model_file": str(work.tokenizer)}
    side = {
        "voc_file": str(vocabulary), "level": "bpe", "tokenizer_type": "sentencepiece", "tokenizer_cfg": tokenizer,
        "lowercase": False, "max_length": 256,
    }  # fmt: skip
    return {
        "name": "bench",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "data": {
            "dev": str(work.text("captions", "valid", "en").with_suffix("")), "dataset_type": "plain",
            "src": {"lang": "en", **side}, "trg": {"lang": "de", **side},
        },
        "training": {
            "optimizer": "adamw", "adam_betas": [0.9, 0.98], "learning_rate": 1e-3, "learning_rate_min": 1e-9,
            "learning_rate_warmup": 600, "scheduling": "warmupinversesquareroot", "label_smoothing": 0.1,
            "loss": "crossentropy", "normalization": "tokens", "clip_grad_norm": 1.0, "batch_type": "token",
            "batch_size": work.budget, "epochs": 10_000, "validation_freq": 10**8, "logging_freq": 100,
            "print_valid_sents": [],
        },
        "testing": {
            "beam_size": work.beam, "beam_alpha": 1.0, "batch_size": 64, "batch_type": "sentence", "eval_metrics": [],
            "max_output_length": -1,
        },
        "model": _transformer(work) if model == "transformer" else _rnn(),
    }  # fmt: skip


def _transformer(work: Work) -> dict[str, Any]:
    """Return the sizes of our model."""
    ours = weights.config(work.run)
    stack = {
        "type": "transformer", "num_heads": ours.heads, "hidden_size": ours.dim, "ff_size": ours.feed_forward,
        "dropout": 0.1, "layer_norm": "post", "activation": "relu",
        "embeddings": {"embedding_dim": ours.dim, "scale": True, "dropout": 0.1},
    }  # fmt: skip
    return {
        "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "tied_embeddings": True,
        "tied_softmax": True, "encoder": {**stack, "num_layers": ours.encoder_layers},
        "decoder": {**stack, "num_layers": ours.decoder_layers},
    }  # fmt: skip


def _rnn() -> dict[str, Any]:
    """Return the sizes of rnn.yaml: 256 wide, of which each direction of the encoder has half."""
    stack = {"type": "recurrent", "rnn_type": "gru", "num_layers": 1, "dropout": 0.2}
    stack |= {"embeddings": {"embedding_dim": 256, "scale": False, "dropout": 0.2}}
    decoder = {"attention": "bahdanau", "input_feeding": True, "init_hidden": "bridge", "hidden_dropout": 0.2}
    return {
        "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "tied_embeddings": True,
        "tied_softmax": True, "encoder": {**stack, "hidden_size": 128, "bidirectional": True},
        "decoder": {**stack, "hidden_size": 256, **decoder},
    }  # fmt: skip
