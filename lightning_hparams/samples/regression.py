"""Regression of one or several values per image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..outputs import StepOutput
from ..render import Picture, regression_picture, regression_truth
from .kind import DrawOptions, Kind, Sample
from .scores import check_tensors

__all__ = ["Regression"]


class Regression(Kind):
    """One value per image ``(N,)``, or D values ``(N, D)``."""

    name = "regression"

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Add the axis of values: ``(N,)`` becomes ``(N, 1)``."""
        changed = dict(super().tidy(output, options))
        for key in ("preds", "targets"):
            value = changed[key]
            if isinstance(value, Tensor) and value.ndim == 1:
                changed[key] = value[:, None]
        return changed

    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check that predictions and targets have the same shape, and each value a name."""
        check_tensors(output, step)
        shape, names = tuple(output["preds"].shape), options.class_names
        if len(shape) != 2 or not shape[1]:
            raise ValueError(f"{step}: regression preds must be (N,) or (N, D), got {shape}")
        _names(names, shape[1], options)

    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """Mean absolute error of each sample over its known values; a NaN target is unknown."""
        preds, targets = output["preds"].float(), output["targets"].float()
        known = ~targets.isnan()
        total = (preds - targets).abs().where(known, 0).sum(1)
        mean: Tensor = total / known.sum(1).clamp_min(1)
        return mean

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the image above its true and predicted values."""
        names = _names(options.class_names, len(sample.pred), options)
        return regression_picture(sample.image, sample.pred, sample.target, names, caption=caption)

    def draw_truth(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the image above its true values."""
        names = _names(options.class_names, len(sample.target), options)
        return regression_truth(sample.image, sample.target, names, caption=caption)


def _names(names: Sequence[str] | None, values: int, options: DrawOptions) -> Sequence[str] | None:
    if names is None or len(names) == values:
        return names
    text = (
        f"class_names has {len(names)} entries, but an image has {values} predicted values; "
        "name every value, in order"
    )
    if options.on_missing_names is None:
        raise ValueError(text)
    options.on_missing_names(text)
    return None
