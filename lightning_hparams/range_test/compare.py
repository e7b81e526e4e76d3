"""Choose weight decay, momentum or batch size by a range test per value (Smith, 1803.09820)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import one_of
from ..render import Picture
from .curve import read
from .plot import Chart
from .result import (
    PARAMS,
    RangeTestResult,
    Rule,
    Status,
    Sweep,
    analyse,
    from_json,
    to_json,
)

__all__ = ["LrScale", "ParamTestResult", "compare_values"]


class LrScale(NamedTuple):
    """Growth of the suggested rate with a value, and the growth expected by two rules of thumb."""

    value: float
    seen: float | None  # None without a suggestion
    linear: float
    sqrt: float


@dataclass(frozen=True)
class ParamTestResult:
    """Result of range tests at several values of a hyperparameter; tuples follow `values`."""

    param: str
    values: tuple[float, ...]
    lowest: tuple[float, ...]  # lowest smoothed loss, NaN if there is none
    noise: tuple[float, ...]  # its standard error
    chosen: float | None  # None if no loss fell
    suggestion: float | None  # learning rate at the chosen value
    status: Status
    results: tuple[RangeTestResult, ...]
    steps_run: int
    seconds: float

    def __post_init__(self) -> None:
        results = tuple(_result(each) for each in self.results)
        object.__setattr__(self, "results", results)
        for name in ("lowest", "noise"):  # a shared NaN, as in RangeTestResult
            same = tuple(math.nan if value != value else value for value in getattr(self, name))
            object.__setattr__(self, name, same)

    @property
    def applies(self) -> bool:
        """Whether a value was chosen."""
        return self.chosen is not None

    @property
    def suggestions(self) -> tuple[float | None, ...]:
        """Learning rate suggested at each value."""
        return tuple(result.suggestion for result in self.results)

    @property
    def lr_scale(self) -> tuple[LrScale, ...]:
        """Growth of the suggested rate relative to the first value, for batch sizes."""
        first_value, first = self.values[0], self.suggestions[0]
        return tuple(
            LrScale(
                value,
                None if first is None or each is None else each / first,
                value / first_value if first_value else math.nan,
                math.sqrt(value / first_value) if first_value else math.nan,
            )
            for value, each in zip(self.values, self.suggestions, strict=True)
        )

    @property
    def reason(self) -> str:
        """Explanation of the status."""
        if self.chosen is None:
            return f"at no {self.param}: {self.results[0].reason}"
        return f"the largest {self.param} whose lowest loss is the least, two standard errors apart"

    def summary(self) -> str:
        """A one-line, human-readable summary."""
        if self.chosen is None:
            return f"{self.param} range test: no suggestion; {self.status}: {self.reason}"
        return (
            f"{self.param} range test: {self.chosen:g}, learning rate {self.suggestion:.2g}; "
            f"{self.reason}"
        )

    def table(self) -> str:
        """A line for each value, with its lowest loss and its learning rate."""
        head = f"{self.param:>14} {'lowest loss':>12} {'+-':>9} {'lr':>9} status"
        batch = self.param == "batch_size"
        lines = [head + ("  lr grew by (linear, sqrt)" if batch else "")]
        for index, value in enumerate(self.values):
            result, scale = self.results[index], self.lr_scale[index]
            rate = "-" if result.suggestion is None else f"{result.suggestion:.2g}"
            grew = "-" if scale.seen is None else f"{scale.seen:.2g}"
            lines.append(
                f"{value:>14g} {self.lowest[index]:>12.4g} {self.noise[index]:>9.2g} {rate:>9} "
                f"{result.status}"
                + (f"  {grew} ({scale.linear:.2g}, {scale.sqrt:.2g})" if batch else "")
                + ("  <- chosen" if value == self.chosen else "")
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def picture(self) -> Picture:
        """The smoothed curves as a picture ``(H, W, 3)``."""
        return self._chart().picture()

    def plot(self, to: str | Path | Any = None) -> Any:
        """Draw the smoothed curves; see :meth:`RangeTestResult.plot`."""
        return self._chart().plot(to)

    def _chart(self) -> Chart:
        at = 0 if self.chosen is None else self.values.index(self.chosen)
        shown = self.results[at]
        return Chart(
            x=shown.lrs,
            y=shown.losses,
            line=shown.smoothed,
            marked=shown.suggestion,
            shaded=None,
            title=self.summary().partition("; ")[0],
            caption=self.reason,
            name=f"{self.values[at]:g}",
            others={
                f"{value:g}": (result.lrs, result.smoothed)
                for value, result in zip(self.values, self.results, strict=True)
                if result is not shown
            },
        )

    def to_json(self) -> str:
        """Return strict JSON, which :meth:`from_json` reads back into an equal result."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> ParamTestResult:
        """Read a result written by :meth:`to_json`.

        Raises:
            ValueError: If the text is not such a result.
        """
        return from_json(cls, text)


def compare_values(
    param: str,
    sweeps: Mapping[float, Sequence[Sweep]],
    *,
    rule: str | Rule = "edge",
    seconds: float = 0.0,
) -> ParamTestResult:
    """Choose a value of a hyperparameter by comparing the range tests run with each.

    Among the values within two standard errors (of the difference) of the lowest loss, the largest
    is chosen: more weight decay, more momentum or a larger batch for the same loss. On four tasks
    (``benchmarks/other_sweeps.py``) decays and momenta chosen so were about as good as the
    defaults, and batch sizes worse.

    Args:
        param: ``"weight_decay"``, ``"momentum"`` or ``"batch_size"``.
        sweeps: At least two values, each with its sweeps, from the same weights and batches.
            Prefer validation losses to training losses, which weight decay raises.
        rule: See :func:`analyse`.
        seconds: Total duration, for the record.

    Raises:
        ValueError: If there are fewer than two values, or a name is unknown.
    """
    one_of("param", param, [name for name in PARAMS if name != "lr"])
    if len(sweeps) < 2:
        raise ValueError(f"`sweeps` must hold at least two values of {param}, got {list(sweeps)}")
    values = tuple(sorted(sweeps))
    results = tuple(analyse(sweeps[value], rule, param=param) for value in values)
    lows = [_low(sweeps[value]) for value in values]
    good = [index for index, result in enumerate(results) if result.applies]
    chosen = None
    if good:
        best = min(good, key=lambda index: lows[index][0])
        chosen = max(index for index in good if _as_good(lows[index], lows[best]))
    statuses = Counter(result.status for result in results)
    return ParamTestResult(
        param=param,
        values=values,
        lowest=tuple(loss for loss, _ in lows),
        noise=tuple(error for _, error in lows),
        chosen=None if chosen is None else values[chosen],
        suggestion=None if chosen is None else results[chosen].suggestion,
        status=statuses.most_common(1)[0][0] if chosen is None else results[chosen].status,
        results=results,
        steps_run=sum(result.steps_run for result in results),
        seconds=seconds,
    )


def _low(sweeps: Sequence[Sweep]) -> tuple[float, float]:
    """Lowest smoothed loss and its standard error, over the sweeps that can be read."""
    curves = [curve for curve in map(read, sweeps) if curve is not None]
    if not curves:
        return math.nan, math.nan
    lowest = sum(float(curve.smoothed[curve.low]) for curve in curves) / len(curves)
    return lowest, math.sqrt(sum(curve.error**2 for curve in curves)) / len(curves)


def _as_good(one: tuple[float, float], best: tuple[float, float]) -> bool:
    return one[0] <= best[0] + 2 * math.hypot(one[1], best[1])


def _result(value: RangeTestResult | dict[str, Any]) -> RangeTestResult:
    if isinstance(value, RangeTestResult):
        return value
    return RangeTestResult(**value)
