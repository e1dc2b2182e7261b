"""A stream of tasks is done by copies of this process: in order, in bounded memory, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time

import pytest

from nmt.errors import DataError, ResourceError
from nmt.processes import AHEAD, cores, in_order

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be copied there")


def test_answers_come_in_the_order_of_the_tasks() -> None:
    def slowest_first(task: int) -> int:
        time.sleep(0.1 * (task == 0))
        return 10 * task

    assert list(in_order(slowest_first, range(50), 3)) == [10 * task for task in range(50)]


@pytest.mark.parametrize(("count", "tasks", "elsewhere"), [(2, 9, True), (2, 2, True), (2, 1, False), (1, 9, False)])
def test_other_processes_do_the_tasks_only_where_there_are_several_of_both(
    count: int, tasks: int, elsewhere: bool
) -> None:
    used = set(in_order(lambda _: os.getpid(), range(tasks), count))  # a function that cannot be pickled
    assert (os.getpid() in used) == (not elsewhere)
    assert len(used) <= count


def test_no_more_tasks_are_read_than_keep_the_processes_busy() -> None:
    tasks = iter(range(1, 101))
    answers = in_order(abs, tasks, 2)
    for number in range(1, 10):
        assert next(answers) == number
        assert 100 - tasks.__length_hint__() <= number + AHEAD * 2
    answers.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_what_goes_wrong_reaches_the_caller_and_leaves_no_process() -> None:
    def refuse(task: int) -> int:
        if task == 5:
            raise DataError("corpus:5: broken; mend it")
        return task

    answers = in_order(refuse, range(100), 2)
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="corpus:5"):
        next(answers)
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_a_resource_error() -> None:
    def die(task: int) -> int:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(ResourceError, match="a process was killed; give the machine more memory"):
        list(in_order(die, range(10), 2))


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(allowed)])
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
