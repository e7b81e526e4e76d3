"""Small studies for tests, without training."""

import math
from datetime import datetime, timedelta

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

START = datetime(2026, 1, 1, 12)
LR, KIND = "model.init_args.lr", "model.init_args.optimizer"
CODES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
}


def trial(number, state="complete", value=None, *, lr=None, kind="SGD", seconds=60, **more):
    """A trial as a study returns it; its number is set as by a storage."""
    code = CODES[state]
    lr = 10 ** -(1 + number % 4) if lr is None else lr
    value = 1 / (number + 1) if value is None else value
    reports = {} if state == "waiting" else {0: 2 * value, 1: value}
    made = create_trial(
        state=code,
        value=value if state == "complete" else None,
        params={LR: lr, KIND: kind},
        distributions={
            LR: FloatDistribution(1e-6, 100, log=True),
            KIND: CategoricalDistribution(["SGD", "Adam"]),
        },
        intermediate_values={} if math.isnan(value) else reports,
        **more,
    )
    made.number = number
    begun = START + timedelta(seconds=100 * number)
    made.datetime_start = None if state == "waiting" else begun
    ended = state in ("complete", "pruned", "failed")
    made.datetime_complete = begun + timedelta(seconds=seconds) if ended else None
    return made


def study_of(trials, mode="min"):
    study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
    study.add_trials(trials)
    return study
