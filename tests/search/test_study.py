"""A study begins with what is known, creates each trial once, and goes on where it stopped."""

import json
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from lightning_hparams.search import (
    Choice,
    Float,
    Int,
    SearchSettings,
    Space,
    load_study,
    next_trial,
    open_study,
    root_number,
)

LR = "model.init_args.lr"
SPACE = Space({LR: Float(1e-4, 1, log=True, prior=0.01), "a.b": Int(1, 100)})
GRID = Space({"a.b": Int(1, 4), "a.c": Choice(["x", None, [1, 2]])})
SAMPLERS = ["random", "tpe", "gp", "cmaes", "qmc"]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def settings(tmp_path):
    def make(**changes):
        good = {"metric": "loss/val", "mode": "min", "space": SPACE, "trials": 12}
        return SearchSettings(**{**good, "folder": tmp_path, **changes})

    return make


def run(study, most=1000):
    """Run trials to their end, and return their values."""
    found = []
    while len(found) < most and (asked := next_trial(study)) is not None:
        found.append(asked.params)
        study.tell(asked.trial, float(asked.trial.number))
    return found


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(settings, tmp_path, sampler):
    space = Space({"a.a": Float(0, 1), "a.b": Float(0, 1), "a.c": Float(1, 9, log=True)})
    at_once = run(open_study(settings(space=space, sampler=sampler, folder=tmp_path / "1")))
    chosen = settings(space=space, sampler=sampler, folder=tmp_path / "2")
    in_parts = [params for _ in range(4) for params in run(open_study(chosen), 3)]
    assert in_parts == at_once
    assert len({json.dumps(params) for params in at_once}) == 12  # no draw is repeated


def test_another_seed_draws_otherwise(settings, tmp_path):
    one = run(open_study(settings(sampler="random", seed=1, folder=tmp_path / "1")))
    other = run(open_study(settings(sampler="random", seed=2, folder=tmp_path / "2")))
    assert one != other


def test_values_under_a_condition_are_drawn_anew_for_each_trial(settings):
    when = {"a.a": "x"}
    space = Space({"a.a": Choice(["x", "y"]), "a.b": Float(0, 1, when=when), "a.c": Float(0, 1)})
    points = run(open_study(settings(space=space, sampler="qmc", trials=40)))
    drawn = [point["a.b"] for point in points if point["a.a"] == "x"]
    assert len(set(drawn)) == len(drawn) > 5


def test_presets_and_priors_come_first_and_once(settings):
    chosen = settings(presets=[{LR: 0.5}, {LR: 0.25, "a.b": 7}])
    open_study(chosen)
    points = run(open_study(chosen))
    assert [point[LR] for point in points[:3]] == [0.5, 0.25, 0.01]
    assert points[1]["a.b"] == 7
    assert len(points) == 12
    origins = [trial.user_attrs.get("origin") for trial in open_study(chosen).trials]
    assert origins[:5] == ["preset 0", "preset 1", "prior", "near prior 0", "near prior 1"]
    assert set(origins[5:]) == {None}


def test_a_preset_of_the_literature_is_scaled_to_the_batch_and_checked(settings):
    chosen = settings(presets=["classification/resnet-imagenet"])
    assert run(open_study(chosen, batch_size=64), 1)[0][LR] == pytest.approx(0.025)
    small = Space({LR: Float(1e-4, 1e-2, log=True)})
    with pytest.raises(ValueError, match=r"resnet-imagenet' sets .* to 0.1, but the range is"):
        open_study(settings(space=small, name="small", presets=["classification/resnet-imagenet"]))
    with pytest.raises(ValueError, match="did you mean 'classification/resnet-imagenet'"):
        open_study(settings(presets=["classification/resnet-imagnet"]))
    with pytest.raises(ValueError, match="no value for the space"):
        open_study(settings(space=GRID, presets=["classification/resnet-imagenet"]))


def test_a_grid_is_covered_once_with_presets_and_a_resume(settings, any_url):
    presets = [{"a.c": [1, 2]}, {"a.b": 2, "a.c": None}]
    chosen = settings(space=GRID, sampler="grid", trials=None, presets=presets, storage=any_url)
    points = run(open_study(chosen), 5) + run(open_study(chosen))
    assert [point["a.c"] for point in points[:4]] == [[1, 2]] * 4
    assert points[4] == {"a.b": 2, "a.c": None}
    seen = sorted(map(json.dumps, points))
    assert seen == sorted(map(json.dumps, GRID.grid()))


WORK = """
import sys, optuna
from lightning_hparams.search import load_study, next_trial
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = load_study(sys.argv[1], "study")
while (asked := next_trial(study)) is not None:
    for epoch in (1, 2, 3):
        asked.trial.report(1 / epoch, epoch)
    study.tell(asked.trial, 1.0)
"""


def run_in_parallel(study, count=3):
    command = [sys.executable, "-c", WORK, study.settings.storage_url]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(count)]
    assert [worker.communicate()[1] for worker in workers] == [""] * count
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_parallel_workers_run_as_many_trials_as_asked(settings, any_url):
    study = open_study(settings(trials=16, storage=any_url))
    run_in_parallel(study)
    assert [trial.number for trial in study.trials] == list(range(16))


def test_a_grid_is_covered_once_by_parallel_workers_with_presets_after_a_resume(settings, any_url):
    chosen = settings(
        space=GRID, sampler="grid", trials=None, presets=[{"a.c": "x"}], storage=any_url
    )
    run(open_study(chosen), 2)
    study = open_study(chosen)
    run_in_parallel(study)
    points = [json.dumps(sorted(trial.params.items())) for trial in study.trials]
    assert len(points) == len(set(points)) == 12
    assert [trial.params["a.c"] for trial in study.trials[:4]] == ["x"] * 4


START = """
import sys, optuna
from lightning_hparams.search import SearchSettings, open_study
optuna.logging.set_verbosity(optuna.logging.WARNING)
space = {"a.b": {"type": "int", "low": 1, "high": 30}}
settings = dict(metric="loss/val", mode="min", space=space, sampler="grid", storage=sys.argv[1])
open_study(SearchSettings.from_mapping(settings))
"""


def test_a_study_that_several_processes_create_at_once_is_created_once(any_url):
    command = [sys.executable, "-c", START, any_url]
    starting = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in starting] == [""] * 4
    trials = load_study(any_url, "study", reading=True).trials
    assert [trial.user_attrs["origin"] for trial in trials] == [f"grid {i}" for i in range(30)]


def test_a_process_that_dies_while_it_creates_a_trial_leaves_nothing_behind(settings, any_url):
    study = open_study(settings(storage=any_url))
    before = len(study.trials)
    code = WORK.replace("study = ", "import os\nstudy = ", 1).replace(
        "while", "study.database.record_heartbeat = lambda number: os._exit(9)\nwhile", 1
    )
    command = [sys.executable, "-c", code, study.settings.storage_url]
    assert subprocess.run(command, check=False).returncode == 9
    trials = open_study(settings(storage=any_url)).trials
    assert len(trials) == before
    assert {trial.state for trial in trials} == {TrialState.WAITING}


def test_a_trial_of_three_parameters_and_eight_epochs_commits_at_most_twelve_times(settings):
    space = Space({"a.a": Float(0, 1), "a.b": Int(1, 9), "a.c": Choice(["x", "y"])})
    study = open_study(settings(space=space, trials=30, pruner="median"))
    run(study, 15)
    commits, writes = [], []

    def note_write(connection, cursor, statement, *others):
        if statement.startswith(("INSERT", "UPDATE")):
            writes.append(statement)

    def note_commit(connection):
        commits.append(bool(writes))
        writes.clear()

    event.listen(study.database.engine, "before_cursor_execute", note_write)
    event.listen(study.database.engine, "commit", note_commit)
    asked = next_trial(study)
    for epoch in range(1, 9):
        asked.trial.report(1 / epoch, epoch)
        asked.trial.should_prune()
    study.tell(asked.trial, 0.1)
    assert 8 < sum(commits) <= 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": Space({LR: Float(1e-4, 2, log=True)})}, r"\+ model.init_args.lr: .*high: 2"),
        ({"metric": "accuracy/val"}, "metric='loss/val', got 'accuracy/val'"),
        ({"mode": "max"}, "mode='min'"),
        ({"seed": 1}, "seed=0"),
        ({"lr_range_test": "factor"}, "lr_range_test=None"),
    ],
)
def test_a_study_is_not_resumed_as_another(settings, changes, words):
    open_study(settings())
    with pytest.raises(ValueError, match=words):
        open_study(settings(**changes))


def test_a_study_may_be_resumed_with_more_trials_and_another_sampler(settings):
    run(open_study(settings()))
    more = settings(trials=15, sampler="random", pruner="asha", workers=2)
    assert len(run(open_study(more))) == 3
    assert load_study(more.storage_url, "study", reading=True).settings.trials == 15


def test_the_stored_settings_hold_no_address_with_a_password(settings):
    database = settings().folder / "other.db"
    study = open_study(settings(storage=f"sqlite:///{database}"))
    assert database.is_file()
    assert json.loads(study.user_attrs["settings"])["storage"] is None


def test_a_retry_is_not_counted_as_another_trial(settings):
    study = open_study(settings(space=Space({"a.b": Int(1, 100)}), trials=3))
    failed = next_trial(study).trial
    study.tell(failed, state=TrialState.FAIL)
    history = {"failed_trial": failed.number, "retry_history": [failed.number]}
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, system_attrs=history))
    assert len(run(study)) == 3
    assert [root_number(trial) for trial in study.trials] == [0, 0, 2, 3]
