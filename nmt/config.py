"""Every option of a run, checked once: its meaning, unit, default and source; it knows nothing of what uses them.

Inside the project a `Config` is trusted and never changed; what two options cannot be together is refused here, in a
text `key: what was given; what to do`. configs/reference.yaml is written from this file (nmt/reference.py). Sources:
GNMT arXiv 1609.08144, Transformer arXiv 1706.03762, Bahdanau arXiv 1409.0473, Luong arXiv 1508.04025, subword
regularisation arXiv 1804.10959, BPE-dropout arXiv 1910.13267, label smoothing arXiv 1512.00567, Transformer-Tiny for
Multi30k arXiv 2105.14462, tagged back-translation arXiv 1906.06442.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from nmt.fields import Column, Corpora, Duration, Fraction, Section, Tag, Vectors


class DataConfig(Section):
    """Where the sentence pairs come from."""

    source_lang: str = Field("", description="language of the source; empty: from the file names")
    target_lang: str = Field("", description="language of the target; empty: from the file names")
    train: Corpora = Field((), description="corpora: aligned files in pairs (source first), x.{lang}, TSV, JSONL, hf:")
    valid: Corpora = Field((), description="as train; empty: 2 % of the training pairs (at most 1,000) are held out")
    test: Corpora = Field((), description="as train; what `nmt eval` scores when no files are given")
    hold_out_test: bool = Field(False, description="with no test: hold out 2 % of 5,000 training pairs or more")
    clean: bool = Field(False, description="drop repeated, copied, overlong, unequal or foreign-script training pairs")
    weights: tuple[PositiveInt, ...] = Field(
        (), description="how often each pair is seen per epoch, a number for each corpus of train; empty: once"
    )
    tags: tuple[Tag, ...] = Field(
        (),
        description='what is put before the sources of each corpus of train, as <bt>, 1906.06442; "" or empty: nothing',
    )
    recased: Fraction = Field(0.0, description="share of training pairs in capitals, or with none in the source")
    streaming: bool = Field(False, description="hf: data sets are fetched anew for each pass over them, and not kept")
    columns: tuple[Column, Column] | None = Field(None, description="names (or numbers from 1, TSV) of the two sides")
    max_length: PositiveInt = Field(256, description="tokens; a training pair with a longer side is dropped")
    encoding: str = Field("utf-8", description="of the text files, as iconv names it")
    bad_utf8: Literal["error", "replace", "drop"] = Field("error", description="what undecodable bytes in training do")

    @property
    def direction(self) -> str:
        """The languages, from one to the other; empty where they have no names."""
        return " to ".join(filter(None, (self.source_lang, self.target_lang)))


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
        None,
        description="begin as lsa (of the pairs), or as word vectors (word2vec, GloVe): a file, or [source, target]",
    )
    dropout: Fraction = Field(0.1, description="of embeddings and sub-layer outputs")
    attention_dropout: Fraction = Field(0.0, description="of attention weights")
    activation_dropout: Fraction = Field(0.0, description="inside the feed-forward layer")
    word_dropout: Fraction = Field(0.0, description="chance of a whole piece's embedding, both sides, 1512.05287")

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
    transition_depth: PositiveInt = Field(
        1, description="cells in a step of each layer, all but the first without input: deep transitions, 1707.07631"
    )
    bidirectional: bool = Field(True, description="the encoder reads from both ends")
    residual: bool = Field(False, description="add a layer's input to its output from the second layer on")
    layer_norm: bool = Field(False, description="normalise the output of each layer, arXiv 1607.06450")
    tie_embeddings: bool = Field(False, description="one matrix for target embeddings and output (and source)")
    embeddings: Vectors | None = Field(
        None,
        description="begin as lsa (of the pairs), or as word vectors (word2vec, GloVe): a file, or [source, target]",
    )
    max_length: PositiveInt = Field(512, description="tokens; longer sources are translated in pieces")
    dropout: Fraction = Field(0.2, description="of embeddings, between layers and before the output")
    word_dropout: Fraction = Field(0.0, description="chance of a whole piece's embedding, both sides, 1512.05287")

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

    recipe: Literal["none", "auto"] = Field(
        "none", description="auto: what is not set is chosen from corpus and machine; so for corpora without a config"
    )
    batch_tokens: PositiveInt | Literal["auto"] = Field(
        4096, description="ceiling on rows times longest side, padding included; auto: 4096 on a CPU, 16384 on a GPU"
    )
    accumulate: PositiveInt = Field(1, description="batches per optimizer step")
    gradient_checkpointing: bool = Field(
        False, description="of Transformers: compute layers again in the backward pass, which saves memory, 1604.06174"
    )
    fsdp: bool = Field(
        False, description="several processes each keep a share of weights, gradients and optimizer: FSDP2, 2304.11277"
    )
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        "adamw", description="adam: 1412.6980; adamw: 1711.05101; muon: 2502.16982 within the model, adamw for the rest"
    )
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
    rdrop: float = Field(
        0.0, ge=0, description="R-Drop: alpha of the divergence between two readings of a batch, 2106.14448; 0: off"
    )
    both_directions: int = Field(
        0, ge=0, description="first epochs, of target to source as well, 2109.07780; needs one vocabulary"
    )
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
    tune_length_penalty: bool = Field(
        False, description="choose search.length_penalty on validation pairs, at the end; another has to gain 0.5 BLEU"
    )
    tune_beam_size: bool = Field(
        False, description="then try a beam of 10, which has to gain 0.5 BLEU on them: it takes twice as long"
    )
    samples: int = Field(2, ge=0, description="translations shown at each validation")
    save_every: PositiveInt = Field(500, description="steps between checkpoints")
    keep: PositiveInt = Field(3, description="last checkpoints kept, beside the best")
    log_every: PositiveInt = Field(50, description="steps between log lines")
    seed: int = Field(1, ge=0, lt=10**18, description="of weights, batch order, dropout and subword sampling")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto (a GPU if there is one), cpu, mps, cuda, cuda:1",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on CPU, bf16 on a GPU that has it"
    )
    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0: as many as cores")

    @model_validator(mode="after")
    def _knows_its_end(self) -> Self:
        if self.schedule == "cosine" and "max_steps" not in self.model_fields_set:
            raise ValueError("schedule: cosine falls to 0 at max_steps, which is not given; set max_steps")
        return self


class SearchConfig(Section):
    """How translations are looked for."""

    beam_size: PositiveInt = Field(5, description="hypotheses kept per sentence; 1: greedy")
    length_penalty: float = Field(
        1.0, ge=0, le=10, description="alpha of score = log p / ((5 + length) / 6)^alpha, GNMT 1609.08144 equation 14"
    )
    n_best: PositiveInt = Field(1, description="translations returned per sentence, at most beam_size or candidates")
    max_length_ratio: float = Field(2.0, gt=0, description="longest output: ratio times source tokens plus offset")
    max_length_offset: int = Field(20, ge=0, description="tokens")
    min_length: int = Field(0, ge=0, description="tokens before the end of sentence")
    no_repeat_ngram: int = Field(0, ge=0, description="n: no n-gram of tokens occurs twice in an output; 0: off")
    sample: bool = Field(False, description="draw from the model instead of searching for the best")
    top_k: int = Field(0, ge=0, description="draw from the k likeliest tokens; 0: all")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens of this total mass, 1904.09751")
    temperature: float = Field(1.0, gt=0, description="divides the logits before drawing")
    seed: int = Field(1, ge=0, lt=10**18, description="of drawing")
    mbr: Literal["none", "chrf", "bleu"] = Field(
        "none", description="choose among drawn candidates the one most like the others by this score, 2108.04718"
    )
    candidates: PositiveInt = Field(32, description="translations drawn per sentence for mbr to choose from")
    rerank_weight: float = Field(0.5, ge=0, description="of the score of the source given the hypothesis, 1908.05731")
    batch_tokens: PositiveInt = Field(2048, description="ceiling on sentences times longest source, padding included")

    @property
    def summary(self) -> str:
        """How translations are found, in a few words."""
        if self.sample:
            return f"drawn, temperature {self.temperature:g}"
        if self.mbr != "none":
            return f"MBR by {self.mbr} among {self.candidates} drawn, temperature {self.temperature:g}"
        return f"beam {self.beam_size}, length penalty {self.length_penalty:g}"

    def in_beam(self, size: int) -> Self:
        """Return options to find one translation in a beam of so many hypotheses."""
        return self.model_copy(update={"beam_size": size, "n_best": 1, "sample": False, "mbr": "none"})

    @model_validator(mode="after")
    def _beam_holds_n_best(self) -> Self:
        if self.mbr != "none" and self.n_best > self.candidates:
            raise ValueError(f"n_best: {self.n_best} is more than candidates {self.candidates}; draw more of them")
        if self.n_best > self.beam_size and not self.sample and self.mbr == "none":
            raise ValueError(f"n_best: {self.n_best} is more than beam_size {self.beam_size}; widen the beam")
        return self


class Config(Section):
    """Everything a run depends on."""

    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = TransformerConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _has_layers_to_recompute(self) -> Self:
        if self.training.gradient_checkpointing and self.model.type == "rnn":
            raise ValueError("training.gradient_checkpointing: for Transformers only; set it to false")
        return self

    @property
    def is_redrawn(self) -> bool:
        """Say whether each epoch has ids of its own: other pieces, or other case."""
        return self.tokenizer.sampling > 0 or self.data.recased > 0


SECTIONS: dict[str, tuple[type[Section], ...]] = {  # what can stand under each key of a config
    "data": (DataConfig,),
    "tokenizer": (TokenizerConfig,),
    "model": (TransformerConfig, RecurrentConfig),
    "training": (TrainingConfig,),
    "search": (SearchConfig,),
}
