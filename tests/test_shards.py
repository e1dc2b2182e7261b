"""Several processes translate one text: the bytes of one process, however many there are and however they end."""

from __future__ import annotations

import errno
import fcntl
import gzip
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from runs import PAIRS, SHORT, tiny_config, write_run
from terminal import Terminal, environment

from nmt import shards
from nmt.config import SearchConfig
from nmt.errors import DataError, OptionError, ResourceError
from nmt.partial import Finished, Partial, open_partial
from nmt.ranks import Rank, rank
from nmt.shards import Claims, Shared, translate_shards
from nmt.stream import Job, Stats
from nmt.translate import Extras
from nmt.translation import Output, Translation

FORK = multiprocessing.get_context("fork")
CPU = ("--device", "cpu", "--threads", "1")
TASK = {"command": "test", "text": "one"}
SOURCES = [source for source, _ in PAIRS]
TEXTS = {  # each file is a block of its own
    "plain": b"".join(f"{source}\n".encode() for source in SOURCES),
    "blank lines": b"\n \nA man.\n\xe2\x80\x8b\n\n",
    "crlf": b"\xef\xbb\xbfTwo dogs.\r\n\r\nA man rides.\r\n",
    "empty": b"",
    "one newline": b"\n",
    "no newline": b"A man.\nTwo dogs",
    "undecodable": b"A \xff man.\nThe child sleeps.\n",
    "zipped.gz": gzip.compress(b"The woman reads.\r\nWhere is the station?"),
    "long": b"A man rides a bicycle. " * 60 + b"\nA man.\n",
}


# ---- processes and a folder ---------------------------------------------------------------------------------------


class Shouter:
    """A translator that takes a while over each block, and writes down which it was given."""

    config = tiny_config()

    def __init__(self, log: Path) -> None:
        self.log = log

    def translate_block(self, lines: Sequence[str], options: object, extras: Extras) -> list[Translation]:
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()} {extras.first}\n")
        time.sleep(0.05)
        return [Translation((Output(f"{line}!", -1.0, -1.0, ("x",)),), tokens=2) for line in lines]


@pytest.fixture
def numbers(tmp_path: Path) -> list[Path]:
    """Twelve blocks of three lines."""
    files = [tmp_path / f"{number:02d}.txt" for number in range(12)]
    for number, file in enumerate(files):
        file.write_text("".join(f"{line}\n" for line in range(3 * number, 3 * number + 3)))
    return files


EXPECTED = "".join(f"{line}!\n" for line in range(36)).encode()


def work(files: Sequence[Path], where: Rank, *, say: Callable[[str], None] = print, task: Any = None) -> Stats | None:
    shared = Shared(files, files[0].with_name("out"), task or TASK, where)
    shouter: Any = Shouter(files[0].with_name("log"))
    return translate_shards(shouter, shared, Job(SearchConfig()), say, lambda text: say(f"warning: {text}"))


def beside(target: Callable[..., object], *arguments: object) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def log(files: Sequence[Path]) -> list[tuple[str, int]]:
    lines = [line.split() for line in files[0].with_name("log").read_text().splitlines()]
    return [(process, int(first)) for process, first in lines]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_block_is_made_once_and_all_processes_make_some(numbers: list[Path], size: int) -> None:
    others = [beside(work, numbers, Rank(number, size, number, size)) for number in range(1, size)]
    begun = time.monotonic()
    done = work(numbers, Rank(0, size, 0, size))
    seconds = time.monotonic() - begun
    for other in others:
        other.join(timeout=30)
        assert other.exitcode == 0
    assert numbers[0].with_name("out").read_bytes() == EXPECTED
    assert sorted(first for _, first in log(numbers)) == [3 * number for number in range(12)]
    assert len({process for process, _ in log(numbers)}) == size
    assert not numbers[0].with_name("out.parts").exists()
    assert done is not None
    assert (done.lines, done.source_tokens, done.target_tokens) == (36, 72, 36)
    assert 12 * 0.05 / size - 1e-3 < done.seconds < seconds, "those of one process, in the mean"


def test_what_another_process_has_just_finished_is_left_alone(
    numbers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Partial(numbers[0].with_name("out"))

    def take(claims: Claims, number: int) -> bool:
        place.add(number, Finished(f"{3 * number}!\n{3 * number + 1}!\n{3 * number + 2}!\n".encode(), Counter()))
        return True

    monkeypatch.setattr(Claims, "take", take)
    monkeypatch.setattr(Claims, "is_free", lambda claims, number: True)
    work(numbers, Rank(0, 1, 0, 1))
    assert place.output.read_bytes() == EXPECTED
    assert not numbers[0].with_name("log").exists()


def come_and_take(folder: Path, number: int) -> None:
    """Be rank 1, which is at a block for ever."""
    while not (folder / "claims").exists():
        time.sleep(0.01)
    with closing(Claims(folder)) as claims:
        while not claims.is_led() or not claims.take(number):
            time.sleep(0.01)
        (folder / "rank-00001").touch()
        time.sleep(600)


@pytest.mark.slow
def test_what_a_dead_process_leaves_undone_the_first_one_does(numbers: list[Path]) -> None:
    parts = numbers[0].with_name("out.parts")
    other, seen = beside(come_and_take, parts, 11), list[bool]()
    first = threading.Thread(target=work, args=(numbers, Rank(0, 2, 0, 2)))
    first.start()
    while not parts.is_dir() or len(list(parts.glob("block-????????"))) < 11:
        time.sleep(0.01)
    time.sleep(5 * shards.LOOK)
    seen.append((parts / "block-00000011").exists())
    assert first.is_alive(), "the living are waited for"
    other.kill()
    first.join(timeout=30)
    assert seen == [False]
    assert numbers[0].with_name("out").read_bytes() == EXPECTED


@pytest.mark.slow
def test_a_process_that_does_not_come_is_waited_for_a_while_alone(
    numbers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "PATIENCE", 1.0)
    said = list[str]()
    begun = time.monotonic()
    work(numbers, Rank(0, 3, 0, 3), say=said.append)
    assert 1.0 < time.monotonic() - begun < 10.0
    assert said == ["rank 1 of 3 has not come; the others have done its share"]
    assert numbers[0].with_name("out").read_bytes() == EXPECTED


def lead(output: Path) -> None:
    """Be a first process that does nothing."""
    with open_partial(output, (), TASK) as place, closing(Claims.lead(place.folder)):
        time.sleep(600)


@pytest.mark.parametrize("left", [False, True])
def test_where_the_first_process_does_not_come_the_others_leave(
    numbers: list[Path], monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """Even where the blocks of processes before lie there."""
    monkeypatch.setattr(shards, "PATIENCE", 0.3)
    parts = numbers[0].with_name("out.parts")
    if left:
        leader = beside(lead, parts.with_name("out"))
        while not (parts / "claims").exists():
            time.sleep(0.01)
        leader.kill()
        leader.join()
    with pytest.raises(ResourceError, match=r"out.parts: rank 0 has not begun there within 0 seconds; see what it"):
        work(numbers, Rank(1, 2, 1, 2))
    assert parts.exists() == left


def test_a_process_with_another_task_leaves(numbers: list[Path]) -> None:
    leader = beside(lead, numbers[0].with_name("out"))
    with pytest.raises(OptionError, match=r"out.parts: was begun with another text \(one, now two\)"):
        work(numbers, Rank(1, 2, 1, 2), task={**TASK, "text": "two"})
    leader.kill()


def test_signs_of_processes_before_do_not_count(numbers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PATIENCE", 0.5)
    with open_partial(numbers[0].with_name("out"), (), TASK) as place:
        (place.folder / "rank-00001").touch()
    said = list[str]()
    work(numbers, Rank(0, 2, 0, 2), say=said.append)
    assert said == ["rank 1 of 2 has not come; the others have done its share"]


def test_a_disk_without_locks_is_named(numbers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(
        ResourceError, match=r"out.parts: its disk cannot lock files \(No locks available\); give an -o"
    ):
        work(numbers, Rank(0, 1, 0, 1))


@pytest.mark.slow
def test_a_damaged_block_is_made_again(numbers: list[Path]) -> None:
    """Found before the others begin: what they see, they take for done."""
    out, log_of = numbers[0].with_name("out"), numbers[0].with_name("log")
    numbers.append(numbers[0].with_name("12.txt"))
    numbers[12].write_text("36\n" * 3)
    other, first = (
        beside(come_and_take, out.with_name("out.parts"), 12),
        FORK.Process(target=work, args=(numbers, Rank(0, 2, 0, 2))),
    )
    first.start()
    while not out.with_name("out.parts").is_dir() or len(list(out.with_name("out.parts").glob("block-????????"))) < 12:
        time.sleep(0.01)
    for process in (first, other):
        process.kill()
        process.join()
    block = out.with_name("out.parts") / "block-00000004"
    block.write_bytes(block.read_bytes()[:-1])
    log_of.unlink()
    said = list[str]()
    work(numbers, Rank(0, 1, 0, 1), say=said.append)
    assert said == ["going on: 11 of 13 blocks are there"]
    assert [first for _, first in log(numbers)] == [12, 36]
    assert out.read_bytes() == EXPECTED + b"36!\n" * 3


def test_what_is_wrong_in_the_text_is_said_by_the_first_process_before_the_work(numbers: list[Path]) -> None:
    numbers[11].write_bytes(b"\xff\n")
    said, job = list[str](), Job(SearchConfig())
    for text, code in ((job.text._replace(bad_utf8="error"), DataError), (job.text, None)):
        shared = Shared(numbers, numbers[0].with_name(f"out{code}"), TASK, Rank(0, 1, 0, 1))
        shouter: Any = Shouter(numbers[0].with_name("log"))
        if code:
            with pytest.raises(code, match=r"11.txt:1: invalid UTF-8"):
                translate_shards(shouter, shared, job._replace(text=text), said.append, said.append)
            assert not numbers[0].with_name("log").exists()
        else:
            translate_shards(shouter, shared, job._replace(text=text), said.append, said.append)
    assert [line.partition(".txt:")[2] or line for line in said] == [
        "1: invalid UTF-8 replaced",
        "invalid UTF-8 replaced: 1 line in all",
    ]


def test_faults_are_told_as_one_process_tells_them(numbers: list[Path]) -> None:
    class Loser(Shouter):
        def translate_block(self, lines: Sequence[str], options: object, extras: Extras) -> list[Translation]:
            return [Translation((Output("", -float("inf"), -float("inf"), ()),), 2, 0, 2) for _ in lines]

    said = list[str]()
    shared, loser = Shared(numbers, numbers[0].with_name("out"), TASK, Rank(0, 1, 0, 1)), Loser(numbers[0])
    done = translate_shards(loser, shared, Job(SearchConfig()), said.append, said.append)  # type: ignore[arg-type]
    assert done is not None
    assert (done.lost, done.split) == (36, 36)
    assert said[-2].startswith("36 lines in all were too long for the model")
    assert said[-1].endswith(" for 36 lines in all")
    assert len(said) == 5 + 5 + 2


def test_a_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert rank() == (0, 1, 0, 1)
    for number, name in enumerate(names):
        monkeypatch.setenv(name, str(10 + number))
    assert rank() == (10, 11, 12, 13)


# ---- the command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_config(max_length=64).model_copy(update={"search": SHORT})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nmt.shortlist.MULTIPLE", 1)
        return write_run(tmp_path_factory.mktemp("model") / "run", config, has_shortlist=True)


@pytest.fixture
def here(tmp_path: Path, model: Path) -> Path:
    (tmp_path / "run").symlink_to(model)
    for name, data in TEXTS.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def command(*words: str, files: Sequence[str] = tuple(TEXTS)) -> list[str]:
    return ["translate", "-m", "run", *files, *CPU, *words]


OPTIONS = [
    "",
    "--sample --seed 3 --scores",
    "--n-best 2 --prefix Zwei",
    "--format tsv --scores --alignments",
    "--format jsonl --scores --n-best 2 --alignments",
    "--shortlist --format jsonl --scores",
    "--mbr chrf -n 4 --format jsonl",
]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_the_bytes_are_those_of_one_process(terminal: Terminal, here: Path, options: str) -> None:
    one = terminal.nmt(*command("-o", "one", "--stats", *options.split()), folder=here).ok()
    two = terminal.nmt(*command("-o", "two", "--stats", "--workers", "2", *options.split()), folder=here).ok()
    expected = (here / "one").read_bytes()
    assert (here / "two").read_bytes() == expected
    if "prefix" not in options:  # Moses' lists have a line for each translation
        assert expected.count(b"\n") == 5 + 5 + 3 + 1 + 2 + 2 + 2 + 2
    told, counted = (re.sub(r"[\d.]+ s: .*", "", done.error) for done in (one, two))
    assert sorted(told.splitlines()) == sorted(counted.splitlines()), "each warning, and the counts, once"
    assert not (here / "two.parts").exists()


@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_empty_text_is_an_empty_output(terminal: Terminal, here: Path, workers: str) -> None:
    terminal.nmt(*command("-o", "out", "--workers", workers, files=["empty"]), folder=here).ok()
    assert (here / "out").read_bytes() == b""


WRONG = [
    ("--workers 2", {}, 2, "--workers 2: blocks become a file, not stdout; name it with -o"),
    ("", {"WORLD_SIZE": "4"}, 2, "4 processes: blocks become a file, not stdout; name it with -o"),
    ("--workers 2 -o out -", {}, 2, "stdin: is read by one process alone; write it to a file, and name that"),
    ("--workers 2 -o out --unbuffered", {}, 2, "--unbuffered: blocks become a file, not lines; leave it out"),
    ("--workers 2 -o out.gz", {}, 2, "out.gz: what is written is not compressed; name it out, and gzip it afterwards"),
    ("--workers 2 -o out pipe", {}, 3, "pipe: is no regular file; each process reads it: write it to a file first"),
    ("--workers 2 -o plain --force", {}, 2, "plain: input and output are the same file; name another with -o"),
    ("--workers 2 -o there", {}, 2, "there: exists; use --force"),
    ("--workers 2 -o no/where", {}, 2, "no/where: there is no folder no; create it first"),
    ("--workers 2 -o /dev/null", {}, 2, "/dev/null: is no regular file; name one with -o"),
    ("--workers 2 -o out", {"WORLD_SIZE": "3"}, 2, "--workers 2: this is one of 3 processes that a launcher has"),
    ("--workers 2 -o out none", {}, 3, "none: no such file"),
    ("--workers 0 -o out", {}, 2, "Invalid value for '--workers': Input should be greater than or equal to 1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "variables", "code", "message"), WRONG, ids=[words for words, *_ in WRONG])
def test_what_several_processes_cannot_do_is_said_in_one_line(
    terminal: Terminal, here: Path, words: str, variables: dict[str, str], code: int, message: str
) -> None:
    (here / "there").write_text("kept")
    os.mkfifo(here / "pipe")
    done = terminal.nmt(*command(*words.split()), folder=here, **variables)
    assert re.match(rf"nmt translate: error: (rank 0 on \S+: )?{re.escape(message)}", done.error)
    assert (done.code, done.out, done.error.count("\n")) == (code, "", 1)
    assert (here / "there").read_text() == "kept"
    assert not list(here.glob("*.parts"))


def test_what_one_process_says_ends_all_and_names_it(terminal: Terminal, here: Path) -> None:
    done = terminal.nmt(*command("-o", "out", "--workers", "2", "--bad-utf8", "error"), folder=here)
    first, second = done.error.splitlines()
    assert re.match(r"nmt translate: error: rank 0 on \S+: undecodable:1: invalid UTF-8", first)
    assert second == (
        "nmt translate: error: rank 0 of 2 ended with exit code 3; see what it says, and run the same command again"
    )
    assert done.code == 3


@pytest.mark.slow
def test_an_output_is_replaced_when_forced(terminal: Terminal, here: Path) -> None:
    (here / "out").write_text("old")
    terminal.nmt(*command("-o", "out", "--workers", "2", "--force"), folder=here).ok()
    terminal.nmt(*command("-o", "one"), folder=here).ok()
    assert (here / "out").read_bytes() == (here / "one").read_bytes()


# ---- killed -------------------------------------------------------------------------------------------------------


def started(words: Sequence[str], folder: Path, launcher: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start `nmt`, by a launcher or without, as the first process of a group."""
    line = [sys.executable, "-m", *launcher, *(("-m",) if launcher else ()), "nmt", *words]
    environs = environment({"OMP_NUM_THREADS": "1"})
    return subprocess.Popen(line, cwd=folder, env=environs, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(process: subprocess.Popen[str], parts: Path, blocks: int) -> None:
    end = time.monotonic() + 120
    while len(list(parts.glob("block-????????"))) < blocks:
        assert time.monotonic() < end
        assert process.poll() is None, f"ended with {process.returncode} before block {blocks}"
        time.sleep(0.002)


def running(mark: str) -> list[int]:
    """Return the processes with a word on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_there = mark.encode() in (place / "cmdline").read_bytes()
        except OSError:
            continue
        if is_there:
            found.append(int(place.name))
    return found


def all_gone(mark: str) -> bool:
    end = time.monotonic() + 20
    while running(mark) and time.monotonic() < end:
        time.sleep(0.02)
    return not running(mark)


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_starter(process: subprocess.Popen[str]) -> None:
    process.kill()


@pytest.fixture
def many(here: Path) -> list[str]:
    """Blocks enough for something to happen meanwhile."""
    names = [f"{number:02d}.txt" for number in range(24)]
    for number, name in enumerate(names):
        lines = [f"{source} {number} {line}" for line, source in enumerate(SOURCES)]
        (here / name).write_text("".join(f"{line}\n" for line in lines))
    return names


@pytest.mark.slow
def test_killed_it_goes_on_with_any_number_of_processes(terminal: Terminal, here: Path, many: list[str]) -> None:
    parts, words = here / "out.parts", command("-b", "5", "-o", str(here / "out"), files=many)
    process = started([*words, "--workers", "2"], here)
    wait_for(process, parts, 3)
    kill_group(process)
    process.communicate()
    assert all_gone(str(here / "out"))
    kept = {path.name: path.stat().st_ino for path in parts.glob("block-????????")}
    assert 3 <= len(kept) < 24
    spare = here / "spare"
    shutil.copytree(parts, spare)
    terminal.nmt(*command("-b", "5", "-o", "one", files=many), folder=here).ok()
    for more in ([], ["--workers", "3"]):
        done = terminal.nmt(*words, *more, folder=here).ok()
        assert f"going on: {len(kept)} of 24 blocks are there" in done.error
        assert (here / "out").read_bytes() == (here / "one").read_bytes()
        assert not parts.exists()
        (here / "out").unlink()
        shutil.copytree(spare, parts)
    for changed, what in ((["-b", "4"], "search.beam_size (5, now 4)"), (["--scores"], "scores (False, now True)")):
        done = terminal.nmt(*words, *changed, "--workers", "2", folder=here)
        assert f"out.parts: was begun with another {what}" in done.error
        assert done.code == 2
    (here / "00.txt").write_text("Another text.\n")
    assert "was begun with another text.00.txt (" in terminal.nmt(*words, folder=here).error


@pytest.mark.slow
def test_only_one_command_works_on_an_output(terminal: Terminal, here: Path, many: list[str]) -> None:
    words = command("-b", "5", "-o", str(here / "out"), "--workers", "2", files=many * 5)
    process = started(words, here)
    wait_for(process, here / "out.parts", 1)
    done = terminal.nmt(*words, folder=here)
    assert done.code == 2
    assert "out.parts: another process is working in it; give another -o" in done.error
    process.communicate()
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "last"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130, "the same command goes on from there"),
        (lambda process: process.send_signal(signal.SIGINT), 130, "the same command goes on from there"),
        (lambda process: os.killpg(process.pid, signal.SIGTERM), 143, ""),
        (lambda process: process.terminate(), 143, ""),
        (kill_starter, -signal.SIGKILL, ""),
        (
            lambda process: os.kill(children(process.pid)[1], signal.SIGKILL),
            5,
            "error: rank 1 of 2 was killed by SIGKILL; give it more memory, or lower --workers; the same command go",
        ),
    ],
    ids=["Ctrl-C", "SIGINT", "SIGTERM to all", "SIGTERM", "SIGKILL", "SIGKILL of one"],
)
def test_however_it_ends_nobody_is_left(
    here: Path, many: list[str], how: Callable[[subprocess.Popen[str]], None], code: int, last: str
) -> None:
    out = here / "out"
    process = started(command("-b", "5", "-o", str(out), "--workers", "2", files=many), here)
    wait_for(process, here / "out.parts", 2)
    begun = time.monotonic()
    how(process)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert all_gone(str(out))
    assert time.monotonic() - begun < 10
    assert last in said
    assert "Traceback" not in said
    assert said.count("\n") == bool(last)
    assert not out.exists()
    assert len(list((here / "out.parts").glob("block-????????"))) >= 2


TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["--workers", "torchrun"])
def test_a_hundred_thousand_lines_killed_three_times_are_those_of_one_process(
    terminal: Terminal, here: Path, launcher: str
) -> None:
    chance, out, parts = random.Random(launcher), here / "out", here / "out.parts"
    lines = [f"A man {number}." if chance.random() > 0.02 else chance.choice(["", " "]) for number in range(100_000)]
    text = "".join(line + chance.choices(["\n", "\r\n"], [9, 1])[0] for line in lines)
    (here / "big.gz").write_bytes(gzip.compress(text.rstrip("\r\n").encode()))
    quick = ("-b", "1", "--max-length-ratio", "0.01", "--max-length-offset", "2", "--format", "tsv", "--scores")
    words = ["translate", "-m", "run", "big.gz", "--device", "cpu", *quick, "-o"]
    terminal.nmt(*words, "one", folder=here).ok()
    kept = dict[str, int]()
    for blocks in (2, 8, 15, 0):
        if launcher == "torchrun":
            process = started([*words, str(out)], here, TORCHRUN)
        else:
            process = started([*words, str(out), "--workers", "2"], here)
        if not blocks:
            break
        wait_for(process, parts, blocks)
        time.sleep(chance.random())
        kill_group(process)
        process.communicate()
        assert all_gone(str(out))
        now = {path.name: path.stat().st_mtime_ns for path in parts.glob("block-????????")}
        assert kept.items() <= now.items(), "a finished block was made again"
        kept = now
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert f"going on: {len(kept)} of 27 blocks are there" in said
    assert out.read_bytes() == (here / "one").read_bytes()
    assert out.read_bytes().count(b"\n") == 100_000
    assert not parts.exists()


def test_unfinished_work_in_the_place_of_other_work_is_named(terminal: Terminal, here: Path) -> None:
    (here / "out.parts").mkdir()
    (here / "out.parts" / "task.json").write_text("{}")
    done = terminal.nmt(*command("-o", "out", files=["-"]), folder=here, stdin="A man.\n")
    assert done.code == 2
    assert "out.parts: holds blocks of other work; repeat its command, remove it, or give another -o" in done.error
