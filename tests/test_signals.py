"""The first signal is obeyed where nothing is half done, the second at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from trainings import ROOT, heard

from nmt.training.signals import Interrupt, Interrupted

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    with heard():
        yield


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def obey(number: int, done: list[str], error: type[Exception] | None = None) -> None:
    """Receive a signal two levels deep inside what must not be left half done, or where nothing is."""
    with Interrupt() as interrupt:
        if not done:
            send(number)
            done.append("went on")
        with interrupt.deferred():
            with interrupt.deferred():
                send(number)
                done.append("inner")
                if error:
                    raise error
            done.append("outer")
        done.append("went on")


@pytest.mark.parametrize("number", CODES)
def test_a_signal_is_obeyed_at_once_between_steps(number: signal.Signals) -> None:
    done: list[str] = []
    with pytest.raises(Interrupted) as leaving:
        obey(number, done)
    assert done == []
    assert leaving.value.exit_code == CODES[number]


@pytest.mark.parametrize("number", CODES)
def test_a_step_is_finished_first_and_what_it_is_inside_of(number: signal.Signals) -> None:
    done = ["before"]
    with pytest.raises(Interrupted) as leaving:
        obey(number, done)
    assert done == ["before", "inner", "outer"]
    assert leaving.value.exit_code == CODES[number]


def test_an_error_inside_is_not_hidden_by_a_signal() -> None:
    with pytest.raises(ZeroDivisionError):
        obey(signal.SIGTERM, ["before"], ZeroDivisionError)


def test_it_is_no_error_that_a_general_handler_would_swallow() -> None:
    assert not issubclass(Interrupted, Exception)


def test_what_was_ignored_stays_ignored() -> None:
    """As nohup does with SIGHUP, and shells with SIGINT in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


SECOND = """
import os, signal, sys
from nmt.training.signals import Interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
with Interrupt() as interrupt, interrupt.deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("went on", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", SECOND, str(int(number))]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "still here\n"
    assert ended.returncode == -number


def test_a_signal_that_is_taken_is_the_callers() -> None:
    with Interrupt() as interrupt:
        with interrupt.deferred():
            assert interrupt.taken() == 0
            send(signal.SIGTERM)
            assert interrupt.taken() == signal.SIGTERM
            assert interrupt.taken() == 0
        with interrupt.deferred():
            pass


def test_a_process_that_ends_obeys_no_signal() -> None:
    with Interrupt() as interrupt, interrupt.deferred():
        send(signal.SIGTERM)
        interrupt.ignore()
        send(signal.SIGTERM)
        send(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert signal.getsignal(number) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
