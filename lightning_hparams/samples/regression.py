"""A number, or several, an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..render import Picture, regression_picture
from .kind import DrawOptions, Kind, Sample
from .scores import check_tensors

__all__ = ["Regression"]


class Regression(Kind):
    """A number an image ``(N,)``, or D of them ``(N, D)``."""

    name = "regression"

    def tidy(self, output: Mapping[str, Any], options: DrawOptions) -> Mapping[str, Any]:
        """The output with an axis of values: ``(N, 1)`` in place of ``(N,)``."""
        changed = dict(super().tidy(output, options))
        for key in ("preds", "targets"):
            value = changed[key]
            if isinstance(value, Tensor) and value.ndim == 1:
                changed[key] = value[:, None]
        return changed

    def check(self, output: Mapping[str, Any], step: str, options: DrawOptions) -> None:
        """Check that there are as many predicted as true numbers, each with a name."""
        check_tensors(output, step)
        shape, names = tuple(output["preds"].shape), options.class_names
        if len(shape) != 2 or not shape[1]:
            raise ValueError(f"{step}: preds of a regression must be (N,) or (N, D), got {shape}")
        if names is not None:
            _check_names(names, shape[1])

    def losses(self, output: Mapping[str, Any], options: DrawOptions) -> Tensor:
        """Mean absolute error over the known values of each sample; NaN as target is unknown."""
        preds, targets = output["preds"].float(), output["targets"].float()
        known = ~targets.isnan()
        total = (preds - targets).abs().where(known, 0).sum(1)
        mean: Tensor = total / known.sum(1).clamp_min(1)
        return mean

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """The image above true and predicted values."""
        names = options.class_names
        if names is not None:
            _check_names(names, len(sample.pred))
        return regression_picture(sample.image, sample.pred, sample.target, names, caption=caption)


def _check_names(names: Sequence[str], values: int) -> None:
    if len(names) != values:
        raise ValueError(
            f"class_names has {len(names)} entries, but an image {values} predicted values; "
            "name every value, in order"
        )
