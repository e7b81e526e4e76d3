"""Which of the logged metrics stand for a run, and their last and best values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from lightning import Trainer

from ..checks import nearest
from ..tags import BestValues, Direction, Tag

__all__ = ["Metrics", "RunMetrics", "logged_values", "validates"]

Metrics: TypeAlias = Literal["auto"] | Sequence[str] | Mapping[str, Direction]


class RunMetrics:
    """The metrics of a fit.

    Args:
        metrics: ``"auto"`` for what the validation logs and what other callbacks monitor; or names,
            or a dict of them to ``"min"`` or ``"max"``.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._directions = dict(metrics) if isinstance(metrics, Mapping) else {}
        self.best = BestValues(self._directions)
        self.last: dict[str, float] = {}
        self._reset()

    def begin(self, trainer: Trainer) -> None:
        """Begin a fit; where the same Trainer goes on, its values do, too."""
        goes_on = trainer.global_step > 0
        values = self.best.values if goes_on else {}
        self.best = BestValues({**monitored(trainer), **self._directions})
        self.best.values = values
        self.last = self.last if goes_on else {}
        self._reset()

    def _reset(self) -> None:
        self._before: dict[str, float] = {}
        self._brought: set[str] = set()  # metrics that validations brought
        self._told = False
        self.validated = False

    def before_validation(self, found: Mapping[str, float]) -> None:
        """Note what there is, to tell what the validation brings."""
        self._before = dict(found)

    def after_validation(self, found: Mapping[str, float]) -> None:
        """Note what is new."""
        self._brought |= {
            tag
            for tag, value in found.items()
            if str(self._before.get(tag)) != str(value)  # NaN is not equal to itself
        }
        self.validated = True

    def wanted(self, found: Iterable[str], trainer: Trainer) -> list[str]:
        """Without a list those of a validation as a whole, and what other callbacks watch."""
        if self._metrics != "auto":
            return list(self._metrics)
        parsed = {tag: Tag.parse(tag) for tag in found}
        whole = {tag: tag_parts for tag, tag_parts in parsed.items() if tag_parts.is_whole}
        chosen = [
            tag
            for tag, tag_parts in whole.items()
            if tag_parts.is_validation or tag in self._brought or not validates(trainer)
        ]
        watched = (tag for tag in monitored(trainer) if tag not in (*chosen, "epoch", "step"))
        return [*chosen, *watched]

    def of(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> dict[str, float]:
        """The metrics that a validation brought, or those that an epoch of training did."""
        return {
            tag: found[tag]
            for tag in self.wanted(found, trainer)
            if tag in found and (tag in self._brought) == of_validation
        }

    def update(self, values: Mapping[str, float]) -> dict[str, float]:
        """Take values in; the best so far of each."""
        self.last |= values
        return self.best.update(values)

    def values(self) -> dict[str, dict[str, float]]:
        """Last and best values."""
        return {"last": dict(self.last), "best": dict(self.best.values)}

    def missing(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> str | None:
        """What to say of metrics that are not there, once: after a validation or a whole epoch."""
        if self._told or (of_validation and self._metrics != "auto"):
            return None
        self._told = True
        wanted = self.wanted(found, trainer)
        missing = [tag for tag in wanted if tag not in found]
        names = sorted(tag for tag in found if Tag.parse(tag).is_result)
        so_far = f"logged so far: {', '.join(names) or 'nothing'}"
        if self._metrics != "auto" and missing:
            near = nearest(missing[0], found)
            return f"metric {missing[0]!r} is not logged{near}; {so_far}"
        if not wanted and validates(trainer):
            return (
                "RunRecorder has no metric to keep the best of, for the validation logs none; "
                f"call self.log in `validation_step`, or pass a list of `metrics`; {so_far}"
            )
        return None


def monitored(trainer: Trainer) -> dict[str, Direction]:
    """Which way the metrics go that the Trainer's callbacks watch."""
    found: dict[str, Direction] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            found[monitor] = mode
    return found


def logged_values(trainer: Trainer) -> dict[str, float]:
    """Values of all that was logged so far."""
    return {tag: float(value) for tag, value in trainer.callback_metrics.items()}


def validates(trainer: Trainer) -> bool:
    """Whether the fit has a validation."""
    return trainer.enable_validation and sum(trainer.num_val_batches) > 0
