"""A trial that is interrupted at any step goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Worker, find_study, replay, trial_record
from tests.search import tiny


class After:
    """Asks to stop when the time has been looked at so often, which happens after each step."""

    def __init__(self, looks):
        self.looks = looks

    def __call__(self):
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize(
    ("interval", "steps"), [(1.0, 0), (1.0, 2), (1.0, 3), (1.0, 4), (0.5, 1), (0.5, 2)]
)
def test_an_interrupted_trial_repeats_exactly_with_all_of_its_reports(interval, steps, tmp_path):
    given = tiny.configuration(2, {"val_check_interval": interval}, data={"rows": 128})
    base = Configuration.load(given)
    study = Search.of(base, tiny.settings(tmp_path / "study", trials=1)).prepare()
    first = Worker(study, base, own_process=False)
    first.stop.due = After(steps)
    asked = first_trial(first)
    assert first.run_one(asked) in ("waiting", "complete")
    Worker(study, base, own_process=False).run()
    (trial,) = study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert len(trial.intermediate_values) == 2 / interval
    assert "kills" not in trial.user_attrs
    record = trial_record(tmp_path / "study", 0)
    assert len(record["reports"]) == 2 / interval
    assert replay(tmp_path / "study", 0).equal


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SIGTERMException)],
)
def test_a_repetition_that_is_interrupted_ends_as_a_training_does(
    number, error, tmp_path, monkeypatch
):
    base = Configuration.load(tiny.configuration(2))
    Search.of(base, tiny.settings(tmp_path, trials=1)).run(in_this_process=True)
    monkeypatch.setattr(tiny.Net, "on_train_epoch_end", lambda self: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(error):
        replay(tmp_path, 0)
    assert signal.getsignal(number) == before


def first_trial(worker):
    from lightning_hparams.search.claims import claim

    return claim(worker.study, worker.me, worker.limits, {"threads": 1})


@pytest.mark.slow
def test_a_signal_stops_a_trial_in_two_processes_which_goes_on_where_it_was(tmp_path):
    folder, log = tmp_path / "study", tmp_path / "log"
    two = tiny.configuration(4, {"devices": 2, "strategy": "ddp"}, pause=0.1, log=str(log))
    Search.of(Configuration.load(two), tiny.settings(folder, trials=1)).prepare()
    log.unlink()  # with the epoch of the probe
    worker = started(folder)
    end = time.monotonic() + 120
    while not log.is_file() and worker.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    others = psutil.Process(worker.pid).children(recursive=True)
    asked = time.monotonic()
    worker.terminate()
    _, err = worker.communicate(timeout=60)
    assert worker.returncode in (143, 76), err  # 76: a loaded machine was too slow to save
    assert time.monotonic() - asked < 5
    assert not psutil.wait_procs(others, timeout=5)[1]
    assert [one.state for one in find_study(folder).get_trials()] == [TrialState.WAITING]

    again = started(folder)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert [one.state for one in find_study(folder).get_trials()] == [TrialState.COMPLETE]
    epochs = [line.split()[1] for line in log.read_text().splitlines()]
    assert len(set(epochs)) == 4
    given_up = worker.returncode == 76
    assert len(epochs) - 2 * 4 in ([0, 1, 2] if given_up else [0])  # both processes write
    assert replay(folder, 0).equal


def started(folder):
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lightning_hparams.search.worker", str(folder)]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
