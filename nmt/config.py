"""Every option of a run, checked once: its meaning, unit, default and source; it knows nothing of what uses them.

Inside the project a `Config` is trusted and never changed; what two options cannot be together is refused here, in a
text `key: what was given; what to do`. configs/reference.yaml is written from this file (nmt/reference.py). Sources:
GNMT arXiv 1609.08144, Transformer arXiv 1706.03762, Bahdanau arXiv 1409.0473, Luong arXiv 1508.04025, subword
regularisation arXiv 1804.10959, BPE-dropout arXiv 1910.13267, label smoothing arXiv 1512.00567, Transformer-Tiny for
Multi30k arXiv 2105.14462.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _seconds(value: object) -> object:
    """Read a duration such as `90`, `90s`, `45m`, `6h` or `2d` as seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([smhd]?)", value.strip(), re.ASCII)
    if not match:
        raise ValueError("should be seconds, or a time such as 90s, 45m, 6h or 2d")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _words(value: object) -> object:
    """Read one file as a list of one file."""
    return [value] if isinstance(value, str) else value


Duration = Annotated[float, Field(gt=0), BeforeValidator(_seconds)]
Column = Annotated[str, Field(coerce_numbers_to_str=True)]
Corpora = Annotated[tuple[str, ...], BeforeValidator(_words)]
Vectors = Annotated[tuple[str, ...], Field(min_length=1, max_length=2), BeforeValidator(_words)]


class Section(BaseModel):
    """A frozen group of options that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the sentence pairs come from."""

    source_lang: str = Field("", description="language of the source; empty: from the file names")
    target_lang: str = Field("", description="language of the target; empty: from the file names")
    train: Corpora = Field((), description="corpora: aligned files in pairs (source first), x.{lang}, TSV, JSONL, hf:")
    valid: Corpora = Field((), description="as train; empty: 2 % of the training pairs (at most 1,000) are held out")
    test: Corpora = Field((), description="as train; what `nmt eval` scores when no files are given")
    columns: tuple[Column, Column] | None = Field(None, description="names (or numbers from 1, TSV) of the two sides")
    max_length: PositiveInt = Field(256, description="tokens; a training pair with a longer side is dropped")
    encoding: str = Field("utf-8", description="of the text files, as iconv names it")
    bad_utf8: Literal["error", "replace", "drop"] = Field("error", description="what undecodable bytes in training do")


class TokenizerConfig(Section):
    """How text becomes ids: sentencepiece, trained on the training corpora."""

    type: Literal["unigram", "bpe", "char", "word"] = Field("unigram", description="arXiv 1804.10959, 1508.07909")
    vocab_size: PositiveInt | Literal["auto"] = Field("auto", description="pieces; auto: grows with the corpus")
    shared: bool = Field(True, description="one vocabulary for both languages")
    byte_fallback: bool = Field(True, description="unseen characters become bytes, not <unk> (not for word)")
    normalization: Literal["nfkc", "identity"] = Field("nfkc", description="Unicode normalisation of the text")
    character_coverage: float = Field(0.9998, gt=0.9, le=1.0, description="share of characters with a piece")
    sampling: Fraction = Field(
        0.0, description="subword sampling: unigram's alpha, arXiv 1804.10959, or BPE's dropout, 1910.13267; 0: off"
    )

    @model_validator(mode="after")
    def _can_sample(self) -> Self:
        if self.sampling and self.type not in ("unigram", "bpe"):
            raise ValueError(f"sampling: {self.sampling} needs a unigram or bpe tokenizer; set it to 0 or change type")
        return self


class TransformerConfig(Section):
    """The Transformer, arXiv 1706.03762."""

    type: Literal["transformer"] = Field("transformer", description="the family of the model")
    dim: PositiveInt = Field(256, description="width of embeddings and layers")
    encoder_layers: PositiveInt = Field(3, description="the paper has 6 of both")
    decoder_layers: PositiveInt = Field(3, description="fewer cost quality, and make translating faster, 2006.10369")
    heads: PositiveInt = Field(4, description="attention heads; must divide dim")
    feed_forward: PositiveInt = Field(1024, description="width of the hidden feed-forward layer")
    activation: Literal["relu", "gelu", "swiglu"] = Field("relu", description="swiglu: arXiv 2002.05202")
    norm: Literal["pre", "post"] = Field("pre", description="layer norm before or after each sub-layer, 2002.04745")
    positions: Literal["sinusoidal", "learned", "rotary"] = Field("sinusoidal", description="rotary: 2104.09864")
    max_length: PositiveInt = Field(512, description="tokens; longer sources are translated in pieces")
    tie_embeddings: bool = Field(True, description="one matrix for embeddings and output, arXiv 1608.05859")
    embeddings: Vectors | None = Field(
        None, description="word vectors to start from (word2vec, GloVe, nmt embeddings): a file, or [source, target]"
    )
    dropout: Fraction = Field(0.1, description="of embeddings and sub-layer outputs")
    attention_dropout: Fraction = Field(0.0, description="of attention weights")
    activation_dropout: Fraction = Field(0.0, description="inside the feed-forward layer")

    @model_validator(mode="after")
    def _has_whole_heads(self) -> Self:
        features = self.dim // self.heads
        if self.dim % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide dim {self.dim}; choose a divisor")
        if self.dim % 2:
            raise ValueError(f"dim: {self.dim} is odd; choose an even width")
        if self.positions == "rotary" and features % 2:
            raise ValueError(
                f"positions: rotary turns pairs, but a head has {features} features; make dim / heads even"
            )
        return self


LUONG = ("dot", "general", "concat")  # attentions of arXiv 1508.04025


class RecurrentConfig(Section):
    """Recurrent encoder-decoders: a fixed-length vector, Bahdanau's attention, Luong's attention."""

    type: Literal["rnn"] = Field("rnn", description="the family of the model")
    cell: Literal["rnn", "gru", "lstm"] = Field("gru", description="rnn: tanh")
    attention: Literal["none", "additive", "dot", "general", "concat"] = Field(
        "additive", description="additive: query s_{i-1}, context enters the cell, 1409.0473 A.1.2; others: 1508.04025"
    )
    input_feeding: bool = Field(False, description="Luong's: the attentional vector enters the next step, section 3.3")
    embedding: PositiveInt = Field(256, description="width of the word embeddings")
    dim: PositiveInt = Field(512, description="width of the hidden state (encoder: of both directions together)")
    encoder_layers: PositiveInt = Field(1, description="each of both directions, if there are two")
    decoder_layers: PositiveInt = Field(1, description="the context enters the lowest, the query is of the highest")
    bidirectional: bool = Field(True, description="the encoder reads from both ends")
    residual: bool = Field(False, description="add a layer's input to its output from the second layer on")
    layer_norm: bool = Field(False, description="normalise the output of each layer, arXiv 1607.06450")
    tie_embeddings: bool = Field(False, description="one matrix for target embeddings and output (and source)")
    embeddings: Vectors | None = Field(
        None, description="word vectors to start from (word2vec, GloVe, nmt embeddings): a file, or [source, target]"
    )
    max_length: PositiveInt = Field(512, description="tokens; longer sources are translated in pieces")
    dropout: Fraction = Field(0.2, description="of embeddings, between layers and before the output")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.bidirectional and self.dim % 2:
            raise ValueError(
                f"dim: {self.dim} cannot be halved for two directions; make it even or bidirectional false"
            )
        if self.input_feeding and self.attention not in LUONG:
            raise ValueError(
                f"input_feeding: belongs to the attentions {', '.join(LUONG)}, not to {self.attention}; set it to false"
            )
        return self


ModelConfig = Annotated[TransformerConfig | RecurrentConfig, Field(discriminator="type")]


class TrainingConfig(Section):
    """How the weights are found."""

    batch_tokens: PositiveInt | Literal["auto"] = Field(
        4096, description="ceiling on rows times longest side, padding included; auto: from the memory at hand"
    )
    accumulate: PositiveInt = Field(1, description="batches per optimizer step")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="adam: 1412.6980; adamw: 1711.05101")
    learning_rate: float = Field(1e-3, gt=0, description="the peak of the schedule, per optimizer step")
    beta1: Fraction = Field(0.9, description="arXiv 1706.03762 section 5.3")
    beta2: Fraction = Field(0.98, description="arXiv 1706.03762 section 5.3")
    epsilon: float = Field(1e-9, gt=0, description="arXiv 1706.03762 section 5.3")
    weight_decay: float = Field(1e-4, ge=0, description="of matrices, not of biases and norms; times the learning rate")
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = Field(
        "inverse_sqrt", description="after the warm-up; cosine falls to 0 at max_steps, which it needs to be given"
    )
    warmup: int = Field(1000, ge=0, description="steps of linear growth from 0 to learning_rate")
    clip: float = Field(1.0, ge=0, description="largest L2 norm of the whole gradient, arXiv 1211.5063; 0: no clipping")
    label_smoothing: Fraction = Field(0.1, description="mass spread evenly over the vocabulary, 1512.00567")
    ema: Fraction = Field(0.999, description="decay per step of the averaged weights that are kept; 0: off")
    average_last: int = Field(0, ge=0, description="average the last N saved checkpoints at the end; 0: off")
    max_steps: PositiveInt = Field(100_000, description="optimizer steps")
    max_epochs: PositiveInt | None = Field(None, description="passes over the corpus; null: no limit")
    max_time: Duration | None = Field(None, description="seconds, or 90s, 45m, 6h, 2d, of all runs of the command")
    patience: int = Field(10, ge=0, description="validations without a better metric before the end; 0: never")
    metric: Literal["bleu", "chrf", "loss"] = Field("bleu", description="what is best on the validation set")
    valid_every: PositiveInt = Field(500, description="steps between validations")
    valid_lines: PositiveInt = Field(500, description="validation pairs that are translated for BLEU and chrF")
    valid_beam: PositiveInt = Field(1, description="beam width of validation's translations")
    samples: int = Field(2, ge=0, description="translations shown at each validation")
    save_every: PositiveInt = Field(500, description="steps between checkpoints")
    keep: PositiveInt = Field(3, description="last checkpoints kept, beside the best")
    log_every: PositiveInt = Field(50, description="steps between log lines")
    seed: int = Field(1, ge=0, description="of weights, batch order, dropout and subword sampling")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto (a GPU if there is one), cpu, mps, cuda, cuda:1",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: fp32 on CPU, bf16 on GPU")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as cores")

    @model_validator(mode="after")
    def _knows_its_end(self) -> Self:
        if self.schedule == "cosine" and "max_steps" not in self.model_fields_set:
            raise ValueError("schedule: cosine falls to 0 at max_steps, which is not given; set max_steps")
        return self


class SearchConfig(Section):
    """How translations are looked for."""

    beam_size: PositiveInt = Field(5, description="hypotheses kept per sentence; 1: greedy")
    length_penalty: float = Field(
        1.0, ge=0, description="alpha of score = log p / ((5 + length) / 6)^alpha, GNMT 1609.08144 equation 14"
    )
    n_best: PositiveInt = Field(1, description="translations returned per sentence, at most beam_size")
    max_length_ratio: float = Field(2.0, gt=0, description="longest output: ratio times source tokens plus offset")
    max_length_offset: int = Field(20, ge=0, description="tokens")
    min_length: int = Field(0, ge=0, description="tokens before the end of sentence")
    no_repeat_ngram: int = Field(0, ge=0, description="n: no n-gram of tokens occurs twice in an output; 0: off")
    sample: bool = Field(False, description="draw from the model instead of searching for the best")
    top_k: int = Field(0, ge=0, description="draw from the k likeliest tokens; 0: all")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens of this total mass, 1904.09751")
    temperature: float = Field(1.0, gt=0, description="divides the logits before drawing")
    seed: int = Field(1, ge=0, description="of drawing")
    batch_tokens: PositiveInt = Field(2048, description="ceiling on sentences times longest source, padding included")

    @model_validator(mode="after")
    def _beam_holds_n_best(self) -> Self:
        if self.n_best > self.beam_size and not self.sample:
            raise ValueError(f"n_best: {self.n_best} is more than beam_size {self.beam_size}; widen the beam")
        return self


class Config(Section):
    """Everything a run depends on."""

    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = TransformerConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()


SECTIONS: dict[str, tuple[type[Section], ...]] = {  # what can stand under each key of a config
    "data": (DataConfig,),
    "tokenizer": (TokenizerConfig,),
    "model": (TransformerConfig, RecurrentConfig),
    "training": (TrainingConfig,),
    "search": (SearchConfig,),
}

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "type": "transformer", "dim": 128, "encoder_layers": 4, "decoder_layers": 4, "heads": 4, "feed_forward": 256,
        "dropout": 0.3,
    },  # arXiv 2105.14462
    "small": {"type": "transformer"},
    "base": {
        "type": "transformer", "dim": 512, "encoder_layers": 6, "decoder_layers": 6, "heads": 8, "feed_forward": 2048,
    },  # arXiv 1706.03762 table 3
    "big": {
        "type": "transformer", "dim": 1024, "encoder_layers": 6, "decoder_layers": 6, "heads": 16,
        "feed_forward": 4096, "dropout": 0.3,
    },  # arXiv 1706.03762 table 3
    "rnnsearch": {
        "type": "rnn", "cell": "gru", "attention": "additive", "embedding": 620, "dim": 1000,
    },  # arXiv 1409.0473 A.2.3
    "luong": {
        "type": "rnn", "cell": "lstm", "attention": "general", "input_feeding": True, "embedding": 1000, "dim": 1000,
        "encoder_layers": 4, "decoder_layers": 4, "bidirectional": False,
    },  # arXiv 1508.04025 section 4.1
    "gnmt": {
        "type": "rnn", "cell": "lstm", "attention": "additive", "embedding": 1024, "dim": 1024, "encoder_layers": 4,
        "decoder_layers": 4, "residual": True,
    },  # arXiv 1609.08144, at the four layers of its public re-implementations
}  # fmt: skip
