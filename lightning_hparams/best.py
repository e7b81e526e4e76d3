"""Which way a metric gets better, by its name, and the best value so far."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from .checks import one_of

__all__ = ["BestValues", "Direction", "direction"]

Direction: TypeAlias = Literal["min", "max"]

# Words of a tag, also with an "m" for "mean" before them. One that falls decides: `dice_loss` is a
# loss.
_FALLS = {
    *("loss", "losses", "error", "err", "mae", "mse", "rmse", "mape", "ece", "mce", "nll", "ce"),
    *("bce", "perplexity", "ppl", "fid", "lpips", "brier", "distance", "hausdorff", "assd"),
}
_RISES = {
    *("acc", "accuracy", "top1", "top5", "iou", "jaccard", "dice", "f1", "fbeta", "auc", "auroc"),
    *("ap", "map", "mar", "ap50", "map50", "precision", "recall", "sensitivity", "specificity"),
    *("psnr", "ssim", "score", "kappa", "mcc", "r2", "pearson", "spearman"),
}


def direction(tag: str) -> Direction | None:
    """``"min"`` or ``"max"``, whichever is better for the metric of that name; None if unknown.

    >>> direction("val_loss"), direction("metric/mIoU/val"), direction("val/zebra")
    ('min', 'max', None)
    """
    words = set(re.split(r"[^a-z0-9]+", tag.lower()))
    words |= {word.removeprefix("m") for word in words}
    if words & _FALLS:
        return "min"
    return "max" if words & _RISES else None


class BestValues:
    """The best finite value of each metric so far.

    Args:
        directions: For metrics whose name does not tell (see :func:`direction`).

    Raises:
        ValueError: If a direction is neither ``"min"`` nor ``"max"``.

    >>> best = BestValues()
    >>> best.update({"val_loss": 0.5}), best.update({"val_loss": 0.7}), best.values
    ({'val_loss': 0.5}, {'val_loss': 0.5}, {'val_loss': 0.5})
    """

    def __init__(self, directions: Mapping[str, Direction] | None = None) -> None:
        for tag, given in (directions or {}).items():
            one_of(f"direction of {tag}", given, ("min", "max"))
        self._directions = dict(directions or {})
        self.values: dict[str, float] = {}

    def update(self, values: Mapping[str, float]) -> dict[str, float]:
        """Take in a step's values.

        Returns:
            The best so far of each of these metrics, as far as it is known which way is better and
            there was a finite value.
        """
        for tag, value in values.items():
            way = self._directions.get(tag) or direction(tag)
            if way is None or not math.isfinite(value):
                continue
            choose = min if way == "min" else max
            self.values[tag] = choose(value, self.values.get(tag, value))
        return {tag: self.values[tag] for tag in values if tag in self.values}
