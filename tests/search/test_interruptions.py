"""A trial that is interrupted at any step goes on as if it had not been."""

import pytest
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Worker, replay, trial_record
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


def first_trial(worker):
    from lightning_hparams.search.claims import claim

    return claim(worker.study, worker.me, worker.limits, {"threads": 1})
