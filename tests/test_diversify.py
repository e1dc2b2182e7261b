"""A corpus that is translated both ways: the plan of commands, its texts, and what becomes of signals and failures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from terminal import environment
from trainings import heard, options, start, write_corpus

from nmt import diversify
from nmt.configfile import load_config
from nmt.diversify import Plan, Step, Texts, write_texts
from nmt.errors import DataError, NmtError, OptionError
from nmt.lock import locked
from nmt.partial import Partial
from nmt.training.signals import Interrupted


def quiet(text: str) -> None:
    pass


def texts(folder: Path, corpus: Sequence[str], **data: Any) -> Texts:
    config = load_config(None, flags={"data.train": corpus, **{f"data.{key}": value for key, value in data.items()}})
    return write_texts(config.data, 1, folder / "run.parts", quiet)


def plan(folder: Path, settings: Sequence[str] = (), **data: Any) -> Plan:
    """Return a plan of a hundred minutes for a corpus of digits."""
    found = texts(folder, write_corpus(folder, 120), **data)
    config = load_config(None, settings, {"training.max_time": "100m", "training.seed": 7, "training.threads": 1})
    return Plan(found, folder / "run.parts", folder / "run", config, settings)


def value(words: Sequence[str], option: str) -> str:
    assert words.count(option) == 1
    return words[words.index(option) + 1]


def settings(words: Sequence[str]) -> list[str]:
    return [after for word, after in zip(words, words[1:], strict=False) if word == "--set"]


def lines(files: Sequence[str]) -> list[tuple[str, ...]]:
    return [*zip(*(Path(file).read_text("utf-8").splitlines() for file in files), strict=True)]


# ---- the texts ----------------------------------------------------------------------------------------------------


def test_what_is_held_out_is_in_no_text_to_learn_from(tmp_path: Path) -> None:
    found = texts(tmp_path, write_corpus(tmp_path, 12_000))
    learnt, held = lines(found.train), [*lines(found.valid), *lines(found.test)]
    assert (len(learnt), len(lines(found.valid)) > 20, len(lines(found.test)) > 20) == (found.pairs, True, True)
    for side in (0, 1):
        assert not {pair[side] for pair in learnt} & {pair[side] for pair in held}
    assert len(set(learnt)) == len(learnt), "it is cleaned"


def test_pairs_that_are_given_are_held_out_as_they_are(tmp_path: Path) -> None:
    corpus, valid = write_corpus(tmp_path, 12_000), write_corpus(tmp_path, 9, "valid", 2)
    test = write_corpus(tmp_path, 8, "test", 3)
    found = texts(tmp_path, corpus, valid=valid, test=test)
    assert (lines(found.valid), lines(found.test)) == (lines(valid), lines(test))
    assert lines(found.train) == [*dict.fromkeys(lines(corpus))]


def test_a_test_set_is_held_out_unless_it_is_not_wanted(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, 12_000)
    assert texts(tmp_path / "a", corpus, hold_out_test=True).test
    assert texts(tmp_path / "b", corpus, hold_out_test=False).test == []


def test_cleaning_can_be_left_out_and_other_formats_do(tmp_path: Path) -> None:
    rows = [f"eins {number}\tone {number}" for number in range(40)]
    (tmp_path / "pairs.tsv").write_text("\n".join([*rows, *rows]) + "\n", encoding="utf-8")
    spoken = {"source_lang": "en", "target_lang": "de", "columns": (2, 1)}
    assert texts(tmp_path / "a", [str(tmp_path / "pairs.tsv")], **spoken).pairs == 40
    plain = texts(tmp_path / "b", [str(tmp_path / "pairs.tsv")], clean=False, **spoken)
    assert plain.pairs >= 72
    assert lines(plain.train)[0][0].startswith("one ")


def test_a_folder_is_of_one_corpus(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, 60)
    assert texts(tmp_path, corpus) == texts(tmp_path, corpus)
    with pytest.raises(OptionError, match=r"train\.en: is of another corpus, seed or cleaning; choose another folder"):
        texts(tmp_path, write_corpus(tmp_path, 60, "other", 2))
    with pytest.raises(OptionError, match="languages en and en: name files here; name two"):
        texts(tmp_path, corpus, source_lang="en", target_lang="en")


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, 60)
    for wrong in ({"weights": [2]}, {"tags": ["<bt>"]}):
        with pytest.raises(OptionError, match="all corpora become one here"):
            texts(tmp_path, corpus, **wrong)
    with pytest.raises(OptionError, match="languages zh/x and de"):
        texts(tmp_path, corpus, source_lang="zh/x", target_lang="de")


# ---- the plan -----------------------------------------------------------------------------------------------------


def test_teachers_of_both_directions_translate_the_corpus(tmp_path: Path) -> None:
    made = plan(tmp_path, ["model.dim=48"])
    source, target = made.texts.train
    there, distil, back, backtranslate = (step.words for step in made.teaching())
    assert there[:3] == ["train", source, target]
    assert back[:3] == ["train", target, source]
    assert (value(back, "--source-lang"), value(back, "--target-lang")) == ("de", "en")
    for words, (first, second) in ((there, made.texts.valid), (back, made.texts.valid[::-1])):
        place = words.index("--valid")
        assert words[place : place + 4] == ["--valid", first, "--valid", second]
        assert value(words, "--max-time") == "1200s"
        assert settings(words) == ["data.hold_out_test=false", "model.dim=48"]
    assert (value(there, "--seed"), value(back, "--seed")) == ("7", "8")
    assert distil == ["distill", "-m", value(there, "-o"), source, target, "-o", str(made.written[0]),
                      "--beam-size", "5", "--device", "auto", "--threads", "1"]  # fmt: skip
    assert backtranslate[:4] == ["backtranslate", "-m", value(back, "-o"), target]
    assert [step.makes for step in made.teaching()] == [file for file in made.written for _ in range(2)]


def taught(made: Plan, teacher: dict[str, Any], reasons: Sequence[str]) -> None:
    """Write what a teacher leaves: its options, which of them the recipe chose, and pairs."""
    made.teachers[0].mkdir()
    tree = {**teacher, "recipe": dict.fromkeys(reasons, "why")}
    (made.teachers[0] / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    for number, file in enumerate(made.written):
        file.write_text(f"1 {number}\teins {number}\n", encoding="utf-8")


def has_pieces(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """Let a teacher have tokenizers of some sizes."""
    found = [SimpleNamespace(size=size) for size in sizes]
    monkeypatch.setattr(diversify.Tokenizers, "load", lambda folder: found)


TEACHER: dict[str, dict[str, Any]] = {
    "model": {"dim": 64, "heads": 2, "dropout": 0.15, "encoder_layers": 1, "embeddings": "lsa"},
    "tokenizer": {"shared": False},
}


def test_the_student_has_the_shape_that_was_chosen_for_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And more dropout; what the user has set comes last, so that it holds over that."""
    has_pieces(monkeypatch, 1000, 1000)
    made = plan(tmp_path, ["model.dim=48"], test=write_corpus(tmp_path, 5, "test", 9))
    chosen = ["dim", "heads", "dropout", "embeddings"]
    others = ["tokenizer.shared", "tokenizer.vocab_size", "training.ema"]
    taught(made, TEACHER, [*(f"model.{name}" for name in chosen), *others])
    words = made.learning().words
    assert words[1:5] == [*made.texts.train, *map(str, made.written)]
    assert settings(words) == [
        "data.hold_out_test=false", "model.dim=64", "model.heads=2", "model.dropout=0.2", "model.embeddings=['lsa']",
        "tokenizer.shared=False", "tokenizer.vocab_size=1000", "data.weights=[2, 1, 1]", "model.dim=48",
    ]  # fmt: skip
    assert (value(words, "--max-time"), value(words, "--seed")) == ("3000s", "9")
    assert [words[place + 1] for place, word in enumerate(words) if word == "--test"] == made.texts.test
    assert load_config(None, settings(words)).model.dim == 48
    assert load_config(None, settings(words)).model.embeddings == ("lsa",)


@pytest.mark.parametrize("sizes", [(700, 700), (1000, 700), (1100, 1100)])
def test_what_the_text_did_not_give_the_teacher_is_not_asked_of_it(
    sizes: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that is given has to be reached, and an automatic one is as many pieces as the text has."""
    has_pieces(monkeypatch, *sizes)
    made = plan(tmp_path)
    taught(made, {"tokenizer": {"vocab_size": "auto"}}, ["tokenizer.vocab_size"])
    assert "tokenizer.vocab_size=auto" in settings(made.learning().words)


def test_options_that_are_flags_hold_as_settings_too(tmp_path: Path) -> None:
    given = ["training.precision=bf16", "training.seed=7", " training.threads=1", "data.clean=false", "model.dim=48"]
    words = plan(tmp_path, given).teaching()[0].words
    assert settings(words) == ["data.hold_out_test=false", "data.clean=false", "model.dim=48"]
    assert value(words, "--precision") == "bf16"


@pytest.mark.parametrize(("teacher", "student"), [(0.0, 0.1), (0.1, 0.2), (0.15, 0.2), (0.2, 0.2), (0.3, 0.3)])
def test_dropout_has_an_end(teacher: float, student: float, tmp_path: Path) -> None:
    made = plan(tmp_path)
    taught(made, {"model": {"dropout": teacher}}, ["model.dropout"])
    assert f"model.dropout={student}" in settings(made.learning().words)


def test_what_says_nothing_new_is_left_out(tmp_path: Path) -> None:
    made = plan(tmp_path)
    taught(made, TEACHER, [])
    made.written[0].write_text("\t".join(lines(made.texts.train)[0]) + "\n", encoding="utf-8")
    words = made.learning().words
    assert str(made.written[0]) not in words
    assert "data.weights=[2, 1]" in settings(words)
    made.written[1].write_text("1\t" + "eins " * 200 + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="only repeat the corpus, or write no translations yet; use nmt train, or"):
        made.learning()


# ---- carrying it out ----------------------------------------------------------------------------------------------

SAY = "import pathlib, sys, time, os, signal; place = pathlib.Path(sys.argv[1]); "


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(diversify, "NMT", (sys.executable, "-S", "-c", SAY + program))


def test_the_student_has_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the teachers have taken is known after a stop, too; and half of the time is the student's in any case."""
    made = plan(tmp_path)
    taught(made, TEACHER, [])
    made.written[1].unlink()
    now = [0.0]
    monkeypatch.setattr(diversify, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stops = [Interrupted(signal.SIGTERM), None, None, None]

    def take(step: Step, number: int, say: object) -> None:
        now[0] += 900 if number < diversify.STEPS else 5000
        if stop := stops.pop(0):
            raise stop
        if number == 4:
            made.written[1].write_text("1 1\teins 1\n", encoding="utf-8")

    monkeypatch.setattr(diversify, "_take", take)
    with pytest.raises(Interrupted):
        made.carry_out(quiet)
    made.carry_out(quiet)
    assert stops == []
    assert value(made.learning().words, "--max-time") == "3300s", "the student's own time is none of the teachers'"
    (made.folder / diversify.CLOCK).write_text("4000\n")
    assert value(made.learning().words, "--max-time") == "3000s"


def test_what_was_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(tmp_path)
    taught(made, TEACHER, [])
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, "open('told', 'a').write(sys.argv[1] + ' ')")
    made.carry_out(quiet)
    assert (tmp_path / "told").read_text() == "train "
    made.written[1].unlink()
    monkeypatch.setattr(Plan, "learning", lambda self: Step(["learn"]))
    made.carry_out(quiet)
    assert (tmp_path / "told").read_text() == "train train backtranslate learn "


def test_a_teacher_that_has_begun_to_write_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer time would make another one of it, whose translations do not go with those that are there."""
    made = plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plan, "learning", lambda self: Step(["learn"]))
    begun = Partial(made.written[0])
    begun.folder.mkdir(parents=True)
    begun.begin({})
    stand_in(monkeypatch, "open('told', 'a').write(sys.argv[1] + ' ')")
    made.carry_out(quiet)
    assert (tmp_path / "told").read_text() == "distill train backtranslate learn "


def test_the_place_of_another_run_is_seen_before_the_teachers_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plan, "learning", lambda self: Step(["learn"]))
    stand_in(monkeypatch, "open('told', 'a').write(sys.argv[1] + ' ')")
    made.run.write_text("")
    with pytest.raises(OptionError, match="run: is no folder; name one with -o"):
        made.carry_out(quiet)
    made.run.unlink()
    made.run.mkdir()
    (made.run / "config.yaml").write_text("data: {train: [train.en, train.de]}")
    with pytest.raises(OptionError, match=r"run: holds a run on train\.en; choose another folder with -o"):
        made.carry_out(quiet)
    assert not (tmp_path / "told").exists()
    (made.run / "config.yaml").write_text(yaml.safe_dump({"data": {"train": [*made.texts.train, "forward.tsv"]}}))
    made.carry_out(quiet)
    assert (tmp_path / "told").read_text() == "train distill train backtranslate learn "


def test_a_command_that_fails_says_so_with_its_own_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    stand_in(monkeypatch, "sys.exit(3)")
    with pytest.raises(NmtError, match="command 2 of 5 ended with exit code 3; see what it says") as failure:
        diversify._take(Step(["train", "a b"]), 2, told.append)
    assert failure.value.exit_code == 3
    assert told == ["command 2 of 5: nmt train 'a b'"]
    stand_in(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NmtError, match="command 2 of 5 was killed by signal 9") as failure:
        diversify._take(Step(["train"]), 2, told.append)
    assert failure.value.exit_code == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_goes_on_to_the_command_once(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, since it has something to save."""
    place = tmp_path / "place"
    program = f"""
heard = []
signal.signal({int(number)}, lambda *_: heard.append(1))
os.kill(os.getppid(), {int(number)})
while not heard: time.sleep(0.01)
time.sleep(0.2)
place.write_text(str((len(heard), os.getsid(0) == os.getpid())))
"""
    monkeypatch.setattr(diversify, "NMT", (sys.executable, "-S", "-c", SAY.rstrip("; ") + program))
    told: list[str] = []
    with heard(), pytest.raises(Interrupted) as leaving:
        diversify._take(Step([str(place)]), 1, told.append)
    assert leaving.value.exit_code == 128 + number
    assert place.read_text() == "(1, True)", "in a session of its own, which a terminal's Ctrl-C does not reach"
    assert told[-1] == "interrupted; the same command goes on from there"


# ---- the command --------------------------------------------------------------------------------------------------


def test_options_of_reading_are_not_those_of_the_trainings(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"x\teins {n}\tone {n}\n" for n in range(60)), encoding="utf-8")
    words = ["diversify", "pairs.tsv", "--source-lang", "en", "--target-lang", "de", "-o", "run", "--device", "cuda:7"]
    words += ["--set", "data.columns=[3, 2]", "--set", "data.max_length=99", "--set", "model.dim=16"]
    done = subprocess.run(
        [sys.executable, "-m", "nmt", *words], cwd=tmp_path, env=environment({}), capture_output=True, text=True
    )
    told = next(line for line in done.stderr.splitlines() if "command 1 of 5" in line)
    assert "data.columns" not in told
    assert "--set data.max_length=99 --set model.dim=16" in told
    assert (done.returncode, "cuda:7: not on this machine" in done.stderr) == (2, True)
    assert done.stderr.splitlines()[-1].startswith("nmt diversify: error: command 1 of 5 ended with exit code 2")


def test_of_several_processes_it_is_none(tmp_path: Path) -> None:
    several = environment({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"})
    done = subprocess.run(
        [sys.executable, "-m", "nmt", "diversify", "a.en", "a.de"], cwd=tmp_path, env=several, capture_output=True
    )
    assert (done.returncode, b"run those that it names by torchrun" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["run", "file/run"])
def test_a_file_in_the_way_is_told(name: str, tmp_path: Path) -> None:
    write_corpus(tmp_path, 20)
    for file in ("run.parts", "file"):
        (tmp_path / file).write_text("")
    words = ["diversify", *write_corpus(tmp_path, 20), "-o", str(tmp_path / name)]
    ended = subprocess.run([sys.executable, "-m", "nmt", *words], env=environment({}), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"nmt diversify: error: .*\.parts: a file is in its place; choose another .*\n", ended.stderr)


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    words = ["diversify", *write_corpus(tmp_path, 20), "-o", str(tmp_path / "run")]
    with locked(tmp_path / "run.parts/lock", "", ""):
        ended = subprocess.run(
            [sys.executable, "-m", "nmt", *words], env=environment({}), capture_output=True, text=True
        )
    assert ended.returncode == 2
    assert "run.parts: another nmt diversify is running in it; choose another folder with -o" in ended.stderr


def test_a_run_has_a_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nmt", "diversify", "a.en", "a.de", "-o", "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment({}), capture_output=True)
    assert (done.returncode, b"-o .: is no name for a run; name a folder" in done.stderr) == (2, True)


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path, 200), tmp_path / "run"
    changes = {"training.max_steps": 3000, "training.save_every": 50, "training.valid_every": 1000}
    words = ["diversify", *corpus, "-o", str(run), "--threads", "1", "--max-time", "1h"]
    words += [word for each in options(changes) if "_lang" not in each for word in ("--set", each)]
    teacher = tmp_path / "run.parts" / "forward"
    with heard():
        process = start(words)
        while not list(teacher.glob("checkpoints/step-*")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "interrupted: step" in (teacher / "train.log").read_text("utf-8")
    shorter = [word.replace("max_steps=3000", "max_steps=60") for word in words]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-m", "nmt", *shorter], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming at step" in done.stderr
    assert load_config(run / "config.yaml").data.weights[0] == 2
    assert (run / "MANIFEST.json").exists()
