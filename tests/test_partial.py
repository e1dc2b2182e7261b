"""Work that is killed anywhere goes on where it was, in its place alone, and ends in the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from trainings import Stop, stop

from nmt.errors import DataError, OptionError, ResourceError
from nmt.partial import Finished, Partial, open_partial
from nmt.synthetic import Block, Plan, Shard, work

TASK = {"command": "test", "options": {"width": 3, "name": "x"}, "shard": "1/1"}
ITEMS = [f"line {number}" for number in range(23)]
EXPECTED = "".join(f"{item}!\n" for item in ITEMS).encode()


def shout(block: Block[str]) -> Finished:
    lines = "".join(f"{item}!\n" for item in block.items).encode()
    return Finished(lines, Counter(pairs=len(block.items), first=block.first))


def run(output: Path, make: Callable[[Block[str]], Finished] = shout, shard: Shard | None = None) -> Counter[str]:
    with open_partial(output, (), TASK) as partial:
        return work(Plan(ITEMS, len(ITEMS), 5, shard or Shard()), make, partial, lambda text: None)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_blocks_become_the_output_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert run(tmp_path / "out") == Counter(pairs=23, first=0 + 5 + 10 + 15 + 20)
    assert (tmp_path / "out").read_bytes() == EXPECTED
    assert left(tmp_path) == ["out"]


def test_shards_are_every_nth_block(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        run(tmp_path / f"out.{number}", shard=Shard(number, 3))
    parts = [(tmp_path / f"out.{number}").read_bytes().splitlines(keepends=True) for number in (1, 2, 3)]
    assert parts[0] == EXPECTED.splitlines(keepends=True)[:5] + EXPECTED.splitlines(keepends=True)[15:20]
    assert sorted(line for part in parts for line in part) == sorted(EXPECTED.splitlines(keepends=True))


def test_a_shard_without_a_block_is_an_empty_file(tmp_path: Path) -> None:
    run(tmp_path / "out", shard=Shard(9, 9))
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_stopped_before_any_step_on_the_disk_it_ends_in_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is stopped one step later than the one before; what was made is never made again but for a block."""
    do, made = getattr(os, name), Counter[int]()

    def make(block: Block[str]) -> Finished:
        made[block.number] += 1
        return shout(block)

    for attempt in range(100):
        steps = iter(range(attempt))

        def step(*arguments: object, steps: object = steps) -> object:
            return do(*arguments) if next(steps, None) is not None else stop()  # type: ignore[call-overload]

        output = tmp_path / str(attempt) / "out"
        output.parent.mkdir()
        made.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, name, step)
            try:
                run(output, make)
            except Stop:
                pass
            else:
                break
        if not output.exists() or output.with_name("out.parts").exists():
            run(output, make)
        assert output.read_bytes() == EXPECTED
        assert made.total() <= 5 + 1
        assert left(output.parent) in (["out"], ["out", f"out.parts.old.tmp-{os.getpid()}"])
    assert attempt > 6


def test_what_the_user_has_put_aside_stays(tmp_path: Path) -> None:
    (tmp_path / "out.parts.old").mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"out.parts.old.tmp-{dead.pid}").mkdir()
    run(tmp_path / "out")
    assert left(tmp_path) == ["out", "out.parts.old"]


def test_a_damaged_block_is_made_again(tmp_path: Path) -> None:
    made = list[int]()

    def make(block: Block[str]) -> Finished:
        made.append(block.number)
        if len(made) == 4:
            raise Stop
        return shout(block)

    with pytest.raises(Stop):
        run(tmp_path / "out", make)
    for number, damage in enumerate(
        (lambda data: data[:-3], lambda data: b"{", lambda data: data.replace(b"2!", b"6!"))
    ):
        path = tmp_path / "out.parts" / f"block-{number:08d}"
        path.write_bytes(damage(path.read_bytes()))
    run(tmp_path / "out", make)
    assert made == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert (tmp_path / "out").read_bytes() == EXPECTED


def test_a_block_that_is_damaged_at_the_last_moment_is_no_output(tmp_path: Path) -> None:
    with open_partial(tmp_path / "out", (), TASK) as partial:
        partial.add(0, Finished(b"a\n", Counter()))
        (partial.folder / "block-00000000").write_bytes(b"{}\nb\n")
        with pytest.raises(ResourceError, match="block-00000000: was damaged meanwhile; run the same command again"):
            partial.finish([0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "what"),
    [
        ({**TASK, "options": {"width": 4, "name": "x"}}, r"options.width \(3, now 4\)"),
        ({**TASK, "shard": "1/2"}, r"shard \(1/1, now 1/2\)"),
        ({**TASK, "new": 1}, r"new \(None, now 1\)"),
        ({"command": "test", "shard": "1/1"}, r"options.name \(x, now None\)"),
    ],
)
def test_another_task_in_its_place_is_refused_by_name(tmp_path: Path, task: dict[str, object], what: str) -> None:
    with open_partial(tmp_path / "out", (), TASK):
        pass
    for force in (False, True):
        with (
            pytest.raises(OptionError, match=rf"out.parts: was begun with another {what}; repeat it, give another -o"),
            open_partial(tmp_path / "out", (), task, force=force),
        ):
            pass


def test_what_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    cases = {
        "exists": (lambda: (tmp_path / "exists").write_text("kept"), "exists; use --force"),
        "folder": (lambda: (tmp_path / "folder").mkdir(), "is a directory; name a file with -o"),
        "foreign": (lambda: (tmp_path / "foreign.parts" / "x").mkdir(parents=True), "is in the way, and not of nmt"),
        "file": (lambda: (tmp_path / "file.parts").write_text("kept"), "a file is in its place"),
        "no/where": (lambda: None, "there is no folder"),
    }
    for name, (prepare, message) in cases.items():
        prepare()
        with pytest.raises(OptionError, match=message):
            run(tmp_path / name)
    assert (tmp_path / "exists").read_text() == (tmp_path / "file.parts").read_text() == "kept"


def test_a_task_that_was_killed_while_it_was_written_is_begun_anew(tmp_path: Path) -> None:
    run(tmp_path / "sound")
    (tmp_path / "out.parts").mkdir()
    (tmp_path / "out.parts" / f"task.json.tmp-{2**30}").write_bytes(b"{")
    run(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "sound").read_bytes()


def test_only_one_process_works_on_an_output(tmp_path: Path) -> None:
    with (
        open_partial(tmp_path / "out", (), TASK),
        pytest.raises(OptionError, match="another process is working in it"),
        open_partial(tmp_path / "out", (), TASK),
    ):
        pass


def test_a_damaged_task_is_said(tmp_path: Path) -> None:
    with open_partial(tmp_path / "out", (), TASK):
        pass
    (tmp_path / "out.parts" / "task.json").write_bytes(b"{")
    with pytest.raises(DataError, match=r"task.json: is damaged; remove .*out.parts, and the work begins anew"):
        run(tmp_path / "out")
    shutil.rmtree(tmp_path / "out.parts")
    run(tmp_path / "out")


def test_an_output_that_is_forced_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    (tmp_path / "out").chmod(0o640)
    (tmp_path / "link").symlink_to("out")
    with open_partial(tmp_path / "link", (), TASK, force=True) as partial:
        assert isinstance(partial, Partial)
        work(Plan(ITEMS, len(ITEMS), 5, Shard()), shout, partial, lambda text: None)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out").read_bytes() == EXPECTED
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
