"""The way of a sentence: text, ids, search, ids, text; it knows nothing of files, streams or training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nmt.alignment import attended, copy_unknown, word_numbers, words_of
from nmt.batches import UNK, Padded, pack, pad
from nmt.config import Config, SearchConfig
from nmt.device import Compute, compute
from nmt.errors import ResourceError
from nmt.frozen import freeze
from nmt.models.interface import Seq2Seq
from nmt.search import Hypothesis, Requests, search
from nmt.shortlist import Shortener, Shortlist
from nmt.split import split
from nmt.text import clean, is_blank
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import load_model, load_shortlist
from nmt.workers import Processes, Workers

SPACELESS = ("zh", "ja", "th", "lo", "km", "my", "bo", "yue", "zho", "cmn", "jpn", "tha")  # no spaces between words
GPU_BATCH_TOKENS = 32_768
CPU_SENTENCES = 128  # in a batch at most, however short: more take more memory and little less time

Pairs = tuple[tuple[int, int], ...]


class Output(NamedTuple):
    """One hypothesis as text."""

    text: str
    score: float  # what hypotheses are ranked by: log_probability over the length penalty
    log_probability: float  # nats, summed; of a line translated in parts the sum over them, as the score is
    pieces: tuple[str, ...]  # of the tokenizer
    alignment: Pairs = ()  # (source word, target word) from 0, words being what spaces separate; on request


class Translation(NamedTuple):
    """What came of one line."""

    hypotheses: tuple[Output, ...]  # best first, at least one
    tokens: int = 0  # of the source, without EOS
    unknown: int = 0  # of them `<unk>`
    parts: int = 1  # more than one where the line was too long for the model

    @property
    def text(self) -> str:
        """Return the best translation."""
        return self.hypotheses[0].text

    @property
    def score(self) -> float:
        """Return what the best translation was ranked by."""
        return self.hypotheses[0].score

    @property
    def log_probability(self) -> float:
        """Return the natural logarithm of the best translation's probability."""
        return self.hypotheses[0].log_probability


class Extras(NamedTuple):
    """What can be asked for beside the options of the search."""

    prefixes: Sequence[str] = ()  # per line the text its translation begins with; empty: none
    alignments: bool = False  # fill `Output.alignment`
    first: int = 0  # number of the first line: with the seed it decides what is drawn


class Sentence(NamedTuple):
    """What is searched for; equal ones are translated once."""

    text: str
    prefix: tuple[int, ...]  # ids
    number: int  # 0 unless drawing


class Task(NamedTuple):
    """A batch of sentences, which one worker translates."""

    sentences: list[Sentence]
    sources: list[list[int]]  # ids
    options: SearchConfig
    alignments: bool


NOTHING = Extras()
BLANK = Translation((Output("", 0.0, 0.0, ()),))
FAILED = Output("", float("-inf"), float("-inf"), ())


class Translator:
    """A model that translates lines; without a shortlist no result depends on what is translated together."""

    def __init__(
        self,
        config: Config,
        tokenizers: Tokenizers,
        model: Seq2Seq[Any, Any],
        run_on: Compute,
        shortener: Shortener | None = None,
        *,
        fork: bool = False,
    ) -> None:
        """Use a model, in eval mode and as `run_on` would fit it, with its own tokenizers and config.

        With `fork`, which a program of many threads better leaves alone, processes translate on a CPU's cores.
        """
        self.model, self.tokenizers, self.config, self._compute = model, tokenizers, config, run_on
        self._shortener = shortener
        self._translate = Processes(self._outputs, run_on).map if fork else partial(Workers(run_on).map, self._outputs)
        self._has_words = config.tokenizer.type == "word"  # <unk> may be produced, and is copied from the source
        self._glue = "" if config.data.target_lang.replace("_", "-").split("-")[0] in SPACELESS else " "
        self._limit = config.model.max_length - 1  # tokens beside the EOS

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        shortlist: bool = False,
        fork: bool = False,
    ) -> Translator:
        """Return the translator of a run folder or of one of its checkpoints.

        With `shortlist` only the run's likely words are looked at, which is faster and loses next to nothing.
        """
        run_on = compute(device, precision, threads)
        config, tokenizers, model = load_model(Path(path), run_on.device)
        fitted = run_on.fit(model)
        frozen = freeze(fitted)
        words = Shortlist(*(part.to(run_on.device) for part in load_shortlist(Path(path)))) if shortlist else None
        return cls(config, tokenizers, frozen, run_on, words and Shortener(words, fitted.output.weight), fork=fork)

    @property
    def device(self) -> torch.device:
        """Return where the model is."""
        return self._compute.device

    def fill_device(self, options: SearchConfig) -> SearchConfig:
        """Return the options with batches large enough to fill a GPU; on a CPU nothing is won by larger ones."""
        if self._compute.device.type == "cpu":
            return options
        return options.model_copy(update={"batch_tokens": max(options.batch_tokens, GPU_BATCH_TOKENS)})

    def translate(self, lines: Sequence[str], options: SearchConfig | None = None) -> list[str]:
        """Return one line of text per line; `options` are the run's own unless given."""
        return [translation.text for translation in self.translate_block(lines, options)]

    def translate_block(
        self, lines: Sequence[str], options: SearchConfig | None = None, extras: Extras = NOTHING
    ) -> list[Translation]:
        """Return one translation per line, in the order of the lines; blank ones never reach the model."""
        options = options or self.config.search
        texts = dict.fromkeys(line for line in lines if not is_blank(line))
        ids = self._encode(texts)
        parts = {text: [text] if len(ids[text]) <= self._limit else self._split(text) for text in texts}
        ids |= self._encode(part for group in parts.values() if len(group) > 1 for part in group if part not in ids)
        plans = [
            self._plan(parts[line], number, options, extras) if line in parts else []
            for number, line in enumerate(lines)
        ]
        found = self._search(dict.fromkeys(sentence for plan in plans for sentence in plan), ids, options, extras)
        return [self._join(plan, ids, found) if plan else BLANK for plan in plans]

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        texts = list(dict.fromkeys(texts))
        return dict(zip(texts, self.tokenizers.source.encode(texts), strict=True))

    def _split(self, text: str) -> list[str]:
        parts = split(text, lambda texts: [len(ids) for ids in self.tokenizers.source.encode(texts)], self._limit)
        return [part for part in parts if not is_blank(part)]

    def _plan(self, parts: Sequence[str], line: int, options: SearchConfig, extras: Extras) -> list[Sentence]:
        """Return the sentences that make up a line; only the first of them has the prefix."""
        prefix = tuple(self.tokenizers.target.encode([extras.prefixes[line]])[0]) if extras.prefixes else ()
        numbers = (extras.first + line + (place << 48) if options.sample else 0 for place in range(len(parts)))
        return [
            Sentence(part, () if place else prefix, number)
            for place, (part, number) in enumerate(zip(parts, numbers, strict=True))
        ]

    def _search(
        self, wanted: Iterable[Sentence], ids: Mapping[str, list[int]], options: SearchConfig, extras: Extras
    ) -> dict[Sentence, tuple[Output, ...]]:
        """Translate distinct sentences in batches of like lengths."""
        sentences = list(wanted)
        lengths = np.array([len(ids[sentence.text]) for sentence in sentences], np.int64)
        most = CPU_SENTENCES if self._compute.device.type == "cpu" else len(sentences)
        packed = pack(lengths, lengths, options.batch_tokens)
        batches = [part for rows in packed for part in np.array_split(rows, -(-len(rows) // most))]
        batches.sort(key=lambda rows: -int(lengths[rows].sum()))  # so that none is left when the others are done
        tasks = list[Task]()
        for rows in batches:
            batch = [sentences[row] for row in rows]
            sources = [ids[sentence.text][: self._limit] for sentence in batch]
            tasks.append(Task(batch, sources, options, extras.alignments))
        found = dict[Sentence, tuple[Output, ...]]()
        for task, outputs in zip(tasks, self._translate(tasks), strict=True):
            found.update(zip(task.sentences, outputs, strict=True))
        return found

    def _outputs(self, task: Task) -> list[tuple[Output, ...]]:
        """Return the hypotheses of each sentence as text, at least one."""
        results = self._search_batch(task.sentences, task.sources, task.options, task.alignments)
        return [
            tuple(self._output(sentence, source, hypothesis, task.alignments) for hypothesis in hypotheses) or (FAILED,)
            for sentence, source, hypotheses in zip(task.sentences, task.sources, results, strict=True)
        ]

    def _search_batch(
        self, batch: Sequence[Sentence], sources: Sequence[list[int]], options: SearchConfig, alignments: bool
    ) -> list[list[Hypothesis]]:
        """Search, in halves where the device has too little memory for the whole."""
        padded = pad(sources, eos=True)
        source = Padded(padded.ids.to(self._compute.device, non_blocking=True), padded.lengths)
        prefixes = [sentence.prefix for sentence in batch]
        model, vocabulary = self.model, None
        if self._shortener:
            model, vocabulary = self._shortener.shorten(self.model, source.ids, [*chain(*prefixes)])
        requests = Requests(
            prefixes if any(prefixes) else (),
            [sentence.number for sentence in batch],
            attention=alignments or self._has_words,
            vocabulary=vocabulary,
            allow_unk=self._has_words,
        )
        try:
            return search(model, source, options, requests=requests)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise ResourceError("out of memory on one sentence; lower --beam-size or use --device cpu") from error
        half = len(batch) // 2
        return [
            *self._search_batch(batch[:half], sources[:half], options, alignments),
            *self._search_batch(batch[half:], sources[half:], options, alignments),
        ]

    def _output(self, sentence: Sentence, source: list[int], hypothesis: Hypothesis, alignments: bool) -> Output:
        pieces = self.tokenizers.target.pieces(hypothesis.ids)
        places = attended(hypothesis.attention) if source else []
        if self._has_words:
            surfaces = words_of(self.tokenizers.source.encode, sentence.text, len(source))
            shown = copy_unknown(hypothesis.ids, pieces, [surfaces[place] for place in places] if surfaces else [])
            text = " ".join(shown)
        else:
            surfaces, shown = self.tokenizers.source.pieces(source), pieces
            text = self.tokenizers.target.decode([hypothesis.ids])[0]
        pairs: Pairs = ()
        if alignments and places and surfaces:
            source_words, target_words = word_numbers(surfaces), word_numbers(shown)
            aligned = zip((source_words[place] for place in places), target_words, strict=True)
            pairs = tuple(sorted(set(aligned)))
        return Output(clean(text).strip(), hypothesis.score, hypothesis.log_probability, tuple(pieces), pairs)

    def _join(
        self, plan: Sequence[Sentence], ids: Mapping[str, list[int]], found: Mapping[Sentence, tuple[Output, ...]]
    ) -> Translation:
        """Put the parts of a line together again; where a part has fewer hypotheses, its last stands in."""
        texts = [sentence.text for sentence in plan]
        sources = [ids[text] for text in texts]
        tokens, unknown = sum(map(len, sources)), sum(source.count(UNK) for source in sources)
        groups = [found[sentence] for sentence in plan]
        if len(groups) == 1:
            return Translation(groups[0], tokens, unknown)
        ranks = range(max(map(len, groups)))
        merged = (self._merge([group[min(rank, len(group) - 1)] for group in groups], texts) for rank in ranks)
        return Translation(tuple(merged), tokens, unknown, len(plan))

    def _merge(self, outputs: Sequence[Output], texts: Sequence[str]) -> Output:
        pairs = list[tuple[int, int]]()
        source_words = target_words = 0
        for output, text in zip(outputs, texts, strict=True):
            pairs += [(left + source_words, right + target_words) for left, right in output.alignment]
            source_words += len(text.split())
            target_words += len(output.text.split())
        return Output(
            self._glue.join(output.text for output in outputs if output.text),
            sum(output.score for output in outputs),
            sum(output.log_probability for output in outputs),
            tuple(piece for output in outputs for piece in output.pieces),
            tuple(pairs),
        )
