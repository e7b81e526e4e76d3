"""Processes that a strategy starts, and a signal to the one that waits for them."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing import start_processes

from lightning_hparams.cli.children import Children


class _MultiProcessingLauncher:
    """Has the name of Lightning's."""


def trainer(launcher):
    return SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))


def train(rank, said, obeys):
    """Train until asked to stop, or on and on."""
    asked = []

    def ask(*_):
        asked.append(rank)
        said.release()

    signal.signal(signal.SIGTERM, ask)
    said.release()
    while not (asked and obeys):
        time.sleep(0.01)
    sys.exit(143)


def started(obeys=True):
    """Two processes that have begun, and what they release when they are asked to stop."""
    said = multiprocessing.get_context("fork").Semaphore(0)
    context = start_processes(train, (said, obeys), nprocs=2, join=False, start_method="fork")
    for _ in context.processes:
        said.acquire()
    return context, said


def launch(children, context, *signals):
    """Wait for the processes as Lightning does, with signals to this one."""
    with children.passing_on(trainer(_MultiProcessingLauncher())):
        for number in signals:
            signal.raise_signal(number)
        while not context.join():
            pass


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SIGTERMException), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_is_passed_on_and_raised_after_the_processes_have_ended(number, raised):
    before, children, context = signal.getsignal(number), Children(), started()[0]
    with pytest.raises(raised):
        launch(children, context, number)
    assert [each.exitcode for each in context.processes] == [143, 143]
    assert children.stopped
    assert signal.getsignal(number) == before


def test_a_second_signal_kills_the_processes():
    children, (context, said) = Children(), started(obeys=False)

    def again():
        said.acquire()
        time.sleep(0.5)  # by now, the first call waits
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=again)
    thread.start()
    with pytest.raises(SIGTERMException):
        launch(children, context, signal.SIGTERM)
    thread.join()
    assert [each.exitcode for each in context.processes] == [-signal.SIGKILL] * 2
    assert not children.stopped


def test_processes_that_were_asked_without_this_one_end_it_too():
    children, context = Children(), started()[0]
    for each in context.processes:
        each.terminate()
    with pytest.raises(SIGTERMException):
        launch(children, context)
    assert children.stopped


def test_signals_are_left_to_lightning_for_other_strategies():
    before = signal.getsignal(signal.SIGTERM)
    with Children().passing_on(trainer(None)):
        assert signal.getsignal(signal.SIGTERM) == before
