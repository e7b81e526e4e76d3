"""Whether a study has come to its end, from its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from .failures import Failure, repeated

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .settings import SearchSettings

__all__ = ["Limits", "begun", "complete", "failure_of_trial", "halted", "is_superseded"]


@dataclass(frozen=True)
class Limits:
    """When a study ends.

    Args:
        patience: Number of trials without a better one; None for no limit.
        mode: Whether a lower or a higher value is better.
        on_error: What a failed trial does to the study.
        deadline: Seconds since the epoch; None for no limit.
        since: When this command was started. Failures before that do not end it, since it may have
            been started again after a correction.
    """

    patience: int | None = None
    mode: Literal["min", "max"] = "min"
    on_error: Literal["prune", "fail", "stop"] = "prune"
    deadline: float | None = None
    since: datetime = datetime.min

    @classmethod
    def of(cls, settings: SearchSettings, deadline: float | None, since: datetime) -> Limits:
        """Return the limits of a search."""
        return cls(settings.patience, settings.mode, settings.on_error, deadline, since)


def halted(trials: Sequence[FrozenTrial], limits: Limits, now: float) -> str:
    """Return why work should stop, also on trials that were begun, or ``""``.

    Args:
        trials: All trials.
        limits: The limits.
        now: Seconds since the epoch.
    """
    if limits.deadline is not None and now >= limits.deadline:
        if any(one.datetime_start and one.datetime_start >= limits.since for one in trials):
            return "the wall time is over"
        return (
            "the wall time was over before a trial began, as workers take some seconds to start; "
            "set a longer `wall_time`"
        )
    recent = [one for one in _finished(trials) if _end(one) >= limits.since]
    failures = [failure_of_trial(one) for one in recent]
    if limits.on_error == "stop" and (failed := [one for one in failures if one is not None]):
        return f"a trial failed: {failed[0].message}"
    if (failure := repeated(failures)) is not None:
        return f"the first three trials failed with the same error: {failure.message}"
    return ""


def complete(trials: Sequence[FrozenTrial], limits: Limits) -> str:
    """Return why no further trial should be begun, whatever their number, or ``""``."""
    from optuna.trial import TrialState

    scored = [
        one for one in _finished(trials) if one.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    if limits.patience is not None and _since_best(scored, limits.mode) >= limits.patience:
        if limits.patience == 1:
            return "the last trial was not better"
        return f"the last {limits.patience} trials were not better"
    return ""


def _finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials in the order in which they finished."""
    done = [one for one in trials if one.datetime_complete is not None and not is_superseded(one)]
    return sorted(done, key=lambda one: (_end(one), one.number))


def _end(trial: FrozenTrial) -> datetime:
    return trial.datetime_complete or datetime.max


def begun(trial: FrozenTrial) -> bool:
    """Whether a worker has started a trial, even if it waits for another one now."""
    return "worker" in trial.user_attrs


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether another program failed a trial because its worker was gone."""
    from optuna.trial import TrialState

    ours = begun(trial) and "failure" not in trial.user_attrs
    return trial.state == TrialState.FAIL and ours


def failure_of_trial(trial: FrozenTrial) -> Failure | None:
    """Return why a trial failed; None for one that did not."""
    kept = trial.user_attrs.get("failure")
    return Failure.from_mapping(kept) if isinstance(kept, dict) else None


def _since_best(scored: Sequence[FrozenTrial], mode: str) -> int:
    """Return how many trials have finished since the best one."""
    from optuna.trial import TrialState

    sign = 1 if mode == "min" else -1
    best, count = float("inf"), 0
    for trial in scored:
        count += 1
        if trial.state == TrialState.COMPLETE and sign * (trial.value or 0.0) < best:
            best, count = sign * (trial.value or 0.0), 0
    return count
