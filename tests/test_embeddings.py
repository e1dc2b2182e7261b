"""Word vectors of every format land on the rows of their pieces, and what is wrong with a file is said."""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import PAIRS
from safetensors.torch import load_file
from terminal import fresh
from trainings import RNN, Setting, Stop, digest, heard, run_training, stop, tiny, write_corpus

from nmt import word2vec
from nmt.cli import run as run_command
from nmt.config import Config, TokenizerConfig
from nmt.configfile import dump_config
from nmt.errors import DataError, NmtError, OptionError
from nmt.models import build
from nmt.models.weights import Embeddings
from nmt.sealed import canonical, entry_of
from nmt.tokenizer import Tokenizer, Tokenizers
from nmt.training import checkpoint
from nmt.training.embeddings import start_from_vectors
from nmt.training.prepare import with_model_of
from nmt.vectors import read_vectors

torch.set_num_threads(1)

WIDTH = 8
Words = Mapping[str, Sequence[float]]


# ---- files ------------------------------------------------------------------------------------------------------


def glove(words: Words) -> bytes:
    return "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in words.items()).encode()


def header(words: Words) -> bytes:
    return f"{len(words)} {len(next(iter(words.values())))}\n".encode()


def text(words: Words) -> bytes:
    return header(words) + glove(words)


def binary(words: Words, end: bytes = b"\n") -> bytes:
    rows = (word.encode() + b" " + struct.pack(f"<{len(row)}f", *row) + end for word, row in words.items())
    return header(words) + b"".join(rows)


FORMATS: dict[str, Callable[[Words], bytes]] = {
    "word2vec text": text,
    "word2vec text, spaces at the ends of lines": lambda words: text(words).replace(b"\n", b" \n"),
    "word2vec text of Windows": lambda words: b"\xef\xbb\xbf" + text(words).replace(b"\n", b"\r\n"),
    "word2vec binary": binary,
    "word2vec binary without line ends": lambda words: binary(words, end=b""),
    "GloVe": glove,
    "gzipped text": lambda words: gzip.compress(text(words)),
    "gzipped binary": lambda words: gzip.compress(binary(words)),
}


def random_words(names: Sequence[str], width: int = WIDTH, seed: int = 1) -> dict[str, list[float]]:
    rows = np.random.default_rng(seed).normal(size=(len(names), width)).astype(np.float32)
    return dict(zip(names, rows.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_format_says_the_same(write: Callable[[Words], bytes], tmp_path: Path) -> None:
    words = random_words([f"w{number}" for number in range(20_000)] + ["▁größer", "东西"])  # more than is read at once
    (tmp_path / "file").write_bytes(write(words))
    wanted = ["w0", "w7", "w9999", "w19999", "▁größer", "东西", "absent"]
    found = read_vectors(tmp_path / "file", "file", wanted, WIDTH)
    assert (found.words, found.has_pieces) == (len(words), True)
    assert {word: row.tolist() for word, row in found.vectors.items()} == {word: words[word] for word in wanted[:-1]}


def read(data: bytes, folder: Path, wanted: Sequence[str] = ("a", "b"), width: int = 2) -> dict[str, list[float]]:
    (folder / "file").write_bytes(data)
    return {word: row.tolist() for word, row in read_vectors(folder / "file", "file", wanted, width).vectors.items()}


def test_the_first_of_two_vectors_of_a_word_holds(tmp_path: Path) -> None:
    assert read(b"a 1 2\na 3 4\n", tmp_path) == {"a": [1, 2]}


def test_words_with_spaces_are_no_pieces(tmp_path: Path) -> None:
    assert read(b"b 5 6\na . . 1 2\na 3 4\n", tmp_path) == {"a": [3, 4], "b": [5, 6]}


def test_rows_of_other_words_are_not_looked_at(tmp_path: Path) -> None:
    assert read(b"a 1 2\nc x\nd nan 1\nb 3 4", tmp_path) == {"a": [1, 2], "b": [3, 4]}


BINARY = binary({"a": [1, 2], "b": [3, 4]})
WIDER = "but the model's embeddings have 2; take vectors of 2, or set model.dim (of an rnn model.embedding) to 3"
DAMAGED = {
    "empty": (b"", "file: neither of word2vec nor of GloVe; give word vectors in one of their formats"),
    "prose": (b"Two men stand here.\n", "file: neither of word2vec nor of GloVe"),
    "UTF-16": ("a 1 2\n".encode("utf-16"), "file: neither of word2vec nor of GloVe"),
    "header of another width": (b"1 3\na 1 2 3\n", f"file:1: a vector of 3 numbers, {WIDER}"),
    "row of another width": (b"b 1 2\na 1 2 3\n", f"file:2: a vector of 3 numbers, {WIDER}"),
    "GloVe of another width": (b"c 1 2 3\n", f"file:1: a vector of 3 numbers, {WIDER}"),
    "binary of another width": (binary({"a": [1, 2, 3]}), f"file:1: a vector of 3 numbers, {WIDER}"),
    "cut row": (b"b 1 2\na 1", "file:2: a vector of 1 numbers, but"),
    "no number": (b"2 2\nb 1 2\na 1 x\n", "file:3: a field is not a number; repair the line"),
    "nan": (b"b 1 2\na 1 nan\n", "file:2: a number is not finite, or too large for a float32; train"),
    "inf": (b"2 2\nb 1 2\na -inf 1\n", "file:3: a number is not finite"),
    "too large": (b"b 1 2\na 1e39 1\n", "file:2: a number is not finite"),
    "nan in binary": (binary({"b": [1, 2], "a": [1, np.nan]}), "file, vector 2: a number is not finite"),
    "cut text": (b"3 2\na 1 2\nb 1 2\n", "file: ends after 2 of its 3 vectors; fetch the file again"),
    "cut binary": (BINARY[:-3], "file: ends after 1 of its 2 vectors; fetch the file again"),
    "binary cut by a byte": (binary({"a": [1, 2]}, end=b"")[:-1], "file: ends after 0 of its 1 vectors"),
    "binary cut in a word": (BINARY[:-10], "file: ends after 1 of its 2 vectors"),
    "no words": (b"9 2\n" + b"\1" * 600_000, "file: vector 1 has no word; give word vectors"),
    "cut gzip": (gzip.compress(text(random_words(["a", "b"], 2)))[:-9], "file: damaged gzip data"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_wrong_with_a_file_is_said(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read(data, tmp_path)


def test_only_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="here: is no regular file; name a file of word vectors"):
        read_vectors(tmp_path, "here", ["a"], 2)


PARTS = [b"2 2\n", b"a ", b"b ", b"1 2", b"\n", b"nan", b" ", b"\x1f\x8b", BINARY, b"99999999999 2\n", b"1e999 "]


@pytest.mark.slow
@given(data=st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=5))).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_vectors_or_an_error_of_ours(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        found = read(data, tmp_path_factory.getbasetemp())
    except NmtError:
        return
    assert all(len(row) == 2 and np.isfinite(row).all() for row in found.values())


# ---- rows -------------------------------------------------------------------------------------------------------

FAMILIES = {
    "transformer": {"type": "transformer", "dim": WIDTH, "heads": 2, "feed_forward": 8, "encoder_layers": 1},
    "rnn": {"type": "rnn", "embedding": WIDTH, "dim": 12},
}


class World:
    """A model with fresh weights, and tokenizers, in a folder for files of vectors."""

    def __init__(self, folder: Path, family: str = "rnn", *, is_tied: bool = True, is_shared: bool = True) -> None:
        self.folder = folder
        self.tokenizers = Tokenizers.train(PAIRS * 4, TokenizerConfig(shared=is_shared))
        model = {**FAMILIES[family], "tie_embeddings": is_tied}
        config = Config.model_validate({"model": model}).model
        torch.manual_seed(1)
        self.model = build(config, *(each.size for each in self.tokenizers), shared=is_shared)
        self.before = {name: weights.clone() for name, weights in self.model.state_dict().items()}

    @property
    def embeddings(self) -> Embeddings:
        return cast(Embeddings, self.model.get_submodule("embeddings"))

    def land(self, *files: Words) -> list[str]:
        for number, words in enumerate(files):
            (self.folder / f"{number}.txt").write_bytes(text(words))
        names = [str(self.folder / f"{number}.txt") for number in range(len(files))]
        return start_from_vectors(self.model, self.tokenizers, names)

    def check(self, table: str, tokenizer: Tokenizer, words: Words) -> None:
        """See that each row has the direction of its piece's vector, and the others their initial values."""
        weights, pieces = self.model.state_dict()[f"embeddings.{table}.weight"], tokenizer.pieces(range(tokenizer.size))
        rows = [number for number, piece in enumerate(pieces) if piece in words]
        vectors = torch.tensor([words[pieces[number]] for number in rows])
        scale = WIDTH**-0.5 / vectors.square().mean().sqrt()
        torch.testing.assert_close(weights[rows], vectors * scale)
        others = [number for number in range(len(pieces)) if number not in rows]
        assert others
        assert torch.equal(weights[others], self.before[f"embeddings.{table}.weight"][others])


def some_pieces(tokenizer: Tokenizer) -> list[str]:
    """Return every other piece that is no byte, from the last to the first."""
    return [piece for piece in tokenizer.pieces(range(4, tokenizer.size)) if not piece.startswith("<0x")][::-2]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "separate"])
@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_land_on_the_rows_of_their_pieces(family: str, is_tied: bool, is_shared: bool, tmp_path: Path) -> None:
    world = World(tmp_path, family, is_tied=is_tied, is_shared=is_shared)
    source, target = world.tokenizers
    words = random_words([*dict.fromkeys([*some_pieces(source), "nowhere", *some_pieces(target)])])
    told = world.land(words)
    assert len(told) == (1 if is_tied and is_shared else 2)
    world.check("source", source, words)
    world.check("target", target, words)
    landed = {f"embeddings.{table}.weight" for table in ("source", "target", *(("output",) if is_tied else ()))}
    for name, weights in world.model.state_dict().items():
        assert torch.equal(weights, world.before[name]) == (name not in landed), name
    assert (world.embeddings.output.weight is world.embeddings.target.weight) == is_tied


@pytest.mark.parametrize(("is_tied", "is_shared"), [(False, True), (True, False), (False, False)])
def test_source_and_target_have_files_of_their_own(is_tied: bool, is_shared: bool, tmp_path: Path) -> None:
    world = World(tmp_path, is_tied=is_tied, is_shared=is_shared)
    files = [random_words(some_pieces(tokenizer), seed=seed) for seed, tokenizer in enumerate(world.tokenizers)]
    told = world.land(*files)
    for side, tokenizer, words, line in zip(("source", "target"), world.tokenizers, files, told, strict=True):
        world.check(side, tokenizer, words)
        assert re.fullmatch(rf"{side} embeddings: .*\.txt has vectors of {len(words)} of {tokenizer.size} .*", line)


def test_two_files_for_one_matrix_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, two = {".": [1.0] * WIDTH}, {".": [2.0] * WIDTH}
    with pytest.raises(OptionError, match=r"model.embeddings: .*0.txt and .*1.txt, but source and target have one mat"):
        world.land(one, two)


def test_plain_words_are_pieces_that_begin_a_word(tmp_path: Path) -> None:
    world = World(tmp_path)
    pieces = some_pieces(world.tokenizers.source)
    word = next(piece for piece in pieces if len(piece) > 2 and piece[0] == "\u2581")
    vectors = random_words([word[1:], "."])
    world.land(vectors)
    world.check("source", world.tokenizers.source, {word: vectors[word[1:]], **vectors})


def test_words_of_pieces_are_pieces_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    first, second, *_ = (piece for piece in some_pieces(world.tokenizers.source) if len(piece) > 2 and piece[0] == "▁")
    vectors = random_words([first, second[1:]])
    world.land(vectors)
    world.check("source", world.tokenizers.source, vectors)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_sizes_become_those_of_initial_values(size: float, tmp_path: Path) -> None:
    world = World(tmp_path)
    words = random_words(some_pieces(world.tokenizers.source))
    world.land({word: [size * number for number in row] for word, row in words.items()})
    world.check("source", world.tokenizers.source, words)


USELESS = {
    "other words": ({"xyzzy": [1.0] * WIDTH}, "0.txt: none of its 1 words is a piece of the tokenizer; train vectors"),
    "zeros": ({".": [0.0] * WIDTH}, "0.txt: all vectors are 0; train them again"),
}


@pytest.mark.parametrize(("words", "message"), USELESS.values(), ids=USELESS)
def test_useless_vectors_are_refused(words: Words, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        World(tmp_path).land(words)


# ---- trainings --------------------------------------------------------------------------------------------------

DIGITS = ["▁", *"0123456789", "▁one", "e", "n", "o"]
SHAPES: dict[str, tuple[int, dict[str, Setting]]] = {"transformer": (16, {}), "rnn": (8, RNN)}
SEPARATE = {"tokenizer.shared": "false"}


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    with heard():
        yield


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    return write_corpus(tmp_path / "corpus")


def with_vectors(folder: Path, width: int) -> dict[str, Setting]:
    (folder / "vectors.bin").write_bytes(binary(random_words(DIGITS, width)))
    return {"model.embeddings": str(folder / "vectors.bin")}


@pytest.mark.slow
@pytest.mark.parametrize("family", SHAPES)
def test_a_training_starts_from_them_and_needs_them_no_more(family: str, corpus: list[str], tmp_path: Path) -> None:
    width, changes = SHAPES[family]
    config = tiny(corpus, {**changes, **with_vectors(tmp_path, width)})
    told = run_training(tmp_path / "straight", config)
    assert re.search(r"embeddings: \S+vectors.bin has vectors of \d+ of \d+ pieces \(\d+%\)\n", told)

    run, saved = tmp_path / "run", checkpoint.step_folder(tmp_path / "run", 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "prune", lambda *_, **__: stop() if saved.exists() else None)
        with pytest.raises(Stop):
            run_training(run, config)
    (tmp_path / "vectors.bin").unlink()
    assert "resuming at step 6" in run_training(run, config)
    assert digest(run) == digest(tmp_path / "straight")
    assert len(fresh("translate", "-m", run, "-b", "1", stdin="1 2 3\n").ok().lines) == 1
    assert "finished" in run_training(run, config)


@pytest.mark.slow
def test_a_training_whose_checkpoints_are_damaged_starts_from_them_again(corpus: list[str], tmp_path: Path) -> None:
    config = tiny(corpus, {"training.max_steps": 2, **with_vectors(tmp_path, 16)})
    run_training(tmp_path / "run", config)
    straight = digest(tmp_path / "run")
    (tmp_path / "run" / "MANIFEST.json").unlink()
    (checkpoint.step_folder(tmp_path / "run", 2) / "weights.safetensors").write_bytes(b"")
    assert "vectors.bin has vectors of" in run_training(tmp_path / "run", config)
    assert digest(tmp_path / "run") == straight


def test_weights_of_the_first_step_are_the_vectors(corpus: list[str], tmp_path: Path) -> None:
    still: dict[str, Setting] = {"training.learning_rate": 1e-12, "training.max_steps": 1, "training.weight_decay": 0}
    run_training(tmp_path / "run", tiny(corpus, {**still, **with_vectors(tmp_path, 16)}))
    weights = load_file(tmp_path / "run" / "model.safetensors")
    table = next(weights[name] for name in weights if name.startswith("embeddings."))
    words = random_words(DIGITS, 16)
    one, two = table[Tokenizer.load(tmp_path / "run" / "tokenizer.model").ids(["1", "2"])]
    assert torch.cosine_similarity(one, torch.tensor(words["1"]), dim=0) > 1 - 1e-6
    assert torch.cosine_similarity(two, torch.tensor(words["2"]), dim=0) > 1 - 1e-6


def test_another_file_is_another_run(corpus: list[str], tmp_path: Path) -> None:
    run_training(tmp_path / "run", tiny(corpus, {"training.max_steps": 1}))
    with pytest.raises(OptionError, match=r"another model.embeddings \(None, now \['.*vectors.bin'\]\)"):
        run_training(tmp_path / "run", tiny(corpus, with_vectors(tmp_path, 16)))


@pytest.mark.slow
def test_runs_of_before_there_were_vectors_go_on(corpus: list[str], tmp_path: Path) -> None:
    run_training(tmp_path / "run", tiny(corpus, {"training.max_steps": 3}))
    state = json.loads((checkpoint.step_folder(tmp_path / "run", 3) / "state.json").read_text())
    options = dump_config(checkpoint.load_config(tmp_path / "run").model)
    assert (options.pop("embeddings"), options.pop("word_dropout")) == (None, 0)
    assert state["run"]["config.yaml"] == entry_of(canonical(options)).sha256
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("  embeddings: null\n", ""))
    assert "resuming at step 3" in run_training(tmp_path / "run", tiny(corpus, {"training.max_steps": 4}))


def test_weights_of_another_model_take_the_place_of_vectors(corpus: list[str], tmp_path: Path) -> None:
    config = tiny(corpus, {"training.max_steps": 1, **with_vectors(tmp_path, 16)})
    run_training(tmp_path / "run", config)
    with pytest.raises(OptionError, match=r"--from .*run: has embeddings of its own; leave model.embeddings out"):
        with_model_of(config, tmp_path / "run")
    started = with_model_of(tiny(corpus, {"training.max_steps": 1}), tmp_path / "run")
    assert started.model == config.model.model_copy(update={"embeddings": None})


def test_a_file_that_is_not_there_is_said(corpus: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.txt: no such file, neither here nor in "):
        run_training(tmp_path / "run", tiny(corpus, {"model.embeddings": "absent.txt"}))


def test_vectors_are_found_where_corpora_are(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_vectors(tmp_path, 16)
    monkeypatch.setenv("NMT_DATA", str(tmp_path))
    told = run_training(tmp_path / "run", tiny(corpus, {"model.embeddings": "vectors.bin", "training.max_steps": 1}))
    assert "embeddings: vectors.bin has vectors of" in told


@pytest.mark.parametrize("given", ["[]", "[a, b, c]"])
def test_one_file_or_two_are_named(given: str, corpus: list[str]) -> None:
    with pytest.raises(OptionError, match=r"--set model.embeddings: .* should have at (least 1|most 2) item"):
        tiny(corpus, {"model.embeddings": given})


# ---- nmt embeddings train ---------------------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a tokenizer, and with a text in two languages whose words are rare."""
    monkeypatch.chdir(tmp_path)
    for language, lines in zip(("en", "de"), zip(*PAIRS * 3, strict=True), strict=True):
        (tmp_path / f"text.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    tokenizers = Tokenizers.train(PAIRS * 4, TokenizerConfig())
    tokenizers.save(tmp_path)
    return tmp_path


TRAIN = ("embeddings", "train", "text.en", "text.de", "--tokenizer", "tokenizer.model", "--dim", "8", "--epochs", "2")


def learn(*options: str) -> int:
    pytest.importorskip("gensim", reason="gensim is not installed; pip install gensim")
    return run_command([*TRAIN, "--min-count", "3", *options])


@pytest.mark.parametrize(
    ("config", "width"), [("model: {dim: 24}", 24), ("model: {type: rnn, embedding: 12, dim: 20}", 12)]
)
@pytest.mark.parametrize("tokenizer", [".", "tokenizer.model"])
def test_vectors_are_as_wide_as_the_embeddings_of_the_run(
    config: str, width: int, tokenizer: str, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gensim", reason="gensim is not installed; pip install gensim")
    (texts / "config.yaml").write_text(config)
    assert run_command(["embeddings", "train", "text.en", "--tokenizer", tokenizer, "-o", "v.txt"]) == 0
    assert (texts / "v.txt").read_text(encoding="utf-8").split("\n", 1)[0].split()[1] == str(width)
    assert capsys.readouterr().err.endswith(f", {width} wide\n")


def test_of_two_tokenizers_one_has_to_be_named(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gensim", reason="gensim is not installed; pip install gensim")
    (texts / "tokenizer.model").rename(texts / "source.model")
    assert run_command(["embeddings", "train", "text.en", "--tokenizer", ".", "-o", "v.txt"]) == 2
    advice = "has two tokenizers; name ./source.model or ./target.model"
    assert capsys.readouterr().err == f"nmt embeddings train: error: .: {advice}\n"
    assert run_command(["embeddings", "train", "text.en", "--tokenizer", "source.model", "-o", "v.txt"]) == 0


def test_without_gensim_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(word2vec, "find_spec", lambda name: None)
    assert run_command([*TRAIN, "-o", "vectors.txt"]) == 2
    missing = "the package gensim is missing; pip install gensim"
    assert capsys.readouterr().err == f"nmt embeddings train: error: {missing}\n"


@pytest.mark.slow
def test_learnt_vectors_are_read_by_us_and_by_gensim(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn("-o", "vectors.txt") == learn("-o", "vectors.bin") == 0
    told = capsys.readouterr().err.splitlines()[0]
    match = re.fullmatch(
        r"nmt embeddings train: vectors.txt: vectors of (\d+) of [\d,]+ pieces, from 30 lines of \d+ pieces, 8 wide",
        told,
    )
    assert match
    tokenizer = Tokenizer.load(texts / "tokenizer.model")
    wanted = tokenizer.pieces(range(tokenizer.size))
    ours = [read_vectors(texts / name, name, wanted, 8) for name in ("vectors.txt", "vectors.bin")]
    assert len(ours[0].vectors) == ours[0].words == int(match[1]) > 20
    assert all(np.array_equal(vector, ours[1].vectors[piece]) for piece, vector in ours[0].vectors.items())
    from gensim.models import KeyedVectors

    for found, is_binary in zip(ours, (False, True), strict=True):
        name = "vectors.bin" if is_binary else "vectors.txt"
        theirs = KeyedVectors.load_word2vec_format(texts / name, binary=is_binary)
        assert found.vectors.keys() == set(theirs.index_to_key)
        assert all(np.array_equal(vector, theirs[piece]) for piece, vector in found.vectors.items())
        assert {*found.vectors} == {
            piece for ids in tokenizer.encode(sum(map(list, PAIRS), [])) for piece in tokenizer.pieces(ids)
        }


def test_words_of_one_place_have_near_vectors(texts: Path) -> None:
    names, verbs = ["Anna", "Bernd", "Carla", "David"], ["sings", "sleeps", "walks", "reads"]
    lines = [f"{name} {verb}\n" for name in names for verb in verbs] * 1000
    (texts / "text.en").write_text("".join(lines))
    (texts / "text.de").write_text("")
    config = TokenizerConfig(type="word")
    (tokenizer := Tokenizers.train([(line, line) for line in lines], config)).save(texts)
    assert learn("-o", "vectors.txt", "--window", "1", "--epochs", "20") == 0
    pieces = tokenizer.source.pieces(range(tokenizer.source.size))
    found = read_vectors(texts / "vectors.txt", "", pieces, 8).vectors
    unit = {word: vector / np.linalg.norm(vector) for word, vector in found.items()}
    for word in ("▁Anna", "▁David"):
        alike = sorted(unit, key=lambda other: -float(unit[word] @ unit[other]))
        assert {*alike[:4]} == {f"▁{name}" for name in names}


CHANGES = {
    "--method": "cbow", "--window": "1", "--negative": "9", "--min-count": "4", "--epochs": "4", "--seed": "2",
    "--dim": "6",
}  # fmt: skip


@pytest.mark.parametrize("option", [None, *CHANGES])
def test_options_change_what_is_learnt_and_nothing_else_does(option: str | None, texts: Path) -> None:
    assert learn("-o", "first.txt") == 0
    assert learn("-o", "second.txt", *((option, CHANGES[option]) if option else ())) == 0
    first, second = ((texts / name).read_bytes() for name in ("first.txt", "second.txt"))
    assert (first == second) == (option is None)


def test_text_is_read_as_corpora_are(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learn("-o", "plain.txt") == 0
    (texts / "data").mkdir()
    (texts / "data" / "text.en").write_bytes(gzip.compress((texts / "text.en").read_bytes()))
    (texts / "text.en").unlink()
    german = (texts / "text.de").read_text(encoding="utf-8")
    (texts / "text.de").write_text("\n" + german.replace("\n", "\r\n"), "latin-1")
    monkeypatch.setenv("NMT_DATA", "data")
    assert learn("-o", "zipped.txt", "--encoding", "latin-1", "--threads", "1") == 0
    assert (texts / "zipped.txt").read_bytes() == (texts / "plain.txt").read_bytes()


WRONG = {
    "no text": ("text.de", None, 3, "text.de: no such file, neither here nor in"),
    "no UTF-8": ("text.de", b"gut\nsch\xf6n\n", 3, "text.de:2: invalid UTF-8 (byte 0xf6 at column 4); repair it"),
    "no tokenizer": ("tokenizer.model", None, 4, "tokenizer.model: No such file or directory; give the path"),
    "damaged tokenizer": ("tokenizer.model", b"x", 4, "tokenizer.model: not a sentencepiece model"),
    "an output": ("vectors.txt", b"x", 2, "vectors.txt: exists; use --force"),
    "too little": ("text.en", b"", 3, "no piece occurs 99 times in 15 lines; give more text, or lower --min-count"),
}


@pytest.mark.parametrize(("name", "data", "code", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_and_nothing_is_written(
    name: str, data: bytes | None, code: int, message: str, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (texts / name).unlink(missing_ok=True)
    if data is not None:
        (texts / name).write_bytes(data)
    before = {path.name: path.read_bytes() for path in texts.iterdir()}
    assert learn("-o", "vectors.txt", "--min-count", "99") == code
    error = capsys.readouterr().err
    assert error.startswith(f"nmt embeddings train: error: {message}")
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in texts.iterdir()} == before


def test_an_output_is_replaced_when_asked(texts: Path) -> None:
    (texts / "vectors.txt").write_text("x")
    assert learn("-o", "vectors.txt", "--force") == 0
    assert (texts / "vectors.txt").read_bytes().endswith(b"\n")


def test_bad_utf8_is_replaced_or_dropped_when_asked(texts: Path) -> None:
    (texts / "text.de").write_bytes(b"sch\xf6n\n" * 9)
    assert learn("-o", "dropped.txt", "--bad-utf8", "drop") == learn("-o", "replaced.txt", "--bad-utf8", "replace") == 0
    assert (texts / "dropped.txt").read_bytes() != (texts / "replaced.txt").read_bytes()


@pytest.mark.slow
def test_the_whole_way(texts: Path) -> None:
    """Vectors of one's own are what a training starts from; nothing of gensim is loaded then."""
    assert learn("-o", "vectors.bin") == 0
    settings = [f"--set={key}={value}" for key, value in {
        "model.type": "rnn", "model.embedding": 8, "model.dim": 8, "model.embeddings": "vectors.bin",
        "training.max_steps": 1, "training.valid_lines": 1, "search.max_length_ratio": 0.5, "training.recipe": "none",
    }.items()]  # fmt: skip
    script = (
        "import sys; from nmt.cli import run; code = run(sys.argv[1:]); assert 'gensim' not in sys.modules; exit(code)"
    )
    done = fresh("train", "text.en", "text.de", *settings, "-o", "run", folder=texts, python=("-c", script)).ok()
    assert re.search(r"source embeddings: vectors.bin has vectors of \d+ of \d+ pieces", done.error)
