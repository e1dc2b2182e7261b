"""Corpora with weights and tags: each pair as often as its weight says, tags in front, and the promises kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from corpora import invented
from trainings import Setting, digest, run_training, tiny, write_corpus

from nmt.batches import Position, epoch_batches
from nmt.cli import run as run_command
from nmt.config import DataConfig, TokenizerConfig
from nmt.corpus import ParallelCorpus
from nmt.encoded import Encoding
from nmt.errors import DataError, OptionError
from nmt.mixture import Mixture, mix
from nmt.tokenizer import Tokenizer, Tokenizers
from nmt.training.heldout import HeldOut, hold_out
from nmt.vocabulary import SPECIALS, train

TAG = "<bt>"
KINDS = ("unigram", "bpe", "char", "word")
TEXTS = [side for pair in invented(300) for side in pair]
TYPED = f"{TAG} typed {TAG}{TAG} x{TAG}y"


class Pairs:
    """Pairs in memory that count how often they are gone through."""

    def __init__(self, name: str, pairs: Sequence[tuple[str, str]]) -> None:
        self.name, self.pairs, self.passes = name, pairs, 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.passes += 1
        return iter(self.pairs)

    def fingerprint(self) -> str:
        return self.name


REAL, SYNTHETIC = invented(50, seed=1), invented(30, seed=2)


def encoding(max_length: int = 256, sampling: float = 0.0, kind: str = "unigram") -> Encoding:
    config = TokenizerConfig.model_validate({"type": kind})
    return Encoding(Tokenizers.train([*REAL, *SYNTHETIC], config, ["", TAG]), max_length, sampling)


def mixed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: Encoding, weights: Sequence[int], tags: Sequence[str]
) -> Mixture:
    monkeypatch.setenv("NMT_CACHE", str(folder))
    return mix([Pairs("real", REAL), Pairs("synthetic", SYNTHETIC)], how, weights, tags)


# ---- tags in the tokenizer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["auto", 400])
def test_a_tag_is_one_piece_more_and_all_others_are_what_they_were(kind: str, size: str | int) -> None:
    config = TokenizerConfig.model_validate({"type": kind, "vocab_size": size if kind != "char" else "auto"})
    without, tagged = Tokenizer(train(TEXTS, config)), Tokenizer(train(TEXTS, config, tags=[TAG, "<kd>"]))
    pieces = tagged.pieces(range(tagged.size))
    assert [piece for piece in pieces if piece not in (TAG, "<kd>")] == without.pieces(range(without.size))
    assert tagged.size == without.size + 2
    assert pieces[tagged.tag(TAG)] == TAG
    assert tagged.tag(TAG) != tagged.tag("<kd>")
    for text in [*TEXTS[:50], TYPED]:
        ((before,), (after,)) = (tokenizer.encode([text]) for tokenizer in (without, tagged))
        assert tagged.pieces(after) == without.pieces(before)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_becomes_a_tag_and_no_tag_becomes_text(kind: str) -> None:
    config = TokenizerConfig.model_validate({"type": kind})
    tagged = Tokenizer(train([*TEXTS, *[TYPED] * 100], config, tags=[TAG]))
    (ids,) = tagged.encode([TYPED])
    assert tagged.tag(TAG) not in ids
    assert tagged.decode([[tagged.tag(TAG), *ids]]) == tagged.decode([ids])
    if kind in ("unigram", "bpe"):
        drawn = [each for seed in range(20) for each in tagged.sample([TYPED], 0.3, seed)]
        assert len({tuple(each) for each in drawn}) > 1
        assert not any(tagged.tag(TAG) in each for each in drawn)


def test_only_the_source_has_tags_where_each_language_has_its_own_pieces() -> None:
    tokenizers = Tokenizers.train(REAL, TokenizerConfig(shared=False), ["", TAG, TAG])
    assert tokenizers.source.tag(TAG) == len(SPECIALS)
    with pytest.raises(OptionError, match=f"data.tags: the tokenizer has no {TAG}; train it anew"):
        tokenizers.target.tag(TAG)


def test_a_piece_of_text_is_no_tag() -> None:
    tokenizer = Tokenizer(train([f"{TAG} a b"] * 9, TokenizerConfig(type="word")))
    with pytest.raises(OptionError, match="the tokenizer has no"):
        tokenizer.tag(TAG)


# ---- weights and tags in the batches ------------------------------------------------------------------------------


def seen(mixture: Mixture, start: Position, *, sampling: bool = False) -> list[tuple[str, str, bool]]:
    """Return source, target and whether it was tagged for each pair of the rest of an epoch."""
    source, target = mixture.shares[0].corpus.encoding.tokenizers
    found = []
    for batch, _ in epoch_batches(mixture, 7, 200, start, sampling=sampling):
        for side, other in zip(batch.source.ids.tolist(), batch.target.ids.tolist(), strict=True):
            found.append((source.decode([side])[0], target.decode([other])[0], side[0] == source.tag(TAG)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [0.0, 0.2])
@pytest.mark.parametrize(("weights", "tags"), [([1, 3], ["", TAG]), ([2, 1], [TAG, ""]), ([], ["", TAG]), ([4, 5], [])])
def test_each_pair_is_seen_as_often_as_its_weight_says_with_its_tag(
    weights: list[int], tags: list[str], sampling: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = mixed(tmp_path, monkeypatch, encoding(sampling=sampling), weights, tags)
    expected = Counter[tuple[str, str, bool]]()
    for number, pairs in enumerate((REAL, SYNTHETIC)):
        for pair in pairs:
            expected[(*pair, bool(tags and tags[number]))] += weights[number] if weights else 1
    assert len(mixture) == expected.total()
    epochs = [seen(mixture, Position(epoch), sampling=sampling > 0) for epoch in range(2)]
    assert [Counter(epoch) for epoch in epochs] == [expected, expected]
    assert epochs[0] != epochs[1]
    assert epochs[0] == seen(mixture, Position(0), sampling=sampling > 0)


def test_lengths_are_those_of_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = mixed(tmp_path, monkeypatch, encoding(), [2, 3], ["", TAG])
    rows = np.random.default_rng(1).permutation(len(mixture))
    for lengths, side in zip(mixture.lengths(rows), mixture.take(rows), strict=True):
        assert lengths.tolist() == side.lengths.tolist()
    assert [side.lengths.tolist() for side in mixture.take(rows[:0])] == [[], []]


def test_a_repeated_pair_is_segmented_anew_and_decided_by_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = mixed(tmp_path, monkeypatch, encoding(sampling=0.1), [1, 2], ["", TAG])
    rows = np.arange(50, 110)  # all of the second, twice
    first, again, other = (mixture.take(rows, seed=seed)[0].sequences() for seed in (1, 1, 2))
    assert [ids.tolist() for ids in first] == [ids.tolist() for ids in again]
    assert [ids.tolist() for ids in first] != [ids.tolist() for ids in other]
    assert [ids.tolist() for ids in first[:30]] != [ids.tolist() for ids in first[30:]]


def test_the_tag_counts_for_the_largest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = encoding()
    longest = max(len(how.tokenizers.source.encode([source])[0]) for source, _ in SYNTHETIC) + 1
    longest = max(longest, *(len(how.tokenizers.target.encode([target])[0]) + 1 for _, target in SYNTHETIC))
    exact = how._replace(max_length=longest)
    plain, tagged = (mixed(tmp_path, monkeypatch, exact, [], ["", tag]) for tag in ("", TAG))
    assert plain.shares[1].corpus.counts.too_long == 0
    assert tagged.shares[1].corpus.counts.too_long > 0
    assert max(tagged.lengths(np.arange(len(tagged)))[0]) < longest


def test_other_weights_need_no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMT_CACHE", str(tmp_path))
    real, synthetic = Pairs("real", REAL), Pairs("synthetic", SYNTHETIC)
    how = encoding()
    for weights in ([], [1, 2], [9, 9]):
        mix([real, synthetic], how, weights, [])
    assert (real.passes, synthetic.passes) == (1, 1)
    folders = {path.name for path in tmp_path.iterdir()}
    mix([real, Pairs("other", SYNTHETIC)], how, [], [])
    assert len({path.name for path in tmp_path.iterdir()} - folders) == 1


# ---- whole trainings ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two aligned files and a TSV: two corpora."""
    folder = tmp_path_factory.mktemp("corpora")
    source, target = (Path(name).read_text().splitlines() for name in write_corpus(folder, 30, "more", seed=2))
    lines = (f"{left}\t{right}\n" for left, right in zip(source, target, strict=True))
    (folder / "bt.tsv").write_text("".join(lines))
    return [*write_corpus(folder, 40, "real"), str(folder / "bt.tsv")]


WEIGHED: dict[str, Setting] = {"data.weights": "[1, 3]", "data.tags": f'["", {TAG}]'}


@pytest.mark.slow
def test_a_resumed_training_ends_in_the_weights_of_an_unbroken_one(corpora: list[str], tmp_path: Path) -> None:
    changes: dict[str, Setting] = {**WEIGHED, "training.max_steps": 40, "training.log_every": 10}
    told = run_training(tmp_path / "straight", tiny(corpora, changes))
    assert "bt.tsv: 30 pairs, each 3 x per epoch, tagged <bt>" in told
    for limit in (5, 23, 40):  # in the first, the second and the third epoch
        told = run_training(tmp_path / "stopped", tiny(corpora, {**changes, "training.max_steps": limit}))
    assert "resuming at step 23, epoch 2" in told
    assert digest(tmp_path / "stopped") == digest(tmp_path / "straight")


@pytest.mark.slow
def test_weights_of_one_are_no_weights_and_others_are(corpora: list[str], tmp_path: Path) -> None:
    plain: dict[str, Setting] = {"tokenizer.sampling": 0}
    for name, changes in (("none", {}), ("one", {"data.weights": "[1, 1]"}), ("two", {"data.weights": "[1, 2]"})):
        run_training(tmp_path / name, tiny(corpora, {**plain, **changes}))
    assert digest(tmp_path / "one") == digest(tmp_path / "none")
    assert digest(tmp_path / "two") != digest(tmp_path / "none")


@pytest.mark.slow
def test_translation_and_validation_carry_no_tag(corpora: list[str], tmp_path: Path) -> None:
    run_training(tmp_path, tiny(corpora, WEIGHED))
    log = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert "  source       " in log
    assert "source       <bt>" not in log


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.weights": "[1]"}, "data.weights: 1 for 2 corpora (real.en, bt.tsv); give one for each"),
        ({"data.weights": "[1, 1, 1]"}, "data.weights: 3 for 2 corpora"),
        ({"data.tags": f"[{TAG}]"}, "data.tags: 1 for 2 corpora"),
        ({"data.weights": "[1, 0]"}, "--set data.weights: '0' should be greater than 0"),
        ({"data.weights": "[1, 0.5]"}, "--set data.weights: '0.5' should be a valid integer"),
        ({"data.tags": '["", "bt"]'}, "--set data.tags: 'bt' should be a word such as <bt>, or \"\" for none"),
        ({"data.tags": '["", "</s>"]'}, "--set data.tags: '</s>' should be"),
        ({"data.tags": '["", "<unk>"]'}, "--set data.tags: '<unk>' should be"),
        ({"data.tags": '["", "<0x41>"]'}, "--set data.tags: '<0x41>' should be"),
        ({"data.tags": '["", "<b t>"]'}, "--set data.tags: '<b t>' should be"),
    ],
)
def test_what_cannot_be_weighed_or_tagged_is_said_in_one_line(
    changes: dict[str, str], message: str, corpora: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    assert run_command(["train", *corpora, "-o", str(tmp_path / "run"), *settings]) == 2
    error = capsys.readouterr().err.replace(f"{Path(corpora[0]).parent}/", "")
    assert error.startswith(f"nmt train: error: {message}")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_tag_that_the_model_started_from_does_not_know_is_refused(corpora: list[str], tmp_path: Path) -> None:
    run_training(tmp_path / "first", tiny(corpora, {**WEIGHED, "training.max_steps": 1}))
    changes: dict[str, Setting] = {**WEIGHED, "data.tags": '["", <new>]', "training.max_steps": 1}
    with pytest.raises(OptionError, match="the tokenizer has no <new>; train it anew, without --from"):
        run_training(tmp_path / "second", tiny(corpora, changes), start_from=tmp_path / "first")
    run_training(tmp_path / "third", tiny(corpora, {**WEIGHED, "training.max_steps": 1}), start_from=tmp_path / "first")


def test_held_out_pairs_are_held_out_of_their_own_corpus(corpora: list[str]) -> None:
    config = DataConfig(train=tuple(corpora), source_lang="en", target_lang="de")
    corpus = ParallelCorpus(corpora, config)
    training, valid, *_ = hold_out(corpus, seed=1)
    one, two = training.apart()
    assert [*one, *two] == [*training]
    assert [*one] == [pair for number, pair in corpus.numbered() if number == 0 and pair in set(training)]
    assert len(valid) == 1
    assert len({each.fingerprint() for each in (one, two, training, HeldOut(corpus))}) == 4


def test_a_corpus_without_a_pair_is_named(corpora: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.tsv").write_text("a\t \n")
    files = [*corpora[:2], str(tmp_path / "empty.tsv")]
    with pytest.raises(DataError, match=r"empty.tsv: no pair is left of this corpus; leave it out"):
        run_training(tmp_path / "run", tiny(files, WEIGHED))
