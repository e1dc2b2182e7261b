import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from corpora import invented, multi30k

from nmt import encoded
from nmt.config import TokenizerConfig
from nmt.corpus_cache import KEPT, cache_folder
from nmt.encoded import EncodedCorpus, Encoding
from nmt.errors import DataError, ResourceError
from nmt.tokenizer import Tokenizers

PAIRS = invented(500)


@cache
def tokenizers(shared: bool = True) -> Tokenizers:
    return Tokenizers.train(PAIRS, TokenizerConfig(shared=shared, vocab_size=500))


def encoding(max_length: int = 256, sampling: float = 0.0, shared: bool = True) -> Encoding:
    return Encoding(tokenizers(shared), max_length, sampling)


class Passes:
    """Pairs that count how often they are gone through."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs, self.passes = pairs, 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.passes += 1
        return iter(self.pairs)


def decoded(corpus: EncodedCorpus, indices: np.ndarray) -> list[tuple[str, ...]]:
    sides = [list(side) for side in zip(*corpus.pairs(indices), strict=True)]
    texts = [tokenizer.decode(ids) for tokenizer, ids in zip(corpus.encoding.tokenizers, sides, strict=True)]
    return list(zip(*texts, strict=True))


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_encoded_comes_back_in_any_order(tmp_path: Path, shared: bool) -> None:
    corpus = EncodedCorpus.build(PAIRS, encoding(shared=shared), cache=tmp_path)
    assert len(corpus) == len(PAIRS)
    rows = np.random.default_rng(1).permutation(len(PAIRS))
    assert decoded(corpus, rows) == [PAIRS[row] for row in rows]
    assert corpus.pairs(rows[:0]) == []


def test_ids_are_those_of_the_tokenizers(tmp_path: Path) -> None:
    corpus = EncodedCorpus.build(PAIRS, encoding(), cache=tmp_path)
    rows = np.arange(len(PAIRS))
    for side, ragged in enumerate(corpus.take(rows)):
        expected = tokenizers()[side].encode([pair[side] for pair in PAIRS])
        assert [ids.tolist() for ids in ragged.sequences()] == expected
        assert corpus.lengths(rows)[side].tolist() == list(map(len, expected))


def test_a_large_vocabulary_takes_wider_numbers(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(70_000)]
    large = Tokenizers.train([(word, word) for word in words], TokenizerConfig(type="word", vocab_size=len(words) + 4))
    pairs = [(words[-1], words[0]), (words[40_000], words[69_000])]
    corpus = EncodedCorpus.build(pairs, Encoding(large, 9), cache=tmp_path)
    assert decoded(corpus, np.arange(2)) == pairs


def test_real_text_comes_back(tmp_path: Path) -> None:
    pairs = multi30k("val")
    corpus = EncodedCorpus.build(pairs, Encoding(Tokenizers.train(pairs, TokenizerConfig()), 256), cache=tmp_path)
    squeezed = [tuple(" ".join(side.replace("\u00a0", " ").split()) for side in pair) for pair in pairs]
    assert decoded(corpus, np.arange(len(pairs))) == squeezed


@pytest.mark.parametrize("sampling", [0.0, 0.1])
def test_several_processes_write_the_files_that_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: float
) -> None:
    pairs = [*PAIRS, ("", "x"), ("a \ud83d b", "\x01 c"), (PAIRS[0][0] * 9, "x"), *PAIRS[:77]]
    found = []
    for processes, size in ((1, 8_192), (1, 50), (3, 50)):
        monkeypatch.setattr("nmt.encoding.cores", lambda count=processes: count)
        monkeypatch.setattr("nmt.encoding.PAIRS", size)
        folder = tmp_path / f"{processes}-{size}"
        corpus = EncodedCorpus.build(pairs, encoding(64, sampling), cache=folder, fingerprint="known")
        assert corpus.counts == (538, 41, 1)
        found.append({path.name: path.read_bytes() for path in corpus.folder.iterdir()})
    assert found[0] == found[1] == found[2]


# ---- dropped pairs --------------------------------------------------------------------------------------------


def test_long_and_empty_pairs_are_dropped_and_counted(tmp_path: Path) -> None:
    long = PAIRS[0][0]
    tokens = len(tokenizers().source.encode([long])[0])
    pairs = [("a", "b"), (long, "b"), ("a", long), ("", "b"), ("a", " \u00a0 "), ("", long), ("b", "a")]
    corpus = EncodedCorpus.build(pairs, encoding(max_length=tokens), cache=tmp_path)  # one too few for its EOS
    assert corpus.counts == (2, 2, 3)
    assert decoded(corpus, np.arange(2)) == [("a", "b"), ("b", "a")]
    assert EncodedCorpus.build(pairs, encoding(max_length=tokens + 1), cache=tmp_path).counts == (4, 0, 3)


@pytest.mark.parametrize("pairs", [[], [("", "a")], [("a b c d e f g", "a")]])
def test_no_pair_left_is_a_data_error_with_counts(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(DataError, match=r"no pair is left, \d have an empty side, \d one of more than 3 tokens"):
        EncodedCorpus.build(pairs, encoding(max_length=3), cache=tmp_path)


# ---- sampling -------------------------------------------------------------------------------------------------


def test_a_pair_is_drawn_by_the_seed_and_its_mates_alone(tmp_path: Path) -> None:
    corpus = EncodedCorpus.build(PAIRS, encoding(sampling=0.1), cache=tmp_path)
    assert corpus.encoding.is_drawn
    rows = np.arange(100)
    first, second = ([ids.tolist() for pair in corpus.pairs(rows, seed=seed) for ids in pair] for seed in (1, 2))
    assert first != second
    assert first == [ids.tolist() for pair in corpus.pairs(rows, seed=1) for ids in pair]
    usual = [ids.tolist() for pair in corpus.pairs(rows) for ids in pair]
    assert tokenizers().source.decode(first) == tokenizers().source.decode(usual)


def test_texts_are_kept_for_sampling(tmp_path: Path) -> None:
    corpus = EncodedCorpus.build([*PAIRS, ("", "x"), ("ein 🤗 \ud83d", "é")], encoding(sampling=0.1), cache=tmp_path)
    assert corpus.texts(np.array([500, 3])) == [("ein 🤗 ?", "é"), PAIRS[3]]


def test_a_drawn_segmentation_is_never_over_the_largest_length(tmp_path: Path) -> None:
    source, target = EncodedCorpus.build(PAIRS, encoding(), cache=tmp_path).lengths(np.arange(500))
    limit = int(max(source.max(), target.max())) + 1
    corpus = EncodedCorpus.build(PAIRS, encoding(limit, sampling=0.01), cache=tmp_path)
    rows = np.arange(500)
    usual, drawn = corpus.take(rows)[0], corpus.take(rows, seed=1)[0]
    assert len(corpus) == 500
    assert drawn.lengths.max() < limit
    assert drawn.lengths.mean() > usual.lengths.mean()


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_some_pairs_are_drawn_in_another_case(tmp_path: Path, sampling: float) -> None:
    pairs = [(f"Der Hund {number}", f"The Dog {number}") for number in range(4000)]
    both = Tokenizers.train([*pairs, *((a.upper(), b.lower()) for a, b in pairs)], TokenizerConfig(vocab_size=300))
    corpus = EncodedCorpus.build(pairs, Encoding(both, 256, sampling, recased=0.2), cache=tmp_path)
    rows = np.arange(4000)
    drawn = [
        tuple(both.source.decode([ids])[0] for ids in pair) for pair in zip(
            *(ragged.sequences() for ragged in corpus.take(rows, seed=7)), strict=True
        )
    ]  # fmt: skip
    upper = [(source.upper(), target.upper()) for source, target in pairs]
    lower = [(source.lower(), target) for source, target in pairs]
    counts = [sum(one == other for one, other in zip(drawn, form, strict=True)) for form in (pairs, upper, lower)]
    assert sum(counts) == 4000
    assert 3000 < counts[0] < 3400
    assert 300 < counts[1] < 500
    assert 300 < counts[2] < 500
    other, usual = corpus.take(rows, seed=8)[0], corpus.take(rows)[0]
    assert not np.array_equal(other.ids, corpus.take(rows, seed=7)[0].ids)
    assert both.source.decode([ids.tolist() for ids in usual.sequences()]) == [source for source, _ in pairs]


def test_what_was_read_does_not_stay_in_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, file, size = Path("/proc/self/status"), tmp_path / "numbers", 2**28
    if not status.exists():
        pytest.skip("pages are counted on Linux")

    def mapped() -> int:
        return (
            next(int(line.split()[1]) for line in status.read_text().split("\n") if line.startswith("RssFile")) * 1024
        )

    monkeypatch.setattr(encoded, "HELD", 2**24)
    with file.open("wb") as empty:
        empty.truncate(size)
        empty.seek(8 * 1000)
        empty.write(np.int64(7).tobytes())
    numbers, before = encoded._Mapped(file, "i8"), mapped()
    for seed in range(100):
        places = np.random.default_rng(seed).integers(0, size // 8, 100)
        numbers.take(places, len(places))
        assert mapped() - before < 3 * 2**24
    assert numbers.take(np.array([999, 1000]), 1).tolist() == [0, 7]
    everywhere = np.linspace(1000, size // 8 - 1, 5000, dtype=np.int64)
    assert numbers.take(np.stack([everywhere, everywhere - 1]), 5000)[:, :2].tolist() == [[7, 0], [0, 0]]
    assert mapped() - before < 3 * 2**24


# ---- the cache ------------------------------------------------------------------------------------------------


def test_a_second_start_does_not_encode(tmp_path: Path) -> None:
    pairs = Passes(PAIRS)
    EncodedCorpus.build(pairs, encoding(), cache=tmp_path)
    assert pairs.passes == 2
    EncodedCorpus.build(pairs, encoding(), cache=tmp_path)
    assert pairs.passes == 3  # to hash the text
    EncodedCorpus.build(pairs, encoding(), cache=tmp_path, fingerprint="known")
    EncodedCorpus.build(pairs, encoding(), cache=tmp_path, fingerprint="known")
    assert pairs.passes == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_text_tokenizers_and_options_have_caches_of_their_own(tmp_path: Path) -> None:
    variants = [
        (PAIRS, encoding()),
        (PAIRS[:-1], encoding()),
        ([*PAIRS[:-1], ("other", "text")], encoding()),
        ([(source + "a", target) for source, target in PAIRS], encoding()),
        ([("a" + source, target) for source, target in PAIRS], encoding()),
        (PAIRS, encoding(max_length=99)),
        (PAIRS, encoding(sampling=0.1)),
        (PAIRS, encoding(shared=False)),
    ]
    folders = {EncodedCorpus.build(pairs, how, cache=tmp_path).folder for pairs, how in variants}
    assert len(folders) == len(variants)


def test_the_hash_sees_where_a_text_ends(tmp_path: Path) -> None:
    folders = {
        EncodedCorpus.build(pairs, encoding(), cache=tmp_path).folder for pairs in ([("ab", "c")], [("a", "bc")])
    }
    moved = [[("a", "x"), ("b", "x")], [("ab", "x"), ("", "x")]]
    folders |= {EncodedCorpus.build(pairs, encoding(), cache=tmp_path).folder for pairs in moved}
    assert len(folders) == 4


@pytest.mark.parametrize("name", ["source.ids", "target.offsets", "corpus.json"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, name: str) -> None:
    folder = EncodedCorpus.build(PAIRS, encoding(), cache=tmp_path).folder
    (folder / name).write_bytes((folder / name).read_bytes()[:-8])
    assert decoded(EncodedCorpus.build(PAIRS, encoding(), cache=tmp_path), np.arange(500)) == PAIRS
    assert list(tmp_path.iterdir()) == [folder]


def _build(folder: Path, gate: object, passes: object) -> None:
    pairs, how = Passes(PAIRS * 20), encoding()
    gate.wait()  # type: ignore[attr-defined]
    corpus = EncodedCorpus.build(pairs, how, cache=folder, fingerprint="known")
    assert decoded(corpus, np.arange(500)) == PAIRS
    passes.put(pairs.passes)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_processes_that_build_at_once_one_does_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, passes = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_build, args=(tmp_path, gate, passes)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(passes.get(timeout=9) for _ in range(3)) == [0, 0, 1]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_long_unused_is_removed_when_another_corpus_comes(tmp_path: Path) -> None:
    """A training that reads it goes on; what is not ours stays."""
    unused, used = (EncodedCorpus.build(PAIRS[:count], encoding(), cache=tmp_path) for count in (9, 8))
    (tmp_path / ("ab" * 8 + "-k2x_q7")).mkdir()  # of a process that was killed
    (tmp_path / "my results").mkdir()
    for name in (unused.folder.name + ".lock", "notes.txt"):
        (tmp_path / name).touch()
    for path in tmp_path.iterdir():
        os.utime(path, (time.time(), time.time() - KEPT - 60))
    EncodedCorpus.build(PAIRS[:8], encoding(), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    new = EncodedCorpus.build(PAIRS[:7], encoding(), cache=tmp_path)
    assert set(tmp_path.iterdir()) == {used.folder, new.folder, tmp_path / "my results", tmp_path / "notes.txt"}
    assert decoded(unused, np.arange(9)) == PAIRS[:9]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, str]]:
        yield from PAIRS
        raise DataError("corpus:501: broken; mend it")

    with pytest.raises(DataError, match="corpus:501"):
        EncodedCorpus.build(broken(), encoding(), cache=tmp_path, fingerprint="known")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_resource_error() -> None:
    folder = Path("/dev/full")
    if not folder.exists():
        pytest.skip("/dev/full is absent")
    with pytest.raises(ResourceError, match=r"cannot be written: .*; make room or set NMT_CACHE"):
        EncodedCorpus.build(PAIRS, encoding(), cache=folder)


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NMT_CACHE", str(tmp_path / "nmt"))
    assert cache_folder() == tmp_path / "nmt"
    monkeypatch.setenv("NMT_CACHE", "/dev/null/unusable")
    assert cache_folder() == tmp_path / "xdg" / "nmt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "nmt"
    monkeypatch.setenv("HOME", "/dev/null")
    assert cache_folder().is_relative_to(tempfile.gettempdir())
