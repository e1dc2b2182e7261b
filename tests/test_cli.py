"""What `nmt` says before any work begins: help, version, and one line for whatever is wrong."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest
from terminal import environment, fresh

import nmt
from nmt import cli
from nmt.__main__ import notes
from nmt.cli.options import speaker

COMMANDS = (
    "train", "translate", "eval", "compare", "average", "attention", "curves", "info", "bench", "export",
    "backtranslate", "distill", "diversify", "tokenizer", "embeddings",
)  # fmt: skip
# torch takes more than a second, each of the others about a tenth, of which --help has two.
SLOW = {"torch", "numpy", "yaml", "rich", "sentencepiece", "sacrebleu", "datasets", "matplotlib", "gensim"}
LOADED = "import sys; from nmt.cli import run; code = run(sys.argv[1:]); print(*sys.modules, file=open('modules', 'w'))"


def loaded(folder: Path, *arguments: str) -> set[str]:
    """Return the modules that a command has loaded when it ends."""
    fresh(*arguments, folder=folder, python=("-c", LOADED))
    return {name.partition(".")[0] for name in (folder / "modules").read_text().split()}


def test_help_lists_the_commands() -> None:
    done = fresh("--help").ok()
    listed = [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines()]
    assert listed == list(COMMANDS)
    assert done.error == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["-h"], [], ["--version"], ["train", "--help"], ["tokenizer", "-h"], ["embeddings", "-h"]],
    ids=" ".join,
)
def test_what_only_tells_imports_nothing_slow(tmp_path: Path, arguments: list[str]) -> None:
    found = loaded(tmp_path, *arguments)
    assert "nmt" in found
    assert not found & SLOW
    assert "pydantic" not in found or len(arguments) > 1  # typer wants it for the options of a command


@pytest.mark.slow
def test_nothing_at_all_asks_for_help() -> None:
    assert fresh() == fresh("--help")
    assert fresh("tokenizer") == fresh("tokenizer", "--help")
    assert fresh("embeddings") == fresh("embeddings", "--help")


def test_version_is_that_of_the_package() -> None:
    assert fresh("--version").ok().out == f"nmt {nmt.__version__}\n"


WRONG = [  # command line, exit code, what stderr begins with
    ("trian", 2, "nmt: error: No such command 'trian'; did you mean 'train'?"),
    ("xyzzy", 2, "nmt: error: No such command 'xyzzy'; see nmt --help"),
    ("--nope", 2, "nmt: error: No such option: --nope; see nmt --help"),
    ("tokenizer trian", 2, "nmt tokenizer: error: No such command 'trian'; did you mean 'train'?"),
    ("embeddings train x --tokenizer t", 2, "nmt embeddings train: error: Missing option '-o' / '--output'; see nmt e"),
    ("embeddings train x --tokenizer t -o v.npy", 2, "nmt embeddings train: error: -o v.npy: is none of .txt, .vec,"),
    ("tokenizer train", 2, "nmt tokenizer train: error: Missing option '-o' / '--output'; see nmt tok"),
    ("translate --n-bets 3", 2, "nmt translate: error: No such option: --n-bets (Possible options: "),
    ("translate -b", 2, "nmt translate: error: Option '-b' requires an argument; see nmt translate --help"),
    ("translate -b 0", 2, "nmt translate: error: Invalid value for '-b' / '--beam-size': "),
    ("translate -b x", 2, "nmt translate: error: Invalid value for '-b' / '--beam-size': "),
    ("translate --format xml", 2, "nmt translate: error: Invalid value for '--format': 'xml' is not one of 'text',"),
    ("translate --device gpu", 2, "nmt translate: error: Invalid value for '--device': gpu is not one of auto, cpu"),
    ("translate --batch-tokens x", 2, "nmt translate: error: Invalid value for '--batch-tokens': x is neither"),
    ("eval here", 2, "nmt eval: error: Got unexpected extra argument(s) (here); see nmt eval --help"),
    ("train a.yaml b.tsv", 2, "nmt train: error: b.tsv: a config names its own corpora"),
    ("train --preset huge", 2, "nmt train: error: Invalid value for '--preset': 'huge' is not one of 'tiny', 'small'"),
    ("train wrong.yaml", 2, "nmt train: error: wrong.yaml:2: training.sede: is not an option; did you mean training"),
    ("train --max-time soon", 2, "nmt train: error: --max-time: 'soon' should be seconds, or a time such as 90s"),
    ("train --set seed=1", 2, "nmt train: error: --set seed: is not an option; did you mean training.seed?"),
    ("train none.yaml", 3, "nmt train: error: none.yaml: no such file; give a config that exists"),
    ("eval --hypothesis none --reference none", 3, "nmt eval: error: none: no such file"),
    ("tokenizer encode -m none", 4, "nmt tokenizer encode: error: none: No such file or directory; give the path of"),
    ("translate", 4, "nmt translate: error: runs: no finished run here; train a model with nmt train first"),
    ("translate -m none", 4, "nmt translate: error: -m none: no such folder; give a run folder"),
    ("eval -m none", 4, "nmt eval: error: -m none: no such folder"),
    ("info one -m two", 2, "nmt info: error: -m two: one is named, too; leave one of them out"),
    ("tokenizer train x -o y --set training.seed=1", 2, "nmt tokenizer train: error: --set training.seed=1: is"),
    ("tokenizer train x -o y --set tokenizer.sampling=1", 2, "nmt tokenizer train: error: --set tokenizer.sampling=1"),
    ("info none", 4, "nmt info: error: -m none: no such folder"),
]  # fmt: skip


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run all the wrong command lines in one process; a line with the exit code stands before what each one says."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "wrong.yaml").write_text("training:\n  sede: 1\n")
    code = (
        "import sys; from nmt.cli import run\n"
        "for line in sys.argv[1:]:\n"
        "    print('EXIT', run(line.split()), file=sys.stderr)\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, *(line for line, _, _ in WRONG)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment({}), check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[line for line, _, _ in WRONG])
def test_what_is_wrong_is_said_in_one_line_without_torch(refusals: list[str], number: int) -> None:
    said, exit_code = refusals[2 * number : 2 * number + 2]
    _, code, message = WRONG[number]
    assert said.startswith(message)
    assert exit_code == f"EXIT {code}"


class Raw(io.RawIOBase):
    """A file that takes all or nothing."""

    def __init__(self, error: OSError | None) -> None:
        self.error, self.taken = error, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error:
            raise self.error
        self.taken += bytes(data)
        return len(data)


def stderr(raw: Raw) -> TextIO:
    return notes(io.TextIOWrapper(io.BufferedWriter(raw), "ascii", "backslashreplace", line_buffering=True))


def test_stderr_that_is_closed_or_full_takes_nothing_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print would take stdout for one that is closed, and put notes among the translations."""
    full = Raw(OSError(errno.ENOSPC, "No space left on device"))
    with notes(None) as closed, stderr(full) as written:
        for stream in (closed, written):
            monkeypatch.setattr(sys, "stderr", stream)
            assert cli.run(["info", "none"]) == 4
            speaker("translate")("a note")
        full.error = None
    assert capsys.readouterr().out == ""


def test_stderr_says_what_it_is_told_and_that_nobody_listens() -> None:
    raw = Raw(None)
    with stderr(raw) as stream:
        print("caf\u00e9", file=stream)
        assert raw.taken == b"caf\\xe9\n"
        raw.error = BrokenPipeError()
        with pytest.raises(BrokenPipeError):
            print("a line", file=stream)
        raw.error = None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 8 bytes"), 5),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 5),
        (MemoryError(), 5),
        (RuntimeError("shapes differ"), 1),
        (ValueError("can't allocate memory"), 1),
    ],
    ids=["of a CPU", "of a GPU", "of Python", "another", "another kind"],
)
def test_too_little_memory_is_no_bug(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._report("nmt train", error) == code
    assert ("out of memory; lower --batch-tokens" in capsys.readouterr().err) == (code == 5)


def test_exit_code_is_that_of_the_process() -> None:
    assert fresh("--nope").code == 2


def test_traceback_only_for_those_who_debug(tmp_path: Path) -> None:
    usual, debugged = (fresh("info", "none", folder=tmp_path, **how) for how in ({}, {"NMT_DEBUG": "1"}))
    assert usual.error.count("\n") == 1
    assert debugged.error.startswith("Traceback (most recent call last):\n")
    assert debugged.error.endswith(usual.error)
    assert (usual.code, debugged.code) == (4, 4)


@pytest.mark.slow
def test_tokenizer_works_in_a_pipe(tmp_path: Path) -> None:
    text = "".join(f"A man saw {number} cafés.\n" for number in range(100))
    learn, through = "tokenizer train -o t.model --type bpe --vocab-size 300", "tokenizer {} -m t.model"
    assert fresh(*learn.split(), stdin=text, folder=tmp_path).ok() == (0, b"", "")
    pieces = fresh(*through.format("encode").split(), stdin=text, folder=tmp_path).ok()
    assert pieces.lines[7].split(" ")[0].startswith("\u2581A")
    assert fresh(*through.format("decode").split(), stdin=pieces.data, folder=tmp_path).ok().out == text


@pytest.mark.slow
def test_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    fresh("tokenizer", "train", "-o", "t.model", stdin="a b c\n" * 50, folder=tmp_path).ok()
    line = f"yes a b | {sys.executable} -m nmt tokenizer encode -m t.model | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{line}; echo ${{PIPESTATUS[1]}}"],
        capture_output=True, text=True, cwd=tmp_path, env=environment({}), check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[1] == "141"
    assert done.stderr == ""


LONG = "x" * 300  # characters, more than file systems have for a name


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["info", LONG], 4, f"-m {LONG}: no such folder"),
        (["translate", "-m", LONG], 4, f"-m {LONG}: no such folder"),
        (["tokenizer", "encode", "-m", LONG], 4, f"{LONG}: "),
        (["train", "a.tsv", "--from", LONG], 4, f"--from {LONG}: no such folder"),
        (
            ["embeddings", "train", "a.tsv", "--tokenizer", "t", "-o", "v.npy", "--window", "99999999999"],
            2,
            "equal to 1000",
        ),
        (["train", "a.tsv", "--threads", "99999999999"], 2, "--threads: '99999999999' should be less than or equal"),
    ],
    ids=["info", "translate", "tokenizer", "from", "window", "threads"],
)
def test_what_is_too_long_or_too_large_is_no_bug(
    arguments: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tsv").write_text("one\teins\n")
    assert cli.run([*arguments]) == code
    assert told in capsys.readouterr().err
