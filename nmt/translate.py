"""The way of a sentence: text, ids, search, ids, text; it knows nothing of files, streams or training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nmt.alignment import attended, copy_unknown, typed_words, word_numbers, words_of
from nmt.batches import UNK, Padded, pack, pad
from nmt.config import Config, DataConfig, SearchConfig
from nmt.consensus import decide, drawing
from nmt.device import Compute, compute
from nmt.errors import ModelError, OptionError, ResourceError, is_out_of_memory
from nmt.frozen import freeze
from nmt.models.ensemble import together
from nmt.models.interface import Seq2Seq
from nmt.rerank import Reverse
from nmt.search import Hypothesis, Requests, search
from nmt.shortlist import Shortener, Shorteners, Shortlist
from nmt.split import split
from nmt.text import clean, is_blank
from nmt.tokenizer import Tokenizers
from nmt.training.checkpoint import Loaded, load_model, load_models, load_shortlist
from nmt.translation import BLANK, FAILED, Output, Pairs, Translation, glue, merge
from nmt.workers import Processes, Workers

GPU_BATCH_TOKENS = 32_768
CPU_SENTENCES = 128  # in a batch at most, however short: more take more memory and little less time


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


class Member(NamedTuple):
    """A model as it translates, alone or in an ensemble."""

    config: Config
    tokenizers: Tokenizers
    model: Seq2Seq[Any, Any]
    shortener: Shortener | None


NOTHING = Extras()


class Translator:
    """A model that translates lines; without a shortlist no result depends on what is translated together."""

    def __init__(
        self,
        config: Config,
        tokenizers: Tokenizers,
        model: Seq2Seq[Any, Any],
        run_on: Compute,
        shortener: Shortener | Shorteners | None = None,
        *,
        reverse: Reverse | None = None,
        fork: bool = False,
    ) -> None:
        """Use a model, in eval mode and as `run_on` would fit it, with its own tokenizers and config.

        With `fork`, which a program of many threads better leaves alone, processes translate on a CPU's cores.
        """
        self.model, self.tokenizers, self.config, self._compute = model, tokenizers, config, run_on
        self.precision = str(run_on.dtype).removeprefix("torch.")  # of matrix products
        self._shortener, self._reverse = shortener, reverse
        self._translate = Processes(self._outputs, run_on).map if fork else partial(Workers(run_on).map, self._outputs)
        self._has_words = config.tokenizer.type == "word"  # <unk> may be produced, and is copied from the source
        self._glue = glue(config.data.target_lang)
        self._limit = config.model.max_length - 1  # tokens beside the EOS

    @classmethod
    def load(
        cls,
        path: Path | str | Sequence[Path | str],
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        shortlist: bool = False,
        rerank: Path | str | None = None,
        fork: bool = False,
    ) -> Translator:
        """Return the translator of a run folder or of one of its checkpoints, or of several as an ensemble.

        With `shortlist` only the run's likely words are looked at, which is faster and loses next to nothing. An
        ensemble has the config, the options of search and the shortlist of its first member. With `rerank`, a model
        of the other direction, all that a beam holds is put into an order by both. Raises ModelError for members whose
        tokenizers are not the same, and for a direction that is not the other one.
        """
        run_on = compute(device, precision, threads)
        paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
        if not paths:
            raise OptionError("no model is named; give a run folder, or several for an ensemble")
        words = Shortlist(*(part.to(run_on.device) for part in load_shortlist(paths[0]))) if shortlist else None
        members = [_member(loaded, run_on, words) for loaded in load_models(paths, run_on.device)]
        shorteners = [member.shortener for member in members if member.shortener]
        shortener = Shorteners(shorteners) if len(shorteners) > 1 else next(iter(shorteners), None)
        config, tokenizers, *_ = members[0]
        longest = {"max_length": min(member.config.model.max_length for member in members)}
        config = config.model_copy(update={"model": config.model.model_copy(update=longest)})
        reverse = _reverse(Path(rerank), config.data, run_on) if rerank else None
        model = together([member.model for member in members])
        return cls(config, tokenizers, model, run_on, shortener, reverse=reverse, fork=fork)

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
        drawn = drawing(options)
        texts = dict.fromkeys(line for line in lines if not is_blank(line))
        ids = self._encode(texts)
        parts = {text: [text] if len(ids[text]) <= self._limit else self._split(text) for text in texts}
        ids |= self._encode(part for group in parts.values() if len(group) > 1 for part in group if part not in ids)
        parts = {text: [part for part in group if ids[part] and not is_blank(part)] for text, group in parts.items()}
        plans = [
            self._plan(parts[line], number, drawn, extras) if line in parts else [] for number, line in enumerate(lines)
        ]
        found = self._search(dict.fromkeys(sentence for plan in plans for sentence in plan), ids, options, extras)
        return [self._join(plan, ids, found) if plan else BLANK for plan in plans]

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        texts = list(dict.fromkeys(texts))
        return dict(zip(texts, self.tokenizers.source.encode(texts), strict=True))

    def _split(self, text: str) -> list[str]:
        return split(text, lambda texts: [len(ids) for ids in self.tokenizers.source.encode(texts)], self._limit)

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
        share = _share(drawing(options))
        most = max(1, int(CPU_SENTENCES * share)) if self._compute.device.type == "cpu" else len(sentences)
        packed = pack(lengths, lengths, max(1, int(options.batch_tokens * share)))
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
        options = drawing(task.options)
        if self._reverse:
            options = options.model_copy(update={"n_best": max(options.n_best, options.beam_size)})
        results = self._search_batch(task.sentences, task.sources, options, task.alignments)
        found = [
            [self._output(sentence, source, hypothesis, task.alignments) for hypothesis in hypotheses]
            for sentence, source, hypotheses in zip(task.sentences, task.sources, results, strict=True)
        ]
        if self._reverse:
            found = self._reverse.rerank(found, [sentence.text for sentence in task.sentences], task.options)
        return [decide(outputs, task.options, self.config.data.target_lang) or (FAILED,) for outputs in found]

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
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ResourceError("out of memory on one sentence; lower --beam-size, or change --device") from error
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
            words = map(self.tokenizers.source.pieces, self.tokenizers.source.encode(sentence.text.split()))
            source_words = word_numbers(surfaces) if self._has_words else typed_words(surfaces, words)
            aligned = zip((source_words[place] for place in places), word_numbers(shown), strict=True)
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
        merged = (merge([group[min(rank, len(group) - 1)] for group in groups], texts, self._glue) for rank in ranks)
        return Translation(tuple(merged), tokens, unknown, len(plan))


def _share(options: SearchConfig) -> float:
    """Return which share of the usual sentences a batch holds, so that it holds no more hypotheses than usual."""
    return min(1.0, options.beam_size / options.n_best) if options.sample else 1.0


def _member(loaded: Loaded, run_on: Compute, words: Shortlist | None) -> Member:
    """Return the model fitted and frozen; the one that was loaded is of no more use."""
    fitted = run_on.fit(loaded.model)
    shortener = Shortener(words, fitted.output.weight) if words else None
    return Member(loaded.config, loaded.tokenizers, freeze(fitted), shortener)


def _reverse(path: Path, data: DataConfig, run_on: Compute) -> Reverse:
    """Return the model that re-ranks what is translated between the languages of `data`."""
    loaded = load_model(path, run_on.device)
    spoken = loaded.config.data
    if (spoken.source_lang, spoken.target_lang) != (data.target_lang, data.source_lang):
        what = f"translates {spoken.direction}, to re-rank {data.target_lang} to {data.source_lang} is needed"
        raise ModelError(f"{path}: {what}; give a model of that direction")
    config, tokenizers, model, _ = _member(loaded, run_on, None)
    return Reverse(tokenizers, model, config.model.max_length - 1, run_on.device)
