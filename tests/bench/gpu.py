"""One call on a machine with a GPU: is it right there, how fast is it, as one table; `--device cpu --quick` tries it.

    python tests/bench/gpu.py [--output FOLDER] [--corpora FOLDER]

Weights are as initialised and ids are random, since speed depends on neither; outputs are cut at the sources' length,
because such a model never ends a sentence. Everything is done launch by launch and with recorded launches
(nmt/graphs.py), the better of the two counts; which kernels take how long is written beside the table. With the folder
of the corpora the whole command is timed on Multi30k too.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from nmt import graphs
from nmt.batches import Batch, Padded, assemble, pack, pad
from nmt.config import ModelConfig, SearchConfig, TrainingConfig
from nmt.configfile import load_config
from nmt.device import Compute, compute
from nmt.evaluate import score
from nmt.models import Model, build, past
from nmt.presets import PRESETS
from nmt.ragged import Ragged
from nmt.search import search
from nmt.training.learner import Learner

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = "test_recorded.py", "test_recorded_gradients.py", "test_loss.py"  # which use a GPU where there is one
WAYS = "launched", "recorded"
KERNELS = 30  # that take longest
BLEU = 37.5  # on test_2016_flickr, what the whole command is timed to


class Size(NamedTuple):
    """A model and what is aimed at with it, in target tokens per second; 0: no aim."""

    model: dict[str, object]
    vocabulary: int
    length: float  # mean tokens of a sentence
    training: float
    translation: float


SMALL = {"type": "transformer", "dim": 256, "encoder_layers": 3, "decoder_layers": 3, "heads": 4, "feed_forward": 1024}
SIZES = {
    "base": Size(PRESETS["base"], 32_000, 27, 0.8e6, 100e3),
    "big": Size(PRESETS["big"], 32_000, 27, 0.26e6, 0),
    "Multi30k size": Size(SMALL, 8_000, 13, 2.0e6, 300e3),
    "GNMT-like LSTM": Size(PRESETS["gnmt"], 32_000, 27, 0.3e6, 0),
}
LATENCY = 0.020  # seconds, aimed at for one sentence of 28 tokens with base and a beam of 5


class Row(NamedTuple):
    """A line of the table."""

    what: str
    found: float
    aim: float
    unit: str
    note: str = ""


def main() -> None:
    """Check, measure, write."""
    options = _options()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("gpu.py: no GPU here; --device cpu --quick tries the script itself")
    rows = list[Row]()
    for row in _rows(options):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        _write(options, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and short times: shows that all runs")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement; there are some thirty")
    parser.add_argument("--corpora", type=Path, help="folder with multi30k/, for the whole command")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT") or "."))
    return parser.parse_args()


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    on = compute(options.device, "bf16", threads=1)  # a GPU is given work by one, and so are recordings
    if on.device.type == "cpu":
        past.GROWING = set[str]()  # a cache that grows is another one, which a recording would not read
    seconds = 0.5 if options.quick else options.seconds
    sizes = {"tiny": Size({**SMALL, "dim": 32, "feed_forward": 64}, 500, 13, 0, 1)} if options.quick else SIZES
    yield _tests()
    for name, size in sizes.items():
        for way in _ways(options):
            yield from _agreement(f"{name}, {way}", size, options.device)
    for name, size in sizes.items():
        budgets = (512,) if options.quick else (4_096, 25_000, 65_536)
        for way in _ways(options):
            best = max((_train(size, on, budget, seconds), budget) for budget in budgets)
            note = f"{way}, batches of {best[1]:,} tokens"
            yield Row(f"training, {name}", best[0], size.training, "tokens/s", note)
            _profile(options, f"training, {name}, {note}", partial(_train, size, on, best[1], 0.0))
    for name, size in sizes.items():
        count, budgets = (8, (512,)) if options.quick else (3_000, (8_192, 32_768, 131_072))
        for way in _ways(options) if size.translation else ():
            best = max((_translate(size, on, count, budget), budget) for budget in budgets)
            note = f"{way}, batches of {best[1]:,} tokens"
            yield Row(f"translation, {name}", best[0], size.translation, "tokens/s", note)
            _profile(options, f"translation, {name}, {note}", partial(_translate, size, on, count // 4, best[1]))
    for way in _ways(options):
        yield Row("one sentence of 28 tokens", _latency(next(iter(sizes.values())), on), LATENCY, "s, median", way)
    for way in _ways(options) if options.corpora else ():
        yield _whole(options, way)


def _ways(options: argparse.Namespace) -> Iterator[str]:
    """Yield both ways, each while launches go its way."""
    for way in WAYS:
        graphs.DEVICES = {options.device.partition(":")[0]} if way == "recorded" else set()
        yield way
    graphs.DEVICES = set()


def _tests() -> Row:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in TESTS)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    print(done.stdout[-4000:], file=sys.stderr)
    return Row("tests of what is recorded", done.returncode, 0, "exit code", done.stdout.strip().rpartition("\n")[2])


def _profile(options: argparse.Namespace, what: str, run: Callable[[], object]) -> None:
    """Append which kernels took longest to a file."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table = profiled.key_averages().table(sort_by=order, row_limit=KERNELS, max_name_column_width=90)
    with (options.output / "kernels.txt").open("a", encoding="utf-8") as file:
        print(f"== {what}", table, sep="\n", file=file)


def _build(size: Size, on: Compute) -> Model:
    torch.manual_seed(1)
    config: ModelConfig = load_config(None, flags={f"model.{key}": value for key, value in size.model.items()}).model
    return build(config, size.vocabulary, size.vocabulary, shared=True).to(on.device)


def _lengths(size: Size, count: int) -> np.ndarray:
    """Return lengths that spread as those of sentences do."""
    chance = np.random.default_rng(1)
    return np.clip(chance.gamma(4.0, size.length / 4.0, count).astype(np.int64), 3, 200)


def _sentences(size: Size, count: int) -> Ragged:
    lengths = _lengths(size, count)
    return Ragged(np.random.default_rng(2).integers(4, size.vocabulary, int(lengths.sum())), lengths)


def _agreement(name: str, size: Size, device: str) -> Iterator[Row]:
    """Compare logits and translations with those of the CPU in fp32."""
    exact, ids = compute("cpu", "fp32", threads=1), pad(_sentences(size, 8), eos=True)
    model = _build(size, exact).eval()
    options = SearchConfig(max_length_ratio=1, max_length_offset=0)
    with torch.inference_mode():
        expected = model(ids, ids.ids)
        hypotheses = [found[0].ids for found in search(model, ids, options)]
        for precision, bound in (("fp32", 1e-3), ("bf16", 0.05)):
            on = compute(device, precision, threads=1)
            fitted = on.fit(_build(size, on)).eval()
            source = Padded(ids.ids.to(on.device), ids.lengths)
            logits = fitted(source, source.ids).float().cpu()
            error = float((logits - expected).norm() / expected.norm())
            equal = sum(map(tuple.__eq__, hypotheses, (found[0].ids for found in search(fitted, source, options))))
            yield Row(
                f"{name}, {precision}: relative error of logits", error, bound, "at most", f"{equal}/8 outputs equal"
            )


def _batches(size: Size, budget: int) -> Sequence[Batch]:
    sentences = _sentences(size, max(64, 8 * budget // int(size.length)))
    packed = pack(sentences.lengths, sentences.lengths, budget)
    return [assemble(sentences.take(rows), sentences.take(rows)) for rows in packed]


def _train(size: Size, on: Compute, budget: int, seconds: float) -> float:
    """Return target tokens per second."""
    learner, batches = Learner(_build(size, on), TrainingConfig(), on), _batches(size, budget)
    try:
        for step in range(24):  # each shape once, once more to be recorded, and once as it is from then on
            learner.learn([batches[step % 8]], step + 1, 1e-5)
        tokens, step, began = 0, 24, _now(on)
        while _now(on) - began < seconds:
            for batch in batches[:8]:
                step += 1
                tokens += learner.learn([batch], step, 1e-5).tokens
        return tokens / (_now(on) - began)
    except torch.OutOfMemoryError:
        return 0.0
    finally:
        del learner
        _forget(on)


def _translate(size: Size, on: Compute, count: int, budget: int) -> float:
    """Return target tokens per second of the last of three passes."""
    model, sentences = on.fit(_build(size, on)).eval(), _sentences(size, count)
    options = SearchConfig(max_length_ratio=1, max_length_offset=0)
    packed = pack(sentences.lengths, sentences.lengths, budget)

    def run() -> int:
        tokens = 0
        for rows in packed:
            padded = pad(sentences.take(rows), eos=True)
            source = Padded(padded.ids.to(on.device), padded.lengths)
            tokens += sum(len(found[0].ids) + 1 for found in search(model, source, options))
        return tokens

    try:
        return _rate(run, on)
    except torch.OutOfMemoryError:
        return 0.0
    finally:
        _forget(on)


def _rate(run: Callable[[], int], on: Compute) -> float:
    run()
    run()
    began = _now(on)
    return run() / (_now(on) - began)


def _latency(size: Size, on: Compute) -> float:
    model = on.fit(_build(size, on)).eval()
    ids = torch.randint(4, size.vocabulary, (1, 29), device=on.device)
    times = []
    for _ in range(12):
        began = _now(on)
        search(model, Padded(ids, torch.tensor([29])), SearchConfig(max_length_ratio=1, max_length_offset=0))
        times.append(_now(on) - began)
    return float(np.median(times[2:]))


def _whole(options: argparse.Namespace, way: str) -> Row:
    """Time `nmt train` on Multi30k from raw text to scores, and say what it reached."""
    run, data = options.output / f"multi30k-{way}", options.corpora
    first = f"from nmt import graphs; graphs.DEVICES = {graphs.DEVICES}; from nmt.__main__ import main; main()"
    command = [sys.executable, "-c", first]
    words = ["train", str(CHECKOUT / "configs" / "multi30k-en-de.yaml"), "-o", str(run), "--max-time", "120s"]
    variables = {**os.environ, "NMT_DATA": str(data), "PYTHONPATH": str(CHECKOUT)}
    began = time.monotonic()
    subprocess.run([*command, *words, "--device", options.device, "--precision", "bf16"], env=variables, check=True)
    spent = time.monotonic() - began
    test = data / "multi30k" / "test_2016_flickr"
    shown = subprocess.run(
        [*command, "translate", "-m", str(run), f"{test}.en"], env=variables, check=True, capture_output=True
    ).stdout.decode()
    reference = Path(f"{test}.de").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    bleu = score(shown.removesuffix("\n").split("\n"), [reference])[0].score
    return Row("Multi30k, the whole command", spent, 120, "s", f"{way}, BLEU {bleu:.2f}, aimed at {BLEU}")


def _forget(on: Compute) -> None:
    """Free what the last measurement has left."""
    gc.collect()
    if on.device.type == "cuda":
        torch.cuda.empty_cache()


def _now(on: Compute) -> float:
    if on.device.type == "cuda":
        torch.cuda.synchronize(on.device)
    return time.perf_counter()


def _write(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU"
    commit = subprocess.run(["git", "-C", CHECKOUT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    about = f"{time.strftime('%Y-%m-%d')}, commit {commit.stdout.strip()}, {name}, torch {torch.__version__}"
    lines = ["| | found | aim | | |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.found:,.4g} | {row.aim:,.4g} | {row.unit} | {row.note} |" for row in rows]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "GPU.md").write_text("\n".join([about, "", *lines, ""]), encoding="utf-8")
    (options.output / "gpu.json").write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
