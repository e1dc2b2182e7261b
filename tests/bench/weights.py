"""Our weights under the names that other toolkits give them; nothing is retrained or rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from environment import Unavailable
from safetensors.torch import save_file
from torch import Tensor, nn

from nmt.batches import BOS, EOS, PAD, UNK
from nmt.config import TransformerConfig
from nmt.models.layers import DecoderLayer, EncoderLayer
from nmt.models.positions import SinusoidalPositions
from nmt.models.transformer import Transformer
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import load_config, load_model

JOEYNMT_POSITIONS = 5_000  # it has room for


class Ids(NamedTuple):
    """Of the special pieces."""

    pad: int = PAD
    unk: int = UNK
    bos: int = BOS
    eos: int = EOS


IDS = Ids()
MARIAN = {
    "encoder.": "model.encoder.layers.", "decoder.": "model.decoder.layers.", "self.norm": "self_attn_layer_norm",
    "self.": "self_attn.", "cross.norm": "encoder_attn_layer_norm", "cross.": "encoder_attn.", "query": "q_proj",
    "key": "k_proj", "value": "v_proj", "output": "out_proj", "feed.norm": "final_layer_norm", "feed.widen": "fc1",
    "feed.narrow": "fc2",
}  # fmt: skip
JOEYNMT_ENCODER = {
    "encoder.": "encoder.layers.", "self.norm": "layer_norm", "self.": "src_src_att.", "feed.norm":
    "feed_forward.layer_norm", "feed.widen": "feed_forward.pwff_layer.0", "feed.narrow": "feed_forward.pwff_layer.3",
    "query": "q_layer", "key": "k_layer", "value": "v_layer", "output": "output_layer",
}  # fmt: skip
JOEYNMT_DECODER = {
    **JOEYNMT_ENCODER, "decoder.": "decoder.layers.", "self.norm": "x_layer_norm", "self.": "trg_trg_att.",
    "cross.norm": "dec_layer_norm", "cross.": "src_trg_att.",
}  # fmt: skip


def config(run: Path) -> TransformerConfig:
    """Return the model's options; raises Unavailable where no other toolkit has such a model."""
    found = load_config(run).model
    if not isinstance(found, TransformerConfig) or (found.norm, found.positions, found.activation) != (
        "post", "sinusoidal", "relu",
    ):  # fmt: skip
        raise Unavailable(f"{run} is no post-norm Transformer with sines and ReLU, as its weights would need")
    return found


def pieces(run: Path) -> list[str]:
    """Return the vocabulary, in the order of the ids."""
    tokenizer = Tokenizers.load(run).target
    return tokenizer.pieces(range(tokenizer.size))


def save_marian(run: Path, file: Path) -> None:
    """Write the weights of a run for Hugging Face's MarianMTModel."""
    model = _load(run)
    table = _table(model, model.config.max_length)
    found = {_renamed(name, MARIAN): value for name, value in _layers(model)}
    found |= {f"model.{side}.embed_positions.weight": table.clone() for side in ("encoder", "decoder")}
    embedding = model.embeddings.target.weight
    found |= {"model.shared.weight": embedding, "final_logits_bias": torch.zeros(1, len(embedding))}
    save_file({name: value.detach().contiguous() for name, value in found.items()}, file, metadata={"format": "pt"})


def save_joeynmt(run: Path, file: Path) -> None:
    """Write the weights of a run for JoeyNMT, whose first ids are unk, pad, bos and eos."""
    model = _load(run)
    found = {
        _renamed(name, JOEYNMT_ENCODER if name.startswith("encoder") else JOEYNMT_DECODER): value
        for name, value in _layers(model)
    }
    order = torch.arange(len(model.embeddings.target.weight))
    order[[0, 1]] = torch.tensor([IDS.unk, IDS.pad])
    embedding = model.embeddings.target.weight.detach()[order]
    found |= dict.fromkeys(("src_embed.lut.weight", "trg_embed.lut.weight", "decoder.output_layer.weight"), embedding)
    found |= {f"{side}.pe.pe": _table(model, JOEYNMT_POSITIONS)[None] for side in ("encoder", "decoder")}
    torch.save({"model_state": {name: value.detach().clone() for name, value in found.items()}}, file)


def _load(run: Path) -> Transformer:
    config(run)
    return cast(Transformer, load_model(run, torch.device("cpu")).model)


def _table(model: Transformer, length: int) -> Tensor:
    """Return the position encodings (position, dim), which these toolkits keep with the weights."""
    positions = cast(SinusoidalPositions, model.positions)
    positions.grow(length)
    return positions.table[:length].contiguous()


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for ours in sorted(table, key=len, reverse=True):
        name = name.replace(ours, table[ours], 1)
    return name


def _layers(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight of the layers under a plain name: encoder.0.self.query.weight, decoder.2.feed.norm.bias."""
    for place, encoder_layer in enumerate(model.encoder):
        yield from _shared(f"encoder.{place}", encoder_layer)
    for place, layer in enumerate(model.decoder):
        name, cross = f"decoder.{place}", layer.cross
        yield from _shared(name, layer)
        yield from _both(f"{name}.cross.query", cross.query)
        yield from _parts(f"{name}.cross", cross.project, ("key", "value"))
        yield from _both(f"{name}.cross.output", cross.output)
        yield from _both(f"{name}.cross.norm", layer.around_cross.norm)


def _shared(name: str, layer: EncoderLayer | DecoderLayer) -> Iterator[tuple[str, Tensor]]:
    yield from _parts(f"{name}.self", layer.attention.project, ("query", "key", "value"))
    yield from _both(f"{name}.self.output", layer.attention.output)
    yield from _both(f"{name}.self.norm", layer.around_attention.norm)
    yield from _both(f"{name}.feed.widen", layer.feed_forward.widen)
    yield from _both(f"{name}.feed.narrow", layer.feed_forward.narrow)
    yield from _both(f"{name}.feed.norm", layer.around_feed_forward.norm)


def _parts(name: str, project: nn.Linear, parts: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    cut = zip(parts, project.weight.chunk(len(parts)), project.bias.chunk(len(parts)), strict=True)
    for part, weight, bias in cut:
        yield f"{name}.{part}.weight", weight
        yield f"{name}.{part}.bias", bias


def _both(name: str, layer: nn.Linear | nn.LayerNorm) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", layer.weight
    yield f"{name}.bias", layer.bias
