"""Finds trials whose worker is gone, and puts them back into the queue.

Optuna's ``fail_stale_trials`` skips trials without a heartbeat, such as those of a process that was
killed within ``ask``, and first fails a trial and then queues another one for it, so that nothing
is queued if it is killed in between. Here a lost trial goes back to waiting, in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from ..checks import counted
from ..internals import stale_trials
from .ending import is_superseded
from .failures import KILLED, Failure
from .owners import Owner, is_dead
from .seeds import FAILED, HISTORY

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .study import SearchStudy

__all__ = ["reap"]


def reap(study: SearchStudy, me: Owner | None = None) -> list[int]:
    """Put trials of workers that are gone back into the queue.

    Args:
        study: The study.
        me: This worker, if it runs no trial.

    Returns:
        The numbers of those trials.
    """
    from optuna.trial import TrialState

    database = study.database
    with database.transaction():
        trials = study.get_trials(deepcopy=False)
        running = [one for one in trials if one.state == TrialState.RUNNING]
        found = _lost(study, running, me) if running else []
        for trial in found:
            key = study.database_id(trial)
            kills = int(trial.user_attrs.get("kills", 0)) + 1
            database.set_trial_user_attr(key, "kills", kills)
            if kills > study.settings.retries:
                failure = Failure(
                    KILLED, [f"the worker of this trial was killed {counted(kills, 'time')}"]
                )
                database.set_trial_user_attr(key, "failure", failure.to_mapping())
                database.set_trial_state_values(key, TrialState.FAIL)
            else:
                database.set_trial_state_values(key, TrialState.WAITING)
        return [one.number for one in found] + _queue_again(study, trials)


def _lost(
    study: SearchStudy, running: Sequence[FrozenTrial], me: Owner | None
) -> list[FrozenTrial]:
    """Return the running trials that nobody runs."""
    database = study.database
    study_key = database.get_study_id_from_name(study.study_name)
    stale, alive = stale_trials(database, study_key), _with_heartbeat(study, study_key)
    grace = database.grace_period or 2 * (database.heartbeat_interval or 60)
    latest = datetime.now() - timedelta(seconds=grace)
    found = []
    for trial in running:
        dead = is_dead(trial.user_attrs.get("worker"))
        if me is not None and me.owns(trial.user_attrs):
            dead = True
        if dead is None:
            key = study.database_id(trial)
            if key in alive:
                dead = key in stale
            else:
                dead = trial.datetime_start is None or trial.datetime_start < latest
        if dead:
            found.append(trial)
    return found


def _with_heartbeat(study: SearchStudy, study_key: int) -> set[int]:
    """Return the keys of the running trials that have a heartbeat, however old."""
    query = text(
        "SELECT h.trial_id FROM trial_heartbeats h JOIN trials t ON t.trial_id = h.trial_id "
        "WHERE t.study_id = :study AND t.state = 'RUNNING'"
    )
    session = study.database.scoped_session()
    return {int(row[0]) for row in session.execute(query, {"study": study_key})}


def _queue_again(study: SearchStudy, trials: Sequence[FrozenTrial]) -> list[int]:
    """Queue trials again that another program failed as stale, if it has not done so itself.

    Optuna does both for a study that is shared with ``Study.optimize``, and may be killed between.
    """
    import optuna

    retried = {number for one in trials for number in one.system_attrs.get(HISTORY, [])}
    found = []
    for trial in trials:
        history = [*trial.system_attrs.get(HISTORY, []), trial.number]
        if (
            not is_superseded(trial)
            or trial.number in retried
            or len(history) > study.settings.retries
        ):
            continue
        study.add_trial(
            optuna.create_trial(
                state=optuna.trial.TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
                system_attrs={**trial.system_attrs, FAILED: history[0], HISTORY: history},
                intermediate_values=trial.intermediate_values,
            )
        )
        found.append(trial.number)
    return found
