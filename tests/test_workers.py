"""Tasks are done side by side, by threads or by processes, and nothing of them is lost or left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nmt.device import Compute
from nmt.errors import OptionError, ResourceError
from nmt.workers import Processes, Workers

CPU = torch.device("cpu")
ON_CPU = Compute(CPU, torch.float32)
FORKS = pytest.mark.skipif(sys.platform != "linux", reason="threads do it there")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The tests of other modules expect one thread."""
    yield
    torch.set_num_threads(1)


# ---- threads ----------------------------------------------------------------------------------------------------


def threads_of(threads: int) -> Workers:
    torch.set_num_threads(threads)
    return Workers(Compute(CPU, torch.float32))


def test_answers_come_in_the_order_of_the_tasks_whichever_is_done_first() -> None:
    """The first task waits for the second, which only another thread can do meanwhile."""
    second = threading.Event()

    def answer(task: int) -> tuple[int, bool]:
        if task == 1:
            second.set()
        return 10 * task, task != 0 or second.wait(timeout=10)

    assert list(threads_of(2).map(answer, range(7))) == [(10 * task, True) for task in range(7)]


@pytest.mark.parametrize(("threads", "tasks", "elsewhere"), [(2, 2, True), (2, 9, True), (2, 1, False), (1, 9, False)])
def test_tasks_run_on_other_threads_only_where_there_are_several_of_both(
    threads: int, tasks: int, elsewhere: bool
) -> None:
    used = set(threads_of(threads).map(lambda _: threading.get_ident(), range(tasks)))
    assert (threading.get_ident() in used) == (not elsewhere)
    assert len(used) <= threads


def test_a_device_that_one_thread_keeps_busy_is_given_one_task_after_the_other() -> None:
    torch.set_num_threads(2)
    on_gpu = Workers(Compute(torch.device("cuda"), torch.float32))
    assert set(on_gpu.map(lambda _: threading.get_ident(), range(5))) == {threading.get_ident()}


def test_no_tasks_no_answers() -> None:
    assert list(threads_of(2).map(str, [])) == []


def test_each_task_computes_on_one_core_and_the_caller_on_as_many_as_before() -> None:
    side_by_side = threads_of(2)
    assert list(side_by_side.map(lambda _: torch.get_num_threads(), range(5))) == [1] * 5
    assert torch.get_num_threads() == 2
    assert list(side_by_side.map(lambda _: torch.get_num_threads(), range(1))) == [2]


@pytest.mark.parametrize(("threads", "most", "count", "each"), [(6, 2, 2, 3), (2, 4, 2, 1), (3, 1, 1, 3)])
def test_few_workers_share_out_all_cores(threads: int, most: int, count: int, each: int) -> None:
    torch.set_num_threads(threads)
    few = Workers(Compute(CPU, torch.float32), most)
    assert few.count == count
    assert list(few.map(lambda _: torch.get_num_threads(), range(5))) == [each] * 5


@pytest.mark.parametrize(("threads", "tasks"), [(2, 5), (2, 1), (1, 5)])
def test_what_goes_wrong_in_a_task_reaches_the_caller(threads: int, tasks: int) -> None:
    def fail(task: int) -> int:
        if task == tasks - 1:
            raise OptionError(f"task {task}")
        return task

    side_by_side = threads_of(threads)
    answers = side_by_side.map(fail, range(tasks))
    assert [next(answers) for _ in range(tasks - 1)] == [*range(tasks - 1)]
    with pytest.raises(OptionError, match=f"task {tasks - 1}"):
        next(answers)
    assert list(side_by_side.map(str, range(3))) == ["0", "1", "2"]  # and the next tasks are done all the same


# ---- processes --------------------------------------------------------------------------------------------------


def processes(function: Callable[[int], object], threads: int = 2) -> Processes[int, object]:
    torch.set_num_threads(threads)
    return Processes(function, ON_CPU)


def slowest_first(task: int) -> int:
    time.sleep(0.1 * (task == 0))
    return 10 * task


def test_answers_of_processes_come_in_the_order_of_the_tasks() -> None:
    assert list(processes(slowest_first).map(range(7))) == [10 * task for task in range(7)]


@FORKS
@pytest.mark.parametrize(("threads", "tasks", "elsewhere"), [(2, 2, True), (3, 9, True), (2, 1, False), (1, 9, False)])
def test_other_processes_do_the_tasks_only_where_there_are_several_cores_and_tasks(
    threads: int, tasks: int, elsewhere: bool
) -> None:
    used = set(processes(lambda _: os.getpid(), threads).map(range(tasks)))  # a function that cannot be pickled
    assert (os.getpid() in used) == (not elsewhere)
    assert len(used) <= threads


@FORKS
def test_each_process_computes_on_one_core_and_keeps_what_it_changes() -> None:
    seen = list[int]()

    def change(task: int) -> int:
        seen.append(task)
        return torch.get_num_threads()

    assert list(processes(change).map(range(5))) == [1] * 5
    assert (seen, torch.get_num_threads()) == ([], 2)


@FORKS
def test_processes_leave_ctrl_c_to_the_first() -> None:
    left = processes(lambda _: signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
    assert list(left.map(range(3))) == [True] * 3
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_a_gpu_is_left_to_one_process() -> None:
    torch.set_num_threads(2)
    on_gpu = Processes[int, int](lambda _: os.getpid(), Compute(torch.device("cuda"), torch.float32))
    assert set(on_gpu.map(range(5))) == {os.getpid()}


def fail_at_three(task: int) -> int:
    if task == 3:
        raise OptionError(f"task {task}")
    return task


def test_what_goes_wrong_in_a_process_reaches_the_caller() -> None:
    pool = processes(fail_at_three)
    answers = pool.map(range(5))
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OptionError, match="task 3"):
        next(answers)
    assert list(pool.map(range(3))) == [0, 1, 2]  # and the next tasks are done all the same


@FORKS
def test_a_process_that_is_killed_is_told_and_not_waited_for() -> None:
    pool = processes(lambda task: os.kill(os.getpid(), signal.SIGKILL) if task else task)
    with pytest.raises(ResourceError, match="was killed; give it more memory, or lower --threads"):
        list(pool.map(range(4)))


ENDLESS = """
    import os, time, torch
    from pathlib import Path
    from nmt.device import Compute
    from nmt.workers import Processes

    def work(task):
        Path(str(os.getpid())).touch()
        time.sleep(60)

    torch.set_num_threads(2)
    list(Processes(work, Compute(torch.device("cpu"), torch.float32)).map(range(40)))
"""


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize(("how", "told"), [(signal.SIGKILL, 0), (signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_when_the_first_process_ends_so_do_the_others_at_once(how: signal.Signals, told: int, tmp_path: Path) -> None:
    """Ctrl-C reaches all of them, as a terminal sends it, and the first alone tells of it."""
    program = [sys.executable, "-c", textwrap.dedent(ENDLESS)]
    (tmp_path / "pids").mkdir()
    with (tmp_path / "stderr").open("w") as stderr:
        first = subprocess.Popen(program, cwd=tmp_path / "pids", stderr=stderr, start_new_session=True)
    others = until(lambda: [int(file.name) for file in (tmp_path / "pids").iterdir()], lambda pids: len(pids) == 2)
    (os.killpg if how == signal.SIGINT else os.kill)(first.pid, how)
    assert first.wait(timeout=10) != 0
    assert until(lambda: [pid for pid in others if runs(pid)], lambda pids: not pids) == []
    assert (tmp_path / "stderr").read_text().count("Traceback") == told


def until(look: Callable[[], list[int]], enough: Callable[[list[int]], bool]) -> list[int]:
    """Look until it is enough, for 20 seconds at most."""
    end = time.monotonic() + 20
    while not enough(seen := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False
