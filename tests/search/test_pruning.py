"""A trial reports its metric and stops when the search says so."""

import math

import pytest
from optuna.trial import TrialState

from lightning_hparams.callbacks import TrialPruning
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, replay
from tests.runs import quiet_trainer
from tests.search import tiny


class Reports(list):
    """Keeps what was reported, and stops at a step."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at = stop_at

    def __call__(self, step, value):
        self.append((step, value))
        return step == self.stop_at


def fit(report, metric="val_loss", model=None, **options):
    callback = TrialPruning(metric, report)
    trainer = quiet_trainer(
        **{"max_epochs": 4, "callbacks": [callback], "num_sanity_val_steps": 1, **options}
    )
    trainer.fit(tiny.Net(**(model or {})), datamodule=tiny.Digits(rows=64))
    return callback, trainer


def test_each_validation_is_reported_once_and_not_the_sanity_check():
    report = Reports()
    callback, trainer = fit(report)
    assert [step for step, _ in report] == [0, 1, 2, 3]
    assert report[-1][1] == trainer.callback_metrics["val_loss"]
    assert callback.reports == dict(report)
    assert callback.outcome == ""


def test_training_stops_when_the_report_says_so_even_before_its_least_length():
    callback, trainer = fit(Reports(stop_at=1), min_epochs=3)
    assert trainer.current_epoch == 2
    assert callback.outcome == "pruned"


def test_a_metric_that_is_not_finite_stops_training_and_is_not_reported():
    report = Reports()
    callback, trainer = fit(report, model={"fail": "nan"})
    assert report == []
    assert callback.outcome == "diverged"
    assert trainer.current_epoch == 1


def test_validations_within_an_epoch_are_counted():
    report = Reports()
    fit(report, val_check_interval=1, max_epochs=2)
    assert [step for step, _ in report] == [0, 1, 2, 3]


def test_epochs_without_validation_report_nothing():
    report = Reports()
    fit(report, check_val_every_n_epoch=2)
    assert [step for step, _ in report] == [1, 3]


def test_a_metric_of_training_is_reported_at_the_end_of_the_epoch():
    class Trained(tiny.Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

    report = Reports()
    trainer = quiet_trainer(max_epochs=3, callbacks=[TrialPruning("train_loss", report)])
    trainer.fit(Trained(), datamodule=tiny.Digits(rows=64))
    assert [step for step, _ in report] == [0, 1, 2]
    assert all(math.isfinite(value) for _, value in report)


@pytest.mark.parametrize(("metric", "report"), [("", print), ("val_loss", None)])
def test_arguments_are_checked(metric, report):
    with pytest.raises((TypeError, ValueError), match="must be"):
        TrialPruning(metric, report)


PRUNER = {"name": "threshold", "upper": 0.001, "min_epochs": 2}


def test_a_pruned_trial_keeps_its_last_value_and_repeats_exactly(tmp_path):
    base = Configuration.load(tiny.configuration(4))
    settings = tiny.settings(tmp_path / "study", trials=1, pruner=PRUNER)
    (trial,) = Search.of(base, settings).run(in_this_process=True).trials
    assert trial.state == TrialState.PRUNED
    assert len(trial.intermediate_values) < 4
    assert trial.value == list(trial.intermediate_values.values())[-1]
    comparison = replay(tmp_path / "study", 0)
    assert comparison.equal, comparison.summary()


@pytest.mark.slow
def test_a_trial_in_two_processes_is_pruned_by_the_one_of_rank_zero(tmp_path):
    base = Configuration.load(tiny.configuration(4, {"devices": 2, "strategy": "ddp"}))
    settings = tiny.settings(tmp_path / "study", trials=2, pruner=PRUNER)
    trials = Search.of(base, settings).run(in_this_process=True).trials
    assert [one.state for one in trials] == [TrialState.PRUNED] * 2, trials[0].user_attrs
    assert all(0 < len(one.intermediate_values) < 4 for one in trials)
    assert all(one.user_attrs["weights"] for one in trials)


@pytest.mark.slow
def test_a_trial_in_two_processes_is_complete(tmp_path):
    base = Configuration.load(tiny.configuration(2, {"devices": 2, "strategy": "auto"}))
    (trial,) = (
        Search.of(base, tiny.settings(tmp_path / "study", trials=1))
        .run(in_this_process=True)
        .trials
    )
    assert trial.state == TrialState.COMPLETE, trial.user_attrs
    assert sorted(trial.intermediate_values) == [0, 1]
