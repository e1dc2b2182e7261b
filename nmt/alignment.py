"""From which source words the words of a translation come, by attention; it knows nothing of models or text files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from nmt.batches import UNK

SPACE = "\u2581"  # what sentencepiece writes for the space before a word


def copy_unknown(ids: Sequence[int], pieces: Sequence[str], attended: Sequence[str]) -> list[str]:
    """Return the words of a hypothesis, each `<unk>` replaced by the source word it attends to (arXiv 1410.8206)."""
    copies = attended or ["\u2047"] * len(ids)
    return [
        copy if token == UNK else piece.removeprefix(SPACE)
        for token, piece, copy in zip(ids, pieces, copies, strict=True)
    ]


def word_numbers(surfaces: Sequence[str]) -> list[int]:
    """Return for each piece of sentencepiece, or for each word or row of words, the number of its first word.

    A space of its own is the beginning of the next word, or the end of the last one.
    """
    numbers, number = list[int](), 0
    is_pieces = any(surface.startswith(SPACE) for surface in surfaces)
    for place, surface in enumerate(surfaces):
        is_end = surface == SPACE and place == len(surfaces) - 1
        begins = surface.startswith(SPACE) and place > 0 and surfaces[place - 1] != SPACE
        number += is_pieces and begins and not is_end
        numbers.append(number)
        number += 0 if is_pieces else len(surface.split())
    return numbers


def typed_words(pieces: Sequence[str], words: Iterable[Sequence[str]]) -> list[int]:
    """Return for each piece of a text the number of the word, as it was typed, that it is of.

    `words` are the pieces of each typed word by itself: of an accent in it sentencepiece may make another word.
    """
    numbers = word_numbers(pieces)
    numbered = enumerate(map(word_numbers, words))
    origins = [word for word, own in numbered for _ in range(own[-1] + 1 if own else 0)]
    return [origins[number] for number in numbers] if numbers and numbers[-1] < len(origins) else list(numbers)


def attended(attention: Tensor | None) -> list[int]:
    """Return for each target token the source token, not the EOS, that it attends to most."""
    if attention is None:
        return []
    places: list[int] = attention[:-1, :-1].argmax(1).tolist()  # (target, source), both with EOS
    return places


def words_of(encode: Callable[[Sequence[str]], list[list[int]]], text: str, size: int) -> list[str]:
    """Return the words that the `size` ids of a text stand for, where ids are words; none where that cannot be told.

    Sentencepiece makes one `<unk>` of neighbouring unknown words, so that they can be copied together.
    """
    found, was_unknown = list[str](), False
    words = text.split()
    for word, ids in zip(words, encode(words), strict=True):
        is_unknown = ids == [UNK]
        if is_unknown and was_unknown:
            found[-1] += f" {word}"
        else:
            found.append(word)
        was_unknown = is_unknown
    return found if len(found) == size else []
