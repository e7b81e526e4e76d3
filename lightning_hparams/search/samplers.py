"""Samplers by name, with the same settings under Optuna 4.2 and 5."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..checks import nearest, one_of, require, whole_number
from .params import Choice

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from .space import Space

__all__ = ["check_sampler", "make_sampler"]


def check_sampler(spec: object, space: Space) -> dict[str, Any]:
    """Return the name and all options of a sampler.

    Args:
        spec: A name, or a mapping with ``name`` and options.
        space: The space that it samples.

    Raises:
        ValueError: If the name or an option is unknown, or it cannot sample the space.
        ModuleNotFoundError: If a package that it needs is not installed.

    >>> from lightning_hparams.search import Int, Space
    >>> check_sampler("tpe", Space({"model.init_args.width": Int(8, 64)}))
    {'name': 'tpe', 'startup_trials': 10, 'candidates': 24}
    """
    name, options = named("sampler", spec, _OPTIONS)
    if "startup_trials" in options:
        whole_number("sampler.startup_trials", options["startup_trials"], 0)
    if "candidates" in options:
        whole_number("sampler.candidates", options["candidates"], 1)
    if name == "qmc":
        one_of("sampler.points", str(options["points"]), ("sobol", "halton"))
    for package in _NEEDS.get(name, ()):
        require(package, extra="search")
    numbers = [param for param in space.values() if not isinstance(param, Choice)]
    if name == "cmaes" and len([param for param in numbers if param.when is None]) < 2:
        raise ValueError(
            "the sampler 'cmaes' must have at least 2 Float or Int parameters without `when`, as "
            "it adapts how they vary together; use 'tpe' or 'gp' for this space"
        )
    return {"name": name, **options}


def make_sampler(
    spec: Mapping[str, Any], space: Space, *, seed: int, sequence: int = 0
) -> BaseSampler:
    """Make one of Optuna's samplers.

    Args:
        spec: Name and all options, as in ``SearchSettings.sampler``.
        space: The space that it samples.
        seed: Seed of its draws, another one for each trial.
        sequence: Seed of what is drawn once for all trials: the points of ``"qmc"``.
    """
    options = {name: value for name, value in spec.items() if name != "name"}
    with warnings.catch_warnings():
        from optuna.exceptions import ExperimentalWarning

        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler: BaseSampler = _MAKERS[spec["name"]](_Draws(seed, sequence, space), **options)
        return sampler


def named(
    what: str, spec: object, known: Mapping[str, Mapping[str, object]]
) -> tuple[str, dict[str, Any]]:
    """Split a sampler or pruner into its name and its options, defaults among them."""
    data = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(data, Mapping) or "name" not in data:
        raise TypeError(f"`{what}` must be a name or a mapping with `name`, got {spec!r}")
    name = str(data["name"])
    one_of(what, name, known)
    for option in data:
        if option != "name" and option not in known[name]:
            allowed = f"; it has {list(known[name])}" if known[name] else "; it has none"
            raise ValueError(
                f"the {what.partition('.')[0]} {name!r} has no option {option!r}"
                f"{nearest(str(option), known[name]) or allowed}"
            )
    return name, {**known[name], **{key: data[key] for key in data if key != "name"}}


class _Draws(NamedTuple):
    seed: int
    sequence: int
    space: Space


def _grid(draws: _Draws) -> BaseSampler:
    # All points are enqueued; Optuna's GridSampler fails beside enqueued trials, and parallel
    # workers run points twice (optuna#6073, #5489).
    return _random(draws)


def _random(draws: _Draws) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=draws.seed)


def _tpe(draws: _Draws, *, startup_trials: int, candidates: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    conditional = any(param.when is not None for param in draws.space.values())
    # `multivariate` and `constant_liar` have other defaults in 4.2 than in 5.
    return TPESampler(
        seed=draws.seed,
        n_startup_trials=startup_trials,
        n_ei_candidates=candidates,
        multivariate=True,
        group=conditional,
        constant_liar=True,
        **_quiet(TPESampler),
    )


def _gp(draws: _Draws, *, startup_trials: int, deterministic: bool) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        seed=draws.seed,
        n_startup_trials=startup_trials,
        deterministic_objective=deterministic,
        **_quiet(GPSampler),
    )


def _cmaes(draws: _Draws, *, startup_trials: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    from .cmaes import SteadyCmaEs

    return SteadyCmaEs(
        [key for key, param in draws.space.items() if param.when is None],
        seed=draws.seed,
        n_startup_trials=max(startup_trials, 1),
        **_quiet(CmaEsSampler),
    )


def _qmc(draws: _Draws, *, points: str) -> BaseSampler:
    from optuna.samplers import QMCSampler

    # Scrambled, because the first points of the plain sequence are corners of the space.
    return QMCSampler(
        qmc_type=points,
        scramble=True,
        seed=draws.sequence,
        independent_sampler=_random(draws),
        warn_asynchronous_seeding=False,
        **_quiet(QMCSampler),
    )


def _quiet(sampler: Callable[..., object]) -> dict[str, Any]:
    """Turn off a warning of single parameters, for the samplers that have it in this version."""
    name = "warn_independent_sampling"
    parameter = inspect.signature(sampler).parameters.get(name)
    return {} if parameter is None or parameter.default is None else {name: False}


_OPTIONS: dict[str, dict[str, object]] = {
    "grid": {},
    "random": {},
    "tpe": {"startup_trials": 10, "candidates": 24},
    "gp": {"startup_trials": 10, "deterministic": False},
    "cmaes": {"startup_trials": 1},
    "qmc": {"points": "sobol"},
}
_MAKERS: dict[str, Callable[..., Any]] = {
    "grid": _grid,
    "random": _random,
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "qmc": _qmc,
}
_NEEDS = {"gp": ("scipy",), "cmaes": ("cmaes",), "qmc": ("scipy",)}
