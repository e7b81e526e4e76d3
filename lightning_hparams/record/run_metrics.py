"""The logged metrics that represent a run, with their last and best values."""

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
        metrics: ``"auto"`` for everything the validation logs or other callbacks monitor; or names,
            or a dict from name to ``"min"`` or ``"max"``.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._directions = dict(metrics) if isinstance(metrics, Mapping) else {}
        self.best = BestValues(self._directions)
        self.last: dict[str, float] = {}
        self._reset()

    def begin(self, trainer: Trainer) -> None:
        """Begin a fit; values are kept if the same Trainer continues."""
        continues = trainer.global_step > 0
        values = self.best.values if continues else {}
        self.best = BestValues({**monitored(trainer), **self._directions})
        self.best.values = values
        self.last = self.last if continues else {}
        self._reset()

    def _reset(self) -> None:
        self._before: dict[str, float] = {}
        self._validation: set[str] = set()  # metrics logged by validations
        self._warned = False
        self.validated = False

    def before_validation(self, found: Mapping[str, float]) -> None:
        """Remember the current values, to recognise those of the validation."""
        self._before = dict(found)

    def after_validation(self, found: Mapping[str, float]) -> None:
        """Remember which metrics are new or changed."""
        self._validation |= {
            tag
            for tag, value in found.items()
            if str(self._before.get(tag)) != str(value)  # NaN differs from itself
        }
        self.validated = True

    def wanted(self, found: Iterable[str], trainer: Trainer) -> list[str]:
        """The given metrics, or else those of whole validations and those callbacks monitor."""
        if self._metrics != "auto":
            return list(self._metrics)
        parsed = {tag: Tag.parse(tag) for tag in found}
        whole = {tag: tag_parts for tag, tag_parts in parsed.items() if tag_parts.is_whole}
        chosen = [
            tag
            for tag, tag_parts in whole.items()
            if tag_parts.is_validation or tag in self._validation or not validates(trainer)
        ]
        watched = (tag for tag in monitored(trainer) if tag not in (*chosen, "epoch", "step"))
        return [*chosen, *watched]

    def of(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> dict[str, float]:
        """Metrics logged by a validation, or else those logged by a training epoch."""
        return {
            tag: found[tag]
            for tag in self.wanted(found, trainer)
            if tag in found and (tag in self._validation) == of_validation
        }

    def update(self, values: Mapping[str, float]) -> dict[str, float]:
        """Update with new values, and return the best so far of each."""
        self.last |= values
        return self.best.update(values)

    def values(self) -> dict[str, dict[str, float]]:
        """Last and best values."""
        return {"last": dict(self.last), "best": dict(self.best.values)}

    def missing(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> str | None:
        """Message about missing metrics, once: after a validation or a whole epoch."""
        if self._warned or (of_validation and self._metrics != "auto"):
            return None
        self._warned = True
        wanted = self.wanted(found, trainer)
        missing = [tag for tag in wanted if tag not in found]
        names = sorted(tag for tag in found if Tag.parse(tag).is_result)
        so_far = f"logged so far: {', '.join(names) or 'nothing'}"
        if self._metrics != "auto" and missing:
            near = nearest(missing[0], found)
            return f"metric {missing[0]!r} is not logged{near}; {so_far}"
        if not wanted and validates(trainer):
            return (
                "RunRecorder cannot track a best value, because the validation logs no metric; "
                f"call self.log in `validation_step`, or pass a list of `metrics`; {so_far}"
            )
        return None


def monitored(trainer: Trainer) -> dict[str, Direction]:
    """Direction of each metric that the Trainer's callbacks monitor."""
    found: dict[str, Direction] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            found[monitor] = mode
    return found


def logged_values(trainer: Trainer) -> dict[str, float]:
    """All values logged so far."""
    return {tag: float(value) for tag, value in trainer.callback_metrics.items()}


def validates(trainer: Trainer) -> bool:
    """Whether the fit has a validation."""
    return trainer.enable_validation and sum(trainer.num_val_batches) > 0
