"""A worker that has run many trials is like a new one."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lightning_hparams import Choice, Float
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Space, Worker
from tests.search import tiny

FAIL = "model.init_args.fail"
REPLAY = """
import json, sys
from lightning_hparams import replay
print(json.dumps([replay(sys.argv[1], int(number)).equal for number in sys.argv[2:]]))
"""


def resident():
    """Memory of this process in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_trials_of_a_long_worker_equal_new_processes_and_its_memory_stays_flat(tmp_path):
    base = Configuration.load(tiny.configuration(1))
    space = Space(
        {
            FAIL: Choice([None, "broken", "nan"]),
            "model.init_args.lr": Float(0.01, 0.5, log=True),
            "model.init_args.dropout": Float(0.0, 0.5),
        }
    )
    presets = [{FAIL: how} for how in [None] * 4 + ["broken"] + [None] * 14 + ["nan"] + [None] * 31]
    settings = tiny.settings(
        tmp_path / "study", trials=len(presets), space=space, presets=presets
    )  # fmt: skip
    study = Search.of(base, settings).prepare()
    worker, memory = Worker(study, base, own_process=False), []
    run_one = worker.run_one

    def measured(asked):
        found = run_one(asked)
        memory.append(resident())
        return found

    worker.run_one = measured
    worker.run()
    assert len(memory) == 51
    assert memory[-1] - memory[10] < 10, memory
    states = [one.state for one in study.get_trials()]
    assert [states[number] for number in (4, 19)] == [TrialState.PRUNED] * 2
    repeated = subprocess.run(
        [sys.executable, "-c", REPLAY, str(tmp_path / "study"), "1", "5", "20"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(repeated.stdout.splitlines()[-1]) == [True] * 3


@pytest.mark.slow
def test_ten_trials_repeat_exactly(tmp_path):
    from lightning_hparams.search import replay

    base = Configuration.load(tiny.configuration(2))
    settings = tiny.settings(tmp_path / "study", trials=10, pruner="median")
    results = Search.of(base, settings).run(in_this_process=True)
    for trial in results.trials:
        comparison = replay(results.folder, trial.number)
        assert comparison.equal, comparison.summary()
