"""What a model attends to while it translates, or reads a given translation; it knows nothing of how that is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.alignment import words_of
from nmt.batches import BOS, EOS, Padded, pad
from nmt.config import SearchConfig
from nmt.errors import DataError
from nmt.inspect.maps import CROSS, DECODER, ENCODER, Axis, Case, Line, Map, Reading
from nmt.inspect.pieces import axis, read_before
from nmt.search.hypotheses import length_penalty
from nmt.tokenizer import SPACE, Tokenizer
from nmt.translate import Translator


class Hypothesis(NamedTuple):
    """What is read back to see its attention."""

    text: str
    ids: list[int]  # without BOS and EOS
    score: float
    log_probability: float  # nats


@torch.inference_mode()
def heads(translator: Translator) -> dict[str, tuple[int, int]]:
    """Return how many layers, and heads in each, the model's attention has, by kind; nothing without attention."""
    nothing = Padded(torch.tensor([[EOS]], device=translator.device), torch.tensor([1]))
    maps = translator.model.attention(nothing, torch.tensor([[BOS]], device=translator.device))
    return {kind: (weights.shape[1], weights.shape[2]) for kind, weights in maps.items()}


@torch.inference_mode()
def observe(
    translator: Translator, lines: Sequence[Line], options: SearchConfig, target: Line | None = None
) -> list[Case]:
    """Translate the lines, none of them blank, and return what was attended to.

    With `target` it is taken for the translation of every line. Raises DataError for what the model cannot read whole.
    """
    sources = translator.tokenizers.source.encode([line.text for line in lines])
    for line, ids in zip(lines, sources, strict=True):
        _check(line, ids, translator)
    if target:
        ids = translator.tokenizers.target.encode([target.text])[0]
        _check(target, ids, translator)
        found = [[_given(translator, source, target.text, ids, options)] for source in sources]
    else:
        found = _search(translator, lines, options)
    return [_case(translator, *each) for each in zip(lines, sources, found, strict=True)]


def _check(line: Line, ids: Sequence[int], translator: Translator) -> None:
    limit = translator.config.model.max_length - 1  # the EOS is read too
    if not ids:
        raise DataError(f"{line.where}: nothing is left of it as tokens; give a sentence with words")
    if len(ids) > limit:
        raise DataError(f"{line.where}: {len(ids)} tokens, the model reads {limit} at a time; give a shorter sentence")


def _search(translator: Translator, lines: Sequence[Line], options: SearchConfig) -> list[list[Hypothesis]]:
    ids = translator.tokenizers.target.ids
    return [
        [Hypothesis(each.text, ids(each.pieces), each.score, each.log_probability) for each in translation.hypotheses]
        for translation in translator.translate_block([line.text for line in lines], options)
    ]


def _given(translator: Translator, source: list[int], text: str, ids: list[int], options: SearchConfig) -> Hypothesis:
    """Return the given translation with the score that it would have as a hypothesis."""
    inputs, target = _on_device(translator, [source], [ids])
    labels = torch.tensor([*ids, EOS], device=translator.device)
    logits: Tensor = translator.model(inputs, target)[0].float()  # (time, vocab)
    nats = float(logits.log_softmax(-1).gather(1, labels[:, None]).sum())
    return Hypothesis(text, ids, nats / length_penalty(len(ids) + 1, options.length_penalty), nats)


def _on_device(translator: Translator, sources: list[list[int]], targets: list[list[int]]) -> tuple[Padded, Tensor]:
    """Return what a model reads by teacher forcing: sources with EOS, targets (batch, time) behind BOS."""
    source = pad(sources, eos=True)
    return source._replace(ids=source.ids.to(translator.device)), pad(targets, bos=True).ids.to(translator.device)


def _case(translator: Translator, line: Line, source: list[int], found: Sequence[Hypothesis]) -> Case:
    """Read all translations of a sentence in one teacher-forced pass."""
    inputs, target = _on_device(translator, [source] * len(found), [each.ids for each in found])
    maps = translator.model.attention(inputs, target)
    on_cpu = {kind: weights.float().cpu().numpy() for kind, weights in maps.items()}
    source_axis = _source_axis(translator, line.text, source)
    readings = list[Reading]()
    for row, each in enumerate(found):
        target_axis = _axis(translator.tokenizers.target, each.ids)
        sides = {  # rows of the decoder are named for what is produced there, one step after it was last read
            CROSS: (target_axis, source_axis),
            ENCODER: (source_axis, source_axis),
            DECODER: (target_axis, read_before(target_axis)),
        }
        own = dict[str, Map]()
        for kind, weights in on_cpu.items():
            queries, keys = sides[kind]
            own[kind] = Map(queries, keys, weights[row, :, :, : len(queries.tokens), : len(keys.tokens)].copy())
        is_found = math.isfinite(each.score)
        score, nats = (each.score, each.log_probability) if is_found else (None, None)
        readings.append(Reading(each.text, score, nats, own))
    return Case(line.text, tuple(readings))


def _axis(tokenizer: Tokenizer, ids: Sequence[int]) -> Axis:
    return axis(tokenizer.pieces(ids), lambda places: tokenizer.decode([[ids[place] for place in places]])[0])


def _source_axis(translator: Translator, text: str, ids: list[int]) -> Axis:
    """Return the source's axis; where ids are words, unknown ones are shown as they were written."""
    tokenizer = translator.tokenizers.source
    words = words_of(tokenizer.encode, text, len(ids)) if translator.config.tokenizer.type == "word" else []
    return (
        axis([f"{SPACE}{word}" for word in words], lambda places: words[places[0]]) if words else _axis(tokenizer, ids)
    )
