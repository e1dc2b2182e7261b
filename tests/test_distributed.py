"""Several processes train what one does: the same losses, each pair once, and nobody waits for one that is gone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from together import but_steps, end, losses, pids, run, seen, start, wait_for
from trainings import RNN, ROOT, Setting, digest, run_training, tiny, words, write_corpus

from nmt.batches import Position, epoch_batches
from nmt.corpus import ParallelCorpus
from nmt.encoded import EncodedCorpus, Encoding
from nmt.errors import OptionError
from nmt.ranks import Rank
from nmt.tokenizer import Tokenizers
from nmt.training import world

STEADY: dict[str, Setting] = {
    "model.dropout": 0, "model.attention_dropout": 0, "tokenizer.sampling": 0, "training.batch_tokens": 256,
    "training.max_steps": 100, "training.valid_every": 50, "training.save_every": 50,
}  # fmt: skip
STEADY_RNN = {**RNN, **STEADY, "model.dropout": 0.0}
del STEADY_RNN["model.attention_dropout"]
LONG: dict[str, Setting] = {**STEADY, "training.max_steps": 400, "training.save_every": 20, "training.valid_every": 100}
GONE = 60.0  # seconds


def furthest(one: dict[int, float], other: dict[int, float], until: int) -> float:
    """Return the greatest relative difference of losses up to a step that both have."""
    steps = [step for step in other if step <= until]
    assert steps
    assert max(steps) == min(until, max(one))
    return max(abs(one[step] - other[step]) / one[step] for step in steps)


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    return write_corpus(tmp_path, 300)


class Hosts(world.Alone):
    """The first of some processes, which are on hosts and GPUs."""

    def __init__(self, *others: list[str]) -> None:
        self.others = others

    def gather(self, value: object) -> list[object]:
        return [value, *self.others]


def test_processes_that_would_share_a_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"GPU-{device.index}"))
    here, gpu = socket.gethostname(), torch.device("cuda:1")
    for others in ([], [[here, "GPU-0"]], [[f"not {here}", "GPU-1"]]):
        world.check_apart(Hosts(*others), gpu)
    for others in ([[here, "GPU-1"]], [[here, "GPU-0"], [here, "GPU-1"]]):
        with pytest.raises(OptionError, match=f"{len(others) + 1} processes on {len(others)} GPUs; start one for each"):
            world.check_apart(Hosts(*others), gpu)
    world.check_apart(Hosts([here, ""]), torch.device("cpu"))


# ---- who sees what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3, 7])
@pytest.mark.parametrize("sampling", [False, True])
def test_the_parts_of_all_processes_are_the_whole(processes: int, sampling: bool, tmp_path: Path) -> None:
    config = tiny(write_corpus(tmp_path))
    pairs = list(ParallelCorpus(config.data.train, config.data))
    corpus = EncodedCorpus.build(pairs, Encoding(Tokenizers.train(pairs, config.tokenizer), 256, 0.2 * sampling))
    whole = list(epoch_batches(corpus, 1, 64, Position(), sampling=sampling))
    parts = [
        list(epoch_batches(corpus, 1, 64, Position(), sampling=sampling, part=(rank, processes)))
        for rank in range(processes)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for (batch, position), *shared in zip(whole, *parts, strict=True):
        assert {part.tokens for part, _ in shared} == {batch.tokens}
        assert {at for _, at in shared} == {position}
        for side in (0, 1):
            together = [row for part, _ in shared for row in part[side].ids.tolist()]
            assert [np.trim_zeros(row, "b") for row in together] == [
                np.trim_zeros(row, "b") for row in batch[side].ids.tolist()
            ]


# ---- the same losses --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("changes", [STEADY, STEADY_RNN], ids=["transformer", "rnn"])
def test_losses_do_not_depend_on_the_number_of_processes(
    changes: dict[str, Setting], corpus: list[str], tmp_path: Path
) -> None:
    run_training(tmp_path / "1", tiny(corpus, changes))
    alone = losses(tmp_path / "1")
    for processes, fsdp in ((2, "false"), (4, "false"), (2, "true")):
        where = tmp_path / f"{processes}-{fsdp}"
        run(processes, words(corpus, where, {**changes, "training.fsdp": fsdp}))
        assert furthest(alone, losses(where), 20) < 1e-5
        assert furthest(alone, losses(where), 100) < 1e-4


@pytest.mark.slow
def test_shares_go_on_whole_and_whole_weights_in_shares(corpus: list[str], tmp_path: Path) -> None:
    """Also where a batch has a row for one process only."""
    small: dict[str, Setting] = {**STEADY, "training.batch_tokens": 8, "training.save_every": 10}
    changes: dict[str, Setting] = {**small, "training.max_steps": 30, "training.valid_every": 30}
    run_training(tmp_path / "1", tiny(corpus, changes))
    where = tmp_path / "run"
    for steps, processes, fsdp in ((10, 2, "true"), (20, 1, "true"), (30, 2, "true")):
        run(processes, words(corpus, where, {**changes, "training.max_steps": steps, "training.fsdp": fsdp}))
    assert furthest(losses(tmp_path / "1"), losses(where), 30) < 1e-5


@pytest.mark.slow
def test_hosts_train_together(tmp_path: Path) -> None:
    """On two and three hosts as on one; a cut cable ends all, and they go on."""
    tried = subprocess.run([ROOT / "tests/bench/hosts.sh", sys.executable], capture_output=True, text=True)
    if tried.returncode == 77:
        pytest.skip(tried.stdout.strip())
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "cable cut: all processes have ended" in tried.stdout


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_saved_by_two_goes_on_with_others(processes: int, corpus: list[str], tmp_path: Path) -> None:
    changes: dict[str, Setting] = {**STEADY, "training.max_epochs": 2, "training.max_steps": 1000}
    ears = {"SEEN": str(tmp_path / "seen")}
    (tmp_path / "seen").mkdir()
    run_training(tmp_path / "alone", tiny(corpus, changes))
    usual = losses(tmp_path / "alone")
    where = tmp_path / "run"
    run(2, words(corpus, where, {**changes, "training.max_steps": max(usual) // 3}), ears, script=True)
    run(processes, words(corpus, where, changes), ears, script=True)
    assert furthest(usual, losses(where), 20) < 1e-5
    assert furthest(usual, losses(where), 100) < 1e-4
    counts = seen(tmp_path / "seen")
    texts = list(ParallelCorpus(corpus, tiny(corpus).data))
    assert sum(counts.values()) % 2 == 0
    assert {count % 2 for count in counts.values()} == {0}  # in two epochs
    assert sum(counts.values()) // 2 > 0.9 * len(texts)


# ---- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_named(rank: int, corpus: list[str], tmp_path: Path) -> None:
    command = words(corpus, tmp_path / "run", {**LONG, "training.max_steps": 100_000})
    started = start(2, command)
    wait_for(tmp_path / "run", "step 21 ")
    os.kill(pids(started.pid)[rank], signal.SIGKILL)
    before = time.monotonic()
    code, told = end(started)
    assert code != 0
    assert time.monotonic() - before < GONE
    assert re.search(rf"error: rank {1 - rank} on \S+: rank {rank} on \S+: killed.*\(exit code 5\)", told), told


def test_a_new_meeting_has_a_name_of_its_own() -> None:
    """torchrun keeps the store where it starts processes again, with what their predecessors have said."""
    store, names = dist.HashStore(), list[set[str]]()
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            later = [pool.submit(world._agree, Rank(rank, 3, rank, 3), store) for rank in (1, 2)]
            time.sleep(0.1)
            names.append({each.result(10) for each in (*later, pool.submit(world._agree, Rank(0, 3, 0, 3), store))})
    assert [len(found) for found in names] == [1, 1, 1]
    assert len(set.union(*names)) == 3


@pytest.mark.slow
def test_torchrun_starts_again_what_was_killed(corpus: list[str], tmp_path: Path) -> None:
    changes = {**LONG, "training.max_steps": 150}
    started = start(2, words(corpus, tmp_path / "run", changes), restarts=2)
    for step, rank in ((30, 1), (90, 0)):
        wait_for(tmp_path / "run", f"step {step} ")
        os.kill(pids(started.pid)[rank], signal.SIGKILL)
    code, told = end(started)
    assert code == 0, but_steps(told)
    assert told.count("resuming at step") == 2, but_steps(told)
    assert "did not find each other" not in told
    run(2, words(corpus, tmp_path / "whole", changes))
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_a_stopped_process_is_named(corpus: list[str], tmp_path: Path) -> None:
    started = start(2, words(corpus, tmp_path / "run", {**LONG, "training.max_steps": 100_000}))
    wait_for(tmp_path / "run", "step 21 ")
    os.kill(pids(started.pid)[1], signal.SIGSTOP)
    before = time.monotonic()
    _, told = end(started)
    assert re.search(r"error: rank 0 on \S+: rank 1 on \S+: .*stopped.*no sign of it for \d\d s", told), told
    assert time.monotonic() - before < 2 * GONE  # torchrun itself waits 30 s for the stopped one


@pytest.mark.slow
def test_a_process_that_fails_tells_the_others_why(corpus: list[str], tmp_path: Path) -> None:
    started = start(2, words(corpus, tmp_path / "run", STEADY), {"FAILS": "1"}, script=True)
    code, told = end(started, timeout=GONE)
    why = "corpus.txt: unreadable here; copy it again"
    assert code != 0
    assert re.search(rf"rank 1 on \S+: {why} \(exit code 3\)", told), told
    assert re.search(rf"rank 0 on \S+: rank 1 on \S+: {why}; the same command.*\(exit code 5\)", told), told


@pytest.mark.slow
def test_what_is_wrong_with_a_corpus_ends_all(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    (tmp_path / "text.de").write_text("one line\n")
    code, told = end(start(2, words(corpus, tmp_path / "run")), timeout=GONE)
    assert code != 0
    assert re.search(r"rank 0 on \S+: .*text\.de.*\(exit code 3\)", told), told


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_any_process_saves(rank: int, number: int, corpus: list[str], tmp_path: Path) -> None:
    started = start(2, words(corpus, tmp_path / "run", {**LONG, "training.max_steps": 100_000}))
    wait_for(tmp_path / "run", "step 21 ")
    os.kill(pids(started.pid)[rank], number)
    before = time.monotonic()
    _, told = end(started)
    assert time.monotonic() - before < GONE
    step = re.search(r"interrupted: step (\d+) is saved", told)
    assert step, told
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(step[1]):08d}").is_dir()
    assert re.findall(r"rank (\d) on \S+: interrupted \(exit code (\d+)\)", told), told
    assert set(re.findall(r"interrupted \(exit code (\d+)\)", told)) == {str(128 + number)}


@pytest.mark.slow
def test_time_is_up_for_all_at_once(corpus: list[str], tmp_path: Path) -> None:
    changes = {**STEADY, "training.max_steps": 100_000, "training.max_time": 25}
    told = run(2, words(corpus, tmp_path / "run", changes))
    assert "training ended: max_time 25 s" in told
    again = run(2, words(corpus, tmp_path / "run", changes))
    assert "finished; to go on raise" in again
