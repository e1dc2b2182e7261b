"""Parquet, Arrow and what `datasets` saved are read like any corpus; no code of a data set is run."""

import errno
import logging
from pathlib import Path

import datasets
import pytest

from nmt.config import DataConfig
from nmt.corpus import Pair, ParallelCorpus
from nmt.errors import DataError, ResourceError
from nmt.hub import DatasetRows, _explained, parse

FLAT = {"id": [1, 2], "en": ["one", "two"], "de": ["eins", "zwei"]}
NESTED = {"translation": [{"de": "eins", "en": "one"}, {"de": "zwei", "en": "two"}]}
PAIRS = [Pair("one", "eins"), Pair("two", "zwei")]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with the cache in it, without progress bars."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def corpus(*specs, **options):
    return ParallelCorpus(specs, DataConfig(**({"source_lang": "en", "target_lang": "de"} | options)))


def parquet(data):
    datasets.Dataset.from_dict(data).to_parquet("x.parquet")
    return "x.parquet"


def parquet_folder(data):
    datasets.Dataset.from_dict(data).to_parquet("folder/train-00000-of-00001.parquet")
    datasets.Dataset.from_dict({"en": ["no"], "de": ["nein"]}).to_parquet("folder/test-00000-of-00001.parquet")
    return "folder"


def saved(data):
    datasets.Dataset.from_dict(data).save_to_disk("saved")
    return "saved"


def saved_splits(data):
    rows = datasets.Dataset.from_dict(data)
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk("splits")
    return "splits"


def arrow(data):
    return f"{saved(data)}/data-00000-of-00001.arrow"


def arrow_folder(data):
    saved(data)
    Path("arrows").mkdir()
    Path("saved/data-00000-of-00001.arrow").rename("arrows/train.arrow")
    return "arrows"


@pytest.mark.slow
@pytest.mark.parametrize("data", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("make", [parquet, parquet_folder, saved, saved_splits, arrow, arrow_folder])
def test_every_container_gives_the_same_pairs(make, data):
    found = corpus(make(data))
    assert list(found) == PAIRS
    assert list(found) == PAIRS  # again, from the start
    assert found.statistics().read == 2


def test_fingerprint_is_that_of_the_text():
    assert len({corpus(make(FLAT)).fingerprint() for make in (parquet, parquet_folder, saved_splits)}) == 1
    assert corpus(parquet(FLAT | {"en": ["one", "too"]})).fingerprint() != corpus(saved(FLAT)).fingerprint()


def test_split_is_named_after_a_number_sign():
    assert list(corpus(f"{parquet_folder(FLAT)}#test")) == [("no", "nein")]
    assert list(corpus(f"{saved_splits(FLAT)}#test")) == PAIRS[:1]
    for spec in ("folder#dev", "splits#dev"):
        with pytest.raises(DataError, match=f"{spec}: .*dev.*train"):
            list(corpus(spec))


def test_columns_are_named_or_missed():  # A69
    rows = {"a": ["one"], "b": ["x"], "c": ["eins"]}
    assert list(corpus(parquet(rows), columns=["a", "c"])) == PAIRS[:1]
    with pytest.raises(DataError, match="x.parquet: has a, b, c; name the two columns"):
        list(corpus("x.parquet"))
    with pytest.raises(DataError, match='x.parquet: column "d" not found; have: a, b, c'):
        list(corpus("x.parquet", columns=["a", "d"]))
    with pytest.raises(DataError, match='x.parquet: column "de" not found; have: en, fr'):
        list(corpus(parquet({"en": ["one"], "fr": ["un"]})))


def test_a_name_turns_columns_that_do_not_tell():
    Path(parquet({"source": ["eins"], "target": ["one"]})).rename("x.de-en.parquet")
    assert list(corpus("x.de-en.parquet", source_lang="en")) == PAIRS[:1]
    Path(parquet({"de": ["eins"], "en": ["one"]})).rename("x.de-en.parquet")
    assert list(corpus("x.de-en.parquet", source_lang="en")) == PAIRS[:1]


def test_names_are_no_patterns_and_not_compressed_twice():
    Path(parquet(FLAT)).rename("x[1].parquet")
    assert list(corpus("x[1].parquet")) == PAIRS
    Path("x.parquet.gz").touch()
    with pytest.raises(DataError, match="x.parquet.gz: is compressed within already; gunzip it"):
        corpus("x.parquet.gz")


def test_null_drops_its_pair_and_a_number_is_refused():  # A69
    found = corpus(parquet({"en": ["one", None, "two"], "de": ["eins", "x", "zwei"]}))
    assert list(found) == PAIRS
    assert found.statistics().messages() == ["x.parquet: dropped 1 of 3 pairs: empty side (first: line 2)"]
    with pytest.raises(DataError, match='column "de" holds int, expected text'):
        list(corpus(parquet({"en": ["one"], "de": [1]})))


def test_data_set_with_a_script_is_refused_unrun(here):  # A68
    (here / "scripted").mkdir()
    (here / "scripted" / "scripted.py").write_text("open('canary', 'w').close()\n")
    for spec in ("scripted", "hf:scripted"):
        with pytest.raises(DataError, match=f"{spec}: this dataset needs code; convert it to Parquet"):
            list(corpus(spec))
    assert not (here / "canary").exists()


def test_damaged_and_empty_containers_are_bad_data(here):
    (here / "x.parquet").write_bytes(b"nonsense" * 10)
    (here / "empty").mkdir()
    for spec in ("x.parquet", "empty"):
        with pytest.raises(DataError, match=f"{spec}: cannot be read by datasets: .*"):
            list(corpus(spec))


def test_files_that_do_not_go_together_are_bad_data_and_a_full_disk_is_none(here):
    for number, data in enumerate([FLAT, {**FLAT, "more": [1, 2]}]):
        datasets.Dataset.from_dict(data).to_parquet(f"columns/train-0000{number}-of-00002.parquet")
    for number, english in enumerate([["one"], [["two"]]]):
        datasets.Dataset.from_dict({"en": english, "de": ["eins"]}).to_parquet(f"types/{number}.parquet")
    for spec in ("hf:./columns", "types"):
        with pytest.raises(DataError, match=f"{spec}: cannot be read by datasets: .*"):
            list(corpus(spec))
    wrapped = datasets.exceptions.DatasetGenerationError("An error occurred")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(_explained("hf:x", wrapped), ResourceError)
    assert "An error occurred" in str(
        _explained("hf:x", datasets.exceptions.DatasetGenerationError("An error occurred"))
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf:a", ("a", "", "", "")),
        ("hf:a/b:c", ("a/b", "c", "", "")),
        ("hf:a/b@1f2e#dev", ("a/b", "", "1f2e", "dev")),
        ("hf:a/b:de-en@refs/pr/1#train[:10%]", ("a/b", "de-en", "refs/pr/1", "train[:10%]")),
    ],
)
def test_hub_addresses_have_four_parts(spec, expected):
    assert tuple(parse(spec).values()) == expected


@pytest.mark.parametrize("streaming", [False, True])
def test_a_streamed_data_set_is_not_kept(here, streaming):  # a local folder stands for the hub's
    parquet_folder(FLAT)
    found = corpus("hf:folder", streaming=streaming)
    assert list(found) == PAIRS
    assert list(found) == PAIRS
    assert found.fingerprint() == corpus("hf:folder", streaming=not streaming).fingerprint()
    assert isinstance(found._parts[0].loaded.rows, datasets.IterableDataset) == streaming


def test_the_fingerprint_takes_no_pass_of_its_own(monkeypatch):
    expected = corpus(parquet(FLAT)).fingerprints()
    found = corpus("x.parquet")
    assert list(found) == PAIRS
    monkeypatch.setattr(DatasetRows, "_read", lambda self, columns=(): pytest.fail("read again"))
    assert found.fingerprints() == expected


def test_unpinned_data_set_is_noted(here):  # A70; a local folder stands for the hub's
    parquet_folder(FLAT)
    found = corpus("hf:folder")
    assert list(found) == PAIRS
    (note,) = found.statistics().messages()
    assert note.startswith("hf:folder: revision not pinned; name it to have the same text again: hf:folder@")
    assert logging.getLogger("datasets").level == logging.CRITICAL
