"""`nmt eval` as a user meets it: what it prints, what it refuses, and that scoring alone needs no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from runs import tiny_config, write_run

from nmt.cli import run
from nmt.config import Config, SearchConfig
from nmt.evaluate import score
from nmt.translate import Translator

ROOT = Path(__file__).parents[1]

# The example in sacreBLEU's README (section "Using SacreBLEU from Python").
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def nmt(*arguments: str | Path, stdin: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `nmt eval` in a process of its own, as a user does."""
    code = "import sys; from nmt.cli import run; code = run(sys.argv[1:]); sys.exit('torch' in sys.modules or code)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", code, "eval", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, errors="surrogateescape", cwd=folder, env=environment
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Write the README's example: hypotheses, then the two references."""
    paths = [tmp_path / name for name in ("hyp.en", "ref1.en", "ref2.en")]
    for path, lines in zip(paths, [HYPOTHESES, *REFERENCES], strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


def sacrebleu(hypothesis: Path, references: Sequence[Path], *arguments: str) -> str:
    command = [sys.executable, "-m", "sacrebleu", *map(str, references), "-i", str(hypothesis), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_json_is_that_of_the_sacrebleu_command_but_not_rounded(files: list[Path]) -> None:
    given = ("--hypothesis", files[0], "--reference", files[1], "--reference", files[2])
    result = nmt("--bleu", "--chrf", "--ter", "--format", "json", *given)
    theirs = json.loads(sacrebleu(files[0], files[1:], "-m", "bleu", "chrf", "ter", "-f", "json", "-w", "13"))
    ours = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (0, "")
    assert [list(record) for record in ours] == [list(record) for record in theirs]
    assert [record.pop("score") for record in ours] == pytest.approx([record.pop("score") for record in theirs], 1e-12)
    assert ours == theirs


@pytest.mark.slow
def test_text_is_a_line_per_metric_with_score_and_signature(files: list[Path]) -> None:
    bleu, chrf = nmt("--chrf", "--bleu", "--hypothesis", files[0], "--reference", files[1]).stdout.splitlines()
    theirs = json.loads(sacrebleu(files[0], files[1:2], "-w", "2"))
    assert bleu == f"BLEU  = {theirs['score']:.2f}  {theirs['verbose_score']}  {theirs['signature']}"
    assert chrf.startswith("chrF2 = ")


@pytest.mark.slow
def test_without_a_metric_it_is_bleu_and_hypotheses_come_from_stdin_too(files: list[Path]) -> None:
    text = files[0].read_text(encoding="utf-8")
    given = nmt("--hypothesis", files[0], "--reference", files[1])
    piped = nmt("--bleu", "--hypothesis", "-", "--reference", files[1], stdin=text)
    assert given.stdout == piped.stdout
    assert given.stdout.startswith("BLEU = ")


@pytest.mark.slow
def test_language_at_the_end_of_the_references_name_decides_on_the_tokenizer(tmp_path: Path) -> None:
    for name in ("hyp.txt", "ref.A.zh"):
        (tmp_path / name).write_text("我很好吗\n", encoding="utf-8")
    arguments = ("--hypothesis", "hyp.txt", "--reference", "ref.A.zh")
    assert "|tok:zh|" in nmt(*arguments, folder=tmp_path).stdout
    for name in ("ref.zh-CN", "ref.zh.txt", "ref.zho_Hans", "ref.ZH"):
        (tmp_path / name).write_text("我很好吗\n", encoding="utf-8")
        assert "|tok:zh|" in nmt("--hypothesis", "hyp.txt", "--reference", name, folder=tmp_path).stdout
    assert "|tok:13a|" in nmt(*arguments, "--target-lang", "de", folder=tmp_path).stdout
    assert "|tok:char|" in nmt(*arguments, "--tokenize", "char", folder=tmp_path).stdout


def test_tokenised_hypotheses_are_scored_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("ein Ka@@ ter schläft .\n", encoding="utf-8")
    result = nmt("--hypothesis", "hyp", "--reference", "hyp", folder=tmp_path)
    assert result.stdout.startswith("BLEU = 100.00")
    assert result.stderr.startswith("nmt eval: warning: 1 of 1 hypotheses look tokenised")


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("sch\u00f6n\n", encoding="utf-8")
    (tmp_path / "ref").write_bytes(b"sch\xf6n\n")
    result = nmt("--hypothesis", "hyp", "--reference", "ref", folder=tmp_path)
    assert result.stderr.startswith("nmt eval: warning: ref:1: invalid UTF-8 replaced\n")
    piped = nmt("--hypothesis", "-", "--reference", "hyp", folder=tmp_path, stdin="\udcff\n")
    assert "nmt eval: warning: stdin:1: invalid UTF-8 replaced\n" in piped.stderr
    (tmp_path / "ref").write_bytes(b"sch\xf6n\n" * 9)
    many = nmt("--hypothesis", "ref", "--reference", "ref", folder=tmp_path).stderr.splitlines()
    assert len(many) == 6, "each file is read once"
    assert many[-1].endswith("9 lines in all; if the text is Latin-1, iconv -f latin-1 -t utf-8 mends it")


REFUSALS = [
    ("--hypothesis hyp.en", 2, "--hypothesis hyp.en: nothing to compare with; add --reference"),
    ("--source hyp.en", 2, "--source hyp.en: nothing to compare with; add --reference"),
    ("--reference ref1.en", 2, "--reference: nothing to compare with it; add --hypothesis"),
    ("--source hyp.en --hypothesis hyp.en --reference ref1.en", 2, "--source and --hypothesis: a model"),
    ("--hypothesis hyp.en --reference ref1.en -m run", 2, "-m run: --hypothesis is scored as it is"),
    ("--hypothesis hyp.en --reference ref1.en --device cpu", 2, "--device cpu: --hypothesis is scored as it is"),
    ("--hypothesis hyp.en --reference ref1.en --threads 1", 2, "--threads 1: --hypothesis is scored as it is"),
    ("--hypothesis hyp.en --reference ref1.en --precision fp32", 2, "--precision fp32: --hypothesis is scored as it"),
    ("--hypothesis hyp.en --reference ref1.en --batch-tokens 7", 2, "--batch-tokens 7: --hypothesis is scored as it"),
    ("--hypothesis hyp.en --reference ref1.en --chrf --tokenize 13a", 2, "--tokenize 13a: is BLEU's; add --bleu, or"),
    ("--hypothesis hyp.en --reference ref1.en --beams 1,2", 2, "--beams 1,2: --hypothesis is scored as it is"),
    ("--hypothesis hyp.en --reference ref1.en --tokenize moses", 2, "--tokenize moses: no such tokenizer"),
    ("--hypothesis hyp.en --reference ref1.en --format xml", 2, "Invalid value for '--format'"),
    ("--beams 1,x", 2, "--beams 1,x: expected whole numbers from 1 on with commas between"),
    ("--beams 0", 2, "--beams 0: expected whole numbers from 1 on"),
    ("--beams 1,2 -b 3", 2, "--beam-size 3: --beams names the widths already"),
    ("-m hyp.en --beams 1,2 -o no/beams.png", 2, "--output no/beams.png: there is no folder no"),
    ("-m hyp.en --beams 1,2 -o hyp.en", 2, "--output hyp.en: the plot of --beams is one of .png, .svg, .pdf"),
    ("--hypothesis hyp.en --reference nothing.en", 3, "nothing.en: no such file"),
    ("--hypothesis hyp.en --reference short.en", 3, "short.en: 1 line, but 3 lines in hyp.en; give files with"),
    ("--source hyp.en --reference short.en", 3, "short.en: 1 line, but 3 lines in hyp.en; give files with"),
    ("--hypothesis empty.en --reference ref1.en", 3, "empty.en: no lines, expected at least one"),
    (
        "--hypothesis hyp.en --reference ref1.en --report hyp.en --force",
        2,
        "hyp.en: input and output are the same file",
    ),
    ("-m hyp.en --source hyp.en --reference ref1.en -o ref1.en --force", 2, "ref1.en: input and output are the same"),
    (
        "-m hyp.en --source hyp.en --reference ref1.en --report hyp.en --force",
        2,
        "hyp.en: input and output are the same",
    ),
    ("-m hyp.en -o new.en --report ./new.en", 2, "-o new.en: is the page of --report, too; name another file"),
    ("-m hyp.en --beams 1,2 -o old.png", 2, "old.png: exists; use --force"),
    ("-m nothing", 4, "-m nothing: no such folder"),
]


@pytest.fixture
def odd_files(files: list[Path]) -> Path:
    """Return the folder of the example's files, with two more that do not go with them."""
    (files[0].parent / "short.en").write_text("one\n", encoding="utf-8")
    (files[0].parent / "empty.en").write_text("", encoding="utf-8")
    (files[0].parent / "old.png").write_bytes(b"a picture")
    return files[0].parent


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "message"), REFUSALS)
def test_what_is_wrong_is_said_in_one_line(
    odd_files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(odd_files)
    assert run(["eval", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"nmt eval: error: {message}")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_nothing_is_refused_after_waiting_for_torch(odd_files: Path) -> None:
    commands = [["eval", *arguments.split()] for arguments, _, _ in REFUSALS]
    code = f"import sys; from nmt.cli import run; list(map(run, {commands})); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run(command, cwd=odd_files, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


# --- with a model -----------------------------------------------------------------------------------------------------

SOURCES = ["A man rides a bicycle.", "", "Two dogs run.", "Where is the station?"]
TARGETS = ["Ein Mann fährt Fahrrad.", "", "Zwei Hunde laufen.", "Wo ist der Bahnhof?"]
QUICK = {"beam_size": 2, "max_length_ratio": 0.5, "max_length_offset": 3}  # random weights never end by themselves


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, the current one, with texts and a finished run whose test corpus they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    for name, lines in (("test.en", SOURCES), ("test.de", TARGETS)):
        Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = tiny_config()
    data = config.data.model_copy(update={"test": ("test.en", "test.de")})
    write_run(Path("runs/tiny"), Config(data=data, model=config.model, search=SearchConfig.model_validate(QUICK)))
    return tmp_path


def test_without_files_the_newest_run_is_scored_on_its_test_corpus(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "--chrf", "--format", "json", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    translator = Translator.load("runs/tiny", threads=1)
    assert json.loads(out)[0]["score"] == score(translator.translate(SOURCES), [TARGETS], ["chrf"])[0].score
    assert "nmt eval: model runs/tiny\n" in err
    assert "nmt eval: translating 4 lines of test.en test.de, beam 2, length penalty 1\n" in err


def test_given_files_are_translated_kept_and_scored(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--source", "test.en", "--reference", "test.de", "--reference", "test.de"]
    assert run(["eval", "--ter", "-b", "1", *given, "-o", "kept.de", "--threads", "1"]) == 0
    of_model = capsys.readouterr().out
    greedy = SearchConfig.model_validate(QUICK | {"beam_size": 1})
    kept = Path("kept.de").read_text(encoding="utf-8").split("\n")
    assert kept == [*Translator.load("runs/tiny", threads=1).translate(SOURCES, greedy), ""]
    assert kept[1] == ""
    assert run(["eval", "--ter", "--hypothesis", "kept.de", *given[2:]]) == 0
    assert capsys.readouterr().out == of_model
    assert "nrefs:2|" in of_model
    assert run(["eval", *given, "-o", "kept.de"]) == 2
    assert capsys.readouterr().err.endswith("kept.de: exists; use --force\n")


def test_the_test_set_itself_is_not_written_over(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "-o", "test.de", "--force"]) == 2
    assert capsys.readouterr().err.endswith("test.de: input and output are the same file; name another with -o\n")
    assert Path("test.de").read_text(encoding="utf-8").split("\n")[:-1] == TARGETS


def test_a_test_set_that_is_named_by_a_pattern_is_not_written_over(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config()
    monkeypatch.setenv("NMT_DATA", str(tmp_path))
    for language, lines in (("en", SOURCES), ("de", TARGETS)):
        (tmp_path / f"known.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    data = config.data.model_copy(update={"test": ("known.{lang}",)})
    write_run(Path("runs/pattern"), Config(data=data, model=config.model))
    assert run(["eval", "-m", "runs/pattern", "-o", str(tmp_path / "known.de"), "--force"]) == 2
    assert "known.de: input and output are the same file" in capsys.readouterr().err
    assert (tmp_path / "known.de").read_text(encoding="utf-8").split("\n")[:-1] == TARGETS


def test_tokenizer_that_is_not_there_is_refused_before_translating(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "--tokenize", "moses"]) == 2
    assert "translating" not in capsys.readouterr().err


@pytest.mark.slow
def test_beams_are_a_row_each_with_a_plot_in_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--bleu", "--chrf", "--beams", "1,3", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    head, *rows, bleu, chrf = out.splitlines()
    assert head.split()[:3] == ["beam", "BLEU", "chrF2"]
    assert [row.split()[0] for row in rows] == ["1", "3"]
    assert bleu.startswith("BLEU   nrefs:1|")
    assert chrf.startswith("chrF2  nrefs:1|")
    assert err.endswith("nmt eval: plot runs/tiny/beams.png\n")
    assert Path("runs/tiny/beams.png").read_bytes().startswith(b"\x89PNG")


def test_beams_as_json_are_sacrebleus_objects_with_the_width(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--beams", "2,1", "--format", "json", "-o", "here.svg", "--threads", "1"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [(record["name"], record["beam_size"]) for record in records] == [("BLEU", 2), ("BLEU", 1)]
    assert {"signature", "score", "log_probability", "model_score", "seconds"} < set(records[0])
    assert "<svg" in Path("here.svg").read_text(encoding="utf-8")


def test_model_without_a_test_corpus_is_scored_on_its_validation_corpus_or_asks_for_files(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config()
    for name, valid in (("bare", ()), ("valid", ("test.en", "test.de"))):
        data = config.data.model_copy(update={"valid": valid})
        write_run(Path("runs") / name, Config(data=data, model=config.model, search=SearchConfig.model_validate(QUICK)))
    assert run(["eval", "-m", "runs/valid"]) == 0
    assert "this is its validation corpus\n" in capsys.readouterr().err
    assert run(["eval", "-m", "runs/bare"]) == 2
    expected = "nmt eval: error: data.test: the model's config names no test corpus; give --source and --reference\n"
    assert capsys.readouterr().err == expected
