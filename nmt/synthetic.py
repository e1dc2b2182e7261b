"""Training pairs out of models: back-translation of text in one language, distillation of a parallel corpus.

Block by block, so that the work can be stopped, resumed and shared; it knows nothing of files but that they are kept
elsewhere. What is left out is counted by reason. Sources: back-translation arXiv 1511.06709, by sampling 1808.09381;
sequence-level knowledge distillation 1606.07947.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nmt.config import SearchConfig
from nmt.corpus import Pair
from nmt.evaluate import Metric, sentence_scores
from nmt.formats import TextFile
from nmt.inspect.symptoms import Line, is_copy
from nmt.partial import Finished, Pace, Partial
from nmt.text import Warnings, clean, is_blank
from nmt.translate import Extras, Translator
from nmt.translation import Output, Translation

KEPT, READ = "pairs", "lines"  # counts beside those of what is left out
Item = TypeVar("Item")


class Block(NamedTuple, Generic[Item]):
    """Lines, or pairs, that are worked on together."""

    number: int
    first: int  # number of the first item of all, from 0
    items: list[Item]


class Shard(NamedTuple):
    """Which blocks are worked on here: every `of`-th."""

    number: int = 1  # from 1
    of: int = 1


class Plan(NamedTuple, Generic[Item]):
    """All there is to do."""

    items: Iterable[Item]
    total: int  # items
    size: int  # items of a block
    shard: Shard

    def numbers(self) -> list[int]:
        """Return the numbers of the blocks that are worked on here."""
        return list(range(self.shard.number - 1, -(-self.total // self.size), self.shard.of))

    def blocks(self) -> Iterator[Block[Item]]:
        """Yield these blocks."""
        stream, mine = iter(self.items), set(self.numbers())
        for number in range(-(-self.total // self.size)):
            items = list(islice(stream, self.size))
            if number in mine:
                yield Block(number, number * self.size, items)


def work(
    plan: Plan[Item], make: Callable[[Block[Item]], Finished], partial: Partial, say: Callable[[str], None]
) -> Counter[str]:
    """Make of each block what is not there yet, put all together as the output, and return what was counted."""
    numbers = plan.numbers()
    there = {number for number in numbers if partial.has(number)}
    pace, made = Pace(len(numbers), len(there), plan.size, say), len(there)
    for block in plan.blocks():
        if block.number not in there:
            partial.add(block.number, make(block))
            made += 1
            pace.tell(made)
    return partial.finish(numbers)


def told(counts: Counter[str]) -> str:
    """Return in words what was kept and what was left out."""
    dropped = [f"{count:,} {reason}" for reason, count in sorted(counts.items()) if reason not in (KEPT, READ)]
    return f"{counts[KEPT]:,} pairs of {counts[READ]:,} lines; dropped: {', '.join(dropped) or 'none'}"


# ---- back-translation -------------------------------------------------------------------------------------------


class Mono:
    """The lines of files in one language, which are gone through more than once."""

    def __init__(self, files: Sequence[TextFile], warn: Callable[[str], None]) -> None:
        """Look for lines that were there before; what is wrong with the text is said, or raised, here."""
        self.files = tuple(files)
        digests, warnings = bytearray(), Warnings(warn)
        for line in self._lines(warnings):
            digests += hashlib.blake2b((line or "").strip().encode("utf-8", "replace"), digest_size=8).digest()
        warnings.finish()
        # 64 bits: of 100 million lines one is taken for another's duplicate with a probability of 0.03 %.
        known = np.frombuffer(bytes(digests), np.uint64)
        self.is_first: NDArray[np.bool_] = np.zeros(len(known), bool)  # (lines,)
        self.is_first[np.unique(known, return_index=True)[1]] = True

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.is_first)

    def __iter__(self) -> Iterator[str | None]:
        """Yield every line, None for one that is to be dropped."""
        return self._lines(Warnings(lambda line: None))

    def _lines(self, warnings: Warnings) -> Iterator[str | None]:
        for file in self.files:
            yield from file.lines(warnings)


class Limits(NamedTuple):
    """What a pair that a model has made must keep to."""

    max_length: float  # tokens of either side
    max_ratio: float = 3.0  # tokens of the longer side per token of the shorter
    min_score: float = -math.inf  # nats per token of the translation, with its EOS
    min_chrf: float = 0.0  # percent, of the translation back
    keep_copies: bool = False
    keep_duplicates: bool = False


@dataclass(frozen=True)
class BackTranslation:
    """A way to make pairs whose source is translated from the target."""

    reverse: Translator  # from the target's language to the source's
    search: SearchConfig
    limits: Limits
    is_first: NDArray[np.bool_]  # (lines,) whether a line was not there before
    forward: Translator | None = None  # translates back what is to have `min_chrf`

    def pairs(self, block: Block[str | None]) -> Finished:
        """Return the pairs of a block, source TAB target."""
        lines = [line or "" for line in block.items]
        reasons = self._refused(block)
        # Blank lines are not translated. Those to drop are made so, since the place of a line seeds what is drawn.
        wanted = ["" if reason else line for line, reason in zip(lines, reasons, strict=True)]
        found = self.reverse.translate_block(wanted, self.search, Extras(first=block.first))
        for row, translation in enumerate(found):
            reasons[row] = reasons[row] or fault(lines[row], translation, self.limits)
        if self.forward is not None:
            _translate_back(self.forward, lines, [each.text for each in found], reasons, self.limits.min_chrf)
        rows = [
            f"{_field(translation.text)}\t{_field(line)}\n"
            for line, translation, reason in zip(lines, found, reasons, strict=True)
            if not reason
        ]
        return _finished(rows, reasons)

    def _refused(self, block: Block[str | None]) -> list[str]:
        """Return for each line why it is not translated, or an empty string."""
        source = self.reverse.tokenizers.source
        lengths = map(len, source.encode([line or "" for line in block.items]))
        firsts = self.is_first[block.first : block.first + len(block.items)].tolist()
        reasons = []
        for line, length, is_first in zip(block.items, lengths, firsts, strict=True):
            refusals = {
                "invalid UTF-8": line is None,
                "blank": line is not None and is_blank(clean(line)),
                "duplicate": not is_first and not self.limits.keep_duplicates,
                "too long": length > self.limits.max_length,
            }
            reasons.append(next((reason for reason, is_so in refusals.items() if is_so), ""))
        return reasons


def _translate_back(
    way_back: Translator, lines: Sequence[str], texts: Sequence[str], reasons: list[str], least: float
) -> None:
    """Refuse lines that do not come back as they were from what they have become."""
    rows = [row for row, reason in enumerate(reasons) if not reason]
    search = way_back.config.search
    search = way_back.fill_device(search.in_beam(search.beam_size))
    back = way_back.translate([texts[row] for row in rows], search)
    for row, score in zip(rows, sentence_scores("chrf", back, [lines[row] for row in rows]), strict=True):
        if score < least:
            reasons[row] = "round trip"


def fault(line: str, translation: Translation, limits: Limits) -> str:
    """Return the first reason not to keep a line and its translation, or an empty string."""
    output = translation.hypotheses[0]
    source, target = translation.tokens, len(output.pieces)
    faults = {
        "not translated": is_lost(output),
        "too long": target > limits.max_length,
        "length ratio": max(source, target) > limits.max_ratio * min(source, target),
        "copy": not limits.keep_copies and (line.strip() == output.text or is_copy(Line(line, output.text, ()))),
        "score": output.log_probability < limits.min_score * (target + 1),
    }
    return next((reason for reason, is_so in faults.items() if is_so), "")


def is_lost(output: Output) -> bool:
    """Say whether no translation was found, or none with text in it."""
    return is_blank(output.text) or not math.isfinite(output.log_probability)


# ---- distillation -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distillation:
    """A way to make pairs whose target is what a teacher translates."""

    teacher: Translator
    search: SearchConfig  # with as many hypotheses as are chosen among
    metric: Metric = "bleu"  # of a sentence, by which is chosen (arXiv 1606.07947 section 3.3)
    limits: Limits = Limits(math.inf, math.inf, keep_copies=True)
    back: Translator | None = None  # translates back what is to have `min_chrf`

    def pairs(self, block: Block[Pair]) -> Finished:
        """Return the pairs of a block, source TAB translation."""
        sources, references = [pair.source for pair in block.items], [pair.target for pair in block.items]
        found = self.teacher.translate_block(sources, self.search, Extras(first=block.first))
        chosen = [self._choose(*each) for each in zip(found, references, strict=True)]
        made = [each._replace(hypotheses=(output,)) for each, output in zip(found, chosen, strict=True)]
        reasons = [fault(source, each, self.limits) for source, each in zip(sources, made, strict=True)]
        if self.back is not None:
            _translate_back(self.back, sources, [output.text for output in chosen], reasons, self.limits.min_chrf)
        rows = [
            f"{_field(source)}\t{_field(output.text)}\n"
            for source, output, reason in zip(sources, chosen, reasons, strict=True)
            if not reason
        ]
        return _finished(rows, reasons)

    def _choose(self, translation: Translation, reference: str) -> Output:
        """Return the hypothesis that is most like the reference; of several the one that the teacher prefers."""
        hypotheses = [output for output in translation.hypotheses if not is_lost(output)]
        if len(hypotheses) < 2:
            return hypotheses[0] if hypotheses else translation.hypotheses[0]
        texts = [output.text for output in hypotheses]
        language = self.teacher.config.data.target_lang
        scores = sentence_scores(self.metric, texts, [reference] * len(texts), language)
        return hypotheses[scores.index(max(scores))]


def _field(text: str) -> str:
    return clean(text).replace("\t", " ").strip()


def _finished(rows: Sequence[str], reasons: Sequence[str]) -> Finished:
    counts = Counter({READ: len(reasons), KEPT: len(rows)}) + Counter(filter(None, reasons))
    return Finished("".join(rows).encode(), counts)
