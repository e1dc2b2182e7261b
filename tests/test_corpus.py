"""Pairs stay pairs: rows A49 to A56 and A71 of the test matrix, and every format of text files."""

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from nmt.config import DataConfig
from nmt.corpus import Pair, ParallelCorpus, read_lines
from nmt.errors import DataError, OptionError
from nmt.text import Place

EN, DE = ["one", "two", "three"], ["eins", "zwei", "drei"]
PAIRS = [Pair(*pair) for pair in zip(EN, DE, strict=True)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, text):
    data = text if isinstance(text, bytes) else text.encode()
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


def corpus(*specs, **options):
    return ParallelCorpus(specs, DataConfig(**options))


def two(source, target, **options):
    return corpus(write("a.en", source), write("a.de", target), **options)


def joined(texts):
    return "".join(f"{text}\n" for text in texts)


def objects(source, target):
    """Return the pairs as JSON lines, the target first, under these names."""
    return joined(json.dumps({target: t, source: s}) for s, t in PAIRS)


FORMATS = {  # name, text, options
    "tsv": ("x.tsv", joined(f"{s}\t{t}" for s, t in PAIRS), {}),
    "tsv, quotes are text": ("x.tsv", joined(f'"{s}\t{t}"' for s, t in PAIRS), {"quoted": True}),
    "tsv, reversed": ("x.de-en.tsv", joined(f"{t}\t{s}" for s, t in PAIRS), {"source_lang": "en"}),
    "tsv, reversed, usual names on top": (
        "x.de-en.tsv",
        "source\ttarget\n" + joined(f"{t}\t{s}" for s, t in PAIRS),
        {"source_lang": "en"},
    ),
    "tsv, reversed, languages on top": (
        "x.de-en.tsv",
        "de\ten\n" + joined(f"{t}\t{s}" for s, t in PAIRS),
        {"source_lang": "en"},
    ),
    "json, reversed, two strings": ("x.de-en.jsonl", objects("b", "a"), {"target_lang": "de"}),
    "json, reversed, usual names": ("x.de-en.jsonl", objects("tgt", "src"), {"source_lang": "en"}),
    "json, reversed, languages": ("x.de-en.jsonl", objects("en", "de"), {"source_lang": "en"}),
    "json, reversed, named": ("x.de-en.jsonl", objects("b", "a"), {"source_lang": "en", "columns": ["b", "a"]}),
    "tsv, numbered": ("x.tsv", joined(f"7\t{t}\t{s}\tCC" for s, t in PAIRS), {"columns": [3, 2]}),
    "tsv, named": ("x.tsv", "id\tb\ta\n" + joined(f"7\t{t}\t{s}" for s, t in PAIRS), {"columns": ["a", "b"]}),
    "tsv, languages on top": ("x.en-de.tsv", "de\tid\ten\n" + joined(f"{t}\t7\t{s}" for s, t in PAIRS), {}),
    "tsv, usual names on top": ("x.tsv", "source\ttarget\n" + joined(f"{s}\t{t}" for s, t in PAIRS), {}),
    "json, two strings": ("x.jsonl", joined(json.dumps({"n": 1, "a": s, "b": t}) for s, t in PAIRS), {}),
    "json, languages": ("x.en-de.json", joined(json.dumps({"de": t, "en": s, "x": ""}) for s, t in PAIRS), {}),
    "json, usual names": ("x.jsonl", joined(json.dumps({"tgt": t, "src": s, "x": ""}) for s, t in PAIRS), {}),
    "json, hub": ("x.en-de.json", joined(json.dumps({"translation": {"de": t, "en": s}}) for s, t in PAIRS), {}),
    "json, named": ("x.json", joined(json.dumps({"a": t, "b": s, "c": ""}) for s, t in PAIRS), {"columns": ["b", "a"]}),
    "json, named inside": (
        "x.jsonl",
        joined(json.dumps({"t": {"de": t, "en": s}}) for s, t in PAIRS),
        {"columns": ["t.en", "t.de"]},
    ),
    "json, blank lines": ("x.jsonl", "\n" + joined(json.dumps({"a": s, "b": t}) + "\n" for s, t in PAIRS), {}),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("name", "text", "options"), FORMATS.values(), ids=FORMATS.keys())
def test_every_format_gives_the_same_pairs(name, text, options, suffix):
    quoted = options == {"quoted": True}
    pairs = list(corpus(write(name + suffix, text), **({} if quoted else options)))
    assert pairs == ([Pair(f'"{s}', f'{t}"') for s, t in PAIRS] if quoted else PAIRS)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_plain_files_give_the_same_pairs(suffix):
    write(f"a.en{suffix}", joined(EN))
    write(f"a.de{suffix}", joined(DE))
    assert list(corpus(f"a.en{suffix}", f"a.de{suffix}")) == PAIRS
    assert list(corpus(f"a.{{lang}}{suffix}", source_lang="de", target_lang="en")) == [Pair(t, s) for s, t in PAIRS]


def test_several_corpora_are_read_one_after_the_other():
    write("b.tsv", "four\tvier\n")
    write("a.en", joined(EN))
    write("a.de", joined(DE))
    assert list(corpus("a.en", "a.de", "b.tsv")) == [*PAIRS, ("four", "vier")]


def test_every_pass_over_several_corpora_gives_the_same():
    write("b.tsv", "four\tvier\n\nfive\t \nsix\tsix\n")
    write("a.en", joined(["\u200b", *EN]))
    write("a.de", joined(["null", *DE]))
    found = corpus("a.en", "a.de", "b.tsv")
    first = list(found)
    assert first == [*PAIRS, ("four", "vier"), ("six", "six")]
    second = list(found.placed())
    assert [pair for _, pair in second] == first
    assert [place.line for place, _ in second] == [*range(2, len(PAIRS) + 2), 1, 4]
    assert [number for number, _ in found.numbered()] == [0] * len(PAIRS) + [1, 1]
    assert found.statistics().read == len(PAIRS) + 5
    (message,) = found.statistics().messages()
    assert re.fullmatch(r"dropped 3 of \d+ pairs: empty side \(first: .*, line \d\)", message), "it is not one file's"


def test_blank_line_on_one_side_leaves_the_others_aligned():  # A50; other tools shift all that follows
    found = two("one\n\nthree\nfour\n", "eins\nzwei\n \ndrei\n")
    assert list(found) == [("one", "eins"), ("four", "drei")]
    assert found.statistics().messages() == ["a.en: dropped 2 of 4 pairs: empty side (first: line 2)"]


def test_dropped_pair_is_said_once_with_its_line():  # A50
    texts = [f"line {n}" for n in range(1, 1001)]
    found = two(joined(texts), joined("" if n == 17 else f"Zeile {n}" for n in range(1, 1001)))
    assert len(list(found)) == 999
    assert found.statistics().messages() == ["a.en: dropped 1 of 1000 pairs: empty side (first: line 17)"]
    assert (found.statistics().read, found.statistics().kept) == (1000, 999)


@pytest.mark.parametrize(("source", "target"), [(1000, 999), (999, 1000), (1, 0), (0, 2)])
def test_unequal_sides_are_an_error_with_both_counts(source, target):  # A49
    found = two("a\n" * source, "b\n" * target)
    message = f"a.en has {source} lines, a.de has {target}; first check line {min(source, target)}"
    with pytest.raises(DataError, match=message):
        list(found)


def test_characters_inside_a_line_do_not_end_it():  # A51
    inside = "o\u2028n\u2029e\x85\x0b\x0c\x1c\x1d\x1e\rx"
    assert list(two(f"{inside}\ntwo\n", "eins\nzwei\n")) == [(inside, "eins"), ("two", "zwei")]


def test_carriage_returns_and_marks_never_reach_the_pairs():  # A52
    assert list(two(b"\xef\xbb\xbfone\r\ntwo\r\n", "eins\nzwei")) == [("one", "eins"), ("two", "zwei")]


BAD = b"eins\nabc\xffd\ndrei\n"


def test_bad_bytes_are_an_error_with_file_line_and_column():  # A53
    with pytest.raises(DataError, match=r"a.de:2: invalid UTF-8 \(byte 0xff at column 4\); .*--bad-utf8 replace"):
        list(two(joined(EN), BAD))


def test_bad_bytes_are_replaced_if_asked():  # A53
    found = two(joined(EN), BAD, bad_utf8="replace")
    assert list(found)[1] == ("two", "abc\ufffdd")
    assert found.statistics().messages() == [
        "a.de:2: invalid UTF-8 replaced",
        "invalid UTF-8 replaced: 1 line in all",
    ]


def test_bad_bytes_drop_their_pair_if_asked():  # A53
    found = two(joined(EN), BAD, bad_utf8="drop")
    assert list(found) == [PAIRS[0], PAIRS[2]]
    assert found.statistics().messages() == ["a.en: dropped 1 of 3 pairs: invalid UTF-8 (first: line 2)"]
    assert found.sides() == (["one", "three"], ["eins", "drei"])
    assert list(corpus(write("x.tsv", b"a\tb\n\xff\tc\n"), bad_utf8="drop")) == [("a", "b")]
    assert list(corpus(write("x.jsonl", b'{"a":"a","b":"b"}\n{"a":"\xff","b":""}\n'), bad_utf8="drop")) == [("a", "b")]


def test_other_encodings_are_read():
    assert list(two(b"\xe9\n", b"\xe8\n", encoding="latin-1")) == [("é", "è")]


@pytest.mark.parametrize(
    ("source", "target", "counts"),
    [
        ("", "", "0 read, 0 dropped"),
        ("\n" * 1000, "b\n" * 1000, r"1000 read, 1000 dropped \(empty side: 1000\)"),
    ],
)
def test_corpus_without_pairs_is_an_error(source, target, counts):  # A54
    with pytest.raises(DataError, match=f"a.en, a.de: no usable pairs: {counts}; give"):
        list(two(source, target))


def test_same_text_on_both_sides_is_noticed():  # A55
    write("a.en", joined(EN))
    found = corpus("a.en", "a.en")
    assert found.statistics().messages() == ["source and target are identical in 100% of lines"]


def test_missing_and_empty_corpora_are_said():  # A56
    with pytest.raises(DataError, match="absent.en: no such file"):
        corpus("absent.en", "absent.de")
    with pytest.raises(OptionError, match="no corpus"):
        corpus()


RAGGED = {  # text, options, message
    "too many": ("a\tb\nc\td\te\n", {}, r"x.tsv:2: 3 fields, expected 2; name the two with --set data.columns=\[1,2\]"),
    "too few": ("a\tb\nc\n", {}, "x.tsv:2: 1 field, expected 2"),
    "too few for the numbers": ("a\tb\n", {"columns": [1, 3]}, "x.tsv:1: 2 fields, expected at least 3"),
    "other than the header": ("src\ttgt\na\tb\tc\n", {}, "x.tsv:2: 3 fields, expected 2; repair the line"),
    "unknown name": ("a\tb\n1\t2\n", {"columns": ["a", "c"]}, 'x.tsv: column "c" not found; have: a, b'),
}


@pytest.mark.parametrize(("text", "options", "message"), RAGGED.values(), ids=RAGGED.keys())
def test_ragged_rows_are_an_error_with_their_number(text, options, message):  # A71
    with pytest.raises(DataError, match=message):
        list(corpus(write("x.tsv", text), **options))


def test_columns_are_numbered_from_one():
    with pytest.raises(OptionError, match="data.columns 0,1: are numbered from 1"):
        list(corpus(write("x.tsv", "a\tb\n"), columns=[0, 1]))


JSON = {  # line, message
    "language missing": ({"en": "a", "fr": "b"}, 'x.en-de.jsonl:1: column "de" not found; have: en, fr'),
    "missing inside": ({"translation": {"en": "a", "fr": "b"}}, 'column "de" not found; have: en, fr'),
    "both missing inside": ({"translation": {"cs": "a", "fr": "b"}}, 'column "en" not found; have: cs, fr'),
    "which": ({"a": "", "b": "", "c": ""}, "has a, b, c; name the two columns with --set data.columns"),
    "no text": ({"en": "a", "de": 7}, 'x.en-de.jsonl:1: column "de" holds int, expected text'),
    "no object": (["a", "b"], "x.en-de.jsonl:1: a JSON list, expected an object; write one object per line"),
}


@pytest.mark.parametrize(("row", "message"), JSON.values(), ids=JSON.keys())
def test_json_rows_that_do_not_fit_are_named(row, message):  # A69
    with pytest.raises(DataError, match=message):
        list(corpus(write("x.en-de.jsonl", json.dumps(row))))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nonsense"])
def test_what_is_no_json_is_named(text):
    with pytest.raises(DataError, match="x.jsonl:1: not JSON"):
        list(corpus(write("x.jsonl", text)))


def test_languages_of_a_translation_must_be_known():
    with pytest.raises(OptionError, match="has de, en; say which with --source-lang and --target-lang"):
        list(corpus(write("x.jsonl", '{"translation": {"de": "a", "en": "b"}}')))


def test_null_is_an_empty_side():  # A69
    found = corpus(write("x.jsonl", '{"a": "x", "b": null}\n{"a": "y", "b": "z"}\n'))
    assert list(found) == [("y", "z")]
    assert found.statistics().dropped["empty side"] == (1, Place("x.jsonl", 1))


def test_json_text_becomes_one_line_without_surrogates():
    row = '{"a": "one\\r\\ntwo\\nthree", "b": "\\ud800 drei"}'
    assert list(corpus(write("x.jsonl", row))) == [("one two three", "\ufffd drei")]


def test_places_name_the_lines_of_the_pairs():
    found = two("one\n\nthree\n", "eins\nzwei\ndrei\n")
    assert list(found.placed()) == [
        (Place("a.en", 1), ("one", "eins")),
        (Place("a.en", 3), ("three", "drei")),
    ]


def test_scored_sides_keep_their_blank_lines():
    assert two("one\n\nthree\n", "eins\nzwei\n\n").sides() == (["one", "", "three"], ["eins", "zwei", ""])
    with pytest.raises(DataError, match="a.en, a.de: has no pairs"):
        two("", "").sides()


def test_fingerprints_are_those_of_the_files():
    found = two(joined(EN), joined(DE))
    assert found.fingerprints() == {
        name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("a.en", "a.de")
    }


def test_fingerprint_changes_with_text_and_reading_only(here):
    first = two(joined(EN), joined(DE)).fingerprint()
    assert two(joined(EN), joined(DE)).fingerprint() == first
    assert corpus(str(here / "a.en"), str(here / "a.de")).fingerprint() == first
    others = [
        two(joined(EN), joined(DE), bad_utf8="drop").fingerprint(),
        two(joined(EN), joined(DE), encoding="latin-1").fingerprint(),
        two(joined(DE), joined(EN)).fingerprint(),
    ]
    assert len({first, *others}) == 4


def test_fingerprint_is_another_where_the_name_turns_the_pairs(here):
    """Else what was encoded under a name that hid the order is taken for them."""
    for suffix, text in (("tsv", "ein\tone\n"), ("jsonl", '{"source": "ein", "target": "one"}\n')):
        names = [f"a.{suffix}", f"b.{suffix}", f"a.de-en.{suffix}"]
        for name in names:
            (here / name).write_text(text)
        found = [corpus(name, source_lang="en", target_lang="de") for name in names]
        assert [list(each) for each in found] == [[("ein", "one")], [("ein", "one")], [("one", "ein")]]
        first, other, turned = [each.fingerprint() for each in found]
        assert first == other != turned


def test_what_cleaning_left_nothing_of_can_be_kept(here):
    copied = "copied from here to there"
    for text, advice in (
        (f"{copied}\t{copied}\n", "keep these with --set data.clean=false"), ("\tx\n", "with text on both sides")
    ):  # fmt: skip
        (here / "a.tsv").write_text(text)
        config = DataConfig(source_lang="en", target_lang="de")
        with pytest.raises(DataError, match=rf"a.tsv: no usable pairs: 1 read, 1 dropped \(.*; give .*{advice}$"):
            list(ParallelCorpus(["a.tsv"], config, is_cleaned=True))


def test_lines_of_a_file_are_all_there():
    assert read_lines(write("x.en.gz", b"a\n\n\xffb\xc2\x85c")) == ["a", "", "\ufffdb\x85c"]
    with pytest.raises(DataError, match="absent: no such file"):
        read_lines("absent")


REAL = {  # corpus: (names, pairs, first pair's source); counts by `zcat | wc -l`
    "tatoeba-fr-en": (["tatoeba-fr-en/train.fr-en.tsv.gz"], 161_896),
    "tatoeba-de-en": (["tatoeba-de-en/train.de.gz", "tatoeba-de-en/train.en.gz"], 164_800),
    "tatoeba-ja-en": (["tatoeba-ja-en/train.ja", "tatoeba-ja-en/train.en"], 50_643),
    "multi30k": (["multi30k/train.en", "multi30k/train.de"], 29_000),
}


@pytest.mark.parametrize(("specs", "pairs"), REAL.values(), ids=REAL.keys())
def test_real_corpora_have_the_pairs_they_are_said_to_have(specs, pairs):
    data = Path(os.environ.get("NMT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    paths = [data / spec for spec in specs]
    if not all(path.exists() for path in paths):
        assert "CI" not in os.environ, f"{specs[0]} is missing below {data}"
        pytest.skip(f"{specs[0]} is missing below {data}; set NMT_DATA")
    found = corpus(*map(str, paths))
    statistics = found.statistics()
    assert (statistics.read, statistics.kept, found.languages) == (pairs, pairs, tuple(told(specs)))


def told(specs):
    return ("fr", "en") if len(specs) == 1 else [spec.removesuffix(".gz").rpartition(".")[2] for spec in specs]
