"""Workers run under Slurm, and lose nothing when it cancels them."""

import json
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search
from tests.search import tiny
from tests.search.slurm import cluster

ROOT = Path(__file__).parents[2]


def until(ready, seconds=90):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_job_that_is_cancelled_in_mid_trial_goes_on_when_submitted_again(tmp_path):
    log = tmp_path / "epochs.txt"
    base = Configuration.load(tiny.configuration(epochs=8, pause=0.05, log=str(log)))
    study = Search.of(base, tiny.settings(tmp_path / "study", trials=4)).prepare()
    log.unlink(missing_ok=True)  # of the look for the metric

    def trials(*states):
        return [trial for trial in study.get_trials(deepcopy=False) if trial.state in states]

    with cluster() as slurm:
        submit = ["sbatch", "--parsable", "--array=0-1", "--cpus-per-task=1"]
        submit += [f"--output={tmp_path}/%a.log", f"--chdir={ROOT}"]
        submit += [str(ROOT / "examples" / "slurm.sh"), str(tmp_path / "study")]
        environment = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

        job = slurm(*submit, **environment).strip()
        until(lambda: any(1 <= len(t.intermediate_values) <= 3 for t in trials(TrialState.RUNNING)))
        begun = {trial.number: trial.params for trial in trials(TrialState.RUNNING)}
        start = time.monotonic()
        slurm("scancel", job)
        until(lambda: not slurm("squeue", "-h").strip())
        assert time.monotonic() - start < 10
        assert trials(TrialState.RUNNING) == []
        # One may have ended between the look at it and the cancellation.
        back = [trial.number for trial in trials(TrialState.WAITING) if trial.number in begun]
        assert back

        slurm(*submit, **environment)
        until(lambda: not slurm("squeue", "-h").strip())
    done = trials(TrialState.COMPLETE)
    assert [trial.number for trial in done] == list(range(4)), _logs(tmp_path)
    assert all(trial.params == begun.get(trial.number, trial.params) for trial in done)
    epochs = [line.split()[:2] for line in log.read_text().splitlines()]
    repeated = len(epochs) - len({json.dumps(epoch) for epoch in epochs})
    assert len({json.dumps(epoch) for epoch in epochs}) == 4 * 8
    assert repeated <= len(back)  # at most the epoch in which each was cancelled


def _logs(folder):
    return "\n".join(path.read_text() for path in folder.glob("*.log"))
