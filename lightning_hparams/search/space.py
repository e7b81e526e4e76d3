"""What a search may vary: numbers in a range and choices, some of them under a condition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..checks import nearest
from .conditions import among, by_condition, check_clashes
from .params import UNSET, Choice, Float, Int, Param, param_from, param_to

if TYPE_CHECKING:
    import optuna

__all__ = ["Choice", "Float", "Int", "Space"]

_LARGEST_GRID = 10_000


class Checks(Protocol):
    """What the space asks of a configuration."""

    def check_key(self, key: str) -> None:
        """Raise an error if there is no such key."""

    def check_value(self, key: str, value: object) -> None:
        """Raise an error if the key cannot have the value."""

    def with_values(self, values: Mapping[str, object]) -> Checks:
        """Return a copy with other values."""


class Space(Mapping[str, Param]):
    """Parameters of a search by their dotted keys in the configuration.

    Args:
        params: :class:`Float`, :class:`Int` and :class:`Choice` by key. Callbacks are found by the
            name of their class: ``"trainer.callbacks.OneCycle.init_args.pct_start"``.

    Raises:
        ValueError: If keys clash, or a condition cannot be met.
        TypeError: If a value is not a parameter.

    >>> space = Space({"model.init_args.optimizer": Choice(["SGD", "AdamW"]),
    ...                "model.init_args.momentum": Choice([0.8, 0.9], when={
    ...                    "model.init_args.optimizer": "SGD"})})
    >>> [list(point.values()) for point in space.grid()]
    [['SGD', 0.8], ['SGD', 0.9], ['AdamW']]
    """

    def __init__(self, params: Mapping[str, Param]) -> None:
        if not isinstance(params, Mapping) or not params:
            raise ValueError(f"`space` must map at least one key to a parameter, got {params!r}")
        for key, param in params.items():
            if not isinstance(key, str) or not all(key.split(".")):
                raise ValueError(
                    f"a key of `space` must be a dotted path of the configuration, got {key!r}; "
                    "'model.init_args.lr' is one"
                )
            if not isinstance(param, (Float, Int, Choice)):
                raise TypeError(f"`space[{key!r}]` must be a Float, Int or Choice, got {param!r}")
        self._params = dict(params)
        check_clashes(self._params)
        self._order = by_condition(self._params)

    @classmethod
    def from_mapping(cls, params: Mapping[str, object]) -> Space:
        """Read a space from plain data, as it stands in a YAML file.

        Args:
            params: ``{type: float, low: 1e-4, high: 1.0, log: true}``, ``{type: int, ...}``,
                ``{values: [...]}`` or a list of values, by key.

        >>> Space.from_mapping({"a.b": [1, 2], "a.c": {"type": "float", "low": 0, "high": 1}})
        Space({'a.b': Choice([1, 2]), 'a.c': Float(0.0, 1.0)})
        """
        if not isinstance(params, Mapping):
            raise TypeError(f"`space` must map keys to parameters, got {params!r}")
        return cls({key: param_from(key, param) for key, param in params.items()})

    def to_mapping(self) -> dict[str, dict[str, object]]:
        """Return the plain data that :meth:`from_mapping` reads."""
        return {key: param_to(param) for key, param in self._params.items()}

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, object]:
        """Sample the parameters whose conditions hold.

        Args:
            trial: Optuna's trial that the values are asked of and stored in.
        """
        values: dict[str, object] = {}
        for key in self._order:
            if self._holds(key, values):
                values[key] = self._params[key].suggest(key, trial)
        return {key: values[key] for key in self._params if key in values}

    def active(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return those of the values whose conditions hold, given the others."""
        known: dict[str, object] = {}
        for key in self._order:
            if key in values and self._holds(key, known):
                known[key] = values[key]
        return {key: value for key, value in values.items() if key in known}

    def check_point(self, values: Mapping[str, object], *, name: str) -> None:
        """Check values against the space.

        Args:
            values: Values by key, of all parameters or some.
            name: What they are, for the error.

        Raises:
            ValueError: If a key is unknown, a value cannot be sampled or has no effect.
        """
        for key, value in values.items():
            if key not in self._params:
                raise ValueError(
                    f"{name} sets {key!r}, which is not in the space{nearest(key, self._params)}"
                )
            if (fault := self._params[key].fault(value)) is not None:
                raise ValueError(f"{name} sets {key!r} to {value!r}, but {fault}")
        if idle := [key for key in values if key not in self.active(values)]:
            when = dict(self._params[idle[0]].when or {})
            raise ValueError(f"{name} sets {idle[0]!r}, which has an effect only when {when}")

    def grid(self, *, largest: int = _LARGEST_GRID) -> list[dict[str, object]]:
        """Return all points, each with the parameters whose conditions hold.

        Args:
            largest: How many points are too many.

        Raises:
            ValueError: If there are more, or a range has no step.
        """
        values = {key: self._points(key) for key in self._order}
        found = list(itertools.islice(self._expanded(values, {}, 0), largest + 1))
        if len(found) > largest:
            most = math.prod(map(len, values.values()))
            raise ValueError(
                f"a grid must have at most {largest} points, got up to {most}; widen the steps, "
                "or use the sampler 'qmc', which covers a space evenly with any number of trials"
            )
        return [{key: point[key] for key in self._params if key in point} for point in found]

    def priors(self) -> dict[str, object]:
        """Return the priors of the parameters that have one and whose conditions hold."""
        priors = {key: param.prior for key, param in self._params.items()}
        return self._reachable({key: value for key, value in priors.items() if value is not UNSET})

    def around_priors(self, uniform: Any) -> dict[str, object]:
        """Draw values near the priors.

        Args:
            uniform: A ``random.Random`` of the standard library.
        """
        drawn = {
            key: param.around(uniform)
            for key, param in self._params.items()
            if param.prior is not UNSET
        }
        return self._reachable(drawn)

    def check(self, configuration: Checks) -> None:
        """Check keys and values against the types of a configuration.

        Args:
            configuration: The configuration that the search varies.

        Raises:
            ValueError: If a key is unknown there, or a value has the wrong type.
        """
        for key, param in self._params.items():
            configuration.check_key(key)
            for value in param.examples():
                if value is None:
                    configuration.with_values({key: None})
                else:
                    configuration.check_value(key, value)

    def difference(self, other: Space) -> str:
        """Return what differs in another space, a line each, or ``""``.

        >>> print(Space({"a.b": Int(1, 2)}).difference(Space({"a.b": Int(1, 3)})))
        - a.b: {type: int, low: 1, high: 2}
        + a.b: {type: int, low: 1, high: 3}
        """
        here, there = self.to_mapping(), other.to_mapping()
        lines = []
        for key in {**here, **there}:
            if here.get(key) != there.get(key):
                lines += [f"- {key}: {_flow(here[key])}"] if key in here else []
                lines += [f"+ {key}: {_flow(there[key])}"] if key in there else []
        return "\n".join(lines)

    def __getitem__(self, key: str) -> Param:
        return self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __hash__(self) -> int:
        return hash(tuple(self._params))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_mapping() == other.to_mapping()

    def __repr__(self) -> str:
        return f"Space({self._params})"

    def _holds(self, key: str, values: Mapping[str, object]) -> bool:
        return all(
            other in values and among(values[other], wanted)
            for other, wanted in (self._params[key].when or {}).items()
        )

    def _reachable(self, values: Mapping[str, object]) -> dict[str, object]:
        """Leave out values under a condition that others of them contradict."""
        kept: dict[str, object] = {}
        for key in self._order:
            when = self._params[key].when or {}
            met = all(
                other not in values or (other in kept and among(kept[other], wanted))
                for other, wanted in when.items()
            )
            if key in values and met:
                kept[key] = values[key]
        return {key: value for key, value in values.items() if key in kept}

    def _points(self, key: str) -> list[object]:
        try:
            return self._params[key].points(_LARGEST_GRID)
        except ValueError as error:
            raise ValueError(f"{key!r} cannot be in a grid: {error}") from None

    def _expanded(
        self, values: Mapping[str, list[object]], point: dict[str, object], depth: int
    ) -> Iterator[dict[str, object]]:
        if depth == len(self._order):
            yield point
            return
        key = self._order[depth]
        if not self._holds(key, point):
            yield from self._expanded(values, point, depth + 1)
            return
        for value in values[key]:
            yield from self._expanded(values, {**point, key: value}, depth + 1)


def _flow(param: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in param.items()) + "}"
