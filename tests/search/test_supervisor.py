"""Worker processes that are started, replaced and stopped."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from lightning_hparams.search import find_study, replay
from lightning_hparams.search.dealing import deal
from lightning_hparams.search.owners import Owner, is_dead
from tests.search.supervised import EPOCHS, TRIALS


def start(folder):
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.search.supervised", str(folder)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, cwd=folder)


def epochs(folder):
    log = Path(f"{folder}.log")
    lines = log.read_text().splitlines() if log.is_file() else []
    return Counter(tuple(line.split()[:2]) for line in lines)


def until(folder, count, seconds=120):
    """Wait until so many epochs were trained."""
    end = time.monotonic() + seconds
    while sum(epochs(folder).values()) < count and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_search_goes_on_after_ctrl_c_the_death_of_a_worker_and_that_of_the_whole_tree(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()

    running = start(folder)
    until(folder, 4)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60)[0].strip() == "stopped"
    states = [one.state for one in find_study(folder).get_trials()]
    assert TrialState.WAITING in states
    assert TrialState.RUNNING not in states

    running = start(folder)
    until(folder, 10)
    tree = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
    for process in tree:
        process.kill()
    running.communicate(timeout=30)

    running = start(folder)
    until(folder, 15)
    worker = psutil.Process(running.pid).children()[0]
    worker.kill()
    assert running.communicate(timeout=200)[0].strip() == "finished"

    trials = find_study(folder).get_trials()
    assert [one.state for one in trials] == [TrialState.COMPLETE] * TRIALS
    repeated = sum(epochs(folder).values()) - TRIALS * EPOCHS
    assert repeated <= 3  # workers that were killed
    for number in range(TRIALS):
        comparison = replay(folder, number)
        assert comparison.equal, comparison.summary()


def test_cores_and_gpus_are_dealt_out_without_overlap():
    shares = deal(3, range(8), ["0", "1", "2", "3"])
    assert sorted(core for share in shares for core in share.cores) == list(range(8))
    assert sorted(gpu for share in shares for gpu in share.gpus) == ["0", "1", "2", "3"]
    assert [share.environment["OMP_NUM_THREADS"] for share in shares] == ["2"] * 3


def test_more_workers_than_cores_share_them():
    assert [share.cores for share in deal(4, [0, 1])] == [()] * 4
    assert [share.threads for share in deal(4, [0, 1])] == [1] * 4


def test_a_worker_is_dead_once_its_process_has_ended():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = Owner.me()
    from lightning_hparams.search.owners import _born

    other = Owner(me.place, process.pid, _born(process.pid) or 0).to_mapping()
    assert is_dead(other) is False
    process.communicate(b"\n")
    assert is_dead(other) is True


def test_a_later_process_with_the_same_number_is_another_one():
    me = Owner.me().to_mapping()
    assert is_dead(me) is False
    assert is_dead({**me, "born": 1}) is True


def test_nothing_is_known_of_a_process_on_another_machine():
    assert is_dead({**Owner.me().to_mapping(), "place": "elsewhere"}) is None
    assert is_dead(None) is None
