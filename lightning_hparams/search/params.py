"""One parameter of a search space: a range of numbers, or a choice."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..checks import as_number, as_plain, names_like, one_of, truth, whole_number

if TYPE_CHECKING:
    import random

    import optuna

__all__ = ["UNSET", "Choice", "Float", "Int", "Param", "param_from", "param_to", "same_value"]


class Unset(enum.Enum):
    """No value, where None is one."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
When: TypeAlias = "Mapping[str, object] | None"
_SPREAD = 0.15  # of values around a prior, as a part of the range
_ROUNDING = 1e-9  # 0.3 is a whole number of steps of 0.1


@dataclass(frozen=True)
class Float:
    """A real number in a range.

    Args:
        low: Smallest value.
        high: Largest value, above ``low``.
        log: Whether to sample its logarithm evenly, for values that vary by factors.
        step: Distance between values, by which the range can be divided. None allows all values.
        prior: A value that is expected to be good: tried first, and sampled around at the start.
        when: Values of other parameters, or lists of them, without which this one is left out.

    Raises:
        ValueError: If the range is empty, or the arguments do not fit together.
        TypeError: If one is not a number.

    >>> Float(1, 0.1)
    Traceback (most recent call last):
    ValueError: `low < high` must hold, got low=1.0, high=0.1; exchange them
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    prior: float | Unset = UNSET
    when: When = None

    def __post_init__(self) -> None:
        _set(self, low=float(as_number("low", self.low)), high=float(as_number("high", self.high)))
        if self.step is not None:
            _set(self, step=float(as_number("step", self.step)))
        _check_range(self)

    def suggest(self, name: str, trial: optuna.trial.BaseTrial) -> object:
        """Ask a trial for a value."""
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def code(self, value: object) -> Any:
        """Return what stands for a value in Optuna."""
        return value

    def fault(self, value: object) -> str | None:
        """Return why a value cannot be sampled, or None if it can."""
        return _range_fault(self, value)

    def around(self, uniform: random.Random) -> object:
        """Draw a value near the prior."""
        return _near(self, uniform)

    def points(self, largest: int) -> list[object]:
        """Return all values, if there are not more than ``largest``."""
        if self.step is None:
            raise ValueError("a Float without `step` has endless values; give it one, or a Choice")
        return [_rounded(value, self) for value in _steps(self, self.step, largest)]

    def examples(self) -> list[object]:
        """Return values whose types stand for all."""
        middle = self.low + (self.high - self.low) / math.e if self.step is None else self.low
        return [self.low, self.high, middle, *_given(self.prior)]

    def __repr__(self) -> str:
        return _call(self)


@dataclass(frozen=True)
class Int:
    """A whole number in a range.

    Args:
        low: Smallest value.
        high: Largest value, above ``low``.
        log: As for :class:`Float`.
        step: Distance between values, by which the range can be divided.
        prior: As for :class:`Float`.
        when: As for :class:`Float`.

    Raises:
        ValueError: If the range is empty, or the arguments do not fit together.
        TypeError: If one is not a whole number.

    >>> Int(1, 8, step=2)
    Traceback (most recent call last):
    ValueError: `step` must divide the range from low=1 to high=8, got step=2; high=7 fits
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    prior: int | Unset = UNSET
    when: When = None

    def __post_init__(self) -> None:
        _set(self, **{name: whole_number(name, getattr(self, name)) for name in ("low", "high")})
        _set(self, step=whole_number("step", self.step, 1))
        _check_range(self)

    def suggest(self, name: str, trial: optuna.trial.BaseTrial) -> object:
        """Ask a trial for a value."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def code(self, value: object) -> Any:
        """Return what stands for a value in Optuna."""
        return value

    def fault(self, value: object) -> str | None:
        """Return why a value cannot be sampled, or None if it can."""
        if isinstance(value, float) or isinstance(as_plain(value), bool):
            return "it must be a whole number"
        return _range_fault(self, value)

    def around(self, uniform: random.Random) -> object:
        """Draw a value near the prior."""
        return _near(self, uniform)

    def points(self, largest: int) -> list[object]:
        """Return all values, if there are not more than ``largest``."""
        return [round(value) for value in _steps(self, self.step, largest)]

    def examples(self) -> list[object]:
        """Return values whose types stand for all."""
        return [self.low, self.high, *_given(self.prior)]

    def __repr__(self) -> str:
        return _call(self)


@dataclass(frozen=True)
class Choice:
    """One of several values, which may be of any type that YAML can write.

    Args:
        values: The values, at least one. None leaves the option out of the configuration.
        prior: One of them, tried first and more often at the start.
        when: As for :class:`Float`.

    Raises:
        ValueError: If there are no values, one occurs twice, or the prior is not one of them.
        TypeError: If ``values`` is not a list, or one of them cannot be written as YAML.

    >>> Choice(["SGD", "AdamW", "SGD"])
    Traceback (most recent call last):
    ValueError: `values` must differ from each other, got 'SGD' twice; remove one
    """

    values: Iterable[Any]
    prior: object = UNSET
    when: When = None

    def __post_init__(self) -> None:
        if isinstance(self.values, (str, bytes, Mapping)) or not isinstance(self.values, Iterable):
            raise TypeError(f"`values` must be a list, got {self.values!r}")
        values = tuple(as_plain(value) for value in self.values)
        if not values:
            raise ValueError("`values` must have at least one value, got none")
        for index, value in enumerate(values):
            _check_plain(value)
            if any(_code(value) == _code(other) for other in values[:index]):
                raise ValueError(
                    f"`values` must differ from each other, got {value!r} twice; remove one"
                )
        _set(self, values=values)
        if self.prior is not UNSET and (fault := self.fault(self.prior)) is not None:
            raise ValueError(f"`prior` must be a value of the choice, got {self.prior!r}: {fault}")
        _check_when(self.when)

    def suggest(self, name: str, trial: optuna.trial.BaseTrial) -> object:
        """Ask a trial for a value."""
        by_code = {self.code(value): value for value in self.values}
        return by_code[trial.suggest_categorical(name, list(by_code))]

    def code(self, value: object) -> Any:
        """Return what stands for a value in Optuna, which has no lists and dicts."""
        return _code(next(own for own in self.values if same_value(own, value)))

    def fault(self, value: object) -> str | None:
        """Return why a value cannot be sampled, or None if it can."""
        if any(same_value(value, own) for own in self.values):
            return None
        return f"the choice has the values {list(self.values)}"

    def around(self, uniform: random.Random) -> object:
        """Draw the prior every other time, otherwise any value."""
        drawn = uniform.choice(list(self.values))
        return self.prior if uniform.random() < 0.5 else drawn

    def points(self, largest: int) -> list[object]:
        """Return all values."""
        return list(self.values)

    def examples(self) -> list[object]:
        """Return all values."""
        return list(self.values)

    def __repr__(self) -> str:
        return _call(self)


Param: TypeAlias = "Float | Int | Choice"
_TYPES: dict[str, type[Float] | type[Int] | type[Choice]] = {
    "float": Float,
    "int": Int,
    "choice": Choice,
}


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal and of one type; 1 and 1.0 are, but True and 1 are not."""
    return isinstance(one, bool) == isinstance(other, bool) and as_listed(one) == as_listed(other)


def as_listed(value: object) -> object:
    """Replace tuples by lists, as YAML does."""
    if isinstance(value, (list, tuple)):
        return [as_listed(each) for each in value]
    if isinstance(value, Mapping):
        return {key: as_listed(each) for key, each in value.items()}
    return value


def param_from(key: str, data: object) -> Param:
    """Make a parameter from plain data; an error names its key."""
    if isinstance(data, (Float, Int, Choice)):
        return data
    if isinstance(data, (list, tuple)):
        data = {"values": data}
    if not isinstance(data, Mapping):
        raise TypeError(
            f"`space[{key!r}]` must be a list of values or a mapping with `type`, got {data!r}"
        )
    chosen = data.get("type", "choice" if "values" in data else None)
    if chosen is None:
        raise ValueError(f"`space[{key!r}]` must have a `type`, one of {list(_TYPES)}")
    one_of(f"space[{key!r}].type", str(chosen), _TYPES)
    kind = _TYPES[str(chosen)]
    arguments = {name: value for name, value in data.items() if name != "type"}
    known = [field.name for field in fields(kind)]
    for name in arguments:
        if name not in known:
            raise ValueError(
                f"`space[{key!r}]` has the unknown entry {name!r}"
                f"{names_like(str(name), ['type', *known])}"
            )
    required = ["values"] if kind is Choice else ["low", "high"]
    if missing := [name for name in required if name not in arguments]:
        raise ValueError(f"`space[{key!r}]` must have `{missing[0]}`, got {dict(data)}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"of `space[{key!r}]`, {error}") from None


def param_to(param: Param) -> dict[str, object]:
    """Return the plain data that :func:`param_from` reads."""
    name = next(name for name, kind in _TYPES.items() if isinstance(param, kind))
    data: dict[str, object] = {"type": name}
    for field in fields(param):
        value = getattr(param, field.name)
        if value is not UNSET and (field.name == "prior" or value != field.default):
            data[field.name] = as_listed(value)
    return data


def _set(param: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(param, name, value)  # the classes are frozen


def _given(prior: object) -> list[object]:
    return [] if prior is UNSET else [prior]


def _check_range(param: Float | Int) -> None:
    low, high, step = param.low, param.high, param.step
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"`low` and `high` must be finite, got {low=}, {high=}")
    if low >= high:
        remedy = "exchange them" if low > high else "a fixed value belongs in the configuration"
        raise ValueError(f"`low < high` must hold, got {low=}, {high=}; {remedy}")
    _set(param, log=truth("log", param.log))
    if param.log and low <= 0:
        raise ValueError(f"`low > 0` must hold with log=True, got {low=}")
    if param.log and step not in (None, 1 if isinstance(param, Int) else None):
        raise ValueError(f"`step` cannot be used with log=True, got {step=}; leave out one of them")
    if step is not None:
        _check_step(param, step)
    if param.prior is not UNSET:
        prior = as_number("prior", param.prior)
        if (fault := param.fault(prior)) is not None:
            raise ValueError(f"`prior` must be a value of the range, got prior={prior}: {fault}")
        _set(param, prior=float(prior) if isinstance(param, Float) else prior)
    _check_when(param.when)


def _check_step(param: Float | Int, step: float) -> None:
    if not 0 < step < math.inf:
        raise ValueError(f"`step > 0` must hold, got {step=}")
    count = (param.high - param.low) / step
    if abs(count - round(count)) > _ROUNDING * max(1.0, count):
        fits = _rounded(param.low + math.floor(count) * step, param)
        fits = round(fits) if isinstance(param, Int) else fits
        remedy = f"; high={fits} fits" if fits > param.low else "; it is larger than the range"
        raise ValueError(
            f"`step` must divide the range from low={param.low} to high={param.high}, "
            f"got {step=}{remedy}"
        )


def _check_when(when: When) -> None:
    if when is not None and (not isinstance(when, Mapping) or not when):
        raise TypeError(f"`when` must map keys of the space to values, got {when!r}")


def _check_plain(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`values` must be finite, got {value!r}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise TypeError(
            f"`values` must be None, True, False, numbers, texts, or lists and dicts of them, "
            f"got {value!r}"
        ) from None


def _range_fault(param: Float | Int, value: object) -> str | None:
    try:
        number = as_number("value", value)
    except TypeError:
        return "it must be a number"
    if not param.low <= number <= param.high:
        return f"the range is from {param.low} to {param.high}"
    if param.step is not None:
        count = (number - param.low) / param.step
        if abs(count - round(count)) > _ROUNDING * max(1.0, count):
            return f"the range from {param.low} to {param.high} has steps of {param.step}"
    return None


def _steps(param: Float | Int, step: float, largest: int) -> list[float]:
    count = round((param.high - param.low) / step) + 1
    if count > largest:
        raise ValueError(f"it has {count} values, more than {largest}; widen its step")
    return [param.low + index * step for index in range(count)]


def _near(param: Float | Int, uniform: random.Random) -> object:
    """Draw from a normal distribution around the prior, cut off at the bounds."""
    assert param.prior is not UNSET

    def scaled(value: float) -> float:
        return math.log(value) if param.log else float(value)

    low, width = scaled(param.low), scaled(param.high) - scaled(param.low)
    center = (scaled(param.prior) - low) / width
    part = -1.0
    while not 0 <= part <= 1:
        part = uniform.gauss(center, _SPREAD)
    value = low + part * width
    value = math.exp(value) if param.log else value
    if param.step is not None:
        value = param.low + round((value - param.low) / param.step) * param.step
    value = _rounded(value, param)
    return round(value) if isinstance(param, Int) else value


def _rounded(value: float, param: Float | Int) -> float:
    """Remove the rounding error of a sum, 0.1 + 0.2 is 0.3, within the range."""
    return min(max(float(f"{value:.12g}"), param.low), param.high)


def _code(value: object) -> Any:
    scalar = value is None or isinstance(value, (bool, int, float, str))
    return value if scalar else json.dumps(value, sort_keys=True)


def _call(param: Param) -> str:
    required = ["values"] if isinstance(param, Choice) else ["low", "high"]
    parts = [repr(as_listed(getattr(param, name))) for name in required]
    for field in fields(param):
        value = getattr(param, field.name)
        if field.name not in required and value is not UNSET and value != field.default:
            parts.append(f"{field.name}={value!r}")
    return f"{type(param).__name__}({', '.join(parts)})"
