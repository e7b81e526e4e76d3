"""The command of a worker tells a scheduler by its exit code whether there is more to do."""

import os
import subprocess
import sys
import time

import pytest
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search
from tests.search import tiny


@pytest.mark.parametrize("signal", ["TERM", "USR1"])
def test_a_worker_that_is_asked_to_stop_fails_and_one_that_finds_the_end_does_not(tmp_path, signal):
    base = Configuration.load(tiny.configuration(epochs=4, pause=0.05))
    study = Search.of(base, tiny.settings(tmp_path, trials=1)).prepare()
    command = [sys.executable, "-m", "lightning_hparams.search.worker", str(tmp_path)]
    worker = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ.copy())
    end = time.monotonic() + 60
    while not any(trial.intermediate_values for trial in study.trials):
        assert time.monotonic() < end
        time.sleep(0.05)
    subprocess.run(["kill", f"-{signal}", str(worker.pid)], check=True)
    assert worker.wait(10) == 143
    assert study.trials[0].state == TrialState.WAITING
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
