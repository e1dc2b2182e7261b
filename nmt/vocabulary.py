"""Learns the pieces of a tokenizer from sentences; it knows nothing of what they are used for."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import cbrt
from typing import NamedTuple

import sentencepiece

from nmt.config import TokenizerConfig
from nmt.errors import DataError, OptionError
from nmt.text import without_surrogates

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")  # ids 0 to 3; `nmt.batches` has the same as PAD, UNK, BOS, EOS
# Pieces are learnt from a sample of at most so many sentences and characters, drawn evenly over the whole corpus. For
# unigram pieces sentencepiece takes some 30 bytes of memory a character.
SAMPLE, CHARACTERS = 1_000_000, 32_000_000
LOWERED = 0.9  # to this share a sample is cut when it is too large

# Sentencepiece's own cleaning (nmt_nfkc) is not used: it deletes \x1c and joins the words around it, and it turns the
# zero-width non-joiner inside Persian words, marks of writing direction and U+FFFD into spaces.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def printable(text: str) -> str:
    """Return the text with a space for each control character and U+FFFD for what UTF-8 cannot hold."""
    if text.isascii() and text.isprintable():
        return text
    return without_surrogates(_CONTROL.sub(" ", text))


def automatic_size(pairs: int) -> int:
    """Return our own rule for the number of pieces: 4,000 at 10,000 pairs, growing with the cube root of the pairs.

    Always a multiple of 500 from 500 to 32,000: small joint vocabularies suit small corpora (arXiv 1905.11901), but
    with too few pieces, 256 of which are bytes, sentences get long and words have to be learnt (docs/quality.md).
    """
    return min(32_000, max(500, 500 * round(8 * cbrt(pairs / 10_000))))


class Draw(NamedTuple):
    """Sentences drawn from a stream that may be larger than memory."""

    sentences: list[str]
    seen: int  # sentences of the whole stream


def draw(sentences: Iterable[str], count: int = SAMPLE, size: int = CHARACTERS) -> Draw:
    """Return all sentences, or of more than `count`, or than `size` characters in all, a sample nearly as large.

    Each sentence gets a random number, and those below a bound are kept, which is lowered whenever they are too many:
    each of the stream is as likely as any other, and the same are drawn on every run.
    """
    chance, bound, held, seen = random.Random(1), 1.0, 0, 0
    kept = list[tuple[float, str]]()
    for seen, sentence in enumerate(sentences, 1):  # noqa: B007 - the count is needed after the loop
        number = chance.random()
        if number >= bound:
            continue
        kept.append((number, printable(sentence)))
        held += len(sentence)
        while len(kept) > 1 and (len(kept) > count or held > size):
            bound *= LOWERED
            kept = [one for one in kept if one[0] < bound]
            held = sum(len(text) for _, text in kept)
    return Draw([text for _, text in kept], seen)


def train(
    sentences: Iterable[str], config: TokenizerConfig, vocab_size: int | None = None, *, tags: Sequence[str] = ()
) -> bytes:
    """Return a serialised sentencepiece model, the same bytes for the same sentences.

    Without `vocab_size` the size is the config's; `auto` counts the sentences, two of which make a pair when the
    vocabulary is shared. `tags` are pieces on top of that, which stand for no text: all others are what they would be
    without them. Raises OptionError for a size the text cannot give and DataError when there is no text.
    """
    drawn = draw(sentences)
    if not any(sentence and not sentence.isspace() for sentence in drawn.sentences):
        raise DataError("tokenizer: the text to learn from is empty; give a corpus with at least one sentence")
    asked = config.vocab_size if vocab_size is None else vocab_size
    if asked != "auto":
        return _exactly(drawn.sentences, config, asked, tags)
    size = _automatic(drawn, config)
    try:
        return _learn(drawn.sentences, config, size, tags)
    except _TooSmall as error:  # more characters than pieces, as in Chinese
        return _learn(drawn.sentences, config, size + error.needed, tags)


def _automatic(drawn: Draw, config: TokenizerConfig) -> int:
    if config.type == "char":
        return 32_000  # sentencepiece gives as many as the coverage of the characters asks for
    if config.type == "word":  # words seen once stay out, so that <unk> is learnt; 30,000: arXiv 1409.0473 section 4.1
        counts = Counter(word for sentence in drawn.sentences for word in sentence.split())
        return min(30_000, len(SPECIALS) + max(8, sum(count > 1 for count in counts.values())))
    return automatic_size(drawn.seen // 2 if config.shared else drawn.seen)


def _exactly(sentences: list[str], config: TokenizerConfig, size: int, tags: Sequence[str]) -> bytes:
    where = f"tokenizer.vocab_size: {size}"
    special = len(SPECIALS) + (256 if _has_bytes(config) else 0)
    try:
        if size <= special and config.type in ("char", "word"):  # the others say themselves how many they need
            raise _TooSmall(special + 1)
        model = _learn(sentences, config, size, tags)
    except _TooSmall as error:
        with_bytes = " and 256 bytes (tokenizer.byte_fallback)" if _has_bytes(config) else ""
        raise OptionError(
            f"{where} is less than the {error.needed} pieces this text needs, {len(SPECIALS)} special ones{with_bytes} "
            "among them; raise it or say auto"
        ) from None
    possible = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size() - len(tags)
    if possible < size:
        raise OptionError(f"{where} is more than the {possible} pieces this text can give; lower it or say auto")
    return model


def _has_bytes(config: TokenizerConfig) -> bool:
    return config.byte_fallback and config.type != "word"


class _TooSmall(Exception):
    """The vocabulary has no room for the characters; `needed` pieces would do."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def _learn(sentences: list[str], config: TokenizerConfig, size: int, tags: Sequence[str]) -> bytes:
    """Run sentencepiece's trainer; a size above what the text gives is lowered to that by it.

    Tags are control symbols, as `<s>` is: a `<bt>` that a user types is the text <, bt, > and never the tag. As
    user-defined symbols they would be cut out of any text, which would then pass for synthetic.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=config.type,
            vocab_size=size + len(tags),
            control_symbols=list(tags),
            hard_vocab_limit=False,
            byte_fallback=_has_bytes(config),
            normalization_rule_name=config.normalization,
            character_coverage=config.character_coverage,
            pad_id=0,
            pad_piece=SPECIALS[0],
            unk_id=1,
            unk_surface=" \u2047" if config.type == "word" else "\u2047",  # an unknown word takes its space with it
            bos_id=2,
            eos_id=3,
            num_threads=4,  # a fixed number: sums of floats depend on it
            max_sentence_length=2**30,  # bytes; by default a line of more than 4,192 is left out
            train_extremely_large_corpus=sum(map(len, sentences)) > 2**29,
            minloglevel=3,
        )
    except RuntimeError as error:
        if found := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
            raise _TooSmall(int(found[1]) - len(tags)) from None
        reason = str(error).rpartition("] ")[2] or "nothing is left of it after normalisation"
        raise DataError(f"tokenizer: sentencepiece cannot learn from this text ({reason}); look at the text") from None
    return model.getvalue()
