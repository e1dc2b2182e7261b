"""N lines in, N lines out, in order; the same text whatever is translated with it; and any number of lines."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from corpora import multi30k
from faults import more_memory
from nursery import run
from rows import Part, Row, spread
from runs import CPU, scripted, stream
from torch import Tensor
from world import World

from nmt.batches import Padded
from nmt.config import SearchConfig
from nmt.translate import Translator

ROOT = Path(__file__).parents[2]
TIES = 3  # of 3,000 lines may differ where two translations have one score
MEGABYTE, GIGABYTE = 1 << 20, 1 << 30
GREEDY = SearchConfig(beam_size=1)
WARM_UP = 10_000  # lines: two of the largest blocks
LEAST = 30_000  # lines, to see more than the warm-up


def _random(world: World, share: float) -> Iterator[Row]:
    for seed in range(spread(100, share)):

        def check(folder: Path, seed: int = seed) -> None:
            """A hundred lines of random bytes, every byte as likely."""
            chance = random.Random(seed)
            lines = [bytes(chance.choices(_BYTES, k=chance.randrange(120))) for _ in range(100)]
            answer = stream(_tiny(world), b"\n".join(lines) + b"\n")
            assert len(answer.lines) == 100
            assert answer.data.count(b"\n") == 100
            assert b"\0" not in answer.data
            assert len(answer.warnings) <= 8

        yield Row(f"100 lines of random bytes, seed {seed}", check)


_BYTES = [byte for byte in range(256) if byte != 10]


@cache
def _tiny(world: World) -> Translator:
    return Translator.load(world.finished, device="cpu", threads=1)


def _order(world: World, share: float) -> Iterator[Row]:
    for seed in range(spread(10, share)):

        def check(folder: Path, seed: int = seed) -> None:
            """Lines of random lengths come back in their order: each begins with its number, which is copied."""
            chance = random.Random(seed)
            lines = [f"{number} " + "1 " * chance.randrange(60) for number in range(5_000)]
            (folder / "input").write_text("\n".join(lines) + "\n")
            words = ["translate", "-m", str(world.finished), "--threads", "1", "-o", str(folder / "output")]
            ended = run([*words, "--format", "tsv", "-b", "1", str(folder / "input")], folder)
            assert ended.code == 0, ended
            said = (folder / "output").read_text().split("\n")[:-1]
            assert [row.split("\t")[0] for row in said] == lines

        yield Row(f"5,000 lines in order, seed {seed}", check)


def _mates(world: World, share: float) -> Iterator[Row]:
    """Real sentences, with a model that was trained on such, one by one, by sevens and in full batches."""
    lines = [source for source, _ in multi30k("train", 3_000)][:: max(1, round(1 / share))]
    translator = Translator.load(_trained(world), device="cpu", threads=1)
    alone = [translator.translate_block([line])[0] for line in lines]
    for name, size in {"by sevens": 7, "in full batches": len(lines)}.items():

        def check(folder: Path, size: int = size) -> None:
            blocks = [lines[start : start + size] for start in range(0, len(lines), size)]
            together = [found for block in blocks for found in translator.translate_block(block)]
            ties = 0
            for line, one, other in zip(lines, alone, together, strict=True):
                if one.text != other.text:
                    assert abs(one.score - other.score) < 1e-5, (line, one.text, other.text)
                    ties += 1
                    print(f"a tie: {line!r}: {one.text!r} and {other.text!r}", file=sys.stderr)
            assert ties <= TIES

        yield Row(f"{len(lines):,} sentences {name} as one by one", check)


@cache
def _trained(world: World) -> Path:
    folder = world.folder / "trained"
    folder.mkdir()
    pairs = multi30k("train")
    for language, side in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"text.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    words = [str(folder / "text.en"), str(folder / "text.de"), "-o", str(folder / "run"), "--max-time", "90s"]
    words += ["--threads", "1", "--set", "model.preset=tiny", "--set", "training.recipe=none"]
    # A new process: where sentencepiece has learnt from many lines it crashes when it does so again in a fork.
    ended = subprocess.run([sys.executable, "-m", "nmt", "train", *words], cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder / "run"


COPY = """
    import sys
    from nmt.translate import Translator
    from nmt.translation import Output, Translation

    class Copier(Translator):
        def translate_block(self, lines, options=None, extras=None):
            return [Translation((Output(line, 0.0, 0.0, ()),)) for line in lines]

    Translator.load = classmethod(lambda cls, path, **options: copier)
    from nmt.cli import run
    from nmt.device import compute
    from nmt.training.checkpoint import load_model
    from pathlib import Path
    on = compute("cpu", "fp32", 1)
    config, tokenizers, model = load_model(Path(sys.argv[1]), on.device)
    copier = Copier(config, tokenizers, model, on)
    sys.exit(run(["translate", "-m", sys.argv[1]]))
"""


def _odd(world: World, share: float) -> Iterator[Row]:
    """Lines that are too long, never end or are no numbers, each between two others."""
    size = spread(10_000_000, share)  # bytes
    lines = {
        "A27 a line of 100,000 tokens": "1 2. " * 33_000,
        f"A28 {size:,} bytes without a space": "x" * size,
        "A30 one letter 500 times": "a" * 500,
        "A30 one word 363 times": ". " * 363,
    }
    for name, line in lines.items():

        def check(folder: Path, line: str = line) -> None:
            (folder / "input").write_text(f"1 2\n{line}\n3 4\n")
            words = ["translate", "-m", str(world.finished), "--threads", "1", "-b", "1", "-o", "output", "input"]
            ended = run(words, folder, lambda: more_memory(GIGABYTE))
            assert ended.code == 0, ended
            found = (folder / "output").read_text(encoding="utf-8").split("\n")
            assert len(found) == 4
            assert ("input:2" in ended.told) == (len(line) > 512), ended.told
            assert found[0] == _tiny(world).translate(["1 2"], GREEDY)[0]

        yield Row(name, check)

    def time_grows_evenly(folder: Path) -> None:
        seconds = list[float]()
        for length in (size // 10, size):
            (folder / "input").write_text("x" * length + "\n")
            words = ["translate", "-m", str(world.finished), "--threads", "1", "-b", "1", "-o", f"{length}", "input"]
            ended = run(words, folder)
            assert ended.code == 0, ended
            seconds.append(ended.seconds)
        assert seconds[1] < 15 * seconds[0], seconds

    yield Row("A28 ten times as long takes ten times as long", time_grows_evenly)
    tokenizers = _tiny(world).tokenizers
    spelt = {tokenizers.target.pieces([number])[0]: number for number in range(tokenizers.target.size)}
    for name in ("<0x0A>", "<0x0D>", "<0x00>", "<0x85>", "<0xFF>", "\u2581"):
        for ends in (True, False):

            def says(folder: Path, name: str = name, ends: bool = ends) -> None:
                answer = stream(scripted(tokenizers, [spelt[name]], ends=ends), b"1\n2 3\n\n4\n")
                assert answer.data.count(b"\n") == len(answer.lines) == 4
                assert not {"\0", "\r", "\x85"} & set("".join(answer.lines))
                assert answer.stats.limited == (0 if ends else 3)

            yield Row(f"A31 A32 a model that says {name}{'' if ends else ' and never ends'}", says)

    def broken(folder: Path) -> None:
        sound = stream(_tiny(world), b"1 2\n3 4 5 6\n1\n7 8\n")
        model, config = _tiny(world).model, _tiny(world).config
        answer = stream(Translator(config, tokenizers, Poisoned(model, longer_than=3), CPU), b"1 2\n3 4 5 6\n1\n7 8\n")
        assert answer.lines == [sound.lines[0], "", *sound.lines[2:]]
        assert [warning for warning in answer.warnings if warning.startswith("stdin:2: no translation")]

    yield Row("F28 a sentence whose numbers are none", broken)


class Marked(NamedTuple):
    """What a model remembers of a sentence, and whether what it makes of it is broken."""

    memory: Any
    is_broken: Tensor  # (batch,) bool


class Poisoned:
    """A model that gives no numbers for sentences of more than so many tokens."""

    def __init__(self, model: Any, longer_than: int) -> None:
        self._model, self._longest = model, longer_than

    def encode(self, source: Padded) -> Marked:
        return Marked(self._model.encode(source), source.lengths - 1 > self._longest)

    def start(self, memory: Marked, beam: int, length: int) -> Any:
        return self._model.start(memory.memory, beam, length)

    def step(self, tokens: Tensor, state: Any, memory: Marked) -> tuple[Tensor, Any]:
        logits, state = self._model.step(tokens, state, memory.memory)
        return logits.masked_fill(memory.is_broken[:, None, None], float("nan")), state


def _many(world: World, share: float) -> Iterator[Row]:
    """Lines through a pipe: memory is flat, the first answers come at once, and each line is there."""
    count, fewer = (max(LEAST, spread(wanted, share)) for wanted in (10_000_000, 100_000))

    def copied(folder: Path) -> None:
        command = [sys.executable, "-c", textwrap.dedent(COPY), str(world.finished)]
        _pumped(command, count, copies=True)

    def translated(folder: Path) -> None:
        command = [sys.executable, "-m", "nmt", "translate", "-m", str(world.finished), "--threads", "1", "-b", "1"]
        command += ["--max-length-ratio", "0.5", "--max-length-offset", "3"]
        _pumped(command, fewer, copies=False)

    yield Row(f"{count:,} lines copied", copied)
    yield Row(f"{fewer:,} lines translated", translated)


def _pumped(command: list[str], count: int, *, copies: bool) -> None:
    """Send numbered lines through a command, read what comes, and watch its memory from a tenth of them on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = time.monotonic()
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True)
    idle = time.monotonic() - before  # seconds that a start and an end take
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    begun = first = time.monotonic()

    def feed() -> None:
        assert process.stdin
        with process.stdin as pipe:
            for start in range(0, count, 1000):
                pipe.write(b"".join(b"%d 1 2\n" % number for number in range(start, min(start + 1000, count))))

    feeder = threading.Thread(target=feed)
    feeder.start()
    memory, number = list[int](), 0
    with process.stdout as pipe:
        for number, line in enumerate(pipe, 1):
            if number == 1:
                first = time.monotonic()
            assert not copies or line == b"%d 1 2\n" % (number - 1)
            if number % max(1, count // 100) == 0 and number >= max(count // 10, WARM_UP):
                memory.append(_resident(process.pid))
    feeder.join()
    assert process.wait() == 0
    assert number == count
    assert first - begun - idle < 2
    assert max(memory) - memory[0] < 50 * MEGABYTE, (memory[0], max(memory))


def _resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


PARTS = (
    Part("as many lines out as in, of random bytes", _random),
    Part("lines come back in their order", _order),
    Part("long, endless and broken lines are one line each", _odd),
    Part("the same text alone and with others", _mates),
    Part("memory is flat however many lines", _many),
)
