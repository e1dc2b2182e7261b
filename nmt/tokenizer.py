"""Text to ids and back by sentencepiece; it knows nothing of corpora or models.

Every tokenizer of the project has the ids 0 `<pad>`, 1 `<unk>`, 2 `<s>`, 3 `</s>`; no text is encoded as one of them
but for `<unk>`. Tags, which mark where a source comes from, are no text either: whoever wants one puts its id there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece

from nmt.config import TokenizerConfig
from nmt.errors import ModelError, OptionError
from nmt.ragged import Ragged, joined
from nmt.sealed import replace_file
from nmt.subwords import BpeSampler, Sampler, UnigramSampler
from nmt.vocabulary import SPECIALS, printable, train

MANY = 1_000  # sentences from which on starting threads pays
DRAWN = 8_192  # sentences whose segmentation is drawn at a time
LONGEST = 1_000  # characters; a longer word is not segmented at random
SPACE = "\u2581"  # what sentencepiece writes for the space before a word

sentencepiece.set_min_log_level(3)  # what goes wrong is raised; nothing is to be written to stderr beside it


class Tokenizer:
    """A sentencepiece model: text in, ids out, and the other way round, without BOS and EOS."""

    def __init__(self, model: bytes, name: str = "tokenizer") -> None:
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        try:
            self._processor = sentencepiece.SentencePieceProcessor()
            self._processor.LoadFromSerializedProto(model)
            self.size: int = self._processor.vocab_size()  # pieces, special ones included
            self._pieces: list[str] = self._processor.id_to_piece(list(range(self.size)))
        except (RuntimeError, ValueError):
            raise ModelError(f"{name}: not a sentencepiece model; it is damaged, copy or train it again") from None
        if tuple(self._pieces[:4]) != SPECIALS:
            begin = " ".join(self._pieces[:4])
            raise ModelError(f"{name}: begins with pieces {begin}, not {' '.join(SPECIALS)}; train it with nmt")
        self._alphabet = {self._pieces[number] for number in range(self.size) if self._is_text(number)}
        self._samplers = dict[float, Sampler]()  # by alpha

    @classmethod
    def load(cls, model: bytes | Path | str) -> Tokenizer:
        """Return the tokenizer in a file or in bytes; a missing or damaged one is a ModelError."""
        if isinstance(model, bytes):
            return cls(model)
        try:
            return cls(Path(model).read_bytes(), str(model))
        except OSError as error:
            raise ModelError(f"{model}: {error.strerror}; give the path of a tokenizer") from None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; no text is refused and none is taken for a special piece."""
        ids: list[list[int]] = self._processor.encode(list(map(printable, texts)), num_threads=_threads(texts))
        return ids

    def encode_ragged(self, texts: Sequence[str], threads: int | None = None) -> Ragged:
        """Return the ids of each text, end to end; on all cores, if there are many texts, or on `threads` of them."""
        ids = self._processor.encode(list(map(printable, texts)), num_threads=threads or _threads(texts))
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return Ragged(np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum())), lengths)

    def sample_ragged(self, texts: Sequence[str], alpha: float, seed: int) -> Ragged:
        """Return segmentations drawn at random, decided by the texts, alpha and the seed alone.

        unigram: from all there are, smoothed by alpha (arXiv 1804.10959); bpe: with dropout alpha (arXiv 1910.13267).
        Words with characters that are no pieces are segmented as usual.
        """
        sampler = self._sampler(alpha)
        chance = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        parts = [self._draw(texts[at : at + DRAWN], sampler, chance) for at in range(0, len(texts), DRAWN)]
        return Ragged(*map(np.concatenate, zip(Ragged.of([]), *parts, strict=True)))

    def sample(self, texts: Sequence[str], alpha: float, seed: int) -> list[list[int]]:
        """Return what `sample_ragged` does as lists."""
        return [ids.tolist() for ids in self.sample_ragged(texts, alpha, seed).sequences()]

    def _sampler(self, alpha: float) -> Sampler:
        if alpha not in self._samplers:
            kind = self._kind()
            if kind is None:
                raise OptionError(f"tokenizer.sampling: {alpha} needs unigram or bpe pieces; set it to 0")
            scores = np.array(self._processor.get_score(list(range(self.size))))
            pieces = {piece: number for number, piece in enumerate(self._pieces) if self._is_text(number)}
            self._samplers[alpha] = kind(pieces, scores, alpha)
        return self._samplers[alpha]

    def _kind(self) -> type[UnigramSampler | BpeSampler] | None:
        """Ask sentencepiece, which does not name a model's type, for what only some types can do."""
        try:
            self._processor.encode(["a"], enable_sampling=True, alpha=0.5, nbest_size=-1, num_threads=1)
            self._processor.nbest_encode("a", nbest_size=2)
        except RuntimeError as error:
            return BpeSampler if "NBestEncode" in str(error) else None
        return UnigramSampler

    def _is_text(self, number: int) -> bool:
        processor = self._processor
        return not (processor.is_control(number) or processor.is_unknown(number) or processor.is_byte(number))

    def _draw(self, texts: Sequence[str], sampler: Sampler, chance: np.random.Generator) -> Ragged:
        """Draw each word by itself; a rare one with unknown characters, or very long, is segmented as usual."""
        lines = [text.split(SPACE)[1:] for text in self._processor.normalize(list(map(printable, texts)))]
        numbers = dict[str, int]()  # of each different word
        tokens = np.array([numbers.setdefault(word, len(numbers)) for line in lines for word in line], np.int64)
        words = [SPACE + word for word in numbers]
        spelled = np.array([len(word) <= LONGEST and self._alphabet.issuperset(word) for word in words], bool)
        place = np.where(spelled, np.cumsum(spelled), np.cumsum(~spelled)) - 1  # among the words of its sort
        chosen = tokens[spelled[tokens]]
        drawn = sampler.draw([word for word, ok in zip(words, spelled, strict=True) if ok], place[chosen], chance)
        usual = self.encode_ragged([word[1:] for word, ok in zip(words, spelled, strict=True) if not ok])
        rows = len(chosen) + place[tokens]
        rows[spelled[tokens]] = np.arange(len(chosen))
        pieces = joined(drawn, usual).take(rows)
        sums, ends = np.append(0, np.cumsum(pieces.lengths)), np.cumsum([0, *map(len, lines)])
        return Ragged(pieces.ids, np.diff(sums[ends]))

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the detokenised texts; special pieces vanish, bytes that are no UTF-8 become U+FFFD."""
        try:
            texts: list[str] = self._processor.decode([list(row) for row in ids], num_threads=1)
        except (IndexError, OverflowError, TypeError):  # the latter two from 2^31 on
            largest = max(max(row, default=0) for row in ids)
            raise ModelError(
                f"tokenizer: id {largest} is not among its {self.size} pieces; use the tokenizer of the model"
            ) from None
        return [text.lstrip(" ") for text in texts]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return the ids of pieces as `pieces` gives them; what is no piece is `<unk>`."""
        ids: list[int] = self._processor.piece_to_id(list(pieces))
        return ids

    def tag(self, name: str) -> int:
        """Return the id of a tag; raise OptionError if the tokenizer was trained without it."""
        number: int = self._processor.piece_to_id(name)
        if not self._processor.is_control(number):
            raise OptionError(f"data.tags: the tokenizer has no {name}; train it anew, without --from, or leave it out")
        return number

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces as sentencepiece writes them, `▁` for the space before a word."""
        return [self._pieces[piece] for piece in ids]


def _threads(texts: Sequence[str]) -> int:
    return -1 if len(texts) >= MANY else 1


class Tokenizers(NamedTuple):
    """The tokenizers of a model; one vocabulary for both languages is the same object twice."""

    source: Tokenizer
    target: Tokenizer

    @property
    def shared(self) -> bool:
        """Say whether both languages have one vocabulary."""
        return self.source is self.target

    @classmethod
    def train(cls, pairs: Iterable[tuple[str, str]], config: TokenizerConfig, tags: Iterable[str] = ()) -> Tokenizers:
        """Learn from sentence pairs, read once if the vocabulary is shared and else once per side.

        The source's has a piece for each different tag that is not empty.
        """
        named = [*filter(None, dict.fromkeys(tags))]
        if config.shared:
            both = Tokenizer(train((text for pair in pairs for text in pair), config, tags=named))
            return cls(both, both)
        source = Tokenizer(train((source for source, _ in pairs), config, tags=named), "source tokenizer")
        return cls(source, Tokenizer(train((target for _, target in pairs), config), "target tokenizer"))

    @classmethod
    def load(cls, folder: Path) -> Tokenizers:
        """Return what `save` wrote into the folder."""
        if (folder / "source.model").exists() or (folder / "target.model").exists():
            return cls(Tokenizer.load(folder / "source.model"), Tokenizer.load(folder / "target.model"))
        both = Tokenizer.load(folder / "tokenizer.model")
        return cls(both, both)

    def files(self) -> dict[str, bytes]:
        """Return the files of the tokenizers: tokenizer.model, or source.model and target.model."""
        if self.shared:
            return {"tokenizer.model": self.source.model}
        return {"source.model": self.source.model, "target.model": self.target.model}

    def save(self, folder: Path) -> None:
        """Write the files into the folder, each whole or not at all."""
        for name, model in self.files().items():
            replace_file(folder / name, model)
