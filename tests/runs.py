"""Run folders with a tiny model, and a model that says what it is told, for tests of all that translates."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.batches import EOS, Padded
from nmt.config import Config, SearchConfig
from nmt.device import Compute
from nmt.models import build
from nmt.output import Writer
from nmt.ragged import Ragged
from nmt.shortlist import Shortlist, learn
from nmt.stream import Job, Stats, translate_files
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.translate import Translator

torch.set_num_threads(1)

CPU = Compute(torch.device("cpu"), torch.float32)
PAIRS = [
    ("A man rides a bicycle.", "Ein Mann fährt Fahrrad."),
    ("Two dogs run through the snow.", "Zwei Hunde laufen durch den Schnee."),
    ("The woman reads a book, and her child sleeps.", "Die Frau liest ein Buch, und ihr Kind schläft."),
    ("Where is the station? It is over there!", "Wo ist der Bahnhof? Er ist dort drüben!"),
    ("Three children play football near the river.", "Drei Kinder spielen Fußball am Fluss."),
]
SHORT = SearchConfig(beam_size=2, max_length_ratio=0.5, max_length_offset=3)  # random weights never end by themselves


def tiny_config(kind: str = "unigram", max_length: int = 512, *, is_shared: bool = True) -> Config:
    model = {"type": "transformer", "dim": 16, "heads": 2, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1}
    tokenizer = {"type": kind, "shared": is_shared, "vocab_size": "auto"}
    data = {"source_lang": "en", "target_lang": "de"}
    return Config.model_validate({"model": {**model, "max_length": max_length}, "tokenizer": tokenizer, "data": data})


def write_run(run: Path, config: Config, *, seed: int = 1, has_shortlist: bool = False) -> Path:
    """Write a finished run with random weights."""
    run.mkdir(parents=True)
    tokenizers = Tokenizers.train(PAIRS * 4, config.tokenizer)
    tokenizers.save(run)
    checkpoint.save_config(run, config, {"train": "0123abcd"})
    checkpoint.finish(run, weights_of(run, seed), learnt(tokenizers) if has_shortlist else None)
    return run


def learnt(tokenizers: Tokenizers) -> Shortlist:
    """Likely words of the pairs alone: the frequent ones are all words there are, in so small a vocabulary."""
    source, target = (
        Ragged.of(tokenizer.encode(texts))
        for tokenizer, texts in zip((tokenizers.source, tokenizers.target), zip(*PAIRS, strict=True), strict=True)
    )
    words = learn(source, target, tokenizers.source.size, tokenizers.target.size)
    return words._replace(frequent=torch.arange(EOS + 1, dtype=torch.int32))


def weights_of(run: Path, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    config, tokenizers = checkpoint.load_config(run), Tokenizers.load(run)
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared)
    return model.state_dict()


class ScriptState(NamedTuple):
    place: Tensor  # (batch, beam) int64


class ScriptMemory(NamedTuple):
    lengths: Tensor  # (batch,) int64


class Scripted:
    """A model that says the same ids whatever it reads, then ends, or never does; it counts what it is given."""

    def __init__(self, script: Sequence[int], vocabulary: int, *, ends: bool = True) -> None:
        self.script, self.vocabulary, self.ends = [*script, EOS] if ends else list(script), vocabulary, ends
        self.sentences: list[list[int]] = []

    def encode(self, source: Padded) -> ScriptMemory:
        self.sentences += [ids[:size].tolist() for ids, size in zip(source.ids, source.lengths.tolist(), strict=True)]
        return ScriptMemory(source.lengths)

    def start(self, memory: ScriptMemory, beam: int, length: int) -> ScriptState:
        return ScriptState(torch.zeros(len(memory.lengths), beam, dtype=torch.int64))

    def step(self, tokens: Tensor, state: ScriptState, memory: ScriptMemory) -> tuple[Tensor, ScriptState]:
        said = torch.tensor(self.script)[state.place.clamp(max=len(self.script) - 1)]  # (batch, beam)
        logits = torch.full((*tokens.shape, self.vocabulary), -30.0)
        return logits.scatter(2, said[:, :, None], 0.0), ScriptState(state.place + 1)

    def __call__(self, source: Padded, target: Tensor) -> Tensor:
        memory = self.encode(source)
        state, logits = self.start(memory, 1, target.shape[1]), list[Tensor]()
        for tokens in target.T:
            one, state = self.step(tokens[:, None], state, memory)
            logits.append(one)
        return torch.cat(logits, dim=1)

    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        """One layer, one head, which looks at token t at step t, and still more at the EOS."""
        places = torch.arange(target.shape[1])[None].minimum(source.lengths[:, None] - 2).clamp(min=0)
        ends = (source.lengths[:, None] - 1).expand_as(places)
        token, end = (F.one_hot(place, source.ids.shape[1]).float() for place in (places, ends))
        looks = 0.4 * token + 0.6 * end  # (batch, target, source)
        return {"cross": looks[:, None, None]}


def scripted(tokenizers: Tokenizers, script: Sequence[int], *, ends: bool = True, kind: str = "unigram") -> Translator:
    model = Scripted(script, tokenizers.target.size, ends=ends)
    return Translator(tiny_config(kind), tokenizers, model, CPU)


class Answer(NamedTuple):
    data: bytes
    warnings: list[str]
    stats: Stats

    @property
    def lines(self) -> list[str]:
        assert self.data == b"" or self.data.endswith(b"\n")
        return self.data.decode("utf-8").split("\n")[:-1]


def stream(translator: Translator, source: bytes | Path, job: Job | None = None) -> Answer:
    """Translate bytes as stdin, or a file, through the streaming function of the command."""
    job = job or Job(SHORT)
    out, warnings = io.BytesIO(), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(source, bytes):  # in a C locale, where Python would read stdin with lone surrogates
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source), "ascii", "surrogateescape"))
        file = Path("-") if isinstance(source, bytes) else source
        stats = translate_files(translator, [file], Writer(out, "stdout"), job, warnings.append)
    return Answer(out.getvalue(), warnings, stats)
