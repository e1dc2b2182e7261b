"""The table of models; it knows nothing of how they are trained or searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from nmt.config import ModelConfig
from nmt.models.interface import Trainable
from nmt.models.recurrent import Recurrent
from nmt.models.transformer import Transformer
from nmt.models.weights import Vocabularies


class Model(nn.Module, Trainable[Any, Any]):
    """The type of what `build` returns: a module, and all that search and training ask for."""


MODELS: dict[str, Callable[[Any, Vocabularies], Trainable[Any, Any]]] = {"transformer": Transformer, "rnn": Recurrent}


def build(config: ModelConfig, source_vocab: int, target_vocab: int, *, shared: bool) -> Model:
    """Return the model of `config` with fresh weights; `shared`: an id means the same on both sides."""
    return cast(Model, MODELS[config.type](config, Vocabularies(source_vocab, target_vocab, shared)))
