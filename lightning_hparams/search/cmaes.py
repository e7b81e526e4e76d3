"""CMA-ES for the parameters that every trial has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from optuna.samplers import CmaEsSampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["SteadyCmaEs"]


class SteadyCmaEs(CmaEsSampler):
    """Optuna's sampler on parameters without conditions; the others are drawn evenly.

    By itself it takes the parameters that all trials so far have in common. If a later trial lacks
    one, the state no longer fits: 4.2 stops with an error, 5 draws evenly from then on.

    Args:
        keys: Keys of the parameters.
        arguments: As for Optuna's.
    """

    def __init__(self, keys: Iterable[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.keys = frozenset(keys)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is sampled together."""
        found = super().infer_relative_search_space(study, trial)
        return {key: value for key, value in found.items() if key in self.keys}
