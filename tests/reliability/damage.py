"""Damage is seen: what a manifest names, and the manifest, is refused by name with exit 4 when one bit has changed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from nursery import run
from rows import Part, Row, spread
from trainings import digest
from world import World

from nmt.errors import ModelError
from nmt.sealed import MANIFEST, unseal
from nmt.training import checkpoint

CPU = torch.device("cpu")
COMMANDS = 12  # of the flips are shown to the real command, which all others would only slow down


def _flips(world: World, share: float) -> Iterator[Row]:
    files = _sealed(world.finished)
    for seed in range(spread(1000, share)):
        chance = random.Random(seed)
        file = chance.choice(files)
        place, bit = chance.randrange(file.stat().st_size), chance.randrange(8)

        def check(folder: Path, file: Path = file, place: int = place, bit: int = bit, seed: int = seed) -> None:
            home = Path(shutil.copytree(world.finished, folder / "run"))
            damaged = home / file.relative_to(world.finished)
            data = bytearray(damaged.read_bytes())
            data[place] ^= 1 << bit
            damaged.write_bytes(data)
            _is_refused(home, damaged)
            if seed < COMMANDS:
                _is_refused_by_command(home, damaged, folder)

        yield Row(f"bit {bit} of byte {place} of {file.relative_to(world.finished)}", check)


def _cuts(world: World, share: float) -> Iterator[Row]:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "cut to nothing": lambda data: b"",
        "cut by a byte": lambda data: data[:-1],
        "cut in half": lambda data: data[: len(data) // 2],
        "with zeros at its end": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
        "a byte longer": lambda data: data + b"\n",
    }
    for file in _sealed(world.finished):
        for how, change in changes.items():

            def check(folder: Path, file: Path = file, change: Callable[[bytes], bytes] = change) -> None:
                home = Path(shutil.copytree(world.finished, folder / "run"))
                damaged = home / file.relative_to(world.finished)
                damaged.write_bytes(change(damaged.read_bytes()))
                _is_refused(home, damaged)

            yield Row(f"{file.relative_to(world.finished)} {how}", check)

        def gone(folder: Path, file: Path = file) -> None:
            home = Path(shutil.copytree(world.finished, folder / "run"))
            missing = home / file.relative_to(world.finished)
            missing.unlink()
            _is_refused(home, missing)

        yield Row(f"{file.relative_to(world.finished)} gone", gone)


def _fallback(world: World, share: float) -> Iterator[Row]:
    """Resuming goes back to the newest sound checkpoint, says so, and ends in the same weights."""
    newest = checkpoint.step_folder(world.finished, checkpoint.steps(world.finished)[-1])
    for file in sorted(newest.iterdir()):

        def check(folder: Path, file: Path = file) -> None:
            home = Path(shutil.copytree(world.finished, folder / "run"))
            checkpoint.reopen(home)
            damaged = home / file.relative_to(world.finished)
            data = damaged.read_bytes()
            half = len(data) // 2
            damaged.write_bytes(data[:half] + bytes([data[half] ^ 16]) + data[half + 1 :])
            ended = run(world.words(folder), folder)
            assert ended.code == 0, ended
            assert f"{damaged.parent.name}/{file.name}: " in ended.told, ended.told
            assert "going back to the checkpoint before it" in ended.told, ended.told
            assert digest(home) == world.digest

        yield Row(f"resumed with a damaged {file.name}", check)


def _sealed(home: Path) -> list[Path]:
    """Return all files that a manifest names, and the manifests, of a run and its checkpoints."""
    folders = [home, *sorted((home / "checkpoints").iterdir())]
    return [file for folder in folders for file in sorted(folder.iterdir()) if file.name in _names(folder)]


def _names(folder: Path) -> set[str]:
    return {MANIFEST, *unseal(folder).files}


def _is_refused(home: Path, damaged: Path) -> None:
    try:
        if damaged.parent == home:
            checkpoint.load_model(home, CPU)
            checkpoint.load_shortlist(home)
        else:
            checkpoint.load_checkpoint(damaged.parent)
    except ModelError as error:
        # A run whose manifest is gone is one that is not finished.
        assert damaged.name in str(error) or "not a finished run" in str(error), error  # noqa: PT017
    else:
        raise AssertionError(f"{damaged} was not refused")


def _is_refused_by_command(home: Path, damaged: Path, folder: Path) -> None:
    model = home if damaged.parent == home else damaged.parent
    (folder / "input").write_text("1 2 3\n")
    shortlist = ["--shortlist"] if "shortlist" in damaged.name else []
    ended = run(["translate", "-m", str(model), *shortlist, "--threads", "1", str(folder / "input")], folder)
    if damaged.parent != home and damaged.name in ("optimizer.safetensors", "weights.safetensors"):
        return  # translating does not read them where there is an average
    assert ended.code == 4, ended
    assert damaged.name in ended.told, ended.told


PARTS = (
    Part("one flipped bit is refused, with the file's name", _flips),
    Part("files that are cut, padded or gone are refused", _cuts),
    Part("resuming goes back to the newest sound checkpoint", _fallback),
)
