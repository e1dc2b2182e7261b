"""The phrasebook is what its grammar writes, and keeps its promises."""

import importlib.util
import re
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

DATA = Path(__file__).parent.parent / "data"
FOLDER = DATA / "phrasebook"
PARTS = ("train", "valid", "test")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("phrasebook_grammar", DATA / "phrasebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


grammar = load()


def lines(part: str, language: str) -> list[str]:
    return (FOLDER / f"{part}.{language}").read_text(encoding="utf-8").splitlines()


ENGLISH = {part: lines(part, "en") for part in PARTS}
FRENCH = {part: lines(part, "fr") for part in PARTS}
ALL_FRENCH = [line for part in PARTS for line in FRENCH[part]]


def words(line: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", line.lower())


@pytest.fixture(scope="module")
def built():
    return grammar.build()


@pytest.mark.slow
def test_regenerating_gives_the_committed_bytes(tmp_path):
    grammar.write(tmp_path)
    for part in PARTS:
        for language in ("en", "fr"):
            name = f"{part}.{language}"
            assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_counts_and_size():
    for part, size in {"train": 22_000, "valid": 1_000, "test": 1_000}.items():
        assert len(ENGLISH[part]) == len(FRENCH[part]) == size
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3_000_000
    lengths = [len(line.split()) for part in PARTS for line in ENGLISH[part]]
    assert 7 <= sum(lengths) / len(lengths) <= 9
    assert min(lengths) >= 2
    assert max(lengths) <= 24


def test_every_source_is_distinct_so_that_the_mapping_is_a_function():
    sources = [line for part in PARTS for line in ENGLISH[part]]
    assert len(sources) == len(set(sources))
    mapping: dict[str, set[str]] = {}
    for part in PARTS:
        for english, french in zip(ENGLISH[part], FRENCH[part], strict=True):
            mapping.setdefault(" ".join(words(english) + re.findall(r"\d+", english)), set()).add(french.strip(" .!?"))
    assert all(len(translations) == 1 for translations in mapping.values())


@pytest.mark.slow
def test_a_third_of_the_test_combines_words_never_seen_together(built):
    known = {pair for part in ("train", "valid") for phrase in built[part] for pair in phrase.pairs}
    unseen = [phrase for phrase in built["test"] if not known.issuperset(phrase.pairs)]
    assert len(unseen) >= len(built["test"]) / 3

    # The same on the words as they are written, without asking the grammar.
    def met(line: str) -> list[tuple[str, str]]:
        return list(combinations(sorted(set(words(line))), 2))

    together = {pair for part in ("train", "valid") for line in ENGLISH[part] for pair in met(line)}
    unmet = [line for line in ENGLISH["test"] if not together.issuperset(met(line))]
    assert len(unmet) >= len(ENGLISH["test"]) / 3


def test_every_word_of_the_test_is_frequent_in_training():
    for text in (ENGLISH, FRENCH):
        counts = Counter(word for line in text["train"] for word in words(line))
        rare = {word for line in text["test"] for word in words(line) if counts[word] < 5}
        assert not rare


@pytest.mark.parametrize(
    "wrong",
    [
        r"\bde les?\b(?! \w+er\b)",
        r"\bà les?\b(?! \w+er\b)",
        r"  |\t",
        r"[^ ][?!:;€]",
        r" [,.]",
        r"[~_{}|]",
        r"^ | $",
        r"(?<!-)\b(le|la|je|ne|de|que|me|se) [aeiouâàéèêëîïôûœh](?!uit\b|uitième|nze\b|aut|all\b)",
        r"\b(ma|sa|ce|beau|nouveau|vieux|cette) (ami|ancien|hôtel|homme|avion|appareil|ordinateur|œuf|oiseau)\b",
        r"\bsi ils?\b|\bdes (grand|petit|beaux|belles|vieux|vieilles|bon|jeune|joli|nouve)",
        r"\bpas (un|une|du|des) (?=\w+\.$)",
    ],
)
def test_no_french_line_breaks_a_rule_of_spelling(wrong):
    assert [line for line in ALL_FRENCH if re.search(wrong, line, re.IGNORECASE)][:5] == []


def test_articles_have_the_gender_of_their_nouns():
    nouns = [noun for group in grammar.NOUNS_OF.values() for noun in group]
    genders: dict[str, set[bool]] = {}
    for noun in nouns:
        genders.setdefault(noun.french[0], set()).add(noun.feminine)
    article = {"un": False, "le": False, "du": False, "ce": False, "une": True, "la": True, "cette": True}
    longest = sorted(genders, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(article)}) ({'|'.join(map(re.escape, longest))})(?![\w-])", re.IGNORECASE)
    found = [match for line in ALL_FRENCH for match in pattern.finditer(line)]
    assert len(found) > 5_000
    assert [match[0] for match in found if article[match[1].lower()] not in genders[match[2]]] == []
