"""A Transformer of ours in the format of CTranslate2, for places where Python and PyTorch are too much to carry.

The other engine knows the same layers under other names: nothing is trained again, and only quantization rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from nmt.batches import BOS, PAD
from nmt.config import SearchConfig, TransformerConfig
from nmt.errors import OptionError, ResourceError
from nmt.models.layers import CrossAttention, DecoderLayer, EncoderLayer, FeedForward, SelfAttention
from nmt.models.transformer import Transformer
from nmt.text import is_blank
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import Loaded
from nmt.translate import Translator

MODEL = "model.bin"  # the file that makes a folder one of CTranslate2's
RATIO, OFFSET = 2.0, 10  # of the longest output when both are compared
ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "swiglu": "SWISH"}


class Parity(NamedTuple):
    """How far the exported model agrees with ours."""

    equal: int  # lines with the same greedy output
    lines: int


def export_ctranslate2(saved: Loaded, folder: Path, quantization: str, *, force: bool = False) -> None:
    """Write the model and its tokenizers into a new folder that CTranslate2 loads.

    Raises OptionError where CTranslate2 is missing, the folder is there, or the format has no place for the model.
    """
    config = saved.config.model
    if find_spec("ctranslate2") is None:
        raise OptionError("--to ctranslate2: the package is missing; pip install ctranslate2")
    if config.type != "transformer":
        raise OptionError("--to ctranslate2: the engine knows no recurrent model; export a transformer")
    if config.positions == "rotary":
        raise OptionError("--to ctranslate2: the engine has no rotary positions here; train with sinusoidal or learned")
    if folder.exists() and not force:
        raise OptionError(f"{folder}: exists; use --force")
    if folder.exists() and not (folder / MODEL).is_file():
        raise OptionError(f"{folder}: holds something else than an exported model; choose another -o")
    spec = _specification(cast(Transformer, saved.model), config, saved.tokenizers)
    spec.validate()
    spec.optimize(quantization=quantization)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as draft:
            made = Path(draft) / "made"
            made.mkdir()
            spec.save(str(made))
            for name, content in saved.tokenizers.files().items():
                (made / name).write_bytes(content)
            if folder.exists():
                folder.rename(Path(draft) / "old")  # goes with the draft
            made.rename(folder)
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written: {error.strerror}; make room or choose another -o") from error


def compare_greedy(translator: Translator, folder: Path, lines: Sequence[str]) -> Parity:
    """Translate the lines greedily with both and count where the outputs are the same, token for token.

    Lines that are blank or too long for the model are left out: what happens to them is not the engine's business.
    """
    import ctranslate2

    source, limit = translator.tokenizers.source, translator.config.model.max_length
    pieces = {line: source.pieces(ids) for line, ids in zip(lines, source.encode(lines), strict=True)}
    pieces = {line: tokens for line, tokens in pieces.items() if 0 < len(tokens) < limit and not is_blank(line)}
    if not pieces:
        return Parity(0, 0)
    options = SearchConfig(beam_size=1, max_length_ratio=RATIO, max_length_offset=OFFSET)
    ours = [translation.hypotheses[0].pieces for translation in translator.translate_block(list(pieces), options)]
    specials = translator.tokenizers.target.pieces([PAD, BOS])
    longest = [int(RATIO * len(tokens)) + OFFSET for tokens in pieces.values()]
    found = ctranslate2.Translator(str(folder), device="cpu").translate_batch(
        list(pieces.values()), beam_size=1, max_batch_size=1024, batch_type="tokens", max_decoding_length=max(longest),
        min_decoding_length=0, disable_unk=True, suppress_sequences=[[piece] for piece in specials],
    )  # fmt: skip
    theirs = [tuple(result.hypotheses[0][:most]) for result, most in zip(found, longest, strict=True)]
    return Parity(sum(map(tuple.__eq__, ours, theirs)), len(ours))


def _specification(model: Transformer, config: TransformerConfig, tokenizers: Tokenizers) -> Any:
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation

    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.heads,
        pre_norm=config.norm == "pre",
        activation=Activation[ACTIVATIONS[config.activation]],
        ffn_glu=config.activation == "swiglu",
    )
    spec.encoder.embeddings[0].weight = _array(model.embeddings.source.weight)
    spec.decoder.embeddings.weight = _array(model.embeddings.target.weight)
    spec.decoder.projection.weight = _array(model.embeddings.output.weight)
    if config.positions == "learned":
        for side in (spec.encoder, spec.decoder):
            side.position_encodings.encodings = _array(cast(Tensor, model.positions.weight))
    for theirs, encoder_layer in zip(spec.encoder.layer, model.encoder, strict=True):
        _encoder_layer(theirs, encoder_layer)
    for theirs, decoder_layer in zip(spec.decoder.layer, model.decoder, strict=True):
        _decoder_layer(theirs, decoder_layer)
    if config.norm == "pre":
        _norm(spec.encoder.layer_norm, cast(nn.LayerNorm, model.encoder_norm))
        _norm(spec.decoder.layer_norm, cast(nn.LayerNorm, model.decoder_norm))
    for tokenizer, register in (
        (tokenizers.source, spec.register_source_vocabulary),
        (tokenizers.target, spec.register_target_vocabulary),
    ):
        register(tokenizer.pieces(range(tokenizer.size)))
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = model.encoder[0].around_attention.norm.eps
    return spec


def _encoder_layer(theirs: Any, ours: EncoderLayer) -> None:
    _self_attention(theirs.self_attention, ours.attention, ours.around_attention.norm)
    _feed_forward(theirs.ffn, ours.feed_forward, ours.around_feed_forward.norm)


def _decoder_layer(theirs: Any, ours: DecoderLayer) -> None:
    _self_attention(theirs.self_attention, ours.attention, ours.around_attention.norm)
    _cross_attention(theirs.attention, ours.cross, ours.around_cross.norm)
    _feed_forward(theirs.ffn, ours.feed_forward, ours.around_feed_forward.norm)


def _self_attention(theirs: Any, ours: SelfAttention, norm: nn.LayerNorm) -> None:
    _norm(theirs.layer_norm, norm)
    for linear, layer in zip(theirs.linear, (ours.project, ours.output), strict=True):
        _linear(linear, layer.weight, layer.bias)


def _cross_attention(theirs: Any, ours: CrossAttention, norm: nn.LayerNorm) -> None:
    _norm(theirs.layer_norm, norm)
    for linear, layer in zip(theirs.linear, (ours.query, ours.project, ours.output), strict=True):
        _linear(linear, layer.weight, layer.bias)


def _feed_forward(theirs: Any, ours: FeedForward, norm: nn.LayerNorm) -> None:
    _norm(theirs.layer_norm, norm)
    _linear(theirs.linear_1, ours.narrow.weight, ours.narrow.bias)
    parts = (theirs.linear_0, *([theirs.linear_0_noact] if hasattr(theirs, "linear_0_noact") else []))
    halves = zip(ours.widen.weight.chunk(len(parts)), ours.widen.bias.chunk(len(parts)), strict=True)
    for part, (weight, bias) in zip(parts, halves, strict=True):
        _linear(part, weight, bias)


def _norm(theirs: Any, ours: nn.LayerNorm) -> None:
    theirs.gamma, theirs.beta = _array(ours.weight), _array(ours.bias)


def _linear(theirs: Any, weight: Tensor, bias: Tensor) -> None:
    theirs.weight, theirs.bias = _array(weight), _array(bias)


def _array(weights: Tensor) -> Any:
    return weights.detach().float().cpu().contiguous().numpy()
