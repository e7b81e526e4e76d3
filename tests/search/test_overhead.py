"""What a trial costs beside its training, counted rather than timed."""

import gc
import sys
import weakref
from datetime import datetime

import pytest
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.provenance import facts, load_manifest
from lightning_hparams.search import Search, Worker, open_study, trial_record
from lightning_hparams.search.claims import claim, finish, hand_back
from lightning_hparams.search.ending import Limits
from lightning_hparams.search.owners import Owner
from lightning_hparams.search.process_state import leaving_out_what_stays
from lightning_hparams.search.trial import Report
from tests.search import tiny

IMMORTAL = 500 if sys.version_info[:2] == (3, 12) else 0  # as good as frozen, to Python 3.12


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The folder of a study of two trials, and what was counted in it."""
    base = Configuration.load(tiny.configuration(1, trainer={"logger": True}))
    settings = tiny.settings(tmp_path_factory.mktemp("overhead") / "study", trials=2)
    study = Search.of(base, settings).prepare()
    worker = Worker(study, base, own_process=False)
    found = {"looks": 0, "configurations": 0, "frozen": []}

    def repository():
        found["looks"] += 1
        return {"commit": f"look {found['looks']}"}

    def checked(self, given, make=Configuration.__init__):
        found["configurations"] += 1
        make(self, given)

    def watched(self, asked, run=Worker.run_one):
        found["frozen"].append(gc.get_freeze_count() > IMMORTAL)
        return run(self, asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "repository", repository)
        patch.setattr(Configuration, "__init__", checked)
        patch.setattr(Worker, "run_one", watched)
        worker.run()
    return settings.folder, found


def test_all_trials_of_a_worker_name_the_code_that_it_began_with(counted):
    folder, found = counted
    for number in range(2):
        record = trial_record(folder, number)
        assert record["versions"]["git"] == {"commit": "look 1"}
        manifest, _ = load_manifest(folder / "trials" / str(number))
        assert manifest["git"] == {"commit": "look 1"}
    assert found["looks"] == 1


def test_a_trial_checks_its_configuration_twice(counted):
    _, found = counted
    assert found["configurations"] <= 2 * 2


def test_later_trials_collect_garbage_only_among_what_they_made(counted):
    _, found = counted
    assert found["frozen"] == [False, True]
    assert gc.get_freeze_count() <= IMMORTAL


class Node:
    """Something that only a collection frees."""

    def __init__(self):
        self.itself = self


def test_what_is_made_later_is_collected():
    with leaving_out_what_stays() as leave_out:
        leave_out()
        kept = gc.get_freeze_count()
        made = weakref.ref(Node())
        gc.collect()
        assert made() is None
        held = [Node() for _ in range(1000)]
        leave_out()
        assert IMMORTAL < gc.get_freeze_count() <= kept
        del held


def test_what_the_program_left_out_itself_stays_left_out():
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        held = [Node() for _ in range(1000)]
        with leaving_out_what_stays() as leave_out:
            leave_out()
        assert IMMORTAL < gc.get_freeze_count() <= before
        del held
    finally:
        gc.unfreeze()


def claimed(study, me):
    asked = claim(study, me, Limits.of(study.settings, None, datetime.now()))
    return asked.trial, Report(study, asked.trial, (), me)


def test_a_report_reads_the_trials_once_and_draws_nothing(tmp_path, monkeypatch):
    study = open_study(tiny.settings(tmp_path, sampler="tpe", pruner="median"))
    _, report = claimed(study, Owner.me())
    calls = []
    for kind, name in ((type(study), "get_trials"), (type(study.sampler), "before_trial")):
        function = getattr(kind, name)

        def counted(*args, name=name, function=function, **options):
            calls.append(name)
            return function(*args, **options)

        monkeypatch.setattr(kind, name, counted)
    assert not report(0, 1.0)
    assert calls == ["get_trials"]  # by the pruner


def test_a_trial_that_another_worker_has_taken_over_is_left_alone(any_url, tmp_path):
    study = open_study(tiny.settings(tmp_path, storage=any_url))
    me, other = Owner.me(0), Owner.me(1)
    trial, report = claimed(study, me)
    assert not report(0, 1.0)
    study.database.set_trial_user_attr(study.database_id(trial), "worker", other.to_mapping())
    assert report(1, 2.0)  # to stop
    assert not finish(study, trial.number, me, TrialState.COMPLETE, 1.0)
    assert not hand_back(study, trial.number, me)
    (stored,) = [one for one in study.get_trials() if one.state == TrialState.RUNNING]
    assert stored.intermediate_values == {0: 1.0}
    assert hand_back(study, trial.number, other)
