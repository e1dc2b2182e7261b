"""No code runs from a model, a config or a data set, nothing is read outside, and no connection is opened."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from nursery import run
from rows import Part, Row
from world import World

from nmt import sealed

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch.load", "torch.save", "torch.jit.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "compile", "numpy.load", "np.load",
}  # fmt: skip


AUDITED = """
import sys
calls = open(sys.argv.pop(1), "w", buffering=1)
calls.write("hooked\\n")
names = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
sys.addaudithook(lambda event, words: calls.write(f"{event} {words}\\n") if event in names else None)
from nmt.cli import run
sys.exit(run(sys.argv[1:]))
"""


class Bomb:
    """What touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.canary),))


def _seal(home: Path, names: list[str]) -> None:
    entries = {name: sealed.entry_of((home / name).read_bytes()) for name in names}
    (home / sealed.MANIFEST).write_bytes(sealed.seal(entries))


def _translate(home: Path, folder: Path) -> tuple[int, str]:
    (folder / "input").write_text("1 2 3\n")
    ended = run(["translate", "-m", str(home), "--threads", "1", str(folder / "input")], folder)
    assert "Traceback" not in ended.told, ended.told
    return ended.code, ended.told


def _train(words: list[str], folder: Path) -> tuple[int, str]:
    ended = run(["train", *words], folder)
    assert "Traceback" not in ended.told, ended.told
    return ended.code, ended.told


def _attacks(world: World, share: float) -> Iterator[Row]:
    names = ["config.yaml", "model.safetensors", "tokenizer.model"]

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(world.finished, folder / "run"))

    def pickled(folder: Path) -> None:
        home = copy(folder)
        (home / "model.safetensors").write_bytes(pickle.dumps(Bomb(folder / "canary")))
        _seal(home, names)
        code, told = _translate(home, folder)
        assert (code, "model.safetensors" in told) == (4, True), told
        assert not (folder / "canary").exists()

    def archived(folder: Path) -> None:
        import torch

        home = copy(folder)
        torch.save({"weight": Bomb(folder / "canary")}, home / "model.safetensors")
        with zipfile.ZipFile(home / "model.safetensors", "a") as archive:
            archive.writestr("../../canary", "out")
        _seal(home, names)
        code, told = _translate(home, folder)
        assert (code, "model.safetensors" in told) == (4, True), told
        assert not [path for path in (folder / "canary", folder.parent / "canary") if path.exists()]

    def tagged(folder: Path) -> None:
        config = folder / "config.yaml"
        config.write_text(f"data:\n  train: !!python/object/apply:os.mkdir ['{folder / 'canary'}']\n")
        code, told = _train([str(config), "-o", str(folder / "run")], folder)
        assert (code, "config.yaml" in told) == (2, True), told
        assert not (folder / "canary").exists()

    def tagged_model(folder: Path) -> None:
        home = copy(folder)
        text = (home / "config.yaml").read_text()
        (home / "config.yaml").write_text(f"{text}extra: !!python/object/apply:os.mkdir ['{folder / 'canary'}']\n")
        _seal(home, names)
        code, told = _translate(home, folder)
        assert (code, "config.yaml" in told) == (4, True), told
        assert not (folder / "canary").exists()

    def scripted(folder: Path) -> None:
        corpus = folder / "corpus"
        corpus.mkdir()
        (corpus / "corpus.py").write_text(f"import os\nos.mkdir({str(folder / 'canary')!r})\n")
        (corpus / "dataset_infos.json").write_text("{}")
        code, told = _train([f"hf:{corpus}", "-o", str(folder / "run"), "--set", "data.source_lang=en"], folder)
        assert code in (2, 3), told
        assert not (folder / "canary").exists()

    def trusted(folder: Path) -> None:
        config = folder / "config.yaml"
        config.write_text("data:\n  train: [hf:some/where]\n  trust_remote_code: true\n")
        code, told = _train([str(config), "-o", str(folder / "run")], folder)
        assert (code, "trust_remote_code" in told) == (2, True), told

    def traversal(folder: Path) -> None:
        home = copy(folder)
        (folder / "outside.safetensors").write_bytes((home / "model.safetensors").read_bytes())
        body = json.loads((home / sealed.MANIFEST).read_text())
        files = {name: sealed.Entry(**entry) for name, entry in body["files"].items()}
        files["../outside.safetensors"] = files["model.safetensors"]
        (home / sealed.MANIFEST).write_bytes(sealed.seal(files))
        code, told = _translate(home, folder)
        assert (code, "illegal path" in told) == (4, True), told

    def formatted(folder: Path) -> None:
        """Text that looks like a format string is text in messages too."""
        name = "{0.__class__}%s%n{run}"
        code, told = _translate(folder / name, folder)
        assert code == 4, told
        assert name in told, told

    attacks = {
        "a pickle under a safetensors name": pickled,
        "an archive with a member outside": archived,
        "a YAML tag in a config": tagged,
        "a YAML tag in a model's config": tagged_model,
        "a data set with a loading script": scripted,
        "trust_remote_code in a config": trusted,
        "a manifest that names a file outside": traversal,
        "a format string as a name": formatted,
        "a symbolic link out of the folder": lambda folder: _links(world, folder),
    }
    for name, check in attacks.items():
        yield Row(name, check)


def _links(world: World, folder: Path) -> None:
    """A link is followed only to bytes that the manifest vouches for: what else it shows is never told."""
    home = Path(shutil.copytree(world.finished, folder / "run"))
    secret = folder / "secret"
    secret.write_text("password: 1234\n")
    (home / "config.yaml").unlink()
    (home / "config.yaml").symlink_to(secret)
    code, told = _translate(home, folder)
    assert code == 4, told
    assert "1234" not in told, told


def _no_pickle(world: World, share: float) -> Iterator[Row]:
    def source(folder: Path) -> None:
        """Nothing in the package can unpickle or run what it has read."""
        found = list[str]()
        for path in (ROOT / "nmt").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [ast.unparse(node.func)] if isinstance(node, ast.Call) else []
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                found += [f"{path.name}: {name}" for name in names if name in FORBIDDEN]
        assert not found, found

    yield Row("the source", source)


def _alone(world: World, share: float) -> Iterator[Row]:
    command = [sys.executable, "-m", "nmt", "translate", "-m", str(world.finished), "--threads", "1"]
    usual = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def result(environment: dict[str, str], words: list[str] | None = None) -> subprocess.CompletedProcess[bytes]:
        line = [*(words or []), *command]
        return subprocess.run(line, input=b"1 2 3\n", env=environment, capture_output=True, check=False)

    def traced(folder: Path) -> None:
        done = result(usual, ["strace", "-f", "-e", "trace=connect,sendto,bind,listen", "-o", str(folder / "trace")])
        assert done.returncode == 0, done.stderr
        calls = [line for line in (folder / "trace").read_text().splitlines() if "AF_INET" in line]
        assert not calls, calls

    def audited(folder: Path) -> None:
        words = [*command[3:], "-q"]
        done = subprocess.run(
            [sys.executable, "-c", AUDITED, str(folder / "calls"), *words], input=b"1 2 3\n", env=usual,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"\n") == 1
        assert (folder / "calls").read_text() == "hooked\n"

    def homeless(folder: Path) -> None:
        expected = result(usual)
        for changes in ({"HOME": "/nonexistent"}, {"HOME": ""}, {"HF_HUB_OFFLINE": "1"}, {"TMPDIR": "/nonexistent"}):
            assert result({**usual, **changes}).stdout == expected.stdout != b""
        without = {name: value for name, value in usual.items() if name != "HOME"}
        assert result(without).stdout == expected.stdout

    yield Row("no connection is opened, as Python sees it", audited)
    if shutil.which("strace"):
        yield Row("no connection is opened, as strace sees it", traced)
    yield Row("no HOME, no network, no temporary folder", homeless)


PARTS = (
    Part("no code of a model, config or data set runs", _attacks),
    Part("no pickle anywhere", _no_pickle),
    Part("translating opens no connection and needs no home", _alone),
)
