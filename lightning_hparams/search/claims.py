"""Changes of trials by a worker, each in one transaction: claim, hand back, finish."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from .ending import Limits, begun, complete, halted
from .owners import Owner
from .reaper import reap
from .study import Asked, next_trial

if TYPE_CHECKING:
    from .study import SearchStudy

__all__ = ["claim", "current", "finish", "hand_back", "owned"]

# Reading all trials, as Optuna does, takes ten times as long.
_RUNNING = text(
    "SELECT t.trial_id, w.value_json AS worker FROM studies s "
    "JOIN trials t ON t.study_id = s.study_id "
    "LEFT JOIN trial_user_attributes w ON w.trial_id = t.trial_id AND w.key = 'worker' "
    "WHERE s.study_name = :study AND t.number = :number AND t.state = 'RUNNING'"
)


def claim(
    study: SearchStudy,
    me: Owner,
    limits: Limits,
    attributes: Mapping[str, object] | None = None,
) -> Asked | str | None:
    """Take a waiting trial, or create one.

    Args:
        study: The study.
        me: This worker.
        limits: When the study ends.
        attributes: User attributes of a trial that is begun.

    Returns:
        The trial; None if there is none now, but another worker may yet lose one; or why there
        will be none.
    """
    with study.database.transaction():
        reap(study, me)
        trials = study.get_trials(deepcopy=False)
        if reason := halted(trials, limits, time.time()):
            return reason
        reason = complete(trials, limits)
        asked = _begun_before(study, trials)
        if asked is None and not reason:
            asked = next_trial(study)
            reason = "all trials have been run"
        if asked is None:
            runs = any(one.state == TrialState.RUNNING for one in trials)
            return None if runs else reason
        key, known = study.database_id(asked.trial), asked.trial.user_attrs
        for name, value in {**(attributes or {}), "worker": me.to_mapping()}.items():
            if name == "worker" or name not in known:
                study.database.set_trial_user_attr(key, name, value)
        study.database.record_heartbeat(key)
        return asked


def _begun_before(study: SearchStudy, trials: list[FrozenTrial]) -> Asked | None:
    """Take a waiting trial that was begun before."""
    for trial in trials:
        if trial.state == TrialState.WAITING and begun(trial):
            key = study.database_id(trial)
            if study.database.set_trial_state_values(key, TrialState.RUNNING):
                taken = optuna.Trial(study, key)
                return Asked(taken, study.settings.space.suggest(taken))
    return None


def current(study: SearchStudy, number: int) -> FrozenTrial:
    """Return a trial as it is now."""
    return study.get_trials(deepcopy=False)[number]


def owned(study: SearchStudy, number: int, me: Owner) -> int | None:
    """Return the number in the database of a running trial of this worker.

    Within a transaction, as what is written to the trial must be: None if another worker has taken
    it over, because this one was suspended for long.
    """
    session = study.database.scoped_session()
    names = {"study": study.study_name, "number": number}
    found = session.execute(_RUNNING, names).one_or_none()
    if found is None or found.worker is None or not me.owns({"worker": json.loads(found.worker)}):
        return None
    return int(found.trial_id)


def hand_back(study: SearchStudy, number: int, me: Owner) -> bool:
    """Put a trial of this worker back into the queue; return whether it still had it."""
    with study.database.transaction():
        key = owned(study, number, me)
        if key is None:
            return False
        return study.database.set_trial_state_values(key, TrialState.WAITING)


def finish(
    study: SearchStudy,
    number: int,
    me: Owner,
    state: TrialState,
    value: float | None = None,
    attributes: Mapping[str, object] | None = None,
) -> bool:
    """Store the result of a trial of this worker.

    Args:
        study: The study.
        number: Number of the trial.
        me: This worker.
        state: COMPLETE, PRUNED or FAIL.
        value: Value of a complete trial.
        attributes: User attributes.

    Returns:
        Whether the worker still had it.
    """
    with study.database.transaction():
        key = owned(study, number, me)
        if key is None:
            return False
        for name, content in (attributes or {}).items():
            study.database.set_trial_user_attr(key, name, content)
        study.tell(number, value, state)
        return True
