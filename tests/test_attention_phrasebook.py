"""Where attention must lie is known for the phrasebook: "a red car" is "une voiture rouge", and words change places.

`python tests/test_attention_phrasebook.py RUN` prints the figure for a model of one's own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from test_phrasebook import ENGLISH, FRENCH, grammar

from nmt.inspect.attention import heads, observe
from nmt.inspect.maps import Line
from nmt.inspect.views import Asked, resolve, seen, settle
from nmt.translate import Translator

SENTENCES = 200
HELD_OUT = [pair for part in ("test", "valid") for pair in zip(ENGLISH[part], FRENCH[part], strict=True)]


class Swap(NamedTuple):
    """Places of an adjective and its noun in both sentences, in words."""

    adjective: int
    noun: int
    french_noun: int
    french_adjective: int


class Figure(NamedTuple):
    """In how many sentences both French words look at their English words most."""

    right: int
    sentences: int
    absent: int  # sentences whose translation lacks the two words: they do not count


def bare(words: Sequence[str]) -> list[str]:
    """Return words without what is written beside them: the end of a sentence, an article before a vowel."""
    return [word.strip(".,?!").lower().rpartition("'")[2] for word in words]


def pairs() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Return for each adjective and noun that change places all ways to say them in French."""
    found = dict[tuple[str, str], set[tuple[str, str]]]()
    for adjective in grammar.ADJECTIVE_LIST:
        for noun in (noun for nouns in grammar.NOUNS_OF.values() for noun in nouns if adjective.place == ">"):
            for english, french in zip(noun.english, noun.french, strict=True):
                if " " not in f"{english}{french}{adjective.english}":
                    found.setdefault((adjective.english, english), set()).update(
                        (french, form) for form in adjective.french
                    )
    return found


PAIRS = pairs()


def swaps(english: Sequence[str], french: Sequence[str]) -> Iterator[Swap]:
    """Yield the swaps of a sentence, whose two French words stand there once."""
    source, target = bare(english), bare(french)
    neighbours = list(zip(target, target[1:], strict=False))
    for place, pair in enumerate(zip(source, source[1:], strict=False)):
        there = [number for number, words in enumerate(neighbours) if words in PAIRS.get(pair, ())]
        if len(there) == 1:
            yield Swap(place, place + 1, there[0], there[0] + 1)


def measure(run: Path) -> Figure:
    """Translate sentences with a swap, which no training has seen, and look where its two words come from."""
    chosen = [Line("phrasebook", source) for source, target in HELD_OUT if [*swaps(source.split(), target.split())]]
    translator = Translator.load(run, precision="fp32", threads=1)
    cases = observe(translator, chosen, translator.config.search)
    view = settle(resolve(Asked("cross", "", ""), heads(translator)), cases)
    right = sentences = absent = 0
    for case in cases:
        (reading,) = case.readings
        rows, columns, weights = seen(reading.maps, view, words=True)
        found = list(swaps(columns[:-1], rows[:-1]))
        absent += not found
        if found and sentences < SENTENCES:
            adjective, noun, french_noun, french_adjective = found[0]
            sentences += 1
            right += [weights[row].argmax() for row in (french_noun, french_adjective)] == [noun, adjective]
    return Figure(right, sentences, absent)


def test_the_phrasebook_has_enough_swaps() -> None:
    assert sum(any(swaps(source.split(), target.split())) for source, target in HELD_OUT) > 1.1 * SENTENCES
    assert list(swaps(["He", "has", "a", "red", "car."], ["Il", "a", "une", "voiture", "rouge."])) == [Swap(3, 4, 3, 4)]
    assert list(swaps(["He", "has", "a", "big", "car."], ["Il", "a", "une", "grande", "voiture."])) == []


SMALL = (
    "model.type=rnn", "model.cell=gru", "model.attention=additive", "model.dim=160", "model.embedding=128",
    "training.learning_rate=4e-3", "training.max_epochs=8", "training.max_time=300s", "training.valid_every=600",
    "training.recipe=none", "training.precision=bf16", "training.patience=0",
)  # fmt: skip


@pytest.mark.slow
def test_words_that_change_places_look_at_their_own(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run = tmp_path / "gru"
    config = Path(__file__).parents[1] / "configs" / "phrasebook.yaml"
    settings = [word for each in SMALL for word in ("--set", each)]
    # In a process of its own: max_time counts from the start of the process.
    subprocess.run([sys.executable, "-m", "nmt", "train", str(config), "-o", str(run), *settings], check=True)
    figure = measure(run)
    record_property("attention to words that change places", str(figure))
    assert figure.sentences == SENTENCES
    assert figure.right >= 0.9 * SENTENCES


if __name__ == "__main__":
    print(measure(Path(sys.argv[1])))
