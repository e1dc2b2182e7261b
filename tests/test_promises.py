"""Every promise of the command line has a row: a command is run as a shell runs it, and what came of it is looked at.

`keeps` names what a row stands for; the last tests fail for an option in any `--help`, and for any promise listed
there, that no row stands for. All commands work on one tiny corpus, on which a translator is perfect in seconds.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from terminal import ROOT, Done, Terminal, environment, fresh

import nmt
from nmt.batches import EOS
from nmt.configfile import load_config
from nmt.evaluate import sentence_scores
from nmt.models import build
from nmt.presets import PRESETS
from nmt.shortlist import Shortlist
from nmt.training import checkpoint

torch.set_num_threads(1)
pytestmark = pytest.mark.slow

Row = TypeVar("Row", bound=Callable[..., None])
ROWS: dict[str, list[str]] = {}  # promise -> names of its rows


def keeps(*promises: str) -> Callable[[Row], Row]:
    def register(row: Row) -> Row:
        for promise in promises:
            ROWS.setdefault(promise, []).append(row.__name__)
        return row

    return register


# ---- a small world ----------------------------------------------------------------------------------------------

NOUNS = {"dog": "chien", "cat": "chat", "king": "roi", "baker": "boulanger", "child": "bébé", "wolf": "loup"}
VERBS = {"sees": "voit", "hears": "entend", "loves": "préfère", "follows": "suit"}
ADJECTIVES = {"red": "rouge", "tired": "fatigué", "brave": "courageux"}
SMALL = {
    "model.dim": 32, "model.heads": 2, "model.encoder_layers": 1, "model.decoder_layers": 1, "model.feed_forward": 64,
    "model.dropout": 0, "tokenizer.vocab_size": 310, "training.warmup": 20, "training.learning_rate": 0.01,
    "training.batch_tokens": 512, "training.max_steps": 2, "training.threads": 1, "training.log_every": 1,
    "training.ema": 0.9, "training.label_smoothing": 0, "training.patience": 0,
    "search.max_length_ratio": 1.2, "search.max_length_offset": 4, "training.recipe": "none",
}  # fmt: skip
FAMILYLESS = {key: value for key, value in SMALL.items() if not key.startswith("model.")}
LATER = "training.valid_every=150"
VALID = "data.valid=[valid.en, valid.fr]"
LINES = ["The red dog sees the cat.", "The tired king follows the wolf.", "The brave baker hears the child."]
FRENCH = ["Le chien rouge voit le chat.", "Le roi fatigué suit le loup.", "Le boulanger courageux entend le bébé."]
INPUT = "".join(f"{line}\n" for line in LINES)


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Return sentences of a little language, in which the adjective changes its place."""
    chance = random.Random(seed)
    words = [[chance.choice(list(table.items())) for table in (ADJECTIVES, NOUNS, VERBS, NOUNS)] for _ in range(count)]
    return [
        (f"The {adj[0]} {noun[0]} {verb[0]} the {other[0]}.", f"Le {noun[1]} {adj[1]} {verb[1]} le {other[1]}.")
        for adj, noun, verb, other in words
    ]


def write(path: Path, lines: list[str], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{line}\n" for line in lines).encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_formats(folder: Path, pairs: list[tuple[str, str]]) -> None:
    """Write the training pairs once more in every other format."""
    english, french = ([*side] for side in zip(*pairs, strict=True))
    rows = {
        "train.tsv": ["\t".join(pair) for pair in pairs],
        "untitled.tsv": [f"{number}\t{fr}\t{en}" for number, (en, fr) in enumerate(pairs)],
        "titled.tsv": ["id\tfr\ten", *(f"{number}\t{fr}\t{en}" for number, (en, fr) in enumerate(pairs))],
        "train.jsonl": [json.dumps({"fr": fr, "en": en}) for en, fr in pairs],
        "hub.jsonl": [json.dumps({"translation": {"fr": fr, "en": en}}) for en, fr in pairs],
    }
    for name, lines in rows.items():
        write(folder / name, lines)
        write(folder / f"{name}.gz", lines)
    for name, lines in (("en", english), ("fr", french)):
        write(folder / f"zipped.{name}.gz", lines)
        write(folder / f"latin.{name}", lines, "latin-1")
        write(folder / f"first.{name}", lines[:100])
        write(folder / f"second.{name}", lines[100:])
        write(folder / f"elsewhere/data/named.{name}", lines)


class World(NamedTuple):
    """A folder with corpora, and a shell in it."""

    folder: Path
    terminal: Terminal

    def nmt(self, *arguments: str | Path, stdin: str | bytes = "", **changes: str) -> Done:
        return self.terminal.nmt(*arguments, stdin=stdin, folder=self.folder, **changes)

    def train(self, run: str, *arguments: str, small: dict[str, Any] = SMALL, **changes: str) -> Done:
        """Train into `run`, on the plain files if the first of the arguments is an option; later options hold."""
        corpus = [] if arguments and not arguments[0].startswith("-") else ["train.en", "train.fr"]
        settings = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
        return self.nmt("train", *settings, "--set", VALID, *corpus, *arguments, "-o", run, **changes)

    def weights(self, run: str) -> bytes:
        return (self.folder / run / "model.safetensors").read_bytes()

    def config(self, run: str) -> Any:
        return load_config(self.folder / run / "config.yaml")

    def metrics(self, run: str, kind: str = "train") -> list[dict[str, float]]:
        lines = (self.folder / run / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def translate(self, *arguments: str | Path, stdin: str | bytes = INPUT, run: str = "trained") -> Done:
        return self.nmt("translate", "-m", run, *arguments, "--threads", "1", stdin=stdin).ok()

    def records(self, *arguments: str, run: str = "trained") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.translate(*arguments, "--format", "jsonl", "--scores", run=run).lines]


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def world(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a folder with corpora, in which `trained` is a good model, `early` a bad and `plain` a silly one."""
    folder = tmp_path_factory.mktemp("world")
    pairs = sentences(300, 1)
    for name, part in (("train", pairs), ("valid", sentences(8, 2)), ("test", sentences(8, 3))):
        for language, lines in zip(("en", "fr"), zip(*part, strict=True), strict=True):
            write(folder / f"{name}.{language}", [*lines])
    write_formats(folder, pairs)
    world = World(folder, terminal)
    world.train("plain").ok()
    world.train("early", "--max-steps", "30", "--set", "training.save_every=15").ok()
    world.train("trained", "--test", "test.en", "--test", "test.fr", "--max-steps", "300", "--set", LATER).ok()
    return world


# ---- corpora ----------------------------------------------------------------------------------------------------

TOLD = ("--source-lang", "en", "--target-lang", "fr")
FORMATS = {
    "TSV": ("train.tsv", *TOLD),
    "TSV, gzipped": ("train.tsv.gz", *TOLD),
    "TSV with a header": ("titled.tsv", *TOLD),
    "TSV with named columns": ("titled.tsv", *TOLD, "--set", "data.columns=[en, fr]"),
    "TSV with numbered columns": ("untitled.tsv", *TOLD, "--set", "data.columns=[3, 2]"),
    "JSONL": ("train.jsonl", *TOLD),
    "JSONL, gzipped": ("train.jsonl.gz", *TOLD),
    "JSONL of the hub": ("hub.jsonl", *TOLD),
    "JSONL of the hub, gzipped": ("hub.jsonl.gz", *TOLD),
    "aligned files, gzipped": ("zipped.en.gz", "zipped.fr.gz"),
    "{lang}": ("train.{lang}", *TOLD),
    "several corpora": ("first.en", "first.fr", "second.en", "second.fr"),
    "train --encoding": ("latin.en", "latin.fr", "--encoding", "latin-1"),
}


@keeps("aligned files", *FORMATS)
@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_trains_the_same_model(world: World, format_: str) -> None:
    run = re.sub(r"\W", "-", format_)
    world.train(run, *FORMATS[format_]).ok()
    assert world.weights(run) == world.weights("plain")


@keeps("Parquet folder")
def test_a_folder_of_parquet_trains_the_same_model(world: World) -> None:
    from datasets import Dataset

    lines = [json.loads(line) for line in (world.folder / "hub.jsonl").read_text().splitlines()]
    (world.folder / "parquet").mkdir()
    for place, part in enumerate((lines[:100], lines[100:])):
        Dataset.from_list(part).to_parquet(world.folder / f"parquet/train-{place}.parquet")
    world.train("parquet-run", "parquet", *TOLD).ok()
    assert world.weights("parquet-run") == world.weights("plain")


@keeps("train --source-lang", "train --target-lang")
def test_languages_choose_the_sides(world: World) -> None:
    turned = ("--source-lang", "fr", "--target-lang", "en", "--set", "data.valid=[valid.fr, valid.en]")
    world.train("turned", "hub.jsonl", *turned).ok()
    assert world.weights("turned") != world.weights("plain")
    assert "languages      fr to en\n" in world.nmt("info", "turned").out


@keeps("hf:")
def test_a_data_set_that_cannot_be_had_is_said(world: World) -> None:
    done = world.train("hub", "hf:nobody/nothing", *TOLD)
    assert done.code == 3
    assert done.error.splitlines()[-1].startswith("nmt train: error: hf:nobody/nothing: cannot be read by datasets: ")
    assert world.train("hub", "hf:", *TOLD).code == 2


@keeps("$NMT_DATA", "./data")
def test_relative_corpora_are_found_in_the_data_folder(world: World) -> None:
    world.train("named", "named.en", "named.fr", NMT_DATA=str(world.folder / "elsewhere/data")).ok()
    assert world.weights("named") == world.weights("plain")
    assert world.config("named").data.train == ("named.en", "named.fr")
    elsewhere = World(world.folder / "elsewhere", world.terminal)
    valid = ("--set", "data.valid=[../valid.en, ../valid.fr]")
    elsewhere.train("run", "named.en", "named.fr", *valid).ok()
    assert elsewhere.weights("run") == world.weights("plain")


@keeps("train --valid", "train --test")
def test_held_out_corpora_are_used(world: World) -> None:
    files = ("--valid", "test.en", "--valid", "test.fr", "--test", "first.en", "--test", "first.fr")
    done = world.train("heldout", *files).ok()
    assert "reference    Le " in done.error
    assert (world.folder / "test.fr").read_text().splitlines()[0] in done.error
    assert re.search(r"^\| test \| BLEU \|", (world.folder / "heldout/README.md").read_text(), re.MULTILINE)
    scored = world.nmt("eval", "-m", "heldout", "-b", "1", "--threads", "1").ok()
    assert "translating 100 lines of first.en first.fr" in scored.error


@keeps("validation pairs held out")
def test_without_validation_pairs_some_are_held_out(world: World) -> None:
    done = world.train("own", "--set", "data.valid=[]").ok()
    assert re.search(r"\b6\b.* training pairs.* held out", done.error)
    assert "left out 3 training pairs that share a side with a held-out pair" in done.error
    assert "291 pairs" in done.error
    held = [(world.folder / f"own/heldout.valid.{language}").read_text().splitlines() for language in ("en", "fr")]
    train = [(world.folder / f"train.{language}").read_text().splitlines() for language in ("en", "fr")]
    assert len(held[0]) == 6
    assert {*zip(*held, strict=True)} < {*zip(*train, strict=True)}


@keeps("unequal sides", "empty sides", "too long pairs", "train --bad-utf8")
def test_bad_pairs_are_counted_or_refused(world: World) -> None:
    english, french = ((world.folder / f"train.{name}").read_bytes() for name in ("en", "fr"))
    (world.folder / "short.fr").write_bytes(french.split(b"\n", 1)[1])
    done = world.train("short", "train.en", "short.fr")
    assert (done.code, done.error.splitlines()[-1].count("300 lines")) == (3, 1)
    assert "short.fr has 299" in done.error
    (world.folder / "holes.en").write_bytes(english + b"one\n\nbad \xff\n" + b"dog " * 300 + b"\n")
    (world.folder / "holes.fr").write_bytes(french + b"\ntwo\nmauvais\n" + b"chien " * 300 + b"\n")
    assert "holes.en:303: invalid UTF-8 (byte 0xff at column 5)" in world.train("bad", "holes.en", "holes.fr").error
    done = world.train("dropped", "holes.en", "holes.fr", "--bad-utf8", "drop").ok()
    assert "dropped 2 of 304 pairs: empty side (first: line 301)" in done.error
    assert "dropped 1 of 304 pairs: invalid UTF-8 (first: line 303)" in done.error
    assert "dropped 1 pairs longer than 256 tokens" in done.error
    assert "300 pairs, cpu" in done.error
    assert "301 pairs, cpu" in world.train("replaced", "holes.en", "holes.fr", "--bad-utf8", "replace").error


# ---- the command of training ------------------------------------------------------------------------------------


@keeps("train", "train --output", "run folder")
def test_a_run_is_all_that_is_promised(world: World) -> None:
    run = world.folder / "trained"
    names = {"config.yaml", "tokenizer.model", "model.safetensors", "MANIFEST.json", "README.md", "metrics.jsonl"}
    assert names | {"train.log", "curves.png", "checkpoints"} <= {path.name for path in run.iterdir()}
    assert str(world.folder) not in (run / "config.yaml").read_text() + (run / "README.md").read_text()
    assert world.translate().lines == FRENCH


@keeps("model card")
def test_the_card_says_what_the_model_is(world: World) -> None:
    card = (world.folder / "trained/README.md").read_text()
    scored = world.nmt("eval", "-m", "trained", "--chrf", "--bleu", "--format", "json", "--threads", "1").ok()
    for record in json.loads(scored.out):
        assert f"| test | {record['name']} | {record['score']:.2f} | `{record['signature']}` |" in card
    assert card.startswith("# trained: en to fr\n")
    assert "    nmt train --set model.dim=32" in card
    assert len(re.findall(r"^- `(?:train|valid|test)\.(?:en|fr)` sha256 [0-9a-f]{64}$", card, re.MULTILINE)) >= 2


@keeps("metrics.jsonl", "curves.png", "TensorBoard", "train.log", "progress", "sample translations")
def test_progress_is_told_and_kept(world: World) -> None:
    run = world.folder / "trained"
    assert [record["step"] for record in world.metrics("trained")] == [*range(1, 301)]
    valid = world.metrics("trained", "valid")
    assert [record["step"] for record in valid] == [150, 300]
    assert {"loss", "bleu", "chrf"} <= valid[0].keys()
    assert valid[1]["bleu"] > 90
    log = (run / "train.log").read_text()
    (line,) = re.findall(r" step 200 .*", log)
    for told in (r"[\d,]+ tok/s", r"loss \d", r"lr \d", r"valid in \d+:\d\d", r"end in \d+:\d\d", "bleu"):
        assert re.search(told, line)
    assert log.count("  translation  ") == 2 * 2  # two at each validation
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    (events,) = (run / "tensorboard").iterdir()
    assert events.read_bytes().count(b"train/loss") == 300


@keeps("nmt.yaml", "train with a config", "default run folder", "finished runs say so", "another config is refused")
def test_configs_and_where_runs_go(world: World) -> None:
    here = World(world.folder / "configured", world.terminal)
    lines = [f"{key.replace('.', ': {', 1)}: {value}}}" for key, value in SMALL.items()]
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(line.partition(":")[0], []).append(line.partition("{")[2].rstrip("}"))
    data = ["data: {train: ../train.{lang}, source_lang: en, target_lang: fr, valid: [../valid.en, ../valid.fr]}"]
    data = [line.replace("../train.{lang}", '"../train.{lang}"') for line in data]
    write(here.folder / "nmt.yaml", data + [f"{group}: {{{', '.join(keys)}}}" for group, keys in groups.items()])
    shutil.copy(here.folder / "nmt.yaml", here.folder / "other.yaml")
    here.nmt("train").ok()
    assert here.weights("runs/nmt") == world.weights("plain")
    assert "runs/nmt: finished" in here.nmt("train").ok().error
    done = here.nmt("train", "--seed", "2")
    assert (done.code, "runs/nmt: holds a run with another training.seed (1, now 2)" in done.error) == (2, True)
    here.nmt("train", "other.yaml").ok()
    assert (here.folder / "runs/other/MANIFEST.json").exists()


@keeps("newest run", "$NMT_MODEL", "translate --model", "eval --model", "info", "info --model")
def test_which_model_is_meant(world: World) -> None:
    here = World(world.folder / "chosen", world.terminal)
    for place, name in enumerate(("trained", "plain")):
        shutil.copytree(world.folder / name, here.folder / "runs" / name)
        manifest = here.folder / "runs" / name / "MANIFEST.json"
        manifest.touch()
        time.sleep(0.02 * (place + 1))
    (here.folder / "runs/unfinished").mkdir()
    newest = here.nmt("translate", "--threads", "1", stdin=INPUT).ok()
    assert "model runs/plain" in newest.error
    chosen = here.nmt("translate", "--threads", "1", stdin=INPUT, NMT_MODEL="runs/trained").ok()
    assert "model runs/trained" in chosen.error
    assert newest.lines != chosen.lines == FRENCH
    named = here.nmt("translate", "-m", "runs/trained", "--threads", "1", stdin=INPUT, NMT_MODEL="runs/plain").ok()
    assert (named.lines, named.error) == (FRENCH, "")
    assert here.nmt("info").ok().out.startswith("folder         runs/plain\n")
    assert here.nmt("info", "-m", "runs/trained").out == here.nmt("info", "runs/trained").out
    shutil.copytree(world.folder / "trained", here.folder / "away")
    shutil.rmtree(here.folder / "runs")
    moved = here.nmt("translate", "--model", "away", "--threads", "1", stdin=INPUT).ok()
    assert moved.lines == FRENCH  # the folder was moved
    evaluated = here.nmt("eval", "-m", "away", "--threads", "1", NMT_DATA=str(world.folder)).ok()
    assert evaluated.out.startswith("BLEU = ")


@keeps("moving the run folder", "checkpoints as models")
def test_a_checkpoint_is_a_model(world: World) -> None:
    shutil.copytree(world.folder / "trained", world.folder / "moved/here")
    last = "moved/here/checkpoints/step-00000300"
    assert world.translate(run=last).lines == FRENCH
    assert f"checkpoint of {world.folder}/moved/here" in world.nmt("info", last).ok().out
    first, final = (world.translate("--scores", run=f"early/checkpoints/step-{step:08d}").out for step in (15, 30))
    assert first != final == world.translate("--scores", run="early").out


@keeps("info")
def test_info_describes_a_model(world: World) -> None:
    facts = dict(re.findall(r"^([a-z ]+?)  +(.*)$", world.nmt("info", "trained").ok().out, re.MULTILINE))
    tensors = load_file(world.folder / "trained/model.safetensors")
    assert facts["parameters"] == f"{sum(tensor.numel() for tensor in tensors.values()):,}"
    assert facts["model"] == "transformer, 1 + 1 layers, width 32, 2 heads, feed-forward 64"
    assert facts["tokenizer"] == "unigram, 310 pieces, shared"
    (world.folder / "damaged").mkdir()
    shutil.copytree(world.folder / "plain", world.folder / "damaged", dirs_exist_ok=True)
    (world.folder / "damaged/model.safetensors").write_bytes(world.weights("trained"))
    assert world.nmt("info", "damaged").code == 4


CHEAP = ("--set", "training.valid_lines=1")


def changed(world: World, *arguments: str, small: dict[str, Any] = SMALL) -> str:
    """Train with other options and return the run, whose weights must have become others."""
    run = "-".join(re.findall(r"\w+", " ".join(arguments)))
    world.train(run, *arguments, small=small).ok()
    assert world.weights(run) != world.weights("plain")
    return run


MATTERS = {  # every option that has no row of its own changes the weights
    "training.optimizer": "adam", "training.beta1": 0.5, "training.beta2": 0.5, "training.epsilon": 0.1,
    "training.weight_decay": 0.9, "training.clip": 0.01, "training.label_smoothing": 0.2, "training.learning_rate": 0.1,
    "model.dropout": 0.5, "model.activation": "gelu", "model.norm": "post", "model.positions": "rotary",
    "tokenizer.sampling": 0.3,
}  # fmt: skip


@keeps("train --set", *MATTERS)
@pytest.mark.parametrize("option", MATTERS)
def test_an_option_of_training_changes_the_weights(world: World, option: str) -> None:
    run = changed(world, "--set", f"{option}={MATTERS[option]}", *CHEAP)
    section, name = option.split(".")
    assert str(getattr(getattr(world.config(run), section), name)) == str(MATTERS[option])


@keeps("train --seed")
def test_seed_decides_the_weights(world: World) -> None:
    two = changed(world, "--seed", "2")
    world.train("two-again", "--seed", "2").ok()
    assert world.weights("two-again") == world.weights(two)


@keeps("train --batch-tokens", "train --max-epochs", "accumulation", "batch_tokens: auto")
def test_steps_of_an_epoch_follow_from_batches(world: World) -> None:
    def steps(*arguments: str) -> int:
        run = changed(world, *arguments, "--max-epochs", "1", "--max-steps", "1000", *CHEAP)
        assert "max_epochs 1" in (world.folder / run / "train.log").read_text()
        return len(world.metrics(run))

    whole, smaller = steps("--batch-tokens", "1024"), steps("--batch-tokens", "512")
    assert smaller >= 1.8 * whole
    assert steps("--batch-tokens", "512", "--set", "training.accumulate=2") == -(-smaller // 2)
    assert steps("--batch-tokens", "auto") == steps("--batch-tokens", "4096") < whole


@keeps("train --max-steps", "resume", "a larger limit goes on")
def test_a_larger_limit_goes_on_to_the_same_weights(world: World) -> None:
    world.train("six", "--max-steps", "6").ok()
    assert "max_steps 3" in world.train("halves", "--max-steps", "3").ok().error
    half = world.weights("halves")
    assert "resuming at step 3" in world.train("halves", "--max-steps", "6").ok().error
    assert world.weights("halves") == world.weights("six") != half
    assert [record["step"] for record in world.metrics("halves")] == [1, 2, 3, 4, 5, 6]


@keeps("train --patience", "early stopping")
@pytest.mark.parametrize("metric", ["loss", "bleu", "chrf"])
def test_patience_ends_training_when_nothing_gets_better(world: World, metric: str) -> None:
    still = (
        "--set",
        "training.learning_rate=1e-12",
        "--set",
        "training.valid_every=1",
        "--set",
        f"training.metric={metric}",
    )
    done = world.train(f"patient-{metric}", "--patience", "2", "--max-steps", "9", *still, *CHEAP).ok()
    valid = world.metrics(f"patient-{metric}", "valid")
    assert f"patience: {metric} no better in 2 validations" in done.error
    assert 3 <= len(valid) < 9
    values = [record[metric] for record in valid]
    best = min(values) if metric == "loss" else max(values)
    assert values[-3] == best


@keeps("train --max-time")
def test_time_bounds_the_whole_command(world: World) -> None:
    small = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    corpus = ("train.en", "train.fr", "-o", "timed", "--set", VALID, "--max-steps", "100000")
    begun = time.monotonic()
    fresh("train", *small, *corpus, "--max-time", "25s", folder=world.folder).ok()
    assert time.monotonic() - begun < 30
    steps = len(world.metrics("timed"))
    done = fresh("train", *small, *corpus, "--max-time", "40s", folder=world.folder).ok()
    assert "resuming at step" in done.error
    assert len(world.metrics("timed")) > steps > 10


@keeps("train --from")
def test_training_starts_from_the_weights_of_another(world: World) -> None:
    done = world.train("continued", "--from", "trained", "--set", "training.learning_rate=1e-12", *CHEAP).ok()
    assert "trained" in done.error
    assert world.translate(run="continued").lines == FRENCH
    assert world.translate(run="plain").lines != FRENCH


@keeps("train --device", "train --precision", "train --threads")
def test_where_and_how_training_computes(world: World) -> None:
    assert "cpu in float32, 1 threads" in (world.folder / "plain/train.log").read_text()
    assert "2 threads" in world.train("wide", "--threads", "2", *CHEAP).ok().error
    assert world.train("absent", "--device", "cuda:7").code == 2
    assert "for GPUs only" in world.train("halved", "--precision", "fp16").error
    done = world.train("brain", "--precision", "bf16", *CHEAP).ok()
    known = torch.cpu.get_capabilities()
    is_fast = any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert ("in bfloat16" in done.error) == is_fast
    assert (world.weights("brain") != world.weights("plain")) == is_fast


@keeps("EMA", "averaging of the last checkpoints", "best kept", "last N kept")
def test_what_is_kept_and_averaged(world: World) -> None:
    def tensors(place: str) -> dict[str, torch.Tensor]:
        return load_file(world.folder / run / place)

    saving = ("--set", "training.save_every=1", "--max-steps", "6", "--set", "training.valid_every=6", *CHEAP)
    run = changed(world, "--set", "training.average_last=3", "--set", "training.keep=2", *saving)
    assert "taken is the mean of the weights of step 4, 5, 6" in (world.folder / run / "train.log").read_text()
    last = [f"checkpoints/step-{step:08d}" for step in (4, 5, 6)]
    assert sorted(path.name for path in (world.folder / run / "checkpoints").iterdir()) == [name[12:] for name in last]
    averages = [tensors(f"{name}/average.safetensors") for name in last]
    for name, tensor in tensors("model.safetensors").items():
        torch.testing.assert_close(tensor, sum(each[name] for each in averages) / 3)
    weights = [tensors(f"{name}/weights.safetensors") for name in last]
    for name, tensor in averages[1].items():  # EMA of 0.9: what remains of the step before, and a tenth of the weights
        share = (averages[2][name] - tensor).norm() / (weights[2][name] - tensor).norm().clamp(min=1e-12)
        assert share <= 0.9 + 1e-3
    run = changed(world, "--set", "training.ema=0", *saving, "--set", "training.keep=1")
    assert not [*(world.folder / run).rglob("average.safetensors")]
    assert len([*(world.folder / run / "checkpoints").iterdir()]) == 1
    torch.testing.assert_close(tensors("model.safetensors"), tensors("checkpoints/step-00000006/weights.safetensors"))


RATES = {  # of steps 1 to 4, with a warm-up of 2 steps to 0.01
    "inverse_sqrt": [0.005, 0.01, 0.01 * (2 / 3) ** 0.5, 0.01 * (2 / 4) ** 0.5],
    "constant": [0.005, 0.01, 0.01, 0.01],
    "cosine": [0.005, 0.01, 0.005, 0.0],
}


@keeps("schedules", "warm-up")
@pytest.mark.parametrize("schedule", RATES)
def test_learning_rate_follows_its_schedule(world: World, schedule: str) -> None:
    options = {"schedule": schedule, "warmup": 2, "max_steps": 4}
    run = f"rate-{schedule}"
    world.train(run, *CHEAP, *(word for key in options for word in ("--set", f"training.{key}={options[key]}"))).ok()
    assert [record["learning_rate"] for record in world.metrics(run)] == pytest.approx(RATES[schedule], abs=1e-6)


@keeps("SIGTERM", "Ctrl-C")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(world: World, number: signal.Signals) -> None:
    small = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    run = f"stopped-{number.name}"
    command = ["train", *small, "train.en", "train.fr", "--set", VALID, "--max-steps", "300", "-o"]
    python = [sys.executable, "-m", "nmt"]
    with subprocess.Popen(
        [*python, *command, run], cwd=world.folder, env=environment({}), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("step 20 "))
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode == 128 + number
    assert not (world.folder / run / "MANIFEST.json").exists()
    assert "resuming at step" in world.nmt(*command, run).ok().error
    world.nmt(*command, "unstopped").ok()
    assert world.weights(run) == world.weights("unstopped")


# ---- models and tokenizers --------------------------------------------------------------------------------------

# Parameters in millions. base and big: arXiv 1706.03762 table 3 (65 and 213, with 37,000 pieces); tiny: 2.6 with some
# 10,000 pieces, arXiv 2105.14462 section 4; the others from the sizes in their papers, layer by layer.
LSTM, GRU = 4, 3


def layer(gates: int, inputs: int, dim: int) -> int:
    return gates * dim * (inputs + dim + 2)


PARAMETERS = {
    "tiny": (10_000, 2.6e6),
    "base": (37_000, 65e6),
    "big": (37_000, 213e6),
    "small": (8_000, 8_000 * 256 + 3 * (12 * 256**2 + 16 * 256**2)),
    "rnnsearch": (
        30_000,
        3 * 30_000 * 620 + 2 * layer(GRU, 620, 500) + layer(GRU, 1620, 1000) + 2 * 1000**2 + 2620 * 620 + 500 * 1000,
    ),
    "luong": (
        50_000,
        3 * 50_000 * 1000 + 4 * layer(LSTM, 1000, 1000) + layer(LSTM, 2000, 1000) + 3 * layer(LSTM, 1000, 1000)
        + 1000**2 + 2000 * 1000 + 1000 * 8000,
    ),
    "gnmt": (
        32_000,
        3 * 32_000 * 1024 + 8 * layer(LSTM, 1024, 512) + layer(LSTM, 2048, 1024) + 3 * layer(LSTM, 1024, 1024)
        + 2 * 1024**2 + 3072 * 1024 + 512 * 8192,
    ),
}  # fmt: skip


@keeps("train --preset", *(f"preset {name}" for name in PRESETS))
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_size_of_their_papers(preset: str) -> None:
    vocabulary, parameters = PARAMETERS[preset]
    config = load_config(None, flags={"model.preset": preset}).model
    if config.type == "transformer":  # learned, for sines are computed, and nothing can be on "meta"
        config = config.model_copy(update={"positions": "learned", "max_length": 1})
    with torch.device("meta"):
        model = build(config, vocabulary, vocabulary, shared=True)
    assert sum(each.numel() for each in model.parameters()) == pytest.approx(parameters, rel=0.04)


@keeps("train --preset", "preset tiny", "preset luong")
@pytest.mark.parametrize(
    ("preset", "settings", "described"),
    [
        ("tiny", (), "transformer, 4 + 4 layers, width 128, 4 heads, feed-forward 256"),
        ("luong", ("model.dim=16", "model.embedding=8"), "lstm, attention general, 4 + 4 layers, width 16"),
    ],
)
def test_presets_train(world: World, preset: str, settings: tuple[str, ...], described: str) -> None:
    given = [word for setting in settings for word in ("--set", setting)]
    run = changed(world, "--preset", preset, *given, "--max-steps", "1", *CHEAP, small=FAMILYLESS)
    assert described in world.nmt("info", run).ok().out


CELLS = [
    (cell, kind, False) for cell in ("rnn", "gru", "lstm") for kind in ("none", "additive", "dot", "general", "concat")
]
CELLS += [(cell, kind, True) for cell in ("rnn", "gru", "lstm") for kind in ("dot", "general", "concat")]


@keeps("cells and attentions", "input feeding")
@pytest.mark.parametrize(("cell", "attention", "is_feeding"), CELLS)
def test_every_recurrent_model_learns(world: World, cell: str, attention: str, is_feeding: bool) -> None:
    run = f"{cell}-{attention}-{is_feeding}"
    options = {
        "model.type": "rnn", "model.cell": cell, "model.attention": attention, "model.input_feeding": is_feeding,
        "model.dim": 32, "model.embedding": 32, "model.dropout": 0, "training.max_steps": 120,
    }  # fmt: skip
    world.train(run, *CHEAP, small=FAMILYLESS | options).ok()
    losses = [record["loss"] for record in world.metrics(run)]
    assert losses[-1] < 0.6 * losses[0]
    assert world.translate(run=run).lines != [""] * 3


KINDS = {"unigram": "auto", "bpe": "300", "char": "auto", "word": "auto"}


@keeps("tokenizer types", "vocabulary size auto", "separate tokenizers")
@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_trains_and_text_comes_back_detokenised(world: World, kind: str) -> None:
    options = ("--set", f"tokenizer.type={kind}", "--set", f"tokenizer.vocab_size={KINDS[kind]}")
    run = changed(world, *options, "--set", "tokenizer.shared=false", *CHEAP)
    assert {"source.model", "target.model"} < {path.name for path in (world.folder / run).iterdir()}
    assert re.search(rf"tokenizer +{kind}, .*separate", world.nmt("info", run).ok().out)
    assert "\u2581" not in world.translate(run=run).out
    text = INPUT if kind == "word" else f"{INPUT}Déjà vu\n"
    pieces = world.nmt("tokenizer", "encode", "-m", f"{run}/source.model", stdin=text).ok()
    assert len(pieces.lines[0].split()) == {"word": 6, "char": len(LINES[0]) + 1}.get(
        kind, len(pieces.lines[0].split())
    )
    assert world.nmt("tokenizer", "decode", "-m", f"{run}/source.model", stdin=pieces.data).ok().out == text


@keeps("impossible vocabulary size")
def test_an_impossible_vocabulary_is_said_in_clear_words(world: World) -> None:
    for size, words in (("100", "is less than the"), ("9000", "is more than the")):
        done = world.train("impossible", "--set", f"tokenizer.vocab_size={size}")
        assert done.code == 2
        assert f"nmt train: error: tokenizer.vocab_size: {size} {words}" in done.error


@keeps(*(f"tokenizer train{option}" for option in ("", " --type", " --vocab-size", " --output", " --set", " --force")))
@keeps("normalisation", "byte fallback")
def test_a_tokenizer_is_learnt_as_asked(world: World) -> None:
    def pieces(model: str, text: str) -> list[str]:
        return world.nmt("tokenizer", "encode", "-m", model, stdin=f"{text}\n").ok().lines[0].split()

    learn = ("tokenizer", "train", "train.en", "train.fr", "-o")
    world.nmt(*learn, "b.model", "--type", "bpe", "--vocab-size", "290").ok()
    identity = ("--set", "tokenizer.normalization=identity", "--set", "tokenizer.byte_fallback=false")
    world.nmt(*learn, "c.model", "--type", "char", *identity).ok()
    done = world.nmt(*learn, "c.model")
    assert (done.code, done.error) == (2, "nmt tokenizer train: error: c.model: exists; use --force\n")
    assert len(pieces("b.model", "The dog")) < len(pieces("c.model", "The dog")) == 8
    assert pieces("b.model", "ﬁ") == pieces("b.model", "fi")
    assert pieces("b.model", "漢")[-3:] == ["<0xE6>", "<0xBC>", "<0xA2>"]
    assert pieces("c.model", "漢")[-1] == "<unk>"
    world.nmt(*learn, "c.model", "--force", "--type", "word").ok()
    assert pieces("c.model", "The dog") == ["\u2581The", "\u2581dog"]
    numbers = world.nmt(
        "tokenizer", "encode", "-m", "b.model", "--ids", stdin="".join(f"{line}\n" for line in LINES * 9)
    )
    assert max(int(word) for word in numbers.out.split()) < 290


@keeps(
    *(
        f"tokenizer {name}{option}"
        for name in ("encode", "decode")
        for option in ("", " --model", " --output", " --ids", " --force")
    )
)
def test_a_tokenizer_goes_there_and_back(world: World) -> None:
    for name, numbers in (("pieces", ()), ("numbers", ("--ids",))):
        for force in ((), ("--force",)):
            world.nmt("tokenizer", "encode", "-m", "trained", *numbers, "test.en", "-o", name, *force).ok()
            world.nmt("tokenizer", "decode", "-m", "trained", *numbers, name, "-o", f"{name}.back", *force).ok()
        assert (world.folder / f"{name}.back").read_bytes() == (world.folder / "test.en").read_bytes()
        for step in ("encode", "decode"):
            done = world.nmt("tokenizer", step, "-m", "trained", "test.en", "-o", name)
            assert done.error == f"nmt tokenizer {step}: error: {name}: exists; use --force\n"
    assert re.fullmatch(r"[\d \n]+", (world.folder / "numbers").read_text())
    assert "\u2581" in (world.folder / "pieces").read_text()


LEARN = ("embeddings", "train", "train.en", "train.fr", "--tokenizer", "trained", "--dim", "32")
LEARNT = {  # what each option makes other vectors of
    "--method": "cbow", "--window": "2", "--negative": "9", "--min-count": "400", "--epochs": "2", "--seed": "2",
}  # fmt: skip


@keeps("embeddings train", *(f"embeddings train {option}" for option in LEARNT), "train --set")
@keeps(*(f"embeddings train --{name}" for name in ("tokenizer", "output", "dim", "threads", "force")))
@keeps("embeddings train --encoding", "embeddings train --bad-utf8", "model.embeddings")
def test_word_vectors_are_learnt_and_started_from(world: World) -> None:
    pytest.importorskip("gensim", reason="gensim is not installed; pip install gensim")
    done = world.nmt(*LEARN, "-o", "v.txt", "--threads", "1").ok()
    assert re.search(r"v.txt: vectors of \d+ of 310 pieces, from 600 lines of [\d,]+ pieces, 32 wide\n$", done.error)
    vectors = (world.folder / "v.txt").read_bytes()
    assert re.match(rb"\d+ 32\n", vectors)
    for option, value in LEARNT.items():
        world.nmt(*LEARN, "-o", "other.txt", option, value, "--force").ok()
        assert (world.folder / "other.txt").read_bytes() != vectors, option
    latin = ("embeddings", "train", "latin.en", "latin.fr", *LEARN[4:], "--force", "-o")
    world.nmt(*latin, "other.txt", "--encoding", "latin-1").ok()
    assert (world.folder / "other.txt").read_bytes() == vectors
    assert (world.nmt(*latin, "v.txt").code, world.nmt(*LEARN, "-o", "v.txt").code) == (3, 2)
    assert (world.folder / "v.txt").read_bytes() == vectors
    world.nmt(*latin, "v.bin", "--bad-utf8", "replace").ok()
    run = changed(world, "--set", "model.embeddings=v.bin", *CHEAP)
    assert re.search(
        r"embeddings: v.bin has vectors of \d+ of 310 pieces", (world.folder / run / "train.log").read_text()
    )


# ---- translating ------------------------------------------------------------------------------------------------


@keeps("translate", "files and gzipped files")
def test_files_are_translated_one_after_the_other(world: World) -> None:
    write(world.folder / "some.en.gz", LINES[1:])
    write(world.folder / "one.en", LINES[:1])
    assert world.translate("one.en", "some.en.gz", "-", stdin=f"{LINES[0]}\n").lines == [*FRENCH, FRENCH[0]]


@keeps("Python API")
def test_python_translates_as_the_command_does(world: World) -> None:
    assert nmt.load(world.folder / "trained").translate(LINES) == FRENCH == world.translate().lines
    assert nmt.load(world.folder / "trained").translate(["", LINES[0]]) == ["", FRENCH[0]]


@keeps("translate --output", "translate --force")
def test_a_file_of_translations_is_not_overwritten(world: World) -> None:
    out = world.folder / "out.fr"
    assert world.translate("-o", "out.fr").out == ""
    assert out.read_text() == world.translate().out
    out.write_text("mine\n")
    done = world.nmt("translate", "-m", "trained", "-o", "out.fr", stdin=INPUT)
    assert (done.code, done.error, out.read_text()) == (
        2,
        "nmt translate: error: out.fr: exists; use --force\n",
        "mine\n",
    )
    world.translate("--output", "out.fr", "--force")
    assert out.read_text().splitlines() == FRENCH


@keeps("translate --workers")
def test_several_processes_write_what_one_does(world: World) -> None:
    world.translate("-o", "alone.fr", "test.en", "zipped.en.gz")
    world.translate("--workers", "2", "-o", "shared.fr", "test.en", "zipped.en.gz")
    assert (world.folder / "shared.fr").read_bytes() == (world.folder / "alone.fr").read_bytes()
    assert not (world.folder / "shared.fr.parts").exists()


@keeps("translate --beam-size")
def test_a_wider_beam_finds_likelier_translations(world: World) -> None:
    greedy, wide = (
        sum(row["score"] for row in world.records(option, size, run="early"))
        for option, size in (("-b", "1"), ("--beam-size", "8"))
    )
    assert wide > greedy


@keeps("translate --length-penalty")
def test_length_penalty_divides_the_log_probability(world: World) -> None:
    for alpha in (0.0, 2.0):
        for row in world.records("--length-penalty", str(alpha)):
            divisors = [((5 + length) / 6) ** alpha for length in range(1, 60)]
            assert min(abs(row["log_probability"] / divisor - row["score"]) for divisor in divisors) < 1e-6
            assert (row["log_probability"] == row["score"]) == (alpha == 0)


@keeps("translate --n-best", "translate --scores")
def test_n_best_lists_are_distinct_and_in_order(world: World) -> None:
    rows = [line.split(" ||| ") for line in world.translate("--n-best", "3").lines]
    assert [row[0] for row in rows] == [*"000111222"]
    assert len({(number, text) for number, text, _ in rows}) == 9
    assert [row[1] for row in rows[::3]] == FRENCH
    scores = [float(row[2]) for row in rows]
    assert all(scores[place] >= scores[place + 1] for place in range(8) if place % 3 < 2)
    best = [line.split(" ||| ") for line in world.translate("--scores").lines]
    assert best == [row[1:] for row in rows[::3]]
    assert world.nmt("translate", "-m", "trained", "--n-best", "9", stdin=INPUT).code == 2


@keeps("translate --batch-tokens")
def test_batches_change_no_text(world: World) -> None:
    texts = {size: world.translate("--batch-tokens", size, "test.en").out for size in ("1", "100", "auto")}
    assert len(set(texts.values())) == 1
    assert world.nmt("translate", "-m", "trained", "--batch-tokens", "0", stdin=INPUT).code == 2


def tokens(done: Done) -> int:
    found = re.search(r"([\d,]+) target tokens", done.error)
    assert found
    return int(found[1].replace(",", ""))


@keeps("translate --max-length-ratio", "translate --max-length-offset", "translate --min-length", "translate --stats")
def test_length_is_bounded(world: World) -> None:
    short = world.translate("--max-length-ratio", "0.01", "--max-length-offset", "2", "--stats", stdin=f"{INPUT}\n")
    assert tokens(short) == 6
    assert short.error.startswith("nmt translate: 4 lines (1 blank, 0 in pieces, 3 hit the length limit)")
    usual, longer = (
        world.translate("--stats"),
        world.translate("--stats", "--max-length-offset", "5", "--max-length-ratio", "0.01"),
    )
    assert tokens(short) < tokens(longer) == 15 < tokens(usual)
    roomy = world.translate("--stats", "--max-length-ratio", "0.5", "--max-length-offset", "2")
    assert tokens(short) < tokens(roomy) < tokens(usual)
    assert tokens(world.translate("--min-length", "30", "--stats")) >= 90 > tokens(usual)


@keeps("translate --no-repeat-ngram")
def test_no_ngram_is_repeated(world: World) -> None:
    line = "The red dog sees the dog.\n"
    usual = world.translate(stdin=line).lines[0]
    assert usual.count("chien") == 2
    assert world.translate("--no-repeat-ngram", "1", stdin=line).lines[0].count("chien") <= 1


@keeps("translate --shortlist", "shortlist.safetensors")
def test_likely_words_alone_are_looked_at(world: World) -> None:
    """What training learnt to be likely is enough; of a list without any likely words nothing good comes."""
    assert world.translate("--shortlist").lines == FRENCH
    forced = world.translate("--shortlist", "--prefix", "Le loup", "--no-repeat-ngram", "3")
    assert all(line.startswith("Le loup") for line in forced.lines)
    assert forced.error == ""
    run = world.folder / "unlisted"
    shutil.copytree(world.folder / "trained", run)
    words = checkpoint.load_shortlist(run)
    nothing = Shortlist(torch.full_like(words.likely, EOS), torch.arange(EOS + 1, dtype=torch.int32))
    checkpoint.finish(run, load_file(run / "model.safetensors"), nothing)
    assert world.translate(run="unlisted").lines == FRENCH
    assert not {*world.translate("--shortlist", run="unlisted").lines} & {*FRENCH}
    (run / "shortlist.safetensors").unlink()
    assert world.translate(run="unlisted").lines == FRENCH
    done = world.nmt("translate", "-m", "unlisted", "--shortlist", stdin=INPUT)
    assert (done.code, done.out) == (4, "")
    assert done.error.startswith("nmt translate: error: unlisted: has no shortlist.safetensors")


@keeps("translate --prefix")
def test_translations_begin_with_the_prefix(world: World) -> None:
    forced = world.translate("--prefix", "Le loup").lines
    assert all(line.startswith("Le loup") for line in forced)
    assert not any(line.startswith("Le loup") for line in FRENCH)


@keeps("translate --sample", "translate --seed", "translate --temperature", "translate --top-k", "translate --top-p")
def test_translations_are_drawn(world: World) -> None:
    def drawn(*options: str) -> list[str]:
        return world.translate("--sample", "test.en", *options, run="early").lines

    greedy = world.translate("-b", "1", "test.en", run="early").lines
    assert drawn("--seed", "1") == drawn("--seed", "1") != drawn("--seed", "2")
    assert drawn("--seed", "1") != greedy
    for narrow in (("--top-k", "1"), ("--top-p", "0.000001"), ("--temperature", "0.000001")):
        assert drawn("--seed", "1", *narrow) == greedy


@keeps("translate --mbr", "translate --candidates")
def test_of_drawn_translations_the_one_most_like_the_others_is_chosen(world: World) -> None:
    """Of a good model that is the right one."""
    for metric in ("chrf", "bleu"):
        assert world.translate("--mbr", metric, "-n", "16").lines == FRENCH
    lists = world.records("--mbr", "chrf", "--candidates", "8", "--n-best", "8", run="early")
    assert max(len(record["hypotheses"]) for record in lists) > 1
    assert all(0 <= each["score"] <= 100 for record in lists for each in record["hypotheses"])
    alone = world.translate("--mbr", "chrf", "-n", "1", "--seed", "5", run="early").lines
    assert alone == world.translate("--sample", "--seed", "5", run="early").lines


@keeps("translate --rerank", "translate --rerank-weight")
def test_a_model_of_the_other_direction_re_ranks(world: World) -> None:
    """It helps a bad model to what a wide beam holds."""
    turned = ("train.fr", "train.en", "--max-steps", "300", "--set", "data.valid=[valid.fr, valid.en]", "--set", LATER)
    world.train("back", *turned).ok()
    assert world.translate("--rerank", "back").lines == FRENCH
    wide, reference = ("-b", "20", "test.en"), (world.folder / "test.fr").read_text().splitlines()
    plain = world.translate(*wide, run="early").lines
    assert world.translate(*wide, "--rerank", "back", "--rerank-weight", "0", run="early").lines == plain
    ranked = world.translate(*wide, "--rerank", "back", "--rerank-weight", "2", run="early").lines
    chrf = [sum(sentence_scores("chrf", lines, reference)) for lines in (plain, ranked)]
    assert chrf[0] < chrf[1]


@keeps("ensembles", "average", "average --output", "average --last", "average --force")
def test_several_models_are_one(world: World) -> None:
    world.train("another", "--seed", "2", "--max-steps", "300", "--set", LATER).ok()
    assert world.translate("-m", "another").lines == FRENCH
    scored = world.nmt("eval", "-m", "trained", "-m", "another", "-b", "1", "--threads", "1").ok()
    assert float(scored.out.split()[2]) > 90
    world.nmt("average", "trained", "--last", "1", "-o", "averaged").ok()
    assert world.translate(run="averaged").lines == FRENCH
    assert "averaged: exists; use --force" in world.nmt("average", "early", "-o", "averaged").error
    world.nmt("average", "early", "-o", "averaged", "--force").ok()
    assert world.weights("averaged") == world.weights("early")


@keeps("translate --alignments")
def test_alignments_name_words_of_both_sides(world: World) -> None:
    for line, source in zip(world.translate("--alignments").lines, LINES, strict=True):
        text, pairs = line.split(" ||| ")
        aligned = [tuple(map(int, pair.split("-"))) for pair in pairs.split()]
        assert {target for _, target in aligned} == set(range(len(text.split())))
        assert {place for place, _ in aligned} <= set(range(len(source.split())))


@keeps("translate --format")
def test_formats_of_translations(world: World) -> None:
    assert world.translate("--format", "text").lines == FRENCH
    assert world.translate("--format", "tsv").lines == [f"{a}\t{b}" for a, b in zip(LINES, FRENCH, strict=True)]
    rows = [json.loads(line) for line in world.translate("--format", "jsonl").lines]
    assert rows == [{"source": a, "translation": b} for a, b in zip(LINES, FRENCH, strict=True)]


@keeps("translate --encoding", "translate --bad-utf8", "translate --max-line-bytes")
def test_bytes_are_read_as_asked(world: World) -> None:
    data = "café\n".encode("latin-1")
    assert world.translate("--encoding", "latin-1", "--format", "tsv", stdin=data).out.startswith("café\t")
    replaced = world.translate("--format", "tsv", "--bad-utf8", "replace", stdin=data)
    assert replaced.out.startswith("caf\ufffd\t")
    assert "warning: stdin:1: invalid UTF-8 replaced" in replaced.error
    refused = world.nmt("translate", "-m", "trained", "--bad-utf8", "error", stdin=data)
    assert (refused.code, refused.out) == (3, "")
    assert "stdin:1: invalid UTF-8 (byte 0xe9 at column 4)" in refused.error
    refused = world.nmt("translate", "-m", "trained", "--max-line-bytes", "30", stdin=INPUT)
    assert (refused.code, refused.out) == (3, "")
    assert "stdin:2: line longer than 30 bytes; use --max-line-bytes" in refused.error


@keeps("translate --quiet")
def test_quiet_says_nothing(world: World) -> None:
    assert world.translate("--quiet", stdin=b"\xff\n").error == ""
    assert world.translate(stdin=b"\xff\n").error != ""


@keeps("translate --unbuffered")
@pytest.mark.parametrize("options", [(), ("--unbuffered",)])
def test_lines_leave_one_by_one_if_unbuffered(world: World, options: tuple[str, ...]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps apart what is written apart
    with ours, theirs:
        command = [sys.executable, "-m", "nmt", "translate", "-m", "trained", "--threads", "1", *options]
        subprocess.run(command, input=INPUT.encode(), stdout=theirs, cwd=world.folder, env=environment({}), check=True)
        theirs.close()
        written = [*iter(lambda: ours.recv(10_000).decode(), "")]
    assert written == ([f"{line}\n" for line in FRENCH] if options else ["".join(f"{line}\n" for line in FRENCH)])


@keeps("translate --device", "translate --precision", "translate --threads")
@keeps("eval --device", "eval --precision", "eval --threads")
@pytest.mark.parametrize("command", ["translate", "eval"])
def test_where_and_how_translating_computes(world: World, command: str) -> None:
    how = (command, "-m", "trained", *(("--scores",) if command == "translate" else ("-o", "/dev/null")))
    usual = world.nmt(*how, "--threads", "1", stdin=INPUT).ok().out
    assert world.nmt(*how, "--device", "cpu", "--precision", "fp32", "--threads", "2", stdin=INPUT).ok().out == usual
    assert "cuda:7: not on this machine" in world.nmt(*how, "--device", "cuda:7", stdin=INPUT).error
    assert "for GPUs only" in world.nmt(*how, "--precision", "fp16", stdin=INPUT).error
    assert world.nmt(*how, "--threads", "-1", stdin=INPUT).code == 2


# ---- scoring ----------------------------------------------------------------------------------------------------


@keeps("eval", "eval --bleu", "eval --chrf", "eval --ter", "eval --format", "eval --hypothesis", "eval --reference")
@keeps("eval --source", "eval --output", "eval --force", "eval --batch-tokens")
def test_models_files_and_hypotheses_have_the_same_scores(world: World) -> None:
    metrics = ("--bleu", "--chrf", "--ter", "--format", "json")
    own = world.nmt("eval", "-m", "trained", *metrics, "--threads", "1", "-o", "hyp.fr", "--batch-tokens", "50").ok()
    assert (world.folder / "hyp.fr").read_text() == world.translate("test.en").out
    records = json.loads(own.out)
    assert [record["name"] for record in records] == ["BLEU", "chrF2", "TER"]
    assert all({"score", "signature", "version"} < set(record) for record in records)
    given = world.nmt("eval", *metrics, "--hypothesis", "hyp.fr", "--reference", "test.fr").ok()
    named = ("--source", "test.en", "--reference", "test.fr", "-o", "hyp.fr")
    assert world.nmt("eval", "-m", "trained", *named).code == 2
    translated = world.nmt("eval", "-m", "trained", *metrics, *named, "--force", "--threads", "1").ok()
    assert own.out == given.out == translated.out
    worse = world.nmt("eval", *metrics, "--hypothesis", "valid.fr", "--reference", "test.fr").ok()
    assert json.loads(worse.out)[0]["score"] < records[0]["score"]
    plain = world.nmt("eval", "--hypothesis", "hyp.fr", "--reference", "test.fr").ok()
    assert plain.out == f"BLEU = {records[0]['score']:.2f}  {records[0]['verbose_score']}  {records[0]['signature']}\n"
    several = world.nmt("eval", "--hypothesis", "hyp.fr", "--reference", "test.fr", "--reference", "valid.fr").ok()
    assert "nrefs:2|" in several.out


@keeps("eval --tokenize", "eval --target-lang")
def test_bleu_is_tokenised_as_asked(world: World) -> None:
    scored = ("eval", "--hypothesis", "test.fr", "--reference", "test.fr")
    assert "|tok:13a|" in world.nmt(*scored).ok().out
    assert "|tok:char|" in world.nmt(*scored, "--tokenize", "char").ok().out
    assert "|tok:zh|" in world.nmt(*scored, "--target-lang", "zh").ok().out


@keeps("eval --beams", "eval --beam-size", "eval --length-penalty")
def test_beams_are_compared(world: World) -> None:
    swept = ("eval", "-m", "early", "--source", "test.en", "--reference", "test.fr", "--threads", "1")
    done = world.nmt(*swept, "--beams", "1,4", "--length-penalty", "0", "--format", "json", "-o", "beams.svg").ok()
    narrow, wide = json.loads(done.out)
    assert (narrow["beam_size"], wide["beam_size"]) == (1, 4)
    assert narrow["model_score"] < wide["model_score"]
    assert wide["model_score"] == wide["log_probability"]
    assert "<svg" in (world.folder / "beams.svg").read_text()
    one, four = (
        json.loads(world.nmt(*swept, "-b", size, "--length-penalty", "0", "--format", "json").ok().out) for size in "14"
    )
    assert (one[0]["score"], four[0]["score"]) == (narrow["score"], wide["score"])
    assert world.nmt(*swept, "--beams", "1,4").ok().out.splitlines()[0].split()[:2] == ["beam", "BLEU"]


@keeps("eval --report", "compare", "compare --source", "compare --reference", "compare --output", "compare --force")
@keeps("compare --format", "compare --tokenize", "compare --target-lang", "compare --beam-size")
@keeps("compare --device", "compare --precision", "compare --threads")
def test_reports_and_comparisons_show_where_systems_fail(world: World) -> None:
    given = ("--source", "test.en", "--reference", "test.fr", "--threads", "1")
    report = json.loads(world.nmt("eval", "-m", "early", *given, "--report", "page.html", "--format", "json").ok().out)
    assert "<svg" in (world.folder / "page.html").read_text()
    how = ("--device", "cpu", "--precision", "fp32", "--tokenize", "13a", "--target-lang", "fr")
    compared = ("compare", "early", "trained", "test.fr", *given, *how)
    done = world.nmt(*compared, "-o", "page.html", "--force", "--format", "json").ok()
    found = json.loads(done.out)
    scores = [[score["score"] for score in metric["scores"]] for metric in found["metrics"]]
    assert 0 < found["facts"][0]["training_seconds"] < found["facts"][1]["training_seconds"]
    assert [each[0] for each in scores] == [metric["scores"][0]["score"] for metric in report["metrics"]]
    assert scores[0][0] < scores[0][1] <= scores[0][2] == pytest.approx(100)
    assert "furthest ahead" in (world.folder / "page.html").read_text()
    assert world.nmt(*compared, "-o", "page.html").code == 2
    assert "paired bootstrap" in world.nmt(*compared, "-b", "1").ok().out


@keeps("export", "export --to", "export --model", "export --output", "export --check", "export --force")
@keeps("export --quantization")
def test_a_model_is_exported_and_checked(world: World) -> None:
    exported = ("export", "-m", "trained", "--to", "ctranslate2", "-o", "exported")
    assert world.nmt(*exported, "--check", "test.en").ok().out == "8 of 8 greedy outputs are the same\n"
    size = (world.folder / "exported/model.bin").stat().st_size
    done = world.nmt(*exported)
    assert (done.code, done.error) == (2, "nmt export: error: exported: exists; use --force\n")
    world.nmt(*exported, "--force", "--quantization", "int8").ok()
    assert (world.folder / "exported/model.bin").stat().st_size < size


@keeps("bench", "bench --model", "bench --seconds", "bench --format", "bench --device", "bench --threads")
def test_the_machine_is_measured(world: World) -> None:
    quick = ("bench", "-m", "trained", "--seconds", "0.01", "--threads", "1", "--device", "cpu")
    *rows, one = json.loads(world.nmt(*quick, "--format", "json").ok().out)
    assert {row["work"] for row in rows} == {"training", "translation"}
    assert all(row["tokens"] > 0 and row["sentences"] > 0 and 0 <= row["padding"] < 1 for row in rows)
    assert all(row["threads"] == 1 and row["device"] == "cpu" and row["memory"] > 0 for row in rows)
    assert all(sum(row["parts"].values()) == pytest.approx(1) for row in rows)
    assert 0 < one["seconds"] < 10
    shown = world.nmt(*quick).ok().out
    assert all(
        word in shown for word in ("forward", "top-k", "fastest training: --precision", "one sentence by itself")
    )
    assert world.nmt(*quick, "trained/config.yaml").code == 2
    untrained = ("bench", "trained/config.yaml", *quick[3:], "--format", "json")
    assert len(json.loads(world.nmt(*untrained).ok().out)) == len(rows) + 1


# ---- looking inside ---------------------------------------------------------------------------------------------


def maps(world: World, *options: str) -> dict[str, Any]:
    """Return what `nmt attention` writes of the first line as JSON."""
    command = ("attention", "-m", "trained", LINES[0], "-o", "maps.json", "--force", "--threads", "1", *options)
    world.nmt(*command).ok()
    found: dict[str, Any] = json.loads((world.folder / "maps.json").read_text())
    return found


@keeps("attention", "attention --model", "attention --output", "attention --force", "attention --device")
@keeps("attention --threads", "attention --words")
def test_attention_is_shown_in_every_form(world: World) -> None:
    looking = ("attention", "-m", "trained", "--device", "cpu", "--threads", "1", "--words")
    shown = world.nmt(*looking, stdin=INPUT).ok()
    assert [line.split("    score")[0] for line in shown.lines if line.startswith("Le ")] == FRENCH
    assert shown.out.count("rouge ▕") == 1
    for form, start in {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype", "json": b"{"}.items():
        world.nmt(*looking, "-o", f"map.{form}", stdin=INPUT).ok()
        assert (world.folder / f"map.{form}").read_bytes().startswith(start)
        assert world.nmt(*looking, "-o", f"map.{form}", stdin=INPUT).code == 2
        world.nmt(*looking, "-o", f"map.{form}", "--force", stdin=INPUT).ok()
    assert "cuda:7: not on this machine" in world.nmt(*looking, "--device", "cuda:7", LINES[0]).error


@keeps("attention --kind", "attention --layer", "attention --head")
def test_attention_is_shown_by_layer_and_head(world: World) -> None:
    own = maps(world)
    assert (own["kind"], own["layer"], own["head"]) == ("cross", own["best"]["layer"], own["best"]["head"])
    for kind in ("cross", "encoder", "decoder"):
        found = maps(world, "--kind", kind, "--layer", "1", "--head", "2")
        (hypothesis,) = found["sentences"][0]["hypotheses"]
        assert (found["kind"], found["layer"], found["head"]) == (kind, 1, 2)
        assert hypothesis["weights"] == hypothesis["heads"][0][1]
        assert all(abs(sum(row) - 1) < 1e-5 for row in hypothesis["weights"])
    assert maps(world, "--layer", "mean", "--head", "mean")["head"] == "mean"


@keeps("attention --target", "attention --n-best", "attention --beam-size", "attention --length-penalty")
def test_attention_is_that_of_the_translations_asked_for(world: World) -> None:
    several = maps(world, "--n-best", "3", "-b", "4", "--length-penalty", "0")["sentences"][0]["hypotheses"]
    assert len(several) == 3
    assert all(each["score"] == each["log_probability"] for each in several)
    (given,) = maps(world, "--target", FRENCH[1], "--words")["sentences"][0]["hypotheses"]
    assert given["rows"] == [*FRENCH[1].split(), "</s>"]
    assert given["log_probability"] < several[0]["log_probability"]


@keeps("curves", "curves --output", "curves --force", "curves --over", "curves --follow")
def test_trainings_are_drawn_over_one_another(world: World) -> None:
    shown = world.nmt("curves", "trained", "early", "--follow").ok().lines  # both are finished
    assert shown[-2].startswith("trained step 300, best ")
    assert shown[-1].startswith("early   step 30")
    units = {"steps": "optimizer steps", "tokens": "target tokens", "time": "hours of training"}
    for over, unit in units.items():
        assert unit in world.nmt("curves", "trained", "--over", over).ok().out
    world.nmt("curves", "trained", "early", "-o", "curves.svg").ok()
    assert world.nmt("curves", "trained", "early", "-o", "curves.svg").code == 2
    world.nmt("curves", "trained", "early", "-o", "curves.svg", "--force").ok()
    assert "<!-- early -->" in (world.folder / "curves.svg").read_text()


# ---- pairs out of models ------------------------------------------------------------------------------------------


def made(world: World, command: str, *words: str, code: int = 0) -> tuple[list[str], str]:
    """Return the pairs that a command makes, and what it tells."""
    done = world.nmt(command, "-m", "trained", *words, "-o", "made.tsv", "--force", "--threads", "1")
    assert (done.code, done.out) == (code, ""), done.error
    file = world.folder / "made.tsv"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines, done.error


@keeps("backtranslate", "backtranslate --model", "backtranslate --output", "backtranslate --force")
@keeps("backtranslate --beam-size", "backtranslate --length-penalty", "backtranslate --batch-tokens")
@keeps("backtranslate --shard", "backtranslate --block-lines", "backtranslate --threads")
def test_text_in_one_language_becomes_pairs(world: World) -> None:
    write(world.folder / "mono.gz", LINES)
    expected = [f"{french}\t{line}" for french, line in zip(FRENCH, LINES, strict=True)]
    for more in ((), ("--length-penalty", "0"), ("--batch-tokens", "64"), ("--block-lines", "2")):
        assert made(world, "backtranslate", "mono.gz", "-b", "3", *more)[0] == expected
    blocks = ("mono.gz", "-b", "3", "--block-lines", "1", "--shard")
    assert made(world, "backtranslate", *blocks, "1/2")[0] == expected[::2]
    assert made(world, "backtranslate", *blocks, "2/2")[0] == expected[1::2]
    (world.folder / "made.tsv").write_text("kept")
    refused = world.nmt("backtranslate", "-m", "trained", "mono.gz", "-o", "made.tsv")
    assert (refused.code, (world.folder / "made.tsv").read_text()) == (2, "kept")


@keeps("backtranslate --sample", "backtranslate --seed", "backtranslate --temperature", "backtranslate --top-k")
def test_back_translations_are_drawn(world: World) -> None:
    def drawn(*options: str) -> list[str]:
        return made(world, "backtranslate", "-m", "early", "test.en", "--max-ratio", "inf", *options)[0]

    greedy = drawn("-b", "1")
    assert drawn() == drawn("--sample", "--seed", "1") != drawn("--seed", "2")
    assert drawn() != greedy
    for narrow in (("--top-k", "1"), ("--temperature", "0.000001")):
        assert drawn(*narrow) == greedy


def way_back(world: World) -> str:
    """Return a model that knows next to nothing of the other direction."""
    turned = ("train.fr", "train.en", "--set", "data.valid=[valid.fr, valid.en]")
    world.train("way-back", *turned, "--max-steps", "1", "--max-epochs", "1").ok()
    return "way-back"


@keeps("backtranslate --max-length", "backtranslate --max-ratio", "backtranslate --min-score")
@keeps("backtranslate --round-trip", "backtranslate --min-chrf", "backtranslate --keep-copies")
@keeps("backtranslate --keep-duplicates", "backtranslate --encoding", "backtranslate --bad-utf8")
def test_back_translations_are_filtered(world: World) -> None:
    (world.folder / "mono").write_bytes(f"{INPUT}{LINES[0]}\n\ncaf\xe9\n".encode("latin-1"))
    text = ("mono", "-b", "3", "--bad-utf8", "drop")
    usual, told = made(world, "backtranslate", *text)
    assert usual == [f"{french}\t{line}" for french, line in zip(FRENCH, LINES, strict=True)]
    assert "3 pairs of 6 lines; dropped: 1 blank, 1 duplicate, 1 invalid UTF-8" in told
    assert len(made(world, "backtranslate", *text, "--keep-duplicates")[0]) == 4
    reasons = {
        "too long": ("--max-length", "3"),
        "length ratio": ("--max-ratio", "1"),
        "score": ("--min-score", "0"),
        "round trip": ("--round-trip", way_back(world), "--min-chrf", "100"),
    }
    for reason, options in reasons.items():
        kept, told = made(world, "backtranslate", *text, *options)
        assert len(kept) < 3
        assert re.search(rf"dropped: .*\d {reason}", told), told
    assert made(world, "backtranslate", *text, "--round-trip", way_back(world), "--min-chrf", "0")[0] == usual
    assert "mono:6: invalid UTF-8" in made(world, "backtranslate", *text[:-1], "error", code=3)[1]
    (world.folder / "accents").write_bytes("The brave wolf hears the caf\xe9.\n".encode("latin-1"))
    loose = ("accents", "-b", "1", "--max-ratio", "inf", "--keep-copies", "--encoding", "latin-1")
    assert made(world, "backtranslate", *loose)[0][0].endswith("\tThe brave wolf hears the café.")


@keeps("distill", "distill --model", "distill --output", "distill --force", "distill --beam-size")
@keeps("distill --length-penalty", "distill --best-of", "distill --metric", "distill --batch-tokens", "distill --shard")
@keeps("distill --block-lines", "distill --set", "distill --encoding", "distill --bad-utf8", "distill --threads")
@keeps("distill --sample", "distill --seed", "distill --max-ratio", "distill --min-score", "distill --round-trip")
@keeps("distill --min-chrf")
def test_a_corpus_is_translated_for_a_student(world: World) -> None:
    references = ["Le chien.", "Le roi.", "Le boulanger."]
    write(world.folder / "some.en", LINES)
    write(world.folder / "some.fr", references)
    write(world.folder / "some.tsv", [f"x\t{fr}\t{en}" for en, fr in zip(LINES, references, strict=True)])
    expected = [f"{line}\t{french}" for french, line in zip(FRENCH, LINES, strict=True)]
    both = ("some.en", "some.fr")
    for more in ((), ("-b", "2"), ("--length-penalty", "0.5"), ("--batch-tokens", "64"), ("--block-lines", "2")):
        assert made(world, "distill", *both, *more)[0] == expected
    assert made(world, "distill", "some.tsv", "--set", "data.columns=[3, 2]")[0] == expected
    assert made(world, "distill", *both, "--block-lines", "1", "--shard", "2/3")[0] == expected[1:2]
    for metric in ("bleu", "chrf"):
        shorter = made(world, "distill", *both, "--best-of", "20", "--metric", metric)[0]
        assert sum(map(len, shorter)) != sum(map(len, expected))
    drawn = made(world, "distill", *both, "--sample")[0]
    assert drawn == made(world, "distill", *both, "--sample", "--seed", "1")[0]
    assert len(drawn) == len(made(world, "distill", *both, "--max-ratio", "9", "--min-score", "-99")[0]) == 3
    strict = {"length ratio": ("--max-ratio", "1"), "score": ("--min-score", "0")}
    strict["round trip"] = ("--round-trip", way_back(world), "--min-chrf", "100")
    for reason, options in strict.items():
        kept, told = made(world, "distill", *both, *options)
        assert len(kept) < 3
        assert re.search(rf"dropped: \d {reason}", told), told
    (world.folder / "some.fr").write_bytes("\n".join(FRENCH).encode("latin-1"))
    assert made(world, "distill", *both, "--encoding", "latin-1")[0] == expected
    assert len(made(world, "distill", *both, "--bad-utf8", "drop")[0]) == 1
    assert "some.fr:2: invalid UTF-8" in made(world, "distill", *both, code=3)[1]


@keeps("backtranslate --device", "backtranslate --precision", "distill --device", "distill --precision")
@pytest.mark.parametrize("command", ["backtranslate", "distill"])
def test_where_and_how_pairs_are_made(world: World, command: str) -> None:
    how = ("test.en", "-b", "2") if command == "backtranslate" else ("test.en", "test.fr", "-b", "2")
    usual = made(world, command, *how)[0]
    assert usual == made(world, command, *how, "--device", "cpu", "--precision", "fp32")[0]
    assert "cuda:7: not on this machine" in made(world, command, *how, "--device", "cuda:7", code=2)[1]
    assert "for GPUs only" in made(world, command, *how, "--precision", "fp16", code=2)[1]


@keeps("diversify", "diversify --output", "diversify --valid", "diversify --test", "diversify --set")
@keeps("diversify --source-lang", "diversify --target-lang", "diversify --max-time", "diversify --seed")
@keeps("diversify --device", "diversify --precision", "diversify --threads")
def test_a_corpus_is_translated_both_ways_for_a_third_model(world: World) -> None:
    held = [word for side in ("en", "fr") for word in ("--valid", f"valid.{side}", "--test", f"test.{side}")]
    how = ["--max-time", "4m", "--seed", "7", "--device", "cpu", "--precision", "fp32", "--threads", "1", *held, *TOLD]
    settings = {**SMALL, "training.max_steps": 40}
    how += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = world.nmt("diversify", "hub.jsonl", *how, "-o", "diverse").ok()
    assert re.findall(r"command (\d) of 5: nmt (\w+)", done.error) == [
        ("1", "train"), ("2", "distill"), ("3", "train"), ("4", "backtranslate"), ("5", "train")
    ]  # fmt: skip
    config, back = world.config("diverse"), world.config("diverse.parts/backward")
    assert (back.data.source_lang, back.training.max_time, back.training.seed) == ("fr", 48, 8)
    assert (config.data.source_lang, config.training.seed) == ("en", 9)
    assert 120 <= (config.training.max_time or 0) < 240, "what the teachers have left of it"
    assert config.data.weights == (2, 1, 1)
    assert {(each.training.device, each.training.precision) for each in (config, back)} == {("cpu", "fp32")}
    again = world.nmt("diversify", "hub.jsonl", *how, "-o", "diverse").ok()
    assert "diverse: finished" in again.error
    assert "distill" not in again.error
    elsewhere = world.nmt("diversify", "hub.jsonl", *how, "--device", "cuda:7", "-o", "nowhere")
    assert (elsewhere.code, "cuda:7: not on this machine" in elsewhere.error) == (2, True)


# ---- elsewhere --------------------------------------------------------------------------------------------------


@keeps("wheel", "three commands with nothing given")
def test_a_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "dist")
    shutil.copytree(ROOT, tree, ignore=ignored)
    build_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(tree)]
    subprocess.run(build_wheel, check=True)
    (wheel,) = tmp_path.glob("nmt-*.whl")
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    home.mkdir()
    shutil.rmtree(tree)
    how = {"folder": home, "PYTHONPATH": str(tmp_path / "installed")}
    quick = [
        f"--set={option}" for option in ("training.valid_lines=10", "search.beam_size=1", "search.max_length_ratio=1")
    ]
    done = fresh("train", "--max-steps", "20", *quick, **how).ok()
    assert "the recipe, for 22,000 pairs; what you set holds over it\n  source: latin, " in done.error
    assert re.search(r"  training\.schedule +cosine +falls to 0 at the last step, which is known\n", done.error)
    assert len(fresh("translate", "-b", "1", stdin=INPUT, **how).ok().lines) == 3
    assert fresh("eval", "--bleu", "-b", "1", **how).ok().out.startswith("BLEU = ")
    (home / "text").write_text(INPUT)
    fresh("eval", "--hypothesis", "text", "--reference", "text", "--report", "page.html", **how).ok()
    assert "<style>" in (home / "page.html").read_text()
    assert [path.name for path in (home / "runs").iterdir()] == ["phrasebook"]


# ---- the table --------------------------------------------------------------------------------------------------

COMMANDS = (
    "train",
    "translate",
    "eval",
    "compare",
    "average",
    "attention",
    "curves",
    "info",
    "bench",
    "export",
    "backtranslate",
    "distill",
    "diversify",
    "tokenizer train",
    "tokenizer encode",
    "tokenizer decode",
    "embeddings train",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_command_has_a_row(world: World, command: str) -> None:
    shown = world.nmt(*command.split(), "--help").ok().out
    options = set(re.findall(r"^ +(?:-\w, )?--([a-z][a-z0-9-]+)", shown, re.MULTILINE)) - {"help"}
    assert options
    assert sorted(f"{command} --{option}" for option in options if f"{command} --{option}" not in ROWS) == []
    assert command in ROWS


def test_no_row_is_for_an_option_that_is_gone(world: World) -> None:
    shown = {command: world.nmt(*command.split(), "--help").out for command in COMMANDS}
    for promise in ROWS:
        command, dashes, option = promise.partition(" --")
        if dashes:
            assert re.search(rf"--{option}\b", shown[command]), promise


def test_every_command_is_listed(world: World) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", world.nmt("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert {command.split()[0] for command in COMMANDS} == set(listed)
