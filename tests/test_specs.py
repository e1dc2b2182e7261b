"""The name of a corpus tells where it lies, how it is read and which languages it has."""

import os

import pytest

from nmt.config import DataConfig
from nmt.errors import DataError, OptionError
from nmt.specs import languages, parts, resolve


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder; $NMT_DATA is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_DATA", raising=False)
    return tmp_path


TOLD = [  # names, the languages they tell
    (["a.en", "a.de"], ("en", "de")),
    (["a.en.gz", "a.de.gz"], ("en", "de")),
    (["test_2016.lc.norm.tok.de", "test_2016.lc.norm.tok.en"], ("de", "en")),
    (["OpenSubtitles.de-en.en", "OpenSubtitles.de-en.de"], ("en", "de")),
    (["corpus.en.txt", "corpus.fr.txt"], ("en", "fr")),
    (["a.pt_BR", "a.zh-Hans"], ("pt_BR", "zh-Hans")),
    (["a.src", "a.tgt"], ("", "")),
    (["a.txt", "b.txt"], ("", "")),
    (["a.en", "b.en"], ("", "")),
    (["source", "target"], ("", "")),
    (["train.fr-en.tsv.gz"], ("fr", "en")),
    (["en-fr.jsonl"], ("en", "fr")),
    (["train.tsv"], ("", "")),
    (["hf:opus_books:en-fr"], ("en", "fr")),
    (["hf:wmt/wmt19:de-en@abc#validation"], ("de", "en")),
    (["hf:de-en"], ("", "")),
    (["x.src", "x.tgt", "a.en", "a.de"], ("en", "de")),
    (["x.{lang}"], ("", "")),
]


@pytest.mark.parametrize(("names", "expected"), TOLD)
def test_names_tell_the_languages(here, names, expected):
    assert languages(names, DataConfig()) == expected


def test_a_name_that_is_too_long_is_not_there(here):
    with pytest.raises(DataError, match="no such file"):
        resolve("x" * 300)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("fr", "en")),
        ({"source_lang": "en"}, ("en", "fr")),
        ({"target_lang": "fr"}, ("en", "fr")),
        ({"target_lang": "en"}, ("fr", "en")),
        ({"source_lang": "xx"}, ("xx", "en")),
        ({"source_lang": "xx", "target_lang": "yy"}, ("xx", "yy")),
    ],
)
def test_options_hold_over_names(here, given, expected):
    assert languages(["train.fr-en.tsv"], DataConfig(**given)) == expected


def test_relative_names_are_looked_for_in_this_order(here, monkeypatch):
    for folder in ("named/x.en", "data/x.en", "named/y.en", "data/y.en", "x.en"):
        os.makedirs(os.path.dirname(folder) or ".", exist_ok=True)
        open(folder, "w").close()
    monkeypatch.setenv("NMT_DATA", "named")
    assert [str(resolve(name)) for name in ("x.en", "y.en")] == ["x.en", "named/y.en"]
    monkeypatch.delenv("NMT_DATA")
    assert str(resolve("y.en")) == "data/y.en"
    assert resolve(here / "x.en") == here / "x.en"


def test_missing_file_is_named_with_the_folders_searched(here, monkeypatch):
    monkeypatch.setenv("NMT_DATA", "/nowhere")
    with pytest.raises(DataError, match="x.en: no such file, neither here nor in /nowhere, data, .*set NMT_DATA"):
        resolve("x.en")


def names(specs, **options):
    config = DataConfig(**options)
    return [part.name for part in parts(specs, languages(specs, config), config)]


def test_plain_files_pair_up_in_order_whatever_stands_between(here):
    for name in ("a.en", "a.de", "b.en", "b.de", "c.tsv"):
        (here / name).touch()
    assert names(["a.en", "c.tsv", "a.de", "b.en", "b.de"]) == ["c.tsv", "a.en", "b.en"]


def test_odd_file_is_a_wrong_option(here):
    for name in ("a.en", "a.de", "b.en"):
        (here / name).touch()
    with pytest.raises(OptionError, match="b.en: text files come in pairs, source first"):
        names(["a.en", "a.de", "b.en"])


def test_lang_stands_for_both_languages(here):
    for name in ("a.en", "a.de"):
        (here / name).touch()
    assert names(["a.{lang}"], source_lang="en", target_lang="de") == ["a.en"]
    with pytest.raises(OptionError, match="{lang}: the languages are unknown; use --source-lang"):
        names(["a.{lang}"])


def test_sides_in_the_wrong_order_are_refused(here):
    for name in ("a.en", "a.de"):
        (here / name).touch()
    with pytest.raises(OptionError, match=r"a.en, a.de: the source \(de\) comes first"):
        names(["a.en", "a.de"], source_lang="de", target_lang="en")


def test_pipe_is_no_corpus(here):
    os.mkfifo("a.en")
    with pytest.raises(DataError, match="a.en: is no regular file; a corpus is read more than once"):
        names(["a.en"])


def test_malformed_hub_address_is_a_wrong_option(here):
    with pytest.raises(OptionError, match="hf:#train: not a data set's address; write hf:NAME"):
        names(["hf:#train"])


def test_the_home_of_nobody_is_a_name_like_others(here):
    (here / "~nobody.en").write_text("a\n")
    assert resolve("~nobody.en").read_text() == "a\n"
