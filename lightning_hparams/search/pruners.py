"""Pruners by name, which end trials that promise little.

A report's step is the number of epochs that are complete, from 1, so that ``min_epochs`` means the
same for all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..checks import as_number, in_range, whole_number
from .samplers import named

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["check_pruner", "make_pruner"]


def check_pruner(spec: object, setting: str = "pruner") -> dict[str, Any]:
    """Return the name and all options of a pruner.

    Args:
        spec: A name, or a mapping with ``name`` and options.
        setting: Where the user has written it, for errors.

    Raises:
        ValueError: If the name or an option is unknown or out of range.

    >>> check_pruner("median")
    {'name': 'median', 'startup_trials': 5, 'min_epochs': 1, 'every': 1}
    """
    name, options = named(setting, spec, _OPTIONS)
    for option, value in options.items():
        label = f"{setting}.{option}"
        if option in _WHOLE and not (value is None or (option, value) == ("max_epochs", "auto")):
            options[option] = whole_number(label, value, _WHOLE[option])
        elif option in ("lower", "upper") and value is not None:
            options[option] = float(as_number(label, value))
        elif option == "min_delta":
            in_range(label, as_number(label, value), 0)
        elif option == "of" and value is not None:
            options[option] = check_pruner(value, label)
    if name == "threshold" and options["lower"] is None and options["upper"] is None:
        raise ValueError("the pruner 'threshold' must have `lower`, `upper` or both, got neither")
    return {"name": name, **options}


def make_pruner(spec: Mapping[str, Any] | None) -> BasePruner:
    """Make one of Optuna's pruners.

    Args:
        spec: Name and all options, as in ``SearchSettings.pruner``; None to prune nothing.
    """
    with warnings.catch_warnings():
        from optuna.exceptions import ExperimentalWarning

        warnings.simplefilter("ignore", ExperimentalWarning)
        if spec is None:
            from optuna.pruners import NopPruner

            return NopPruner()
        options = {name: value for name, value in spec.items() if name != "name"}
        pruner: BasePruner = _MAKERS[spec["name"]](**options)
        return pruner


def _median(*, startup_trials: int, min_epochs: int, every: int) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(
        n_startup_trials=startup_trials, n_warmup_steps=min_epochs, interval_steps=every
    )


def _asha(*, min_epochs: int, reduction: int) -> BasePruner:
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=reduction)


def _hyperband(*, min_epochs: int, max_epochs: int | str, reduction: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(
        min_resource=min_epochs, max_resource=max_epochs, reduction_factor=reduction
    )


def _patience(*, epochs: int, min_delta: float, of: Any) -> BasePruner:
    from .patience import PatiencePruner

    wrapped = None if of is None else make_pruner(of)
    return PatiencePruner(epochs, min_delta, wrapped)


def _threshold(
    *, lower: float | None, upper: float | None, min_epochs: int, every: int
) -> BasePruner:
    from optuna.pruners import ThresholdPruner

    return ThresholdPruner(
        lower=lower, upper=upper, n_warmup_steps=min_epochs, interval_steps=every
    )


_OPTIONS: dict[str, dict[str, object]] = {
    "median": {"startup_trials": 5, "min_epochs": 1, "every": 1},
    "asha": {"min_epochs": 1, "reduction": 3},
    "hyperband": {"min_epochs": 1, "max_epochs": "auto", "reduction": 3},
    "patience": {"epochs": 5, "min_delta": 0.0, "of": None},
    "threshold": {"lower": None, "upper": None, "min_epochs": 1, "every": 1},
}
_WHOLE = {
    "startup_trials": 0,
    "min_epochs": 1,
    "max_epochs": 1,
    "every": 1,
    "reduction": 2,
    "epochs": 1,
}
_MAKERS: dict[str, Callable[..., Any]] = {
    "median": _median,
    "asha": _asha,
    "hyperband": _hyperband,
    "patience": _patience,
    "threshold": _threshold,
}
