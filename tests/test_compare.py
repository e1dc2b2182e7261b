"""`nmt compare` and `nmt eval --report` as a user meets them: what they print and write, what they refuse."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runs import PAIRS, tiny_config, weights_of, write_run
from terminal import environment

from nmt.cli import run
from nmt.config import Config, SearchConfig
from nmt.corpus import ParallelCorpus
from nmt.evaluate import score
from nmt.inspect.systems import training_words
from nmt.training import checkpoint, heldout
from nmt.translate import Translator

QUICK = {"beam_size": 2, "max_length_ratio": 0.5, "max_length_offset": 3}  # random weights never end by themselves
SOURCES, TARGETS = ([*side] for side in zip(*PAIRS, strict=True))
EVIL = "<script>alert(1)</script>"
FILES = {
    "test.en": SOURCES,
    "test.de": TARGETS,
    "near.de": [TARGETS[0], "Zwei Hunde rennen durch den Schnee.", *TARGETS[2:]],
    "far.de": [EVIL, *TARGETS[:4]],
    "empty.de": [""] * 5,
    "short.de": TARGETS[:2],
    "one.en": SOURCES[:1],
    "one.de": TARGETS[:1],
    "nothing.de": [],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with texts, two finished runs that know their corpora, and folders that are no models."""
    folder = tmp_path_factory.mktemp("world")
    for name, lines in FILES.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tiny = tiny_config()
        corpora = {"train": ("test.en", "test.de"), "test": ("test.en", "test.de")}
        data = tiny.data.model_copy(update=corpora)
        config = Config(data=data, model=tiny.model, search=SearchConfig.model_validate(QUICK))
        for seed, name in enumerate(("first", "second"), 1):
            path = write_run(Path("runs") / name, config, seed=seed)
            checkpoint.save_config(path, config, ParallelCorpus(data.train, data).fingerprints())
            checkpoint.finish(path, weights_of(path, seed))
        french = data.model_copy(update={"target_lang": "fr"})
        write_run(Path("runs/french"), Config(data=french, model=tiny.model, search=config.search))
        spanish = data.model_copy(update={"source_lang": "es"})
        write_run(Path("runs/spanish"), Config(data=spanish, model=tiny.model, search=config.search))
        unseen = data.model_copy(update={"test": (), "valid": ("test.en", "test.de")})
        write_run(Path("runs/validated"), Config(data=unseen, model=tiny.model, search=config.search))
        gone = data.model_copy(update={"train": ("gone.en", "gone.de")})
        write_run(Path("runs/elsewhere"), Config(data=gone, model=tiny.model, search=config.search))
        write_run(Path("runs/unfinished"), config)
        Path("runs/unfinished/MANIFEST.json").unlink()
        write_run(Path("runs/changed"), config)
        Path("runs/changed/config.yaml").write_text("x: 1\n")
        Path("runs/nothing").mkdir()
    return folder


@pytest.fixture(autouse=True)
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in the folder; trials are few, as what comes of them is seen elsewhere."""
    monkeypatch.setattr("sacrebleu.significance.PairedTest._DEFAULT_SAMPLES", {"bs": 100, "ar": 100})
    monkeypatch.chdir(world)
    monkeypatch.delenv("NMT_MODEL", raising=False)


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--format", "json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


GIVEN = ("--source", "test.en", "--reference", "test.de")


@pytest.mark.slow
def test_files_are_compared_without_torch(world: Path) -> None:
    code = "import sys; from nmt.cli import run; code = run(sys.argv[1:]); sys.exit('torch' in sys.modules or code)"
    command = [sys.executable, "-W", "error", "-c", code, "compare", "near.de", "far.de", *GIVEN, "-o", "light.html"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=world, env=environment({}), check=False)
    assert (done.returncode, done.stderr) == (
        0,
        "nmt compare: scoring; where sentences are long TER takes minutes\n",
    )
    assert done.stdout.startswith("test.en: 5 lines\n\nScores: ")


def test_text_is_tables_and_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "near.de", "far.de", *GIVEN]) == 0
    out = capsys.readouterr().out
    blocks = out.split("\n\n")
    titles = [block.split(":")[0].split("\n")[0] for block in blocks]
    assert titles == [
        "test.en", "Scores", "By length of the source", "By content of the source", "Wrong at first sight",
        "Where near.de is furthest ahead",
    ]  # fmt: skip
    bleu = score(FILES["near.de"], [TARGETS])[0].score
    rows = {line.split("  ")[0]: line.split() for line in out.split("\n") if line}
    assert rows["BLEU"][1] == f"{bleu:.2f}"
    assert "  approximate randomisation" in out
    assert f"    source            {SOURCES[0]}\n" in out


@pytest.mark.slow
def test_models_are_translated_with_and_measured(capsys: pytest.CaptureFixture[str]) -> None:
    found = json_of(capsys, "compare", "runs/first", "runs/second", "near.de", *GIVEN, "--threads", "1")
    assert found["systems"] == ["first", "second", "near.de"]
    for place, name in enumerate(("first", "second")):
        texts = Translator.load(f"runs/{name}", threads=1).translate(SOURCES)
        assert found["metrics"][0]["scores"][place]["score"] == score(texts, [TARGETS])[0].score
        facts = found["facts"][place]
        assert facts["kind"].startswith("transformer, 1 + 1 layers")
        assert facts["parameters"] > 1000
        assert facts["size"] > facts["parameters"]
        assert facts["sentences_per_second"] == pytest.approx(5 / facts["seconds"])
        assert facts["training_seconds"] is None
    assert found["facts"][2] is None
    assert found["breakdowns"][1]["title"] == "By the rarest word"
    assert [part["label"] for part in found["breakdowns"][1]["parts"]] == ["1-9"]
    assert found["notes"] == []


def test_without_files_the_first_models_test_set_is_taken_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "runs/first", "runs/second", "-b", "1", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert "nmt compare: test set test.en test.de, of runs/first\n" in err
    assert "nmt compare: translating 5 lines with runs/second\n" in err
    assert "sentences per second" in out
    assert "training time" in out


def test_page_is_written_whole_and_not_over_another(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "near.de", "far.de", *GIVEN, "-o", "page.html"]
    assert run(arguments) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>\n")
    assert page.endswith("</html>\n")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert run(arguments) == 2
    assert capsys.readouterr().err.endswith("nmt compare: error: page.html: exists; use --force\n")
    assert run([*arguments, "--force"]) == 0
    assert Path("page.html").read_text(encoding="utf-8") == page


def test_folders_of_the_same_name_are_told_apart(capsys: pytest.CaptureFixture[str], world: Path) -> None:
    (world / "other").mkdir()
    (world / "other/near.de").write_bytes((world / "far.de").read_bytes())
    (world / "here").mkdir()
    (world / "here/near.de").write_bytes((world / "near.de").read_bytes())
    names = ("here/near.de", "other/near.de")
    assert json_of(capsys, "compare", *names, *GIVEN)["systems"] == [*names]
    assert json_of(capsys, "compare", "far.de", "other/near.de", *GIVEN)["systems"] == ["far.de", "near.de"]


def test_long_names_lose_what_they_share(capsys: pytest.CaptureFixture[str], world: Path) -> None:
    names = [f"generaltest2022.en-de.hyp.{system}.de" for system in ("Online-B", "Online-W", "PROMT")]
    for name in names:
        (world / name).write_bytes((world / "near.de").read_bytes())
    assert json_of(capsys, "compare", *names, *GIVEN)["systems"] == ["Online-B", "Online-W", "PROMT"]
    assert json_of(capsys, "compare", names[0], names[0], *GIVEN)["systems"] == [names[0]] * 2


@pytest.mark.slow
def test_words_are_counted_in_the_training_of_the_first_model_that_still_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = "How often the rarest word of a source stands in test.en, test.de."
    for names in (("runs/elsewhere", "runs/first"), ("runs/first", "runs/elsewhere")):
        found = json_of(capsys, "compare", *names, *GIVEN, "--threads", "1")
        assert (found["breakdowns"][1]["note"], found["notes"]) == (known, [])
    [note] = json_of(capsys, "compare", "runs/elsewhere", "near.de", *GIVEN, "--threads", "1")["notes"]
    assert note.startswith("Frequencies of words: the training corpus cannot be read (gone.en: no such file")


def test_without_a_source_files_can_still_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    found = json_of(capsys, "compare", "near.de", "empty.de", "--reference", "test.de", "--target-lang", "de")
    assert found["notes"] == ["The source was not given: what depends on it is left out."]
    assert found["metrics"][0]["scores"][1]["score"] == 0
    assert found["breakdowns"][0]["title"] == "By length of the reference"


def test_one_line_and_tokenizer_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    named = ("--source", "one.en", "--reference", "one.de", "--tokenize", "char")
    found = json_of(capsys, "compare", "one.de", "one.en", *named)
    assert "|tok:char|" in found["metrics"][0]["scores"][0]["record"]["signature"]
    assert found["lines"] == 1


def test_a_validation_corpus_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "runs/validated", "near.de", "-o", "validated.html", "--threads", "1"]) == 0
    assert "note: the model's config has no test corpus; this is its validation corpus\n" in capsys.readouterr().err
    assert "The model's config has no test corpus; this is its validation corpus." in html.unescape(
        Path("validated.html").read_text(encoding="utf-8")
    )


REFUSALS = [
    ("near.de --reference test.de", 2, "near.de: one system, expected two or more; name another model"),
    ("near.de far.de", 2, "--reference: needed where no model names a test set; add it"),
    ("near.de far.de --source test.en", 2, "--source test.en: nothing to compare with; add --reference"),
    ("runs/first near.de --reference test.de", 2, "--reference test.de: nothing to translate; add --source"),
    ("runs/first runs/french", 2, "runs/first, runs/french: translate into de, fr; compare like with like"),
    ("runs/first runs/spanish", 2, "runs/first, runs/spanish: translate from en, es; compare like with like"),
    ("runs/first near.de -o test.de --force", 2, "test.de: input and output are the same file"),
    ("near.de far.de --reference test.de -o no/page.html", 2, "no/page.html: there is no folder no; create it first"),
    ("near.de far.de --reference test.de -o far.de --force", 2, "far.de: input and output are the same file"),
    ("near.de far.de --reference test.de --tokenize moses", 2, "--tokenize moses: no such tokenizer"),
    ("near.de far.de --reference test.de -b 3", 2, "-b, --device, --precision, --threads: no system is a model; leave"),
    ("near.de runs/changed --reference test.de", 4, "runs/changed/config.yaml:1: x: is not an option"),
    ("near.de none.de --reference test.de", 3, "none.de: no such file or folder; name a run folder or a file"),
    ("near.de far.de --reference none.de", 3, "none.de: no such file"),
    ("near.de short.de --reference test.de", 3, "short.de: 2 lines, but 5 lines in test.de; give files with"),
    ("near.de far.de --source one.en --reference test.de", 3, "test.de: 5 lines, but 1 line in one.en; give files"),
    ("nothing.de nothing.de --reference nothing.de", 3, "nothing.de: no lines, expected at least one sentence"),
    ("near.de runs/nothing", 4, "runs/nothing: neither a run nor a checkpoint; give a folder that nmt train wrote"),
    ("near.de runs/unfinished", 4, "runs/unfinished: not a finished run, it has no MANIFEST.json; name one of its"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "message"), REFUSALS)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str, code: int, message: str
) -> None:
    assert run(["compare", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"nmt compare: error: {message}")
    assert "translating" not in err


# ---- nmt eval --report ------------------------------------------------------------------------------------------


def test_report_of_a_model_has_its_facts_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    report = ("eval", "-m", "runs/first", "--report", "model.html", "--threads", "1", "-o", "kept.de")
    found = json_of(capsys, *report)
    assert Path("kept.de").read_text(encoding="utf-8").split("\n")[:-1] == Translator.load("runs/first").translate(
        SOURCES
    )
    assert found["systems"] == ["first"]
    assert found["facts"][0]["parameters"] > 1000
    assert [breakdown["title"] for breakdown in found["breakdowns"]][1] == "By the rarest word"
    assert [metric["name"] for metric in found["metrics"]] == ["BLEU", "chrF2++", "TER"]
    assert "<svg" in Path("model.html").read_text(encoding="utf-8")


def test_report_of_a_file_shows_its_source_and_prints_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--hypothesis", "near.de", *GIVEN, "--report", "file.html"]) == 0
    bleu, chrf, ter = capsys.readouterr().out.splitlines()
    assert bleu.startswith(f"BLEU    = {score(FILES['near.de'], [TARGETS])[0].score:.2f} (μ = ")
    assert "|bs:1000|seed:12345|" in bleu
    assert (chrf.split()[0], ter.split()[0]) == ("chrF2++", "TER")
    page = Path("file.html").read_text(encoding="utf-8")
    assert SOURCES[2] in page
    assert "near.de on test.en" in page
    assert run(["eval", "--hypothesis", "near.de", *GIVEN, "--report", "file.html"]) == 2


@pytest.mark.parametrize("name", ["empty.de", "far.de", "test.de"])
def test_report_of_a_file_needs_no_source(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["eval", "--hypothesis", name, "--reference", "test.de", "--report", "bare.html", "--force"]) == 0
    assert capsys.readouterr().err == "nmt eval: note: The source was not given: what depends on it is left out.\n"
    assert "<script" not in Path("bare.html").read_text(encoding="utf-8")


def test_changed_training_corpus_is_not_counted_and_that_is_said(
    capsys: pytest.CaptureFixture[str], world: Path
) -> None:
    report = ("eval", "-m", "runs/french", "--report", "changed.html", "--threads", "1", *GIVEN)
    assert json_of(capsys, *report)["notes"] == [
        "Frequencies of words: test.en, test.de has changed since the training."
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--report x.html --beams 1,2", 2, "--report x.html: shows one beam width; leave out --beams 1,2"),
        (
            "--hypothesis near.de --source one.en --reference test.de --report x.html",
            3,
            "one.en: 1 line, but 5 lines in",
        ),
        ("--hypothesis near.de --source none --reference test.de --report x.html", 3, "none: no such file"),
        ("--hypothesis near.de --reference test.de --report no/x.html", 2, "no/x.html: there is no folder no"),
        ("--hypothesis near.de --reference test.de --report near.de", 2, "near.de: input and output are the same"),
        ("-m runs/first --report near.de", 2, "near.de: exists; use --force"),
    ],
)
def test_what_is_wrong_with_a_report_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str, code: int, message: str
) -> None:
    assert run(["eval", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"nmt eval: error: {message}")
    assert not Path("x.html").exists()


@pytest.mark.parametrize("repeats", [False, True])
def test_words_are_counted_in_what_was_trained_on(repeats: bool, tmp_path: Path) -> None:
    """Not in held-out pairs, nor in what was left out with them, which is nothing where the text repeats itself."""
    sides = [(f"word{number % 7 if repeats else number} here", f"Wort{number}") for number in range(200)]
    files = [str(tmp_path / f"train.{language}") for language in ("en", "de")]
    for file, lines in zip(files, zip(*sides, strict=True), strict=True):
        Path(file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = tiny_config()
    config = Config(data=config.data.model_copy(update={"train": tuple(files)}), model=config.model)
    run, corpus = write_run(tmp_path / "run", config), ParallelCorpus(files, config.data)
    checkpoint.save_config(run, config, corpus.fingerprints())
    split = heldout.hold_out(corpus, config.training.seed)
    heldout.save(run, split, config.data)
    held = split.valid[0].source
    known, notes = training_words(run, config.data, [held])
    assert known
    rest = Counter(word for pair in split.training for word in pair.source.split())
    assert known.occurrences == Counter({word: rest[word] for word in held.split()})
    assert (rest["here"], rest[held.split()[0]] > 0, list(notes)) == (196, repeats, [])
