"""The line contract, through the real streaming function: one valid line out for each line in, whatever comes in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import (
    CPU,
    PAIRS,
    SHORT,
    Answer,
    Scripted,
    ScriptMemory,
    ScriptState,
    scripted,
    stream,
    tiny_config,
    write_run,
)  # fmt: skip
from torch import Tensor

from nmt.batches import UNK
from nmt.config import SearchConfig
from nmt.errors import DataError
from nmt.stream import LOST, Job
from nmt.text import BREAKS, SHOWN, TextOptions, is_blank
from nmt.tokenizer import Tokenizer, Tokenizers
from nmt.translate import Translator

BLANKS = ["", " ", "\t \t", "\u00a0", "\u3000", "\u200b", " \u200b\ufeff", "\x1c", "\x85"]
SPOKEN = Job(SearchConfig(beam_size=2))
GREEDY = SHORT.model_copy(update={"beam_size": 1})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("contract") / "run", tiny_config())


@pytest.fixture(scope="module")
def translator(run: Path) -> Translator:
    return Translator.load(run, device="cpu", threads=1)


@pytest.fixture(scope="module")
def tokenizers(run: Path) -> Tokenizers:
    return Tokenizers.load(run)


def inputs_of(data: bytes) -> list[str]:
    """The lines of a stream, by the contract's own words."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    return [line.removesuffix(b"\r").decode("utf-8", "replace") for line in lines]


def check(answer: Answer, data: bytes) -> None:
    """One line for each line, blank ones blank, nothing in any that could end a line for anyone."""
    inputs, outputs = inputs_of(data), answer.lines
    assert len(outputs) == len(inputs)
    for source, target in zip(inputs, outputs, strict=True):
        assert not BREAKS.search(target)
        assert len(target.splitlines()) <= 1
        if is_blank(source):
            assert target == ""


ROWS = {
    "A1": b"",
    "A2": b"\n",
    "A3": b"a\n\nb\n",
    "A4": "\n".join([*BLANKS, ""]).encode(),
    "A5": b"\n" * 1000,
    "A6": b"a man\ntwo dogs",
    "A7": b"a man\r\n\r\ntwo dogs\r\n",
    "A8": b"a\rman\rruns\r\r\ntwo dogs\n",
    "A9": "".join(f"a{char}man\n" for char in "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e").encode(),
    "A11": b"\xef\xbb\xbfa man\ntwo dogs\n",
    "A12": b"\xef\xbb\xbfa man\n\xef\xbb\xbftwo dogs\n\xef\xbb\xbf\n",
    "A14": b"a\n" * 6 + b"a \xff man\n" + b"b\n",
    "A15": "a man\nzwei Vögel\n".encode()[:-6],
    "A16": "\n".join(f"schöne Straße {i}" for i in range(20)).encode("latin-1"),
    "A17": b"a\0man\n\0\n\0\0a\n",
    "A20": "👍🏽 👨‍👩‍👧‍👦 🇩🇪 🏳️‍🌈\n👩🏿‍🚀\n".encode(),
    "A21": "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ\nმან\n".encode(),
    "A23": "\u200fa \u202eman\u202c\n\u2066two\u2069 dogs\n\u200e\n".encode(),
    "A24": "<s> </s> <pad> <unk> ▁ ⁇ @@ a\n</s>\n</s> a man\n".encode(),
    "A25": b"<2de> a man\n",
    "A26": "a\n7\n.\n?!\n—\n".encode(),
    "A30": b"a" * 500 + b"\n" + b". " * 363 + b"\n" + b". . . ." * 363 + b"\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_one_valid_line_goes_out_for_each_that_came_in(translator: Translator, row: str) -> None:
    answer = stream(translator, ROWS[row])
    check(answer, ROWS[row])
    assert answer.stats.lines == len(inputs_of(ROWS[row]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_keep_the_contract(translator: Translator, seed: int) -> None:  # A18: 2,400 lines
    rng = random.Random(seed)
    lines = [rng.choice((rng.randbytes, _text))(rng.randrange(24)).replace(b"\n", b"") for _ in range(300)]
    data = b"\n".join(lines) + rng.choice((b"", b"\n"))
    data = data[2:] if data.startswith((b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff")) else data
    check(stream(translator, data, Job(GREEDY)), data)


def _text(length: int) -> bytes:
    rng = random.Random(length)
    return "".join(rng.choice("ab .é漢\u00a0\u2028\u200b\r\t\ud800\U0001f44d") for _ in range(length)).encode(
        "utf-8", "surrogatepass"
    )


@pytest.mark.slow
def test_many_random_bytes_keep_the_contract(translator: Translator) -> None:  # A18
    rng = random.Random(18)
    data = b"a\n" + b"\n".join(rng.randbytes(rng.randrange(60)).replace(b"\n", b"") for _ in range(10_000))
    answer = stream(translator, data, Job(GREEDY))
    check(answer, data)
    assert sum("invalid UTF-8" in warning for warning in answer.warnings) <= 6


def test_blank_lines_never_reach_the_model(tokenizers: Tokenizers) -> None:  # A4, A5
    speaker = scripted(tokenizers, tokenizers.target.encode(["Mann"])[0])
    nothing = [*BLANKS, "\0", "\x1a", "\x01\x02", "\x07" * 1000]  # which no tokenizer has a piece for
    answer = stream(speaker, "\n".join([*nothing * 20, "a", ""]).encode(), SPOKEN)
    assert answer.lines == [""] * (len(nothing) * 20) + ["Mann"]
    assert isinstance(speaker.model, Scripted)
    assert len(speaker.model.sentences) == 1


@pytest.mark.parametrize(
    ("row", "data", "same"),
    [
        ("A6", b"a man\ntwo dogs", b"a man\ntwo dogs\n"),
        ("A7", b"a man\r\n\r\ntwo dogs\r\n", b"a man\n\ntwo dogs\n"),
        ("A11", b"\xef\xbb\xbfa man\n", b"a man\n"),
        ("A14", b"a \xff man\n", "a \ufffd man\n".encode()),
        ("A22", "cafe\u0301 u\u0308ber\n".encode(), "café über\n".encode()),
    ],
)
def test_two_spellings_have_one_translation(translator: Translator, row: str, data: bytes, same: bytes) -> None:
    assert stream(translator, data).data == stream(translator, same).data


def test_a_file_gives_what_stdin_gives(translator: Translator, tmp_path: Path) -> None:  # A10
    data = b"\xef\xbb\xbfa man\r\n\r\n\xff two\rdogs\n\x85 three"
    (tmp_path / "input").write_bytes(data)
    assert stream(translator, data).data == stream(translator, tmp_path / "input").data


@pytest.mark.parametrize(
    ("row", "data", "message"),
    [
        ("A13", "a man\n".encode("utf-16"), r"stdin: looks like UTF-16; convert with iconv"),
        ("A13", b"\xfe\xff\0a\0\n", r"stdin: looks like UTF-16; convert with iconv"),
        ("A29", b"a\n" + b"b" * 2000, r"stdin:2: line longer than 1000 bytes; use --max-line-bytes"),
        ("A42", b"\x1f\x8b\x08", r"stdin: looks gzip-compressed; use zcat"),
    ],
)
def test_what_is_refused_is_refused_before_any_output(
    translator: Translator, capfdbinary: pytest.CaptureFixture[bytes], row: str, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        stream(translator, data, Job(SHORT, TextOptions(max_line_bytes=1000)))
    assert refusal.value.exit_code == 3
    assert capfdbinary.readouterr().out == b""


def test_warnings_of_a_kind_are_few_and_counted(translator: Translator) -> None:  # A14, A16
    assert stream(translator, ROWS["A14"]).warnings[0] == "stdin:7: invalid UTF-8 replaced"
    warnings = stream(translator, ROWS["A16"]).warnings
    assert len(warnings) == 6
    assert "20 lines in all" in warnings[-1]
    assert "--encoding latin-1" in warnings[-1]


def test_latin1_can_be_named(translator: Translator) -> None:  # A16
    job = Job(SHORT, TextOptions(encoding="latin-1"))
    answer = stream(translator, ROWS["A16"], job)
    assert answer.warnings == []
    assert answer.data == stream(translator, ROWS["A16"].decode("latin-1").encode()).data


def test_an_unseen_script_shows_no_unk(translator: Translator) -> None:  # A21
    assert "<unk>" not in stream(translator, ROWS["A21"]).data.decode()


def test_special_pieces_in_text_are_text(translator: Translator, tokenizers: Tokenizers) -> None:  # A24, A25
    for line in inputs_of(ROWS["A24"] + ROWS["A25"]):
        (ids,) = tokenizers.source.encode([line])
        assert min(ids) > 3
        assert len(ids) > len(line.split())


@pytest.mark.slow
def test_a_very_long_line_is_translated_in_pieces(translator: Translator) -> None:  # A27
    rng = random.Random(27)
    long = " ".join(rng.choice("abcdefgh") for _ in range(40_000))
    tokens = len(translator.tokenizers.source.encode([long])[0])
    options = SearchConfig(beam_size=1, max_length_ratio=0.001, max_length_offset=2)
    answer = stream(translator, f"a\n{long}\nb\n".encode(), Job(options))
    parts = -(-tokens // 511)
    assert len(answer.lines) == 3
    assert len(answer.lines[1].split()) >= parts // 2  # of each part something
    assert answer.warnings == [f"stdin:2: {tokens} tokens > 512; translated in {parts} pieces"]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(10_000, 100_000), pytest.param((1_000_000, 10_000_000), marks=pytest.mark.slow)])
def test_a_line_without_a_space_takes_linear_time(translator: Translator, sizes: tuple[int, int]) -> None:  # A28
    seconds = []
    for size in sizes:
        begun = time.perf_counter()
        assert len(stream(translator, b"a" * size, Job(GREEDY)).lines) == 1
        seconds.append(time.perf_counter() - begun)
    assert seconds[1] < 15 * seconds[0] + 1
    assert seconds[1] < 60


class Endless:
    """A line that never ends."""

    def __init__(self) -> None:
        self.given = 0

    def read1(self, size: int, /) -> bytes:
        self.given += size
        return b"a" * size

    def fileno(self) -> int:
        raise OSError("not a file")


def test_an_endless_line_is_refused_before_it_is_in_memory() -> None:  # A29
    from nmt.text import read_blocks

    source = Endless()
    with pytest.raises(DataError, match="stdin:1: line longer than 64 MiB"):
        next(read_blocks(source, "stdin"))
    assert source.given < 80 << 20


def test_output_is_never_longer_than_its_limit(translator: Translator) -> None:  # A30
    options = SearchConfig(beam_size=1, max_length_ratio=0.1, max_length_offset=5)
    for line in inputs_of(ROWS["A30"]):
        (translation,) = translator.translate_block([line], options)
        assert len(translation.hypotheses[0].pieces) <= 0.1 * translation.tokens + 5 * translation.parts


def test_a_model_that_never_ends_is_ended(tokenizers: Tokenizers) -> None:  # A31
    (word,) = tokenizers.target.encode(["Mann"])
    speaker = scripted(tokenizers, word, ends=False)
    assert stream(speaker, b"\n\n", Job(SPOKEN.search.model_copy(update={"max_length_offset": 0}))).stats.limited == 0
    answer = stream(speaker, b"a man\n\ntwo dogs\n", SPOKEN)
    assert len(answer.lines) == 3
    assert answer.stats.limited == 2
    sources = tokenizers.source.encode(["a man", "two dogs"])
    assert answer.stats.target_tokens == sum(2 * len(ids) + 20 for ids in sources)


class Numberless(Scripted):
    """A model whose weights have been lost."""

    def step(self, tokens: Tensor, state: ScriptState, memory: ScriptMemory) -> tuple[Tensor, ScriptState]:
        logits, state = super().step(tokens, state, memory)
        return logits * float("nan"), state


def test_lines_without_a_translation_are_empty_and_told(tokenizers: Tokenizers) -> None:  # F28
    model = Numberless([5], tokenizers.target.size)
    count = SHOWN + 2
    answer = stream(Translator(tiny_config(), tokenizers, model, CPU), b"\n" + b"a man\n" * count, SPOKEN)
    assert answer.lines == [""] * (1 + count)
    each = [f"stdin:{line}: {LOST}; its line is left empty" for line in range(2, 2 + SHOWN)]
    assert answer.warnings == [*each, f"{LOST} for {count} lines in all"]
    assert answer.stats.lost == count


def byte(tokenizer: Tokenizer, value: int) -> int:
    return next(i for i in range(tokenizer.size) if tokenizer.pieces([i]) == [f"<0x{value:02X}>"])


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("A32", (0x0A,)),
        ("A32", (0x0D, 0x0A)),
        ("A32", (0xC2, 0x85)),
        ("A32", (0x00,)),
        ("A32", (0xE2, 0x80, 0xA8)),
        ("A33", (0xFF,)),
        ("A33", (0xE2, 0x80)),
        ("A33", (0xED, 0xA0, 0x80)),
    ],
)
def test_bytes_a_model_spells_break_no_line(tokenizers: Tokenizers, row: str, values: tuple[int, ...]) -> None:
    (word,) = tokenizers.target.encode(["Mann"])
    spelt = [*word, *(byte(tokenizers.target, value) for value in values), *word]
    data = b"a\nb\n"
    answer = stream(scripted(tokenizers, spelt), data, SPOKEN)
    assert scripted(tokenizers, spelt).translate(["a", "b"], SPOKEN.search) == answer.lines
    check(answer, data)
    assert answer.lines[0].count("Mann") == 2
    assert ("\ufffd" in answer.lines[0]) == (row == "A33")


def test_unknown_words_are_copied_through_attention() -> None:
    tokenizers = Tokenizers.train(PAIRS * 4, tiny_config("word").tokenizer)
    (word,) = tokenizers.target.encode(["Zwei"])
    answer = stream(scripted(tokenizers, [*word, UNK], kind="word"), b"Two Quokkas run\n", SPOKEN)
    assert answer.lines == ["Zwei Quokkas"]


FORMATS: dict[str, Callable[[str], bool]] = {"text": bool, "tsv": lambda line: "\t" in line, "jsonl": str.isprintable}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_has_one_line_for_each(translator: Translator, format_: str) -> None:
    data = "a\tman\n\n x \u0085 \u2028\n{\"two\": 'dogs'}\n".encode()
    answer = stream(translator, data, Job(SHORT, format=format_, scores=True, alignments=True))  # type: ignore[arg-type]
    assert len(answer.lines) == len(answer.data.decode().splitlines()) == 4
    assert all(FORMATS[format_](line) for line in answer.lines)
