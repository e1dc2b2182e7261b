"""What the peers are trained with: two published settings, and each as the options of a toolkit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

BEAM = 5
SMOOTHING = 0.1
ALL = 2**63  # pairs


class Setting(NamedTuple):
    """A Transformer and how it is trained."""

    name: str
    label: str
    layers: int  # of encoder and decoder, each
    dim: int
    feed_forward: int
    heads: int
    dropout: float
    rate: float  # the highest learning rate
    warmup: int  # steps, at most: a fifth of those that fit into the time, where that is less, with a lower rate
    pieces: Mapping[int, int]  # of corpora up to so many pairs
    batch: int = 4_096  # padded pieces

    def vocabulary(self, pairs: int) -> int:
        """Return how many joint pieces are asked for."""
        return next(pieces for most, pieces in self.pieces.items() if pairs <= most)


SETTINGS = (
    # Wu et al. 2021, arXiv 2105.14462, found it for the 29,000 pairs of Multi30k, with 10,000 merges: that many would
    # be whole words in fewer pairs, so those get fewer.
    Setting("tiny", "Transformer-Tiny", 4, 128, 256, 4, 0.3, 5e-3, 2_000, {1_000: 1_500, 5_000: 3_000, ALL: 10_000}),
    # As the benchmark trains everyone.
    Setting("small", "3+3 x 256", 3, 256, 1_024, 4, 0.1, 1e-3, 600, {ALL: 8_000}),
)


class Place(NamedTuple):
    """The files of one training."""

    folder: Path
    train: Path  # without the language
    validation: Path  # likewise
    source: str  # a language, which is the suffix of both
    target: str

    @property
    def tokenizer(self) -> Path:
        """Return the sentencepiece model."""
        return self.folder / "tokenizer.model"

    @property
    def vocabulary(self) -> Path:
        """Return its pieces in the order of JoeyNMT's ids."""
        return self.folder / "vocabulary.txt"


class Toolkit(Protocol):
    """A peer; its scripts are `train_KEY` here and `run_KEY` of the benchmark."""

    name: str
    key: str

    def training(self, setting: Setting, place: Place) -> dict[str, Any]:
        """Return what its training script is told, besides what all are; writes the files that are named there."""
        ...

    def translation(self, place: Place) -> dict[str, Any]:
        """Return what its other script is told, to translate; writes the files that are named there."""
        ...


def common(setting: Setting, place: Place, pairs: int, coverage: float) -> dict[str, Any]:
    """Return what every training script is told."""
    return {
        "tokenizer": str(place.tokenizer), "source": f"{place.train}.{place.source}",
        "target": f"{place.train}.{place.target}", "pieces": setting.vocabulary(pairs), "coverage": coverage,
        "warmup": setting.warmup,
    }  # fmt: skip


# ---- JoeyNMT ------------------------------------------------------------------------------------------------------


class JoeyNMT:
    """Takes all that it needs from a configuration."""

    name = "JoeyNMT"
    key = "joeynmt"

    def training(self, setting: Setting, place: Place) -> dict[str, Any]:
        """Write its configuration."""
        file = place.folder / "train.yaml"
        file.write_text(yaml.safe_dump(_joeynmt(setting, place)))
        return {"config": str(file), "vocabulary": str(place.vocabulary)}

    def translation(self, place: Place) -> dict[str, Any]:
        """Write another one that names the weights."""
        config = yaml.safe_load((place.folder / "train.yaml").read_text())
        config["testing"]["load_model"] = f"{config['model_dir']}/quality.ckpt"
        file = place.folder / "translate.yaml"
        file.write_text(yaml.safe_dump(config))
        return {"config": str(file)}


def _joeynmt(setting: Setting, place: Place) -> dict[str, Any]:
    side = {
        "voc_file": str(place.vocabulary), "level": "bpe", "tokenizer_type": "sentencepiece", "lowercase": False,
        "tokenizer_cfg": {"model_file": str(place.tokenizer)}, "max_length": 256,
    }  # fmt: skip
    return {
        "name": "quality",
        "joeynmt_version": "2.3.0",
        "model_dir": str(place.folder / "model"),
        "use_cuda": False,
        "data": {
            "train": str(place.train), "dev": str(place.validation), "dataset_type": "plain",
            "src": {"lang": place.source, **side}, "trg": {"lang": place.target, **side},
        },
        "training": {
            "optimizer": "adam", "adam_betas": [0.9, 0.98], "learning_rate": setting.rate, "learning_rate_min": 1e-9,
            "learning_rate_warmup": setting.warmup, "scheduling": "warmupinversesquareroot", "loss": "crossentropy",
            "label_smoothing": SMOOTHING, "normalization": "tokens", "clip_grad_norm": 1.0, "batch_type": "token",
            "batch_size": setting.batch, "epochs": 10**6, "validation_freq": 10**8, "logging_freq": 100,
            "print_valid_sents": [],
        },
        "testing": {
            "beam_size": BEAM, "beam_alpha": 1.0, "batch_size": 64, "batch_type": "sentence", "eval_metrics": [],
            "max_output_length": -1,
        },
        "model": {
            "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "tied_embeddings": True,
            "tied_softmax": True, "encoder": _stack(setting), "decoder": _stack(setting),
        },
    }  # fmt: skip


def _stack(setting: Setting) -> dict[str, Any]:
    return {
        "type": "transformer", "num_layers": setting.layers, "num_heads": setting.heads, "hidden_size": setting.dim,
        "ff_size": setting.feed_forward, "dropout": setting.dropout, "layer_norm": "post", "activation": "relu",
        "embeddings": {"embedding_dim": setting.dim, "scale": True, "dropout": setting.dropout},
    }  # fmt: skip


# ---- Hugging Face Marian ------------------------------------------------------------------------------------------


class Marian:
    """Is a model in a loop of the script's own."""

    name = "Hugging Face Marian"
    key = "marian"

    def training(self, setting: Setting, place: Place) -> dict[str, Any]:
        """Return the model and what the loop of the script needs."""
        return {
            "model": _marian(setting), "generation": {**TOKENS, "bad_words_ids": [[0], [2]]}, "attention": "sdpa",
            "budget": setting.batch, "rate": setting.rate, "smoothing": SMOOTHING, "folder": str(place.folder),
            "validation": [f"{place.validation}.{language}" for language in (place.source, place.target)],
        }  # fmt: skip

    def translation(self, place: Place) -> dict[str, Any]:
        """Return where the model is."""
        return {
            "model": str(place.folder / "model"), "tokenizer": str(place.tokenizer), "rows": 64, "attention": "sdpa"
        }  # fmt: skip


TOKENS = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 2}


def _marian(setting: Setting) -> dict[str, Any]:
    sizes: dict[str, Any] = {"d_model": setting.dim}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": setting.layers, f"{side}_attention_heads": setting.heads}
        sizes |= {f"{side}_ffn_dim": setting.feed_forward}
    return {
        "model_type": "marian", "max_position_embeddings": 512, "activation_function": "relu", "scale_embedding": True,
        "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True, "dropout": setting.dropout,
        "forced_eos_token_id": None, **sizes, **TOKENS,
    }  # fmt: skip
