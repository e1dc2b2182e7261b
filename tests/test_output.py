"""What is written is one line per line, in UTF-8, and a file is whole or not there."""

import io
import os
import sys

import pytest

from nmt import output
from nmt.errors import OptionError, ResourceError
from nmt.output import Writer, check_output, open_output, standard_output


class Counting(io.BytesIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, data):
        self.writes += 1
        return super().write(data)


class Grudging(io.BytesIO):
    """Takes three bytes at a time, and every other time none."""

    asked = 0

    def write(self, data):
        self.asked += 1
        return super().write(data[:3]) if self.asked % 2 else None


@pytest.mark.parametrize(("unbuffered", "writes"), [(False, 1), (True, 3)])
def test_blocks_leave_at_once_unless_unbuffered(unbuffered, writes):
    stream = Counting()
    writer = Writer(stream, "stdout", unbuffered=unbuffered)
    writer.write(["é", "", "a\nb\u2028\ud800"])
    assert stream.getvalue() == "é\n\na b \ufffd\n".encode()
    assert (stream.writes, writer.lines) == (writes, 3)


def test_unbuffered_lines_leave_before_the_next_is_asked_for():
    stream, seen = Counting(), []

    def lines():
        for line in "ab":
            seen.append(stream.getvalue())
            yield line

    Writer(stream, "stdout", unbuffered=True).write(lines())
    assert seen == [b"", b"a\n"]


def test_slow_takers_lose_nothing():
    stream = Grudging()
    writer = Writer(stream, "stdout")
    writer.write(["one", "two"])
    assert (stream.getvalue(), writer.lines) == (b"one\ntwo\n", 2)


def test_full_disk_is_a_resource_error_that_counts_lines():  # A36
    with open("/dev/full", "wb", buffering=0) as stream:
        writer = Writer(stream, "stdout")
        with pytest.raises(ResourceError, match="stdout: no space left on device after 0 lines"):
            writer.write(["a"])


def test_closed_pipe_is_left_to_the_caller():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        Writer(stream, "stdout").write(["a"])


def test_closed_stdout_is_said(monkeypatch):  # A37
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ResourceError, match="stdout is closed"):
        standard_output()


def test_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    with open_output(path) as writer:
        writer.write(["a"])
        assert not path.exists()
    assert path.read_bytes() == b"a\n"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_failed_run_keeps_the_old_file(tmp_path):  # A45
    path = tmp_path / "out.txt"
    path.write_text("old")

    def interrupted():
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_output(path, force=True, unbuffered=True) as writer:
        writer.write(interrupted())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_what_is_not_compressed_is_not_called_so(tmp_path):
    with pytest.raises(OptionError, match=r"out.txt.gz: what is written is not compressed; name it out.txt, and gzip"):
        check_output(tmp_path / "out.txt.gz", (), force=True)


def test_existing_file_needs_force(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o640)
    with pytest.raises(OptionError, match="out.txt: exists; use --force"), open_output(path):
        pass
    with open_output(path, force=True) as writer:
        writer.write(["new"])
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o640)


@pytest.mark.parametrize("link", [os.link, os.symlink, lambda source, path: None])
def test_output_is_never_an_input(tmp_path, link):  # A44
    source, path = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("text")
    link(source, path)
    path = path if path.exists() else source
    with pytest.raises(OptionError, match="input and output are the same file"):
        open_output(path, [source], force=True).__enter__()
    with source.open("rb") as stream, pytest.raises(OptionError, match="same file"):
        open_output(path, [stream.fileno()], force=True).__enter__()
    assert source.read_text() == "text"


def test_symbolic_link_stays_a_link(tmp_path):
    final, link = tmp_path / "final.txt", tmp_path / "link.txt"
    final.write_text("old")
    link.symlink_to(final)
    with open_output(link, force=True) as writer:
        writer.write(["new"])
    assert link.is_symlink()
    assert final.read_text() == "new\n"


def test_pipe_is_written_to_and_not_replaced(tmp_path):  # never try this on a real device: a bug would replace it
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        with open_output(pipe) as writer:
            writer.write(["a"])
        assert reader.read() == b"a\n"
    assert pipe.is_fifo()


def test_impossible_outputs_are_wrong_options(tmp_path):
    with pytest.raises(OptionError, match="is a directory"):
        open_output(tmp_path).__enter__()
    with pytest.raises(OptionError, match="there is no folder"):
        open_output(tmp_path / "absent" / "out.txt").__enter__()


@pytest.mark.parametrize("is_read", [True, False])
def test_a_file_is_not_written_to_while_it_is_read(tmp_path, monkeypatch, is_read):
    """`nmt translate < same >> same` would never end."""
    same, other = tmp_path / "same", tmp_path / "other"
    for path in (same, other):
        path.write_text("a\n")
    with same.open("ab") as end:
        monkeypatch.setattr(output, "STDOUT", end.fileno())
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
        if not is_read:
            standard_output([other])
            return
        with pytest.raises(OptionError, match="stdout: input and output are the same file; name another with -o"):
            standard_output([other, same])
