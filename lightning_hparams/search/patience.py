"""A pruner for trials that have stopped improving."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.study import StudyDirection

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["PatiencePruner"]


class PatiencePruner(BasePruner):
    """Prune trials without improvement for some epochs.

    Optuna's PatientPruner lets a metric that stays the same go on, as an accuracy often does.

    Args:
        epochs: How many epochs without improvement.
        min_delta: By how much a value must be better to be an improvement.
        of: Another pruner, which must agree.
    """

    def __init__(self, epochs: int, min_delta: float = 0.0, of: BasePruner | None = None) -> None:
        self.epochs, self.min_delta, self.of = epochs, min_delta, of

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether a trial is to end here."""
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        values = [sign * value for _, value in sorted(trial.intermediate_values.items())]
        if len(values) <= self.epochs:
            return False
        before, after = values[: -self.epochs], values[-self.epochs :]
        if _lowest(after) < _lowest(before) - self.min_delta:
            return False
        return self.of is None or self.of.prune(study, trial)


def _lowest(values: Iterable[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.inf)
