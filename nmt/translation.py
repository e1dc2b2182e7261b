"""What comes of a line as text: hypotheses with their scores, and the parts of a long line put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SPACELESS = ("zh", "ja", "th", "lo", "km", "my", "bo", "yue", "zho", "cmn", "jpn", "tha")  # no spaces between words

Pairs = tuple[tuple[int, int], ...]


class Output(NamedTuple):
    """One hypothesis as text."""

    text: str
    # What hypotheses are ranked by: log_probability over the length penalty; by consensus a mean in percent; re-ranked
    # with what the model of the other direction adds.
    score: float
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


BLANK = Translation((Output("", 0.0, 0.0, ()),))
FAILED = Output("", float("-inf"), float("-inf"), ())


def glue(target_lang: str) -> str:
    """Return what stands between the translations of two sentences in a language."""
    return "" if target_lang.replace("_", "-").split("-")[0] in SPACELESS else " "


def merge(outputs: Sequence[Output], texts: Sequence[str], between: str) -> Output:
    """Return the translations of parts as one, of the `texts` that were their sources, with `between` them.

    Sources are joined as they are. A word that a part ends within goes on in the next.
    """
    pairs = list[tuple[int, int]]()
    source_words = target_words = 0
    for output, text in zip(outputs, texts, strict=True):
        pairs += [(left + source_words, right + target_words) for left, right in output.alignment]
        source_words += len(f"{text}.".split()) - 1
        target_words += len(f"{output.text}{between}.".split()) - 1 if output.text else 0
    return Output(
        between.join(output.text for output in outputs if output.text),
        sum(output.score for output in outputs),
        sum(output.log_probability for output in outputs),
        tuple(piece for output in outputs for piece in output.pieces),
        tuple(pairs),
    )
