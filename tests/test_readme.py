"""What the README tells people to type works: its shell blocks are run, or, marked slow, held against --help."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from runs import PAIRS, tiny_config, write_run
from terminal import ROOT, Terminal

from nmt.config import Config, SearchConfig

README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = SearchConfig(max_length_ratio=0.5, max_length_offset=3)  # random weights never end by themselves


class Block(NamedTuple):
    """Lines that a reader would copy."""

    text: str
    is_slow: bool  # hours, or corpora of the reader's own


BLOCKS = [
    Block(match[2], bool(match[1])) for match in re.finditer(r"(<!-- slow -->\n)?```sh\n(.*?)```", README, re.DOTALL)
]
COMMANDS = [
    line
    for block in BLOCKS
    for line in block.text.replace("\\\n", " ").splitlines()
    if re.match(r"(\w+=\S+ )*nmt ", line)
]


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as it is after the demo: with a finished run, input, output and reference."""
    for name, lines in zip(("input.txt", "reference.txt"), zip(*PAIRS, strict=True), strict=True):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "output.txt").write_bytes((tmp_path / "reference.txt").read_bytes())
    config = tiny_config()
    data = config.data.model_copy(update={"test": ("input.txt", "reference.txt")})
    write_run(tmp_path / "runs/phrasebook", Config(data=data, model=config.model, search=QUICK))
    return tmp_path


def test_blocks_are_found() -> None:
    assert len(BLOCKS) == README.count("```sh\n") > 3
    assert {block.is_slow for block in BLOCKS} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("block", [block.text for block in BLOCKS if not block.is_slow])
def test_commands_run_as_they_are_printed(terminal: Terminal, folder: Path, block: str) -> None:
    done = terminal.shell(block, folder=folder).ok()
    assert done.out


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_those_of_the_help(terminal: Terminal, folder: Path, command: str) -> None:
    words = shlex.split(re.split(r" [|<>] ", command)[0], comments=True)
    words = words[words.index("nmt") + 1 :]
    name = words[: 2 if words[0] in ("tokenizer", "embeddings") else 1]
    shown = terminal.nmt(*name, "--help", folder=folder).ok().out
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    known = set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", shown))
    assert options <= known


def test_targets_are_those_of_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make (\w+)", "\n".join(block.text for block in BLOCKS), re.MULTILINE)
    assert set(named) | set(re.findall(r"`make (\w+)`", README)) <= set(targets)
    assert {"demo", "test"} <= set(named)


def test_files_that_are_named_exist() -> None:
    for path in re.findall(r"`((?:nmt|configs|data|tests)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
