"""LR range test (Smith, 1506.01186): from sweeps to a peak, a range and a status.

A single sweep is the subject of ``curve``, whose names are exported here too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from .. import json_text
from ..checks import counted, one_of
from ..render import Picture
from .curve import (
    MIN_POINTS,
    PARAMS,
    RULES,
    Curve,
    Rule,
    Stop,
    Sweep,
    check_range_test,
    lr_values,
    read,
    rule_named,
    smooth,
)
from .plot import Chart

__all__ = [
    "PARAMS",
    "RULES",
    "Curve",
    "RangeTestResult",
    "Rule",
    "Status",
    "Stop",
    "Sweep",
    "analyse",
    "check_range_test",
    "lr_values",
    "range_base",
    "smooth",
]

Status = Literal["ok", "no_descent", "no_divergence", "too_few_points", "non_finite", "not_trained"]
_USABLE = ("ok", "no_divergence")


# -- the result ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RangeTestResult:
    """Result of a range test. Rates are those of the parameter group with the largest one."""

    lrs: tuple[float, ...] = field(repr=False)
    # Before the step at each rate; with repeats, their mean.
    losses: tuple[float, ...] = field(repr=False)
    # Shorter than `losses` if the last ones were unusable.
    smoothed: tuple[float, ...] = field(repr=False)
    status: Status
    suggestion: float | None  # peak of a schedule; None if the status allows none
    base_lr: float | None  # low end of the range of a cyclic schedule
    max_lr: float | None  # high end of this range, the suggestion
    edge: float | None  # the rate up to which the loss stayed low, whether or not it had fallen
    diverged_at: float | None  # the rate at which the sweep ended early, or None
    spread: float | None  # decades between the suggestions of the repeats, None without repeats
    per_repeat: tuple[float | None, ...]  # suggestion of each sweep
    steps_run: int
    seconds: float
    param: str
    rule: str
    probes: tuple[tuple[float, float], ...] = ()  # rate and loss of each short training
    longer: tuple[tuple[float, float], ...] = ()  # and of each longer one, at a constant rate

    def __post_init__(self) -> None:
        # Tuples compare items by identity first: with math.nan for each NaN, a copy is equal.
        for name in ("lrs", "losses", "smoothed"):
            values = getattr(self, name)
            same = tuple(math.nan if value != value else value for value in values)
            object.__setattr__(self, name, same)

    @property
    def applies(self) -> bool:
        """Whether there is a suggestion to train with (status ``ok`` or ``no_divergence``)."""
        return self.suggestion is not None

    @property
    def reason(self) -> str:
        """Explanation of the status."""
        return f"{self._of_sweep()}{self._of_trainings()}"

    @property
    def _fell(self) -> bool:
        """Whether the loss fell in most sweeps."""
        return 2 * sum(rate is not None for rate in self.per_repeat) > len(self.per_repeat)

    def _of_sweep(self) -> str:
        match self.status:
            case "ok" | "not_trained" if not self._fell:
                return "the loss did not fall in the sweep"
            case "ok":
                return "the loss fell and then rose"
            case "no_divergence":
                return f"the loss fell and had not risen at {self.lrs[-1]:.2g}; raise max_lr"
            case "no_descent":
                if rises_from_the_first(self.losses):
                    return (
                        "the loss rises from the first rate on, where none can have an effect yet; "
                        "does it depend on the step, by a warm-up of a weight?"
                    )
                held = "" if self.edge is None else f", and did not rise below {self.edge:.2g}"
                return f"the loss never fell by more than its noise{held}"
            case "too_few_points":
                points = counted(len(self.losses), "point")
                return f"the test has {points}, which is too few; {MIN_POINTS} are needed"
            case "non_finite":
                return f"the loss was not finite at {self.lrs[-1]:.2g}, before it had fallen"
            case "not_trained":
                return "the loss fell in the sweep"

    def _of_trainings(self) -> str:
        """Describe the trainings after the sweep, with their rates and losses."""
        if not self.probes:
            return ""
        short = f"{_counted(self.probes, 'short')} (loss {_each(self.probes)})"
        longer = f"{_counted(self.longer, 'longer')} (loss {_each(self.longer)})"
        if self.status == "not_trained":
            if not self.longer:
                where = f", but not in {short}"
            else:
                joined = " and in" if self._fell else ", but in"
                where = f"{joined} {short}, but did not stay low in {longer}"
            return (
                f"{where}; before training it is {self.losses[0]:.3g}; "
                "lower min_lr and max_lr, or scale the targets"
            )
        if not self.applies:
            return f"; nor did it fall in {short}"
        joined = ", checked by" if self._fell else ", but in"
        return f"{joined} {short} and {longer}" if self.longer else f"{joined} {short}"

    def rows(self) -> list[dict[str, float]]:
        """One row per step, for a logger: rate, loss and smoothed loss.

        The last losses may lack a smoothed value; all of them do if the sweep ended very early.
        """
        rows = [{"lr": lr, "loss": loss} for lr, loss in zip(self.lrs, self.losses, strict=True)]
        for row, smoothed in zip(rows, self.smoothed, strict=False):
            row["smoothed"] = smoothed
        return rows

    def summary(self) -> str:
        """A one-line, human-readable summary."""
        if self.suggestion is None:
            found = "no suggestion"
        else:
            found = f"{self.suggestion:.2g} (range {self.base_lr:.2g} to {self.max_lr:.2g})"
        spread = "" if self.spread is None else f", repeats within {self.spread:.2f} decades"
        return f"LR range test: {found}{spread}; {self.status}: {self.reason}"

    def __str__(self) -> str:
        return self.summary()

    def picture(self) -> Picture:
        """The curve as a picture ``(H, W, 3)``, without matplotlib."""
        return self._chart().picture()

    def plot(self, to: str | Path | Any = None) -> Any:
        """Draw raw and smoothed loss, the shaded range, the suggestion and the status.

        Args:
            to: A file name, whose folder is created if missing; matplotlib axes; or None for new
                axes. A PNG file does not need matplotlib.

        Returns:
            The path written, or the axes.

        Raises:
            ModuleNotFoundError: If matplotlib is needed and not installed.
        """
        return self._chart().plot(to)

    def _chart(self) -> Chart:
        base, peak = self.base_lr, self.max_lr
        return Chart(
            x=self.lrs,
            y=self.losses,
            line=self.smoothed,
            marked=self.suggestion,
            shaded=None if base is None or peak is None else (base, peak),
            title=self.summary().partition("; ")[0],
            caption=f"{self.status}: {self.reason}",
        )

    def to_json(self) -> str:
        """Return strict JSON, which :meth:`from_json` reads back into an equal result."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> RangeTestResult:
        """Read a result written by :meth:`to_json`.

        Raises:
            ValueError: If the text is not such a result.
        """
        return from_json(cls, text)


def analyse(
    sweeps: Sequence[Sweep],
    rule: str | Rule = "edge",
    *,
    param: str = "lr",
    seconds: float = 0.0,
) -> RangeTestResult:
    """Analyse one sweep, or several over the same rates.

    Each sweep gets its own suggestion; the result holds their geometric mean and their spread.

    Args:
        sweeps: At least one sweep.
        rule: A name in :data:`RULES`, or a function of a :class:`Curve` that returns a rate.
        param: The parameter that was swept.
        seconds: Duration of the sweeps, for the record.

    Raises:
        ValueError: If there is no sweep, the rule is unknown, or it does not return a positive
            rate.
    """
    if not sweeps:
        raise ValueError("`sweeps` must hold at least one sweep, got none")
    one_of("param", param, PARAMS)
    suggest = rule_named(rule)
    name = rule if isinstance(rule, str) else getattr(rule, "__name__", type(rule).__name__)
    curves = [read(sweep) for sweep in sweeps]
    statuses = [_status(sweep, curve) for sweep, curve in zip(sweeps, curves, strict=True)]
    status = _common(statuses)
    good = [
        curve if each in _USABLE else None for curve, each in zip(curves, statuses, strict=True)
    ]
    per_repeat = tuple(None if curve is None else _checked(suggest, curve) for curve in good)
    suggestion = _middle(per_repeat) if status in _USABLE else None
    started = _middle(None if curve is None else curve.fallen(0.1) for curve in good)
    mean = _mean(sweeps)
    shown = read(mean)
    logs = np.log10([each for each in per_repeat if each is not None])
    return RangeTestResult(
        lrs=tuple(mean.lrs),
        losses=tuple(mean.losses),
        smoothed=() if shown is None else tuple(shown.smoothed.tolist()),
        status=status,
        suggestion=suggestion,
        base_lr=range_base(started, suggestion),
        max_lr=suggestion,
        edge=_middle(None if curve is None or not curve.left else curve.edge for curve in curves),
        diverged_at=_middle(None if curve is None else curve.ended for curve in curves),
        spread=float(np.ptp(logs)) if len(logs) > 1 else None,
        per_repeat=per_repeat,
        steps_run=sum(len(sweep.losses) for sweep in sweeps),
        seconds=seconds,
        param=param,
        rule=name,
    )


def rises_from_the_first(losses: Sequence[float]) -> bool:
    """Whether losses rise steadily while the rates are still too low to have an effect.

    A straight line is fitted to the first third; its slope must exceed ten times its standard
    error, and each half of that third must rise too.

    >>> rises_from_the_first([72 + step for step in range(60)])
    True
    >>> rises_from_the_first([1.0, 1.2, 0.9, 1.1, 1.0, 1.1, 0.8, 1.2, 1.0, 0.9] * 5)
    False
    """
    head = np.asarray(losses[: max(len(losses) // 3, MIN_POINTS)], dtype=np.float64)
    if len(head) < MIN_POINTS or not np.isfinite(head).all():
        return False
    steps = np.arange(len(head)) - (len(head) - 1) / 2
    slope = float(steps @ head / (steps @ steps))
    rest = head - head.mean() - slope * steps
    error = math.sqrt(float(rest @ rest) / (len(head) - 2) / float(steps @ steps))
    first, second = np.array_split(head, 2)
    halves_rise = first[-1] > first[0] and second[-1] > second[0]
    return slope > max(10 * error, 0.0) and bool(halves_rise)


def _counted(trainings: Sequence[object], kind: str) -> str:
    count = len(trainings)
    return f"{count} {kind} training{'s' if count > 1 else ''}"


def _each(trainings: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{loss:.3g} at {rate:.2g}" for rate, loss in trainings)


def _checked(rule: Rule, curve: Curve) -> float:
    rate = float(rule(curve))
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"`rule` must return a learning rate above 0, got {rate}")
    return rate


def _status(sweep: Sweep, curve: Curve | None) -> Status:
    if curve is None:
        finite = all(map(math.isfinite, sweep.losses))
        return "too_few_points" if finite else "non_finite"
    if not curve.fell:
        return "no_descent" if curve.finite else "non_finite"
    return "ok" if curve.left else "no_divergence"


def _common(statuses: Sequence[Status]) -> Status:
    """The most common status; one that allows a suggestion only if more than half do."""
    usable = [status for status in statuses if status in _USABLE]
    if 2 * len(usable) <= len(statuses):
        usable = [status for status in statuses if status not in _USABLE]
    return Counter(usable).most_common(1)[0][0]


def _middle(rates: Iterable[float | None]) -> float | None:
    """Geometric mean of the rates that are not None; None if all are."""
    there = [rate for rate in rates if rate is not None]
    if len(there) < 2:
        return there[0] if there else None
    return math.exp(sum(map(math.log, there)) / len(there))


def range_base(started: float | None, peak: float | None) -> float | None:
    """The rate where the loss began to fall, at most a quarter of the peak (Smith, 1506.01186)."""
    if started is None or peak is None:
        return None
    return min(max(started, peak / 100), peak / 4)


def _mean(sweeps: Sequence[Sweep]) -> Sweep:
    """Mean loss at each rate over the sweeps that reached it."""
    losses: dict[float, list[float]] = {}
    for sweep in sweeps:
        for lr, loss in zip(sweep.lrs, sweep.losses, strict=True):
            losses.setdefault(float(lr), []).append(float(loss))
    lrs = sorted(losses)
    return Sweep(lrs, [sum(losses[lr]) / len(losses[lr]) for lr in lrs])


# -- text ------------------------------------------------------------------------------------------

_Result = TypeVar("_Result")


def to_json(result: Any) -> str:
    """Return strict JSON of a dataclass; NaN and infinity are written as text."""
    return json_text.write(asdict(result))


def from_json(kind: type[_Result], text: str) -> _Result:
    """Read a dataclass written by :func:`to_json`.

    Raises:
        ValueError: If the text was not written from this class.
    """
    values = json_text.read(text)
    items = fields(kind)  # type: ignore[arg-type]
    names = {item.name for item in items}
    needed = {item.name for item in items if item.default is MISSING}  # not in older results
    found = set(values) if isinstance(values, dict) else set()
    if not needed <= found <= names:
        raise ValueError(
            f"this is not the JSON of a {kind.__name__}: "
            f"missing {sorted(needed - found)}, unknown {sorted(found - names)}"
        )
    return kind(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    """The value with lists replaced by tuples."""
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
