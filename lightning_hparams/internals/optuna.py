"""Private attributes of Optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .internal import Internal

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

__all__ = ["INTERNALS", "stale_trials"]

_STALE = Internal(
    "optuna",
    "RDBStorage",
    "_get_stale_trial_ids",
    "to find trials whose heartbeat is too old; the public `fail_stale_trials` fails them",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def stale_trials(storage: RDBStorage, study_id: int) -> set[int]:
    """Return the keys of the running trials whose heartbeat is too old."""
    return set(_STALE.read(storage)(study_id))
