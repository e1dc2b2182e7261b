"""The line contract, DESIGN.md section 5, and rows A1 to A29 of the test matrix that are about bytes."""

import gzip
import io
import os
import random
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nmt.errors import DataError, OptionError
from nmt.text import LARGEST_READ, Place, TextOptions, Warnings, clean, is_blank, open_text, read_blocks, read_sides

UTF16 = b"\xff\xfea\0\n\0"
BREAKERS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\0\n"


class Dribble:
    """Gives the data in the sizes it is told to, whatever is asked for."""

    def __init__(self, data, sizes):
        self.data, self.sizes = data, iter(sizes)

    def read1(self, size):
        size = min(size, next(self.sizes, size))
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def fileno(self):
        raise OSError("not a file")


def lines(data, **options):
    blocks = read_blocks(io.BytesIO(data), "stdin", TextOptions(**options))
    return [line for block in blocks for line in block]


TABLE = {  # row of the matrix: (bytes, lines)
    "A1": (b"", []),
    "A2": (b"\n", [""]),
    "A3": (b"a\n\nb\n", ["a", "", "b"]),
    "A5": (b"\n" * 1000, [""] * 1000),
    "A6": (b"a\nb", ["a", "b"]),
    "A7": (b"a\r\nb\r\n", ["a", "b"]),
    "A7, one only": (b"a\r\r\n", ["a\r"]),
    "A7, no end": (b"a\r", ["a"]),
    "A8": (b"a\rb\nc\n", ["a\rb", "c"]),
    "A9": ("a\u2028b\u2029c\x85d\x0b\x0c\x1c\x1d\x1ee\n".encode(), ["a\u2028b\u2029c\x85d\x0b\x0c\x1c\x1d\x1ee"]),
    "A11": (b"\xef\xbb\xbfa\n", ["a"]),
    "A11, alone": (b"\xef\xbb\xbf", []),
    "A12": (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
    "A14": (b"a\xffb\n", ["a\ufffdb"]),
    "A15": (b"a\nb\xe2\x82", ["a", "b\ufffd"]),
    "A17": (b"a\0b\n", ["a\0b"]),
    "A19": (b"\xed\xa0\x80\n", ["\ufffd\ufffd\ufffd"]),
    "A20": ("👩‍👩‍👧 🇫🇷 👍🏽\n".encode(), ["👩‍👩‍👧 🇫🇷 👍🏽"]),
    "A22": ("e\u0301 \u00e9\n".encode(), ["e\u0301 \u00e9"]),
    "A23": ("\u200fא\u202e\n".encode(), ["\u200fא\u202e"]),
    "A24": (b"<s> </s> <pad> <unk>\n", ["<s> </s> <pad> <unk>"]),
}


@pytest.mark.parametrize(("data", "expected"), TABLE.values(), ids=TABLE.keys())
def test_lines_of_the_matrix(data, expected):
    assert lines(data) == expected


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\xef\xbb\xbf", b"a", b"\xff", b"\xe2\x82\xac", "\x85\u2028".encode()]))
    | st.binary(max_size=200).map(lambda data: [data]),
    st.lists(st.integers(1, 5)),
)
@example([b"\xef\xbb\xbf", b"\n"], [1, 1, 1])
def test_lines_do_not_depend_on_the_chunks(pieces, sizes):
    data = b"".join(pieces)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b"):
        return  # refused
    whole = lines(data)
    assert [line for block in read_blocks(Dribble(data, sizes), "stdin") for line in block] == whole
    rest = data.removeprefix(b"\xef\xbb\xbf")
    assert len(whole) == rest.count(b"\n") + (not rest.endswith(b"\n") and rest != b"")


def test_ten_thousand_random_lines_stay_ten_thousand():  # A18
    source = random.Random(18)
    data = (
        b"\n".join(bytes(b for b in source.randbytes(source.randrange(60)) if b != 10) for _ in range(10_000)) + b"\n"
    )
    assert len(lines(b"-" + data)) == 10_000


@pytest.mark.parametrize("data", [UTF16, b"\xfe\xff\0a", b"\xff\xfe"])
def test_utf16_is_refused_with_a_remedy(data):  # A13
    with pytest.raises(DataError, match="stdin: looks like UTF-16; convert with iconv -f UTF-16 -t UTF-8"):
        lines(data)


def test_gzip_on_a_stream_is_refused_with_a_remedy():  # A42
    with pytest.raises(DataError, match="stdin: looks gzip-compressed; use zcat"):
        lines(gzip.compress(b"a\n"))


def test_marks_are_seen_in_the_first_bytes_whatever_the_chunks():
    with pytest.raises(DataError, match="UTF-16"):
        list(read_blocks(Dribble(UTF16, [1, 1, 1]), "stdin"))
    assert list(read_blocks(Dribble(b"\xef\xbb\xbfa\n", [1, 1, 1, 1]), "stdin")) == [["a"]]
    assert list(read_blocks(Dribble(b"\xef\xbb\xbfa\n", [3]), "stdin")) == [["a"]]


def test_first_line_is_given_before_the_second_arrives():
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as feeder:
        blocks = read_blocks(stream, "stdin")
        feeder.write(b"a\n")
        watchdog = threading.Timer(10, feeder.close)  # a reader that waits for more fails instead of hanging
        watchdog.start()
        assert next(blocks) == ["a"]
        feeder.write(b"b\nc")
        assert next(blocks) == ["b"]
        watchdog.cancel()
        feeder.close()
        assert list(blocks) == [["c"]]


def test_blocks_start_small_and_stay_bounded():
    blocks = [sum(map(len, block)) for block in read_blocks(io.BytesIO(b"abcdefg\n" * 200_000), "stdin")]
    assert blocks[0] <= 4096
    assert blocks[1] <= 8192
    assert max(blocks) <= LARGEST_READ


def test_long_line_far_down_is_named():
    with pytest.raises(DataError, match="stdin:10001: line longer than 100 bytes"):
        lines(b"a\n" * 10_000 + b"b" * 101, max_line_bytes=100)


@pytest.mark.parametrize("data", [b"a\n" + b"b" * 101 + b"\nc\n", b"a\n" + b"b" * 101])
def test_long_line_is_refused_before_its_block_is_given(data):
    blocks = read_blocks(io.BytesIO(data), "stdin", TextOptions(max_line_bytes=100))
    with pytest.raises(DataError, match="stdin:2: line longer than 100 bytes; use --max-line-bytes"):
        next(blocks)
    assert lines(b"b" * 100 + b"\n", max_line_bytes=100) == ["b" * 100]


class Endless:
    """A line that never ends; counts what was read of it."""

    taken = 0

    def read1(self, size):
        self.taken += size
        return b"a" * size

    def fileno(self):
        raise OSError("not a file")


def test_endless_line_is_refused_before_it_fills_the_memory():  # A29
    stream = Endless()
    with pytest.raises(DataError, match="stdin:1: line longer than 64 MiB; use --max-line-bytes"):
        next(read_blocks(stream, "stdin"))
    assert stream.taken <= 64 * 2**20 + LARGEST_READ


def test_warnings_name_five_lines_and_count_all():  # A14, A16
    said = []
    warnings = Warnings(said.append)
    data = "é\n".encode("latin-1") * 7
    list(read_blocks(io.BytesIO(b"ok\n" + data), "stdin", warnings=warnings))
    warnings.finish()
    assert said[:5] == [f"stdin:{line}: invalid UTF-8 replaced" for line in range(2, 7)]
    assert said[5:] == ["invalid UTF-8 replaced: 7 lines in all; if the text is Latin-1, use --encoding latin-1"]


def test_single_warning_gives_no_advice():
    said = []
    warnings = Warnings(said.append)
    list(read_blocks(io.BytesIO(b"ok\n\xff\n"), "stdin", warnings=warnings))
    warnings.finish()
    assert said == ["stdin:2: invalid UTF-8 replaced", "invalid UTF-8 replaced: 1 line in all"]


def test_bad_bytes_are_an_error_with_line_and_column_if_asked():  # A53
    with pytest.raises(DataError, match=r"stdin:2: invalid UTF-8 \(byte 0xff at column 4\)"):
        lines("a\néaé\0".encode()[:-1] + b"\xff\n", bad_utf8="error")


def test_dropping_lines_is_for_corpora_only():
    with pytest.raises(OptionError, match="--bad-utf8 drop: every line must be kept"):
        lines(b"a\n", bad_utf8="drop")
    assert list(read_sides(io.BytesIO(b"a\n\xff\n"), "x", TextOptions(bad_utf8="drop"))) == [["a", None]]


@pytest.mark.parametrize(
    ("encoding", "data"), [("latin-1", b"\xe9\n"), ("cp1252", b"\xe9\n"), ("utf-8-sig", b"\xef\xbb\xbf\xc3\xa9\n")]
)
def test_other_encodings_are_read(encoding, data):
    assert lines(data, encoding=encoding) == ["é"]


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "euc_jp", "big5"])
def test_bytes_of_wide_encodings_never_end_a_line(encoding):
    text = "日本 山川"
    assert lines(f"{text}\n{text}".encode(encoding), encoding=encoding) == [text, text]


@pytest.mark.parametrize(
    ("encoding", "what"), [("latin-99", "unknown"), ("utf-16", "no line ends"), ("hex", "unknown")]
)
def test_impossible_encodings_are_wrong_options(encoding, what):
    with pytest.raises(OptionError, match=f"--encoding {encoding}: .*{what}"):
        lines(b"a\n", encoding=encoding)


@pytest.mark.parametrize("line", ["", " ", "\t", "\xa0", "\u3000", "\u200b", "\ufeff", " \u200b \ufeff", "\x1c", "\r"])
def test_white_space_is_blank(line):  # A4
    assert is_blank(line)


@pytest.mark.parametrize("line", ["a", ".", "\u200ba", "\u200d", "\0"])
def test_text_is_not_blank(line):  # A26
    assert not is_blank(line)


@settings(deadline=None)
@given(st.text(st.characters() | st.characters(categories=["Cs"])))
@example(BREAKERS)
def test_clean_text_is_one_line_for_every_reader(text):
    cleaned = clean(text)
    assert len(cleaned) == len(text)
    assert len(cleaned.splitlines()) <= 1
    assert not set(cleaned) & set(BREAKERS)
    assert cleaned.encode().decode() == cleaned


@pytest.mark.parametrize("breaker", BREAKERS)
def test_breakers_become_spaces(breaker):
    assert clean(f"a{breaker}b\ud800") == "a b\ufffd"


@pytest.mark.parametrize("name", ["x.en", "x.en.gz", "gzipped.txt"])
def test_files_are_read_gzipped_or_not(tmp_path, name):
    data = b"a\nb\n"
    (tmp_path / name).write_bytes(data if name == "x.en" else gzip.compress(data))
    with open_text(tmp_path / name) as stream:
        assert list(read_blocks(stream, name)) == [["a", "b"]]


FILES = {
    "no such file": lambda path: None,
    "is a directory": lambda path: path.mkdir(),
    "is not gzip-compressed": lambda path: path.write_bytes(b"plain"),
    "damaged gzip data": lambda path: path.write_bytes(gzip.compress(b"a\n" * 100)[:-12]),
}


@pytest.mark.parametrize(("what", "make"), FILES.items(), ids=FILES.keys())
def test_what_is_no_text_file_is_named(tmp_path, what, make):  # A43
    path = tmp_path / "x.gz"
    make(path)
    with pytest.raises(DataError, match=f"x.gz: {what}"), open_text(path) as stream:
        list(read_blocks(stream, str(path)))


def test_place_reads_as_compilers_write_it():
    assert str(Place("x.en", 7)) == "x.en:7"
