"""Any bytes in place of a text, a corpus, a config, a tokenizer or a model: our errors, or none; no crash, no hang.

By hypothesis as part of `make torture`; `python tests/reliability/fuzz.py NAME` goes on by atheris for as long as it is
let, where that is installed.
"""

from __future__ import annotations

import io
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rows import Part, Row, spread
from safetensors import SafetensorError
from world import World

from nmt.config import DataConfig
from nmt.configfile import load_config
from nmt.corpus import ParallelCorpus
from nmt.errors import NmtError
from nmt.sealed import unseal
from nmt.text import TextOptions, read_blocks
from nmt.tokenizer import Tokenizer
from nmt.training.checkpoint import parse_tensors

Target = Callable[[bytes], object]
PIECES = [  # of what is read, so that more than the first byte is reached
    b"\n", b"\r\n", b"\t", b" ", b"\0", b"\xff", b"\xef\xbb\xbf", "\u2028".encode(), b"a\tb\n", b"\\ud800",
    b"data:", b"model:\n  ", b"training:", b"{", b"}", b"[", b"]", b'"', b"'", b":", b"- ", b"1e-3", b"no", b"null",
    b"&a", b"*a", b"!!python/object:os.system", b'{"version": 1, "files": {}}',
    b'{"en": "a", "de": "b"}\n', b'{"translation": {"en": 1}}\n',
]  # fmt: skip
MIXED = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)))
BYTES = st.one_of(st.binary(max_size=300), MIXED.map(b"".join))


def lines(data: bytes) -> None:
    """As many lines come as there are; with the errors that are ours the text is refused whole."""
    try:
        found = [line for block in read_blocks(io.BytesIO(data), "fuzz", TextOptions()) for line in block]
    except NmtError:
        return
    text = data.removeprefix(b"\xef\xbb\xbf")
    assert len(found) == text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
    assert not any("\n" in line for line in found)


def config(data: bytes) -> None:
    """A file that is read as a config."""
    _read("config.yaml", data, lambda path: load_config(path))


def tsv(data: bytes) -> None:
    """A corpus between tabs."""
    _read("x.en-de.tsv", data, _pairs)


def jsonl(data: bytes) -> None:
    """A corpus of JSON."""
    _read("x.en-de.jsonl", data, _pairs)


def gzipped(data: bytes) -> None:
    """A corpus that says it is compressed."""
    _read("x.en-de.tsv.gz", data, _pairs)


def parquet(data: bytes) -> None:
    """A corpus that says it is a table."""
    _read("x.en-de.parquet", b"PAR1" + data + b"PAR1", _pairs)


def manifest(data: bytes) -> None:
    """A manifest of a folder."""
    _read("MANIFEST.json", data, lambda path: unseal(path.parent))


def _pairs(path: Path) -> None:
    for source, target in ParallelCorpus([str(path)], DataConfig()):
        assert source.strip()
        assert target.strip()
        assert "\n" not in source + target


def _read(name: str, data: bytes, read: Callable[[Path], object]) -> None:
    path = _folder() / name
    path.write_bytes(data)
    try:
        read(path)
    except NmtError as error:
        assert "\n" not in str(error), error  # noqa: PT017


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="nmt-fuzz-"))


TARGETS: dict[str, Target] = {
    "lines": lines, "config": config, "tsv": tsv, "jsonl": jsonl, "gzip": gzipped, "parquet": parquet,
    "manifest": manifest,
}  # fmt: skip


def _anything(world: World, share: float) -> Iterator[Row]:
    for name, target in TARGETS.items():

        def check(folder: Path, target: Target = target) -> None:
            count = spread(2_000, share)
            quiet = settings(
                max_examples=count, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            quiet(given(BYTES)(target))()

        yield Row(f"{name}, {spread(2_000, share):,} times", check)


def _damaged(world: World, share: float) -> Iterator[Row]:
    """Tokenizers and weights with a few bytes changed, in a process of its own, which a crash would end."""
    originals = {"tokenizer.model": Tokenizer, "model.safetensors": parse_tensors}
    for name, load in originals.items():

        def check(folder: Path, name: str = name, load: Callable[[bytes], object] = load) -> None:
            data, count = (world.finished / name).read_bytes(), spread(2_000, share)
            child = multiprocessing.get_context("fork").Process(target=_try, args=(data, load, count))
            child.start()
            child.join(300)
            assert child.exitcode == 0, child.exitcode

        yield Row(f"{name}, {spread(2_000, share):,} times", check)


def _try(data: bytes, load: Callable[[bytes], object], count: int) -> None:
    for seed in range(count):
        chance = random.Random(seed)
        changed = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(min(len(data), chance.choice([16, 1_000, len(data)])))] = chance.randrange(256)
        with suppress(NmtError, SafetensorError):
            load(bytes(changed[: chance.choice([len(data), chance.randrange(len(data))])]))


PARTS = (
    Part("any bytes as a text, corpus, config or manifest", _anything),
    Part("any bytes as a tokenizer or as weights", _damaged),
)


def main() -> None:
    """Fuzz one target by atheris."""
    import atheris  # type: ignore[import-not-found]

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
