"""Scores: sacreBLEU's BLEU, chrF and TER with their signatures; it knows nothing of models.

Every number is sacreBLEU's own (Post 2018, arXiv 1804.08771), with its default settings, so that it can be compared
with published ones: cased, detokenised text in, the 13a tokenizer unless the target language needs another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from nmt.errors import DataError, OptionError, ResourceError

if TYPE_CHECKING:  # a command line that is wrong is answered before anything of weight is imported
    pass

Metric = Literal["bleu", "chrf", "ter"]
METRICS: tuple[Metric, ...] = get_args(Metric)
TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "none")


class Mecab(NamedTuple):
    """What a tokenizer needs that comes with an extra of this project."""

    extra: str
    module: str


# Languages written without spaces between words, by ISO 639-1 and 639-3 codes, and Korean, whose particles cling to
# nouns: sacreBLEU's own choice for them.
_TOKENIZER_OF = {
    "zh": "zh", "zho": "zh", "cmn": "zh", "ja": "ja-mecab", "jpn": "ja-mecab", "ko": "ko-mecab", "kor": "ko-mecab",
}  # fmt: skip
_MECAB = {"ja-mecab": Mecab("ja", "MeCab"), "ko-mecab": Mecab("ko", "mecab_ko")}


class Score(NamedTuple):
    """One metric over a whole test set."""

    name: str  # as sacreBLEU calls it: BLEU, chrF2, TER
    score: float  # percent, not rounded; higher is better, but for TER
    signature: str  # what makes the number reproducible: nrefs:1|case:mixed|...|version:2.6.0
    record: dict[str, Any]  # the object that `sacrebleu --format json` prints, with the score not rounded


def tokenizer_for(target_lang: str) -> str:
    """Return sacreBLEU's tokenizer for a language code such as `de`, `zh`, `zh-CN` or `jpn_Jpan`; 13a by default."""
    return _TOKENIZER_OF.get(target_lang.lower().replace("_", "-").split("-")[0], "13a")


def checked_tokenizer(target_lang: str, tokenize: str | None = None) -> str:
    """Return BLEU's tokenizer, as asked for or by language; raises OptionError if it is unknown or not installed."""
    tokenizer = tokenize or tokenizer_for(target_lang)
    if tokenizer not in TOKENIZERS:
        raise OptionError(f"--tokenize {tokenizer}: no such tokenizer; choose one of {', '.join(TOKENIZERS)}")
    if not _installed(tokenizer):
        extra = _MECAB[tokenizer].extra
        raise OptionError(
            f"--tokenize {tokenizer}: needs MeCab, which is not installed; run pip install 'sacrebleu[{extra}]', or "
            "choose --tokenize char"
        )
    return tokenizer


def check_counts(sides: Mapping[str, Sequence[str]]) -> None:
    """Refuse sides, by name, that are empty or have different numbers of lines; the first one sets the number."""
    (first, lines), *others = sides.items()
    if not lines:
        raise DataError(f"{first}: no lines, expected at least one sentence to score; check the file")
    for name, other in others:
        if len(other) != len(lines):
            raise DataError(
                f"{name}: {_count(other)}, but {_count(lines)} in {first}; give files with one line per sentence, "
                "in the same order"
            )


def _count(lines: Sequence[str]) -> str:
    return f"{len(lines):,} line{'' if len(lines) == 1 else 's'}"


def score(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Iterable[Metric] = ("bleu",),
    *,
    target_lang: str = "",
    tokenize: str | None = None,
) -> list[Score]:
    """Return one score per metric, in the order of `metrics`; each reference is a list of all its lines.

    `tokenize` is BLEU's tokenizer, one of TOKENIZERS; without it the target language decides. TER and chrF have their
    own. Hypotheses that are all empty score 0 BLEU and 0 chrF.
    """
    if not references:
        raise OptionError("references: none were given, expected at least one; pass a list of lists of lines")
    check_counts(
        {"the hypotheses": hypotheses} | {f"reference {number}": lines for number, lines in enumerate(references, 1)}
    )
    chosen = list(metrics)
    tokenizer = checked_tokenizer(target_lang, tokenize) if "bleu" in chosen else ""
    return [_score(metric, hypotheses, references, tokenizer) for metric in chosen]


def sentence_scores(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str], target_lang: str = ""
) -> list[float]:
    """Return the score of each line by itself against its reference, in percent.

    BLEU is smoothed and leaves out the orders for which a line is too short, as `sacrebleu --sentence-level` does.
    """
    from sacrebleu import BLEU, CHRF, TER

    makers = {"bleu": lambda: BLEU(tokenize=checked_tokenizer(target_lang), effective_order=True)}
    scorer = {**makers, "chrf": CHRF, "ter": TER}[metric]()
    return [
        float(scorer.sentence_score(hypothesis, [reference]).score)
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]


def quality(hypotheses: Sequence[str], references: Sequence[str], target_lang: str = "") -> dict[str, float]:
    """Return "bleu" and "chrf" in percent against one reference: what validation watches.

    A MeCab tokenizer that is not installed is no reason to end a training: BLEU is then counted in characters.
    """
    metrics: tuple[Metric, ...] = ("bleu", "chrf")
    scores = score(hypotheses, [references], metrics, tokenize=_available(target_lang))
    return {metric: result.score for metric, result in zip(metrics, scores, strict=True)}


@cache
def sentence_tokenizer(target_lang: str) -> Callable[[str], str]:
    """Return what puts spaces between the words of a sentence as BLEU does for a language; without MeCab characters."""
    tokenize: Callable[[str], str] = _bleu(_available(target_lang)).tokenizer
    return tokenize


def tokenized_lines(lines: Iterable[str]) -> int:
    """Count the lines that look like pieces or tokens: `@@ ` of subword-nmt, `▁` of sentencepiece, ` .` at the end."""
    return sum("@@ " in line or "\u2581" in line or line.endswith((" .", "@@")) for line in lines)


def reported_metrics(tokenizer: str) -> dict[str, Any]:
    """Return sacreBLEU's own metrics for reports by their names; chrF2++ sees words too (Popović 2017, W17-4770)."""
    from sacrebleu import CHRF, TER

    return {"BLEU": _bleu(tokenizer), "chrF2++": CHRF(word_order=2), "TER": TER()}


def _score(metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str) -> Score:
    from sacrebleu import CHRF, TER  # here, because a tenth of a second counts in commands that score nothing

    scorer = _bleu(tokenizer) if metric == "bleu" else {"chrf": CHRF, "ter": TER}[metric]()
    result = scorer.corpus_score(hypotheses, references)
    signature = str(scorer.get_signature())
    record = json.loads(result.format(signature=signature, is_json=True)) | {"score": float(result.score)}
    return Score(result.name, float(result.score), signature, record)


def _bleu(tokenizer: str) -> Any:
    """Return sacreBLEU's BLEU; `force` because our own warning about tokenised text replaces its three."""
    from sacrebleu import BLEU

    try:
        return BLEU(tokenize=tokenizer, force=True)
    except (OSError, SystemExit) as error:  # sacreBLEU fetches the flores models, and exits when TLS fails
        raise ResourceError(
            f"--tokenize {tokenizer}: its model could not be fetched ({error}); connect to the network once, or choose "
            "another tokenizer"
        ) from error


def _available(target_lang: str) -> str:
    """Return the tokenizer of a language, or of characters where it is not installed."""
    tokenizer = tokenizer_for(target_lang)
    return tokenizer if _installed(tokenizer) else "char"


def _installed(tokenizer: str) -> bool:
    return tokenizer not in _MECAB or find_spec(_MECAB[tokenizer].module) is not None
