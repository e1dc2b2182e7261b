"""Pairs out of models: what is translated, what is left out and counted, killed and shared work, the nth best."""

from __future__ import annotations

import gzip
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from runs import PAIRS, scripted, tiny_config, weights_of, write_run
from terminal import Done, Terminal
from trainings import start

from nmt.config import SearchConfig, TokenizerConfig
from nmt.corpus import Pair, ParallelCorpus
from nmt.evaluate import sentence_scores
from nmt.synthetic import BackTranslation, Block, Distillation, Limits, fault
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.translate import Translator
from nmt.translation import Output, Translation

CPU = ("--device", "cpu", "--threads", "1")
LINES = [f"{source} {number}" for number in range(12) for source, _ in PAIRS]  # 60, all different
SHORT = {"max_length_ratio": 0.5, "max_length_offset": 3}  # random weights never end by themselves


@pytest.fixture(scope="module")
def terminal() -> Terminal:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models from English to German, and one back, with random weights: translations are short and never good."""
    folder = tmp_path_factory.mktemp("models")
    config = tiny_config().model_copy(update={"search": SearchConfig(**SHORT)})
    for seed, name in enumerate(("one", "two"), 1):
        write_run(folder / name, config, seed=seed)
    turned = config.data.model_copy(update={"source_lang": "de", "target_lang": "en"})
    write_run(folder / "back", config.model_copy(update={"data": turned}), seed=3)
    return folder


@pytest.fixture
def here(tmp_path: Path, models: Path) -> Path:
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "mono.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    for name, side in zip(("text.en", "text.de"), zip(*PAIRS, strict=True), strict=True):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in side), encoding="utf-8")
    return tmp_path


def back(*words: str, model: str = "one", text: str = "mono.txt") -> list[str]:
    every = ("--max-ratio", "inf", "--keep-copies", "--block-lines", "10", *CPU)
    return ["backtranslate", "-m", f"models/{model}", text, *every, *words]


def distil(*words: str) -> list[str]:
    return ["distill", "-m", "models/one", "text.en", "text.de", "--block-lines", "2", *CPU, *words]


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def counted(done: Done) -> str:
    return done.error.splitlines()[-1].partition(": ")[2]


# ---- the commands -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_back_translations_stand_before_the_lines_they_come_from(terminal: Terminal, here: Path, models: Path) -> None:
    done = terminal.nmt(*back("-o", "bt.tsv", "-b", "2"), folder=here).ok()
    assert done.out == ""
    assert counted(done) == "bt.tsv: 60 pairs of 60 lines; dropped: none"
    found = rows(here / "bt.tsv")
    assert [target for _, target in found] == LINES
    translator = Translator.load(models / "one", device="cpu", threads=1)
    expected = translator.translate(LINES, SearchConfig(**SHORT, beam_size=2))
    assert [source for source, _ in found] == expected
    pairs = ParallelCorpus([str(here / "bt.tsv")], tiny_config().data)
    assert [*pairs] == [Pair(*row) for row in found]


@pytest.mark.slow
def test_sampling_is_decided_by_seed_and_line(terminal: Terminal, here: Path) -> None:
    options = {"a": (), "same": ("--sample", "--seed", "1"), "other": ("--seed", "2"), "cold": ("--top-k", "1")}
    for name, words in options.items():
        terminal.nmt(*back("-o", f"{name}.tsv", *words), folder=here).ok()
    terminal.nmt(*back("-o", "blocks.tsv", "--block-lines", "7"), folder=here).ok()
    text = {name: (here / f"{name}.tsv").read_bytes() for name in (*options, "blocks")}
    assert text["a"] == text["same"] == text["blocks"]
    assert len(set(text.values())) == 3
    # A line that is left out does not move the draws of those behind it.
    (here / "gap.txt").write_text("\n".join(["", *LINES[1:], ""]), encoding="utf-8")
    terminal.nmt(*back("-o", "gap.tsv", text="gap.txt"), folder=here).ok()
    assert rows(here / "gap.tsv") == rows(here / "a.tsv")[1:]


@pytest.mark.slow
def test_gzipped_text_and_several_files_are_read_one_after_the_other(terminal: Terminal, here: Path) -> None:
    (here / "first.gz").write_bytes(gzip.compress("\n".join(LINES[:17]).encode()))
    (here / "second").write_bytes("\r\n".join(LINES[17:]).encode())
    terminal.nmt(*back("second", "-o", "two.tsv", text="first.gz"), folder=here).ok()
    terminal.nmt(*back("-o", "one.tsv"), folder=here).ok()
    assert (here / "two.tsv").read_bytes() == (here / "one.tsv").read_bytes()


def test_what_breaks_a_line_or_a_field_is_a_space(terminal: Terminal, here: Path) -> None:
    (here / "odd.txt").write_text("A\tman \u2028 rides\x0ba bicycle.\n", encoding="utf-8")
    terminal.nmt(*back("-o", "bt.tsv", text="odd.txt"), folder=here).ok()
    ((_, target),) = rows(here / "bt.tsv")
    assert target == "A man   rides a bicycle."


def test_what_is_left_out_is_counted(terminal: Terminal, here: Path) -> None:
    lines = ["A dog.", "", " \u200b ", "A cat.", "A dog.", " A dog. ", "long " * 300, "A\x00", "\x00"]
    (here / "odd.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (here / "odd.txt").write_bytes((here / "odd.txt").read_bytes() + b"\xff\n")
    done = terminal.nmt(*back("-o", "bt.tsv", "--bad-utf8", "drop", text="odd.txt"), folder=here).ok()
    expected = "3 pairs of 10 lines; dropped: 3 blank, 2 duplicate, 1 invalid UTF-8, 1 too long"
    assert counted(done) == f"bt.tsv: {expected}"
    assert [target for _, target in rows(here / "bt.tsv")] == ["A dog.", "A cat.", "A"]
    done = terminal.nmt(*back("-o", "b.tsv", "--bad-utf8", "drop", "--keep-duplicates", text="odd.txt"), folder=here)
    assert "5 pairs of 10 lines; dropped: 3 blank, 1 invalid UTF-8, 1 too long" in done.error
    done = terminal.nmt(*back("-o", "c.tsv", text="odd.txt"), folder=here)
    assert (done.code, "odd.txt:10: invalid UTF-8" in done.error) == (3, True)
    assert not (here / "c.tsv.parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bound", "told"), [("0", "60 pairs of 60"), ("100", "0 pairs of 60 lines; dropped: 60 round t")]
)
def test_a_round_trip_is_made_with_another_model(bound: str, told: str, terminal: Terminal, here: Path) -> None:
    words = ("-o", "bt.tsv", "--round-trip", "models/back", "--min-chrf", bound)
    assert told in terminal.nmt(*back(*words), folder=here).ok().error
    assert len(rows(here / "bt.tsv")) == (60 if bound == "0" else 0)


WRONG = [
    (["-o", "mono.txt", "--force"], 2, "mono.txt: input and output are the same file"),
    (["-o", "text.en"], 2, "text.en: exists; use --force"),
    (["-o", "no/x.tsv"], 2, "no/x.tsv: there is no folder"),
    (["-o", "x", "--shard", "3/2"], 2, "Invalid value for '--shard': 3/2 is not I/N with I from 1 to N"),
    (["-o", "x", "--shard", "0/2"], 2, "Invalid value for '--shard': 0/2"),
    (["-o", "x", "--sample", "-b", "2"], 2, "--sample: is for drawing, --beam-size for searching; leave one of them"),
    (["-o", "x", "--top-k", "3", "-b", "2"], 2, "--top-k: is for drawing, --beam-size for searching"),
    (["-o", "x", "--seed", "3", "--length-penalty", "2"], 2, "--seed: is for drawing, --length-penalty for searching"),
    (["-o", "x", "--round-trip", "models/two"], 2, "--round-trip: goes with --min-chrf; give both, or neither"),
    (["-o", "x", "--min-chrf", "20"], 2, "--round-trip: goes with --min-chrf; give both, or neither"),
    (["-o", "x", "none.txt"], 3, "none.txt: no such file"),
    (["-o", "x", "/dev/null"], 3, "/dev/null: is no regular file; a text is read more than once"),
    (["-o", "x", "text.de"], 2, "text.de: is de, which the model translates into, from en; give a model from de"),
    (["-o", "bt.en-de.tsv"], 2, "-o bt.en-de.tsv: its columns are de and en, in that order; name it bt.de-en.tsv"),
    (["-o", "x", "-m", "none"], 4, "-m none: no such folder"),
    (["-o", "x", "--round-trip", "none", "--min-chrf", "1"], 4, "--round-trip none: no such folder"),
    (
        ["-o", "x", "--round-trip", "models/two", "--min-chrf", "1"],
        4,
        "--round-trip models/two: translates en to de, which is not the way back from en to de; give a",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_what_cannot_be_back_translated_is_said_in_one_line(
    words: list[str], code: int, message: str, terminal: Terminal, here: Path
) -> None:
    done = terminal.nmt(*back(*words), folder=here)
    assert done.error.startswith(f"nmt backtranslate: error: {message}")
    assert (done.code, done.out, done.error.count("\n")) == (code, "", 1)
    assert not (here / "x").exists()


# ---- filters: a row on either side of each threshold --------------------------------------------------------------


def translation(text: str, source: int, target: int, log_probability: float = -1.0) -> Translation:
    return Translation((Output(text, log_probability, log_probability, ("x",) * target),), tokens=source)


LIMITS = Limits(max_length=20, max_ratio=2.0, min_score=-0.5)
CASES = [  # line, translation, source and target tokens, log-probability, reason
    ("Der Hund", "The dog", 2, 2, -1.0, ""),
    ("Der Hund", "The dog", 2, 4, -1.0, ""),
    ("Der Hund", "The dog", 2, 5, -1.0, "length ratio"),
    ("Der Hund", "The dog", 4, 2, -1.0, ""),
    ("Der Hund", "The dog", 5, 2, -1.0, "length ratio"),
    ("Der Hund", "The dog", 19, 20, -1.0, ""),
    ("Der Hund", "The dog", 19, 21, -1.0, "too long"),
    ("Der Hund", "The dog", 3, 3, -2.0, ""),  # four tokens, with the EOS
    ("Der Hund", "The dog", 3, 3, -2.1, "score"),
    ("Der Hund", "", 3, 3, -1.0, "not translated"),
    ("Der Hund", "The dog", 3, 3, float("-inf"), "not translated"),
    ("Der Hund", "Der Hund", 3, 3, -1.0, "copy"),
    ("Der Hund 3", "der Hund! 3", 3, 3, -1.0, "copy"),
    ("ein Hund bellt", "ein Hund barks", 3, 3, -1.0, "copy"),  # two of four words
    ("ein Hund bellt", "ein dog barks", 3, 3, -1.0, ""),  # one of five
    ("24.12.", "12/24", 3, 3, -1.0, ""),
]


@pytest.mark.parametrize(("line", "text", "source", "target", "probability", "reason"), CASES)
def test_each_filter_has_its_threshold(
    line: str, text: str, source: int, target: int, probability: float, reason: str
) -> None:
    assert fault(line, translation(text, source, target, probability), LIMITS) == reason


def test_filters_can_be_off() -> None:
    anything = Limits(max_length=100, max_ratio=float("inf"), keep_copies=True)
    assert fault("a b", translation("a b", 1, 99, -1e9), anything) == ""


def test_what_is_too_long_is_not_translated() -> None:
    tokenizers = Tokenizers.train(PAIRS * 4, TokenizerConfig())
    reverse = scripted(tokenizers, tokenizers.target.encode(["Ja."])[0])
    lengths = [len(ids) for ids in tokenizers.source.encode(LINES[:10])]
    bound = sorted(lengths)[5]
    make = BackTranslation(reverse, SearchConfig(), Limits(bound, 99.0, keep_copies=True), np.ones(10, bool))
    done = make.pairs(Block(0, 0, [*LINES[:10]]))
    short = [line for line, length in zip(LINES, lengths, strict=False) if length <= bound]
    assert 0 < len(short) < 10
    assert done.lines.decode() == "".join(f"Ja.\t{line}\n" for line in short)
    assert done.counts == {"lines": 10, "pairs": len(short), "too long": 10 - len(short)}
    assert len(reverse.model.sentences) == len(short)


def test_what_does_not_come_back_as_it_was_is_left_out() -> None:
    """The way back always ends in the same sentence: chrF is high for it and for the most similar lines alone."""
    tokenizers = Tokenizers.train(PAIRS * 4, TokenizerConfig())
    sources = [source for source, _ in PAIRS]
    reverse, forward = (scripted(tokenizers, tokenizers.target.encode([text])[0]) for text in ("Ja.", sources[1]))
    scores = sentence_scores("chrf", [sources[1]] * len(sources), sources)
    assert max(scores) == scores[1] == 100.0
    bound = sorted(scores)[2]
    for least, kept in ((bound, 3), (bound + 1e-9, 2), (100.0, 1)):
        limits = Limits(99, 99.0, min_chrf=least)
        make = BackTranslation(reverse, SearchConfig(), limits, np.ones(5, bool), forward)
        done = make.pairs(Block(0, 0, [*sources]))
        expected = [line for line, score in zip(sources, scores, strict=True) if score >= least]
        assert done.lines.decode() == "".join(f"Ja.\t{line}\n" for line in expected)
        assert done.counts == {"lines": 5, "pairs": kept, "round trip": 5 - kept}


# ---- killed, resumed, shared --------------------------------------------------------------------------------------


def killed(
    command: Sequence[str], parts: Path, blocks: int, how: signal.Signals = signal.SIGKILL
) -> subprocess.Popen[bytes]:
    """Start a command and kill it when so many blocks are there, at least."""
    process, deadline = start(command), time.monotonic() + 120
    while len(list(parts.glob("block-????????"))) < blocks:
        assert time.monotonic() < deadline
        assert process.poll() is None, f"ended with {process.returncode} before block {blocks}"
        time.sleep(0.002)
    process.send_signal(how)
    process.wait()
    return process


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_bytes(
    terminal: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    small = ("--block-lines", "2")
    terminal.nmt(*back("-o", "whole.tsv", *small), folder=here).ok()
    parts, command = here / "bt.tsv.parts", back("-o", "bt.tsv", *small)
    kept = dict[str, int]()
    for blocks in (1, 9, 17):
        assert killed(command, parts, blocks).returncode == -signal.SIGKILL
        now = {path.name: path.stat().st_mtime_ns for path in parts.glob("block-????????")}
        assert kept.items() <= now.items(), "a finished block was made again"
        kept = now
    assert not (here / "bt.tsv").exists()
    done = terminal.nmt(*command, folder=here).ok()
    assert re.search(r"going on: \d+ of 30 blocks are there", done.error)
    assert "bt.tsv: 60 pairs of 60 lines; dropped: none" in done.error
    assert (here / "bt.tsv").read_bytes() == (here / "whole.tsv").read_bytes()
    assert not parts.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_leaves_what_is_finished(
    how: signal.Signals, code: int, terminal: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    command = distil("-o", "kd.tsv", "--block-lines", "1")
    assert killed(command, here / "kd.tsv.parts", 1, how).returncode == code
    assert not (here / "kd.tsv").exists()
    assert "going on: " in terminal.nmt(*command, folder=here).ok().error
    assert [source for source, _ in rows(here / "kd.tsv")] == [source for source, _ in PAIRS]


@pytest.mark.slow
def test_other_options_in_its_place_are_refused(
    terminal: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    killed(back("-o", "bt.tsv", "--block-lines", "2"), here / "bt.tsv.parts", 1)
    (here / "mono2.txt").write_text("Another text.\n")
    changes = {
        ("--block-lines", "3"): "block_lines (2, now 3)",
        ("--block-lines", "2", "--seed", "2"): "search.seed (1, now 2)",
        ("--block-lines", "2", "-b", "3"): "search.beam_size (5, now 3)",
        ("--block-lines", "2", "--max-ratio", "9"): "limits.max_ratio (inf, now 9.0)",
        ("--block-lines", "2", "--shard", "1/2"): "shard (1/1, now 1/2)",
        ("--block-lines", "2", "mono2.txt"): "order (['mono.txt'], now ['mono.txt', 'mono2.txt'])",
        ("--block-lines", "2", "-m", "models/two"): "models (['",
    }
    for words, what in changes.items():
        done = terminal.nmt(*back("-o", "bt.tsv", *words), folder=here)
        assert f"bt.tsv.parts: was begun with another {what}" in done.error
        assert (done.code, done.error.count("\n")) == (2, 1)
    (here / "mono.txt").write_text("changed\n")
    done = terminal.nmt(*back("-o", "bt.tsv", "--block-lines", "2"), folder=here)
    assert "was begun with another text.mono.txt (" in done.error
    assert done.code == 2


@pytest.mark.slow
def test_a_way_back_that_searches_otherwise_is_refused(
    terminal: Terminal, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint's manifest knows nothing of the search that its run was tuned to since."""
    monkeypatch.chdir(here)
    shutil.copytree(here / "models/back", here / "turned")
    config = here / "turned/config.yaml"
    folder = checkpoint.save_checkpoint(here / "turned", 1, {"weights": weights_of(here / "turned", 3)}, {})
    command = distil("-o", "kd.tsv", "--block-lines", "1", "--round-trip", str(folder), "--min-chrf", "1")
    killed(command, here / "kd.tsv.parts", 1)
    config.write_text(config.read_text().replace("length_penalty: 1.0", "length_penalty: 0.2"))
    done = terminal.nmt(*command, folder=here)
    assert "kd.tsv.parts: was begun with another back.length_penalty (1.0, now 0.2)" in done.error
    assert done.code == 2


@pytest.mark.slow
def test_a_corpus_is_not_written_over(terminal: Terminal, here: Path) -> None:
    before = (here / "text.de").read_bytes()
    corpus = ["text.{lang}", "-m", "models/one", *CPU]
    done = terminal.nmt("distill", *corpus, "-o", "text.de", "--force", folder=here)
    assert (done.code, "text.de: input and output are the same file" in done.error) == (2, True)
    assert (here / "text.de").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["backtranslate", "distill"])
def test_shards_together_are_the_whole(command: str, terminal: Terminal, here: Path) -> None:
    make = {"backtranslate": back, "distill": distil}[command]
    terminal.nmt(*make("-o", "whole.tsv"), folder=here).ok()
    shards = []
    for number in (1, 2):
        done = terminal.nmt(*make("-o", f"{number}.tsv", "--shard", f"{number}/2"), folder=here).ok()
        shards.append(rows(here / f"{number}.tsv"))
        assert f"{len(shards[-1])} pairs of {len(shards[-1])} lines" in done.error
    whole = rows(here / "whole.tsv")
    size = 10 if command == "backtranslate" else 2
    blocks = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert shards == [[row for block in blocks[n::2] for row in block] for n in range(2)]


# ---- distillation -------------------------------------------------------------------------------------------------


def test_distilled_pairs_are_sources_with_the_teachers_translations(
    terminal: Terminal, here: Path, models: Path
) -> None:
    done = terminal.nmt(*distil("-o", "kd.tsv", "-b", "3"), folder=here).ok()
    assert counted(done) == "kd.tsv: 5 pairs of 5 lines; dropped: none"
    sources = [source for source, _ in PAIRS]
    teacher = Translator.load(models / "one", device="cpu", threads=1)
    expected = teacher.translate(sources, SearchConfig(**SHORT, beam_size=3))
    assert rows(here / "kd.tsv") == [list(row) for row in zip(sources, expected, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_the_best_of_n_is_the_one_most_like_the_reference(
    metric: str, terminal: Terminal, here: Path, models: Path
) -> None:
    terminal.nmt(*distil("-o", "kd.tsv", "--best-of", "8", "--metric", metric), folder=here).ok()
    teacher = Translator.load(models / "one", device="cpu", threads=1)
    found = teacher.translate_block([source for source, _ in PAIRS], SearchConfig(**SHORT, beam_size=8, n_best=8))
    for (_, chosen), (_, reference), each in zip(rows(here / "kd.tsv"), PAIRS, found, strict=True):
        texts = [output.text for output in each.hypotheses if output.text]
        assert len(texts) > 1
        scores = sentence_scores(metric, texts, [reference] * len(texts))
        assert chosen == texts[scores.index(max(scores))]


class Choices:
    """A teacher that gives hypotheses, best first."""

    config = tiny_config()

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def translate_block(self, lines: Sequence[str], search: SearchConfig, extras: object) -> list[Translation]:
        outputs = [Output(text, -float(n), -float(n), ("x",)) for n, text in enumerate(self.texts)]
        return [Translation(tuple(outputs), tokens=1) for _ in lines]


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (("ein Hund", "zwei Hunde laufen", "drei Hunde"), "zwei Hunde laufen"),
        (("ein Hund", "ein Hund"), "ein Hund"),
        (("", "zwei"), "zwei"),
        (("xyz", "uvw"), "xyz"),  # neither is like it: the teacher's own
        (("",), None),
    ],
)
def test_what_is_chosen_among(texts: tuple[str, ...], chosen: str | None) -> None:
    make = Distillation(Choices(*texts), SearchConfig(beam_size=5, n_best=3))  # type: ignore[arg-type]
    done = make.pairs(Block(0, 0, [Pair("two dogs", "zwei Hunde laufen schnell")]))
    assert done.lines.decode() == (f"two dogs\t{chosen}\n" if chosen else "")
    assert done.counts == ({"lines": 1, "pairs": 1} if chosen else {"lines": 1, "not translated": 1})


def test_what_cannot_be_distilled_is_said_in_one_line(terminal: Terminal, here: Path) -> None:
    (here / "blank.tsv").write_text("A dog.\t \n")
    cases = [
        (distil("-o", "x", "--best-of", "4", "-b", "3"), 2, "--best-of 4: is more than --beam-size 3; widen the beam"),
        (
            ["distill", "-m", "models/one", "text.de", "text.en", "-o", "x"],
            2,
            "text.de, text.en: the source (en)",
        ),
        (["distill", "-m", "models/one", "text.en", "-o", "x"], 2, "text.en: text files come in pairs"),
        (distil("-o", "x", "--metric", "chrf"), 2, "--metric chrf: chooses among the hypotheses of --best-of; add it"),
        (distil("-o", "x", "--seed", "3"), 2, "--seed 3: is for drawing; add --sample, or leave it out"),
        (distil("-o", "x", "--sample", "-b", "3"), 2, "--beam-size: is for searching, --sample for drawing; leave"),
        (
            distil("-o", "x", "--round-trip", "models/two", "--min-chrf", "1"),
            4,
            "--round-trip models/two: translates en",
        ),
        (distil("-o", "x", "--set", "search.beam_size=3"), 2, "--set search.beam_size=3: says nothing of how a corpus"),
        (distil("-o", "x", "--min-chrf", "3"), 2, "--round-trip: goes with --min-chrf; give both, or neither"),
        (
            distil("-o", "kd.de-en.tsv"),
            2,
            "-o kd.de-en.tsv: its columns are en and de, in that order; name it kd.en-de.tsv",
        ),
        (["distill", "-m", "models/one", "blank.tsv", "-o", "x"], 3, "blank.tsv: no usable pairs"),
        (
            ["distill", "-m", "models/one", "text.en", "text.de", "-o", "text.en"],
            2,
            "text.en: input and output are",
        ),
    ]
    for words, code, message in cases:
        done = terminal.nmt(*words, folder=here)
        assert done.error.startswith(f"nmt distill: error: {message}")
        assert (done.code, done.out, done.error.count("\n")) == (code, "", 1)
    assert not (here / "x").exists()


def test_what_a_teacher_wrote_is_filtered(terminal: Terminal, here: Path) -> None:
    usual = rows_of(terminal, here, "kd.tsv")
    assert len(usual) == 5
    reasons = {
        "length ratio": ("--max-ratio", "1"),
        "score": ("--min-score", "-0.001"),
        "round trip": ("--round-trip", "models/back", "--min-chrf", "100"),
    }
    for number, (reason, options) in enumerate(reasons.items()):
        kept = rows_of(terminal, here, f"{number}.tsv", *options)
        assert len(kept) < 5
        assert all(row in usual for row in kept)
        assert terminal.nmt(*distil("-o", f"{number}.tsv", "--force", *options), folder=here).error.endswith(
            f"dropped: {5 - len(kept)} {reason}\n"
        )
    assert rows_of(terminal, here, "all.tsv", "--round-trip", "models/back", "--min-chrf", "0") == usual


def test_a_teacher_can_draw(terminal: Terminal, here: Path) -> None:
    drawn = rows_of(terminal, here, "a.tsv", "--sample")
    assert drawn == rows_of(terminal, here, "b.tsv", "--sample", "--seed", "1")
    assert drawn != rows_of(terminal, here, "c.tsv", "--sample", "--seed", "2")
    assert drawn != rows_of(terminal, here, "d.tsv")


def rows_of(terminal: Terminal, here: Path, name: str, *options: str) -> list[list[str]]:
    terminal.nmt(*distil("-o", name, *options), folder=here).ok()
    return rows(here / name)


def test_a_corpus_is_read_as_the_settings_say(terminal: Terminal, here: Path, models: Path) -> None:
    """Whether or not the teacher's languages are known, and whether by a flag or a setting."""
    config = tiny_config()
    data = config.data.model_copy(update={"source_lang": "", "target_lang": ""})
    search = SearchConfig(**SHORT)
    write_run(here / "unknown", config.model_copy(update={"data": data, "search": search}), seed=1)
    lines = [f"caf\xe9 {number}\tKaffee {number}\n" for number in (1, 2, 2)]
    (here / "pairs.tsv").write_bytes("".join(lines).encode("latin-1"))
    words = ["distill", "-m", "unknown", "pairs.tsv", *CPU]
    terminal.nmt(*words, "-o", "a.tsv", "--set", "data.encoding=latin-1", folder=here).ok()
    terminal.nmt(*words, "-o", "b.tsv", "--encoding", "latin-1", "--set", "data.clean=true", folder=here).ok()
    assert [source for source, _ in rows(here / "a.tsv")] == ["caf\xe9 1", "caf\xe9 2", "caf\xe9 2"]
    assert [source for source, _ in rows(here / "b.tsv")] == ["caf\xe9 1", "caf\xe9 2"]
    done = terminal.nmt(*words, "-o", "c.tsv", folder=here)
    assert (done.code, "pairs.tsv:1: invalid UTF-8" in done.error) == (3, True)
    done = terminal.nmt(*words, "-o", "d.tsv", "--bad-utf8", "drop", folder=here)
    assert (done.code, "no usable pairs" in done.error) == (3, True)


def test_a_tsv_and_a_pattern_are_corpora_too(terminal: Terminal, here: Path) -> None:
    (here / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    for name, corpus in (("a", "pairs.tsv"), ("b", "text.{lang}")):
        terminal.nmt("distill", "-m", "models/one", corpus, "-o", f"{name}.tsv", *CPU, folder=here).ok()
    assert (here / "a.tsv").read_bytes() == (here / "b.tsv").read_bytes()
