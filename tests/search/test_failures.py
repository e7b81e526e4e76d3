"""Trials that fail, diverge or take too long, and the end of a study."""

import time
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState

from lightning_hparams import Choice, Float
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Space, replay, trial_record
from lightning_hparams.search.ending import Limits, complete, halted
from lightning_hparams.search.failures import Failure, repeated
from tests.search import tiny

FAIL = "model.init_args.fail"


def searched(folder, values, epochs=1, model=None, **changes):
    """A study whose trials fail in these ways, one after the other."""
    base = Configuration.load(tiny.configuration(epochs, **(model or {})))
    presets = [{FAIL: value} for value in values]
    space = Space({FAIL: Choice(sorted(set(values), key=str)), "model.init_args.lr": Float(0.1, 1)})
    settings = tiny.settings(
        folder / "study", trials=len(values), space=space, presets=presets, **changes
    )
    return Search.of(base, settings).run(in_this_process=True)


def test_a_trial_out_of_memory_keeps_class_and_last_lines_and_the_study_goes_on(tmp_path):
    results = searched(tmp_path, ["memory", None], on_error="fail")
    failed, other = results.trials
    failure = failed.user_attrs["failure"]
    assert failed.state == TrialState.FAIL
    assert failure["kind"] == "OutOfMemory"
    assert "Tried to allocate 2.00 GiB" in failure["lines"][-1]
    assert not results.ended
    assert trial_record(results.folder, 0)["failure"] == failure
    assert other.state == TrialState.COMPLETE


def test_a_failed_trial_counts_as_a_bad_one_by_default(tmp_path):
    results = searched(tmp_path, ["broken", None])
    assert [one.state for one in results.trials] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert results.trials[0].user_attrs["failure"]["lines"][-1] == "RuntimeError: broken"


def test_a_failed_trial_stops_the_study_if_that_is_asked_for(tmp_path):
    results = searched(tmp_path, ["broken", None], on_error="stop")
    assert [one.state for one in results.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert results.ended == "a trial failed: RuntimeError: broken"


def test_three_equal_errors_at_the_start_end_the_study(tmp_path):
    results = searched(tmp_path, ["broken"] * 5)
    assert sum(one.state.is_finished() for one in results.trials) == 3
    assert "three trials failed with the same error: RuntimeError: broken" in results.ended


def test_a_diverged_trial_teaches_the_sampler(tmp_path):
    results = searched(tmp_path, ["nan", None])
    diverged = results.trials[0]
    assert diverged.state == TrialState.PRUNED
    assert diverged.user_attrs["outcome"] == "diverged"
    assert results.best.number == 1


def test_a_sampler_that_sees_complete_trials_alone_takes_the_worst_value(tmp_path):
    base = Configuration.load(tiny.configuration(1))
    space = Space({FAIL: Choice([None, "nan"]), "model.init_args.lr": Float(0.1, 1)})
    settings = tiny.settings(
        tmp_path / "study", trials=3, space=space, sampler={"name": "gp"},
        presets=[{FAIL: None}, {FAIL: None, "model.init_args.lr": 0.1}, {FAIL: "nan"}],
    )  # fmt: skip
    results = Search.of(base, settings).run(in_this_process=True)
    values = [one.value for one in results.trials]
    assert results.trials[2].state == TrialState.COMPLETE
    assert values[2] == max(values[:2])
    assert results.best.number != 2


def test_a_trial_after_a_failed_one_repeats_exactly(tmp_path):
    results = searched(tmp_path, ["broken", None, "nan", None])
    for number in (1, 3):
        comparison = replay(results.folder, number)
        assert comparison.equal, comparison.summary()


def test_a_trial_that_takes_too_long_ends_after_a_step_and_repeats_exactly(tmp_path):
    started = time.monotonic()
    results = searched(
        tmp_path, [None], epochs=1000, model={"pause": 0.05}, trial_timeout=0.8
    )  # fmt: skip
    assert time.monotonic() - started < 20
    (trial,) = results.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["outcome"] == "timeout"
    comparison = replay(results.folder, 0)
    assert comparison.equal, comparison.summary()


def test_a_trial_that_the_wall_time_cuts_waits_for_the_next_start(tmp_path):
    from lightning_hparams.search import open_from
    from lightning_hparams.search.worker import Worker

    base = Configuration.load(tiny.configuration(4, pause=0.05))
    search = Search.of(base, tiny.settings(tmp_path / "study", trials=1, wall_time="1h"))
    study = search.prepare()
    worker = Worker(study, base, deadline=time.time() + 0.9, own_process=False)
    assert "wall time" in worker.run()
    (trial,) = study.get_trials()
    assert trial.state == TrialState.WAITING
    study, base = open_from(tmp_path / "study")
    Worker(study, base, own_process=False).run()
    assert [one.state for one in study.get_trials()] == [TrialState.COMPLETE]
    assert replay(tmp_path / "study", 0).equal


def test_equal_errors_of_memory_may_name_other_amounts():
    first = Failure("OutOfMemory", ["Tried to allocate 2 GiB"])
    second = Failure("OutOfMemory", ["Tried to allocate 3 GiB"])
    assert repeated([first, second, first]) is first


def test_different_errors_do_not_end_a_study():
    errors = [Failure("ValueError", [f"ValueError: {index}"]) for index in range(3)]
    assert repeated(errors) is None


def finished(value, state=TrialState.COMPLETE, minute=0, **attributes):
    """A trial that finished at some minute."""
    made = optuna.create_trial(value=value, state=state, user_attrs=attributes)
    made.datetime_complete = datetime(2026, 1, 1) + timedelta(minutes=minute)
    return made


def test_a_study_ends_after_so_many_trials_that_are_not_better():
    trials = [finished(value, minute=i) for i, value in enumerate([3.0, 1.0, 2.0, 1.5])]
    assert complete(trials, Limits(patience=2))
    assert not complete(trials, Limits(patience=3))
    assert complete(trials, Limits(patience=3, mode="max"))


def test_failures_before_the_command_was_started_do_not_end_it():
    failure = Failure("ValueError", ["ValueError: wrong"]).to_mapping()
    trials = [finished(None, TrialState.FAIL, i, failure=failure) for i in range(3)]
    assert "wrong" in halted(trials, Limits(since=datetime(2025, 1, 1)), 0.0)
    assert not halted(trials, Limits(since=datetime(2026, 1, 2)), 0.0)


def test_the_wall_time_ends_a_study():
    begun = finished(1.0)
    assert halted([begun], Limits(deadline=10.0), 10.0) == "the wall time is over"
    assert "wall time" in halted([], Limits(deadline=10.0), 10.0)
    assert not halted([], Limits(deadline=10.0), 9.9)


def test_a_wall_time_that_is_over_before_a_trial_began_says_so():
    earlier = finished(1.0)
    limits = Limits(deadline=10.0, since=earlier.datetime_start + timedelta(days=1))
    for trials in ([], [earlier]):
        assert "before a trial began" in halted(trials, limits, 10.0)
        assert "set a longer `wall_time`" in halted(trials, limits, 10.0)


@pytest.mark.parametrize("on_error", ["prune", "fail"])
def test_one_failure_ends_no_study_unless_asked_for(on_error):
    failure = Failure("ValueError", ["ValueError: wrong"]).to_mapping()
    trials = [finished(None, TrialState.FAIL, failure=failure)]
    assert not halted(trials, Limits(on_error=on_error), 0.0)
    assert halted(trials, Limits(on_error="stop"), 0.0)
