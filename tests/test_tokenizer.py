import contextlib
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import sentencepiece
from corpora import invented, multi30k
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import environment

from nmt import batches
from nmt.cli import run
from nmt.config import TokenizerConfig
from nmt.errors import DataError, ModelError, OptionError
from nmt.tokenizer import Tokenizer, Tokenizers
from nmt.vocabulary import automatic_size, draw, train

TYPES = ("unigram", "bpe", "char", "word")


@cache
def sentences() -> tuple[str, ...]:
    return tuple(sentence for pair in invented(400) for sentence in pair)


@cache
def tokenizer(kind: str = "unigram", normalization: str = "nfkc") -> Tokenizer:
    return Tokenizer(train(sentences(), TokenizerConfig(type=kind, normalization=normalization)))


def test_special_pieces_have_the_ids_of_batches() -> None:
    ids = [batches.PAD, batches.UNK, batches.BOS, batches.EOS]
    for kind in TYPES:
        assert tokenizer(kind).pieces(ids) == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("kind", TYPES)
def test_training_twice_gives_the_same_bytes(kind: str) -> None:
    assert train(iter(sentences()), TokenizerConfig(type=kind)) == tokenizer(kind).model


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_text_comes_back_normalised(kind: str) -> None:
    pairs = multi30k("val", 500)
    learnt = Tokenizers.train(pairs, TokenizerConfig(type=kind)).source
    texts = [text for pair in pairs for text in pair]
    assert learnt.decode(learnt.encode(texts)) == [" ".join(unicodedata.normalize("NFKC", t).split()) for t in texts]


def test_known_words_come_back_and_others_are_unknown() -> None:
    known = sentences()[0].split()[0]
    ids = tokenizer("word").encode([f"{known} Unbekannt {known}"])[0]
    assert ids.count(batches.UNK) == 1
    assert tokenizer("word").decode([ids, ids[1:]]) == [f"{known} \u2047 {known}", f"\u2047 {known}"]


# What a user may write, what comes back: by NFKC (Unicode Standard Annex 15) or as it is.
WRITTEN = [
    ("<s> </s> <pad> <unk> <0x41>", "<s> </s> <pad> <unk> <0x41>", None),
    ("🤗 漢字 Ω", "🤗 漢字 Ω", None),
    ("می\u200cروم", "می\u200cروم", None),  # the zero-width non-joiner stays inside a Persian word
    ("ﬁne ｗｉｄｅ e\u0301", "fine wide é", "ﬁne ｗｉｄｅ e\u0301"),
    ("  two   spaces ", "two spaces", None),
    ("a\tb\x1cc\u2028d\u0085e\0f", "a b c d e f", None),  # not joined to one word
    ("half \ud83d a pair", "half \ufffd a pair", None),
    ("", "", None),
    ("   ", "", None),
]


@pytest.mark.parametrize(("text", "nfkc", "identity"), WRITTEN)
def test_whatever_is_written_is_text(text: str, nfkc: str, identity: str | None) -> None:
    for kind in ("unigram", "bpe", "char"):
        for normalization, expected in (("nfkc", nfkc), ("identity", nfkc if identity is None else identity)):
            learnt = tokenizer(kind, normalization)
            ids = learnt.encode([text])[0]
            assert learnt.decode([ids]) == [expected]
            assert min(ids, default=4) > batches.EOS


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=()), max_size=30), max_size=4))
def test_no_text_is_refused(texts: list[str]) -> None:
    for kind in TYPES:
        encoded = tokenizer(kind).encode(texts)
        assert len(tokenizer(kind).decode(encoded)) == len(encoded) == len(texts)


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    ids = tokenizer().ids(["<0xE2>", "<0x41>", "<0x80>"])
    assert tokenizer().decode([ids]) == ["\ufffdA\ufffd"]


def test_special_pieces_vanish_from_decoded_text() -> None:
    ids = tokenizer().encode(["haus"])[0]
    assert tokenizer().decode([[batches.BOS, *ids, batches.EOS, batches.PAD]]) == ["haus"]


def test_pieces_and_ids_are_inverse() -> None:
    ids = tokenizer().encode(["Ein Haus 🤗"])[0]
    assert tokenizer().ids(tokenizer().pieces(ids)) == ids


@pytest.mark.parametrize("id_", [99_999, -1, 2**31, 10**30])
def test_an_id_of_another_vocabulary_is_a_model_error(id_: int) -> None:
    with pytest.raises(ModelError, match=f"id {id_} is not among"):
        tokenizer().decode([[id_]])


# ---- sizes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "size"),
    [
        (1, 500), (1_000, 2_000), (5_000, 3_000), (10_000, 4_000), (29_000, 5_500), (1_250_000, 20_000),
        (5_120_000, 32_000), (10**8, 32_000),
    ],
)  # fmt: skip
def test_automatic_size_grows_with_the_cube_root_of_the_corpus(pairs: int, size: int) -> None:
    assert automatic_size(pairs) == size


@pytest.mark.parametrize("kind", TYPES)
def test_automatic_size_takes_what_a_tiny_text_gives(kind: str) -> None:
    assert 4 < Tokenizer(train(["a b c"], TokenizerConfig(type=kind))).size < 500


def test_automatic_size_makes_room_for_many_characters() -> None:
    han = "".join(map(chr, range(0x4E00, 0x4E00 + 800)))
    learnt = Tokenizer(train([han] * 3, TokenizerConfig(character_coverage=1.0)))
    assert {chr(0x4E00), chr(0x4E00 + 799)} <= set(learnt.pieces(range(learnt.size)))


def test_words_seen_once_are_left_to_unknown() -> None:
    learnt = Tokenizer(train(["often often rare", *["thing"] * 2, *"abcdefgh" * 2], TokenizerConfig(type="word")))
    assert "▁often" in learnt.pieces(range(learnt.size))
    assert "▁rare" not in learnt.pieces(range(learnt.size))


@pytest.mark.parametrize("kind", TYPES)
def test_a_possible_size_is_exact(kind: str) -> None:
    size = 290 if kind == "char" else 400
    assert Tokenizer(train(sentences(), TokenizerConfig(type=kind, vocab_size=size))).size == size


@pytest.mark.parametrize("kind", TYPES)
def test_a_size_above_the_possible_names_the_largest(kind: str) -> None:
    with pytest.raises(
        OptionError, match=r"^tokenizer.vocab_size: 90000 is more than the \d+ pieces .*; lower it"
    ) as e:
        train(sentences(), TokenizerConfig(type=kind, vocab_size=90_000))
    largest = int(str(e.value).split("than the ")[1].split()[0])
    assert Tokenizer(train(sentences(), TokenizerConfig(type=kind, vocab_size=largest))).size == largest


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_size_below_the_needed_names_the_smallest(kind: str) -> None:
    with pytest.raises(OptionError, match=r"vocab_size: 9 is less than .* 256 bytes .*; raise it or say auto") as e:
        train(sentences(), TokenizerConfig(type=kind, vocab_size=9))
    smallest = int(str(e.value).split("than the ")[1].split()[0])
    assert Tokenizer(train(sentences(), TokenizerConfig(type=kind, vocab_size=smallest))).size == smallest


@pytest.mark.parametrize(("kind", "size"), [("char", 260), ("word", 4)])
def test_a_size_of_special_pieces_alone_is_refused(kind: str, size: int) -> None:
    with pytest.raises(OptionError, match=f"vocab_size: {size} is less than the {size + 1} pieces"):
        train(sentences(), TokenizerConfig(type=kind, vocab_size=size))


@pytest.mark.parametrize("text", [[], ["", " "], ["\0"], ["\u2581"]])
def test_no_text_to_learn_from_is_a_data_error(text: list[str]) -> None:
    with pytest.raises(DataError, match=r"^tokenizer: .*; (give|look)"):
        train(text, TokenizerConfig())


def test_long_lines_are_learnt_from() -> None:
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 1_500)))  # 4,500 bytes; sentencepiece's own limit is 4,192
    learnt = Tokenizer(train([*sentences(), long], TokenizerConfig(character_coverage=1.0)))
    assert set(long) <= set(learnt.pieces(range(learnt.size)))


def test_a_draw_is_even_and_the_same_each_time() -> None:
    stream = [str(number) for number in range(20_000)]
    drawn = draw(iter(stream), 1_000)
    assert drawn == draw(stream, 1_000)
    assert drawn.seen == 20_000
    assert 800 < len(drawn.sentences) <= 1_000
    assert sorted(set(drawn.sentences), key=int) == drawn.sentences
    tenths = [sum(int(word) // 2_000 == tenth for word in drawn.sentences) for tenth in range(10)]
    assert min(tenths) > 50  # 80 to 100 expected, standard deviation 9.5
    assert max(tenths) < 140


def test_a_draw_is_bounded_in_characters_too() -> None:
    stream = ["x" * (1 + number % 99) for number in range(20_000)]  # a million characters
    assert draw(stream) == (stream, 20_000)
    sample, seen = draw(stream, size=100_000)
    assert seen == 20_000
    assert 80_000 < sum(map(len, sample)) <= 100_000
    assert 40 < sum(map(len, sample)) / len(sample) < 60  # long ones are as likely as short ones
    assert draw(["x" * 50] * 3, size=10).sentences == ["x" * 50]


# ---- sampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sampling_is_decided_by_its_arguments_alone(kind: str) -> None:
    texts, learnt = sentences()[:50], tokenizer(kind)
    first = {seed: learnt.sample(texts, 0.2, seed) for seed in (0, 7, 2**40)}
    for seed in reversed(first):
        learnt.sample(texts[:3], 0.5, 99)
        assert learnt.sample(texts, 0.2, seed) == first[seed]
    assert first[0] != first[7]
    assert learnt.decode(first[7]) == learnt.decode(learnt.encode(texts))


@pytest.mark.slow
def test_sampling_is_the_same_in_another_process() -> None:
    """Sentencepiece's own is not: its generator is salted anew in every process."""
    code = "from test_tokenizer import draw_both; print(draw_both())"
    assert run_child(code) == f"{draw_both()}\n"


def draw_both() -> list[list[list[int]]]:
    return [tokenizer(kind).sample(sentences()[:20], 0.2, 7) for kind in ("unigram", "bpe")]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sample_says_the_same_text(kind: str) -> None:
    texts = [*sentences()[:50], "", "Zürich 🤗-Ωmega <s> \ud83d\0x", " 漢字 ", "a" * 3_000]
    learnt = tokenizer(kind)
    assert learnt.decode(learnt.sample(texts, 0.3, 1)) == learnt.decode(learnt.encode(texts))
    assert learnt.sample([], 0.3, 1) == []


@pytest.mark.slow
def test_unigram_draws_as_sentencepiece_does() -> None:
    """The shares of 20,000 drawn segmentations differ by no more than those of another 20,000 would."""
    text, learnt = sentences()[1], tokenizer()
    theirs = sentencepiece.SentencePieceProcessor(model_proto=learnt.model)
    for alpha in (0.1, 0.5, 1.0):
        ours = Counter(map(tuple, learnt.sample([text] * 20_000, alpha, 1)))
        other = theirs.encode([text] * 20_000, enable_sampling=True, alpha=alpha, nbest_size=-1)
        for segmentation, count in Counter(map(tuple, other)).items():
            assert abs(ours[segmentation] - count) < 6 * (count + 9) ** 0.5 * 2**0.5


def test_unigram_with_much_weight_on_scores_is_the_usual_segmentation() -> None:
    assert tokenizer().sample(sentences(), 500.0, 1) == tokenizer().encode(sentences())


def test_bpe_without_dropout_is_the_usual_segmentation() -> None:
    assert tokenizer("bpe").sample(sentences(), 0.0, 1) == tokenizer("bpe").encode(sentences())


def test_bpe_dropout_leaves_out_each_merge_with_its_probability() -> None:
    """Of ▁ a b, whose merges are a+b and then ▁+ab, arXiv 1910.13267 algorithm 1 makes what follows."""
    learnt = Tokenizer(train(["ab ab"] * 9, TokenizerConfig(type="bpe", vocab_size=265)))
    assert set(learnt.pieces(range(260, 265))) == {"ab", "▁ab", "a", "b", "▁"}
    drawn = Counter(" ".join(learnt.pieces(word)) for word in learnt.sample(["ab"] * 20_000, 0.3, 1))
    shares = {pieces: count / 20_000 for pieces, count in drawn.items()}
    expected = {"▁ a b": 0.3, "▁ ab": 0.7 * 0.3, "▁ab": 0.7 * 0.7}
    assert shares == pytest.approx(expected, abs=0.015)  # four standard deviations


@pytest.mark.parametrize("kind", ["char", "word"])
def test_sampling_needs_pieces_that_can_be_split(kind: str) -> None:
    with pytest.raises(OptionError, match=r"tokenizer.sampling: 0.1 needs unigram or bpe pieces"):
        tokenizer(kind).sample(["text"], 0.1, 1)


# ---- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_tokenizers_are_loaded_as_saved(tmp_path: Path, shared: bool) -> None:
    learnt = Tokenizers.train(invented(100), TokenizerConfig(shared=shared))
    learnt.save(tmp_path)
    names = {"tokenizer.model"} if shared else {"source.model", "target.model"}
    assert {file.name for file in tmp_path.iterdir()} == names
    loaded = Tokenizers.load(tmp_path)
    assert [side.sha256 for side in loaded] == [side.sha256 for side in learnt]
    assert loaded.shared is shared


@pytest.mark.parametrize("ids", [[], ["--ids"]])
def test_commands_learn_encode_and_decode(tmp_path: Path, ids: list[str]) -> None:
    lines = [*sentences()[:50], "", "Zürich 🤗"]
    text, pieces, back, model = (str(tmp_path / name) for name in ("text", "pieces", "back", "tokenizer.model"))
    Path(text).write_text("".join(f"{line}\n" for line in lines))
    assert run(["tokenizer", "train", text, "-o", model, "--type", "bpe", "--vocab-size", "400"]) == 0
    assert run(["tokenizer", "encode", "-m", model, text, "-o", pieces, *ids]) == 0
    assert run(["tokenizer", "decode", "-m", str(tmp_path), pieces, "-o", back, *ids]) == 0
    assert Path(back).read_text() == Path(text).read_text()
    encoded = Path(pieces).read_text().split("\n")[:-1]
    expected = Tokenizer.load(model).encode(lines)
    shown = [list(map(str, row)) if ids else Tokenizer.load(model).pieces(row) for row in expected]
    assert encoded == [" ".join(row) for row in shown]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "TEXT", "-o", "MODEL"], 2, "MODEL: exists; use --force"),
        (["train", "TEXT", "-o", "MODEL", "--force", "--vocab-size", "90000"], 2, "is more than the"),
        (["train", "TEXT", "-o", "MODEL", "--force", "--type", "bype"], 2, "--type: 'bype' should be 'unigram', 'bpe'"),
        (["train", "ABSENT", "-o", "OTHER"], 3, "ABSENT"),
        (["train", "EMPTY", "-o", "OTHER"], 3, "the text to learn from is empty"),
        (["encode", "-m", "ABSENT", "TEXT"], 4, "ABSENT: No such file"),
        (["encode", "-m", "TEXT", "TEXT"], 4, "TEXT: not a sentencepiece model"),
        (["decode", "-m", "MODEL", "--ids", "TEXT"], 3, "not the number of a piece"),
        (["decode", "-m", "MODEL", "--ids", "DIGITS"], 3, "not the number of a piece"),
        (["train", "TEXT", "-o", "TEXT", "--force"], 2, "TEXT: input and output are the same file"),
        (["train", "LATIN", "-o", "OTHER"], 3, "LATIN:2:"),
    ],
)
def test_commands_name_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "TEXT").write_text("\n".join(sentences()[:50]))
    (tmp_path / "EMPTY").touch()
    (tmp_path / "DIGITS").write_text("1" * 5000)
    (tmp_path / "LATIN").write_bytes(b"one\ncaf\xe9\n")
    (tmp_path / "MODEL").write_bytes(tokenizer().model)
    paths = [str(tmp_path / word) if word.isupper() else word for word in arguments]
    assert run(["tokenizer", *paths]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "OTHER").exists()


def test_commands_are_filters(tmp_path: Path) -> None:
    """What is no text is said; stdout is not needed with -o, and is never what is read."""
    (tmp_path / "MODEL").write_bytes(tokenizer().model)
    (tmp_path / "LATIN").write_bytes(b"one\ncaf\xe9\n")
    command = f'"{sys.executable}" -m nmt tokenizer encode -m MODEL'

    def shell(rest: str) -> tuple[int, str]:
        words = ["sh", "-c", f"{command} {rest}"]
        done = subprocess.run(words, cwd=tmp_path, env=environment({}), capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    code, told = shell("LATIN -o OTHER >&-")
    assert (code, "warning: LATIN:2: invalid UTF-8" in told) == (0, True)
    assert (tmp_path / "OTHER").read_bytes().count(b"\n") == 2
    before = (tmp_path / "LATIN").read_bytes()
    code, told = shell("LATIN >> LATIN")
    assert (code, "input and output are the same file" in told) == (2, True)
    assert (tmp_path / "LATIN").read_bytes() == before


def test_a_missing_or_foreign_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.model: No such file"):
        Tokenizer.load(tmp_path / "absent.model")
    for content in (b"", b"\0" * 100, b"no model", tokenizer().model[:-100], tokenizer().model[:50]):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad.model: not a sentencepiece model"):
            Tokenizer.load(tmp_path / "bad.model")
    prefix = str(tmp_path / "foreign")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_prefix=prefix, vocab_size=100, minloglevel=2
    )
    with pytest.raises(ModelError, match=r"foreign.model: begins with pieces <unk> <s> </s> .*; train it with nmt"):
        Tokenizer.load(prefix + ".model")


def use_damaged_models() -> None:
    """Load 150 models with one to five bytes changed, half of them where the pieces are, and use those that load."""
    chance, model, texts = random.Random(1), tokenizer().model, sentences()[:20]
    for _ in range(150):
        damaged = bytearray(model)
        for _ in range(chance.choice((1, 1, 5))):
            damaged[chance.randrange(chance.choice((len(model), 5_000)))] = chance.randrange(256)
        with contextlib.suppress(ModelError):
            learnt = Tokenizer(bytes(damaged))
            learnt.decode(learnt.encode(texts))
            learnt.sample(texts, 0.1, 1)
            learnt.decode([[piece] for piece in range(learnt.size)])


@pytest.mark.slow
def test_a_damaged_model_never_crashes() -> None:
    assert run_child("from test_tokenizer import use_damaged_models; use_damaged_models()") == ""


def run_child(code: str) -> str:
    """Return what a process of its own prints; it must not fail, nor write to stderr."""
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert child.stderr == ""
    return child.stdout
