"""Whether lower or higher is better for a metric, by its name, and its best value so far."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from ..checks import one_of
from .grammar import Tag

__all__ = ["BestValues", "Direction", "direction"]

Direction: TypeAlias = Literal["min", "max"]

# Words of a tag, also prefixed with "m" or "mean". A falling word wins, so `dice_loss` falls.
_FALLS = {
    *("loss", "losses", "error", "err", "mae", "mse", "rmse", "msle", "mape", "smape", "ece"),
    *("mce", "nll", "ce", "bce", "perplexity", "ppl", "perceptual", "lpips", "dists"),
    *("frechet", "fid", "divergence", "kl", "brier", "crps", "ranked", "distance"),
    *("hausdorff", "asd", "assd", "epe", "wer", "cer", "fpr", "fnr"),
}
_RISES = {
    *("acc", "accuracy", "top1", "top5", "iou", "giou", "diou", "ciou", "jaccard", "dice", "dsc"),
    *("nsd", "f1", "f2", "fbeta", "auc", "auroc", "auprc", "ap", "map", "mar", "ap50", "map50"),
    *("precision", "recall", "sensitivity", "specificity", "tpr", "tnr", "pq", "quality", "psnr"),
    *("snr", "signal", "ssim", "similarity", "fidelity", "score", "fscore", "kappa", "mcc", "corr"),
    *("correlation", "pearson", "spearman", "r2", "explained"),
}
# Ambiguous words: they count only if no other word decides.
_MAY_FALL = {"angle", "hd", "kid", "texture", "variation"}
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_IOU = re.compile(r"((Complete|Distance|Generalized)?IntersectionOverUnion|IoU)")


def direction(tag: str) -> Direction | None:
    """``"min"`` or ``"max"``, whichever is better for the metric with this tag; None if unknown.

    Class names of torchmetrics are recognised too. The label in a per-class tag has no influence.

    >>> direction("val_loss"), direction("metric/mIoU/val"), direction("val/zebra")
    ('min', 'max', None)
    >>> direction("val_MulticlassF1Score"), direction("val_MeanSquaredError")
    ('max', 'min')
    """
    parsed = Tag.parse(tag)
    name = "loss" if parsed.kind == "loss" else parsed.name
    name = _IOU.sub("Iou", name).replace("StructureAndTextureSimilarity", "Dists")
    words = {*re.split(r"[^a-z0-9]+", name.lower()), *map(str.lower, _CAMEL.findall(name))}
    words |= {word.removeprefix(mean) for word in words for mean in ("m", "mean")}
    if words & _FALLS:
        return "min"
    if words & _RISES:
        return "max"
    return "min" if words & _MAY_FALL else None


class BestValues:
    """The best finite value of each metric so far.

    Args:
        directions: By tag, for metrics that :func:`direction` does not know or gets wrong.

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
        """Update with the values of one step.

        Returns:
            The best value so far of each of these metrics, except those whose direction is unknown
            or which have had no finite value yet.
        """
        for tag, value in values.items():
            way = self._directions.get(tag) or direction(tag)
            if way is None or not math.isfinite(value):
                continue
            choose = min if way == "min" else max
            self.values[tag] = choose(value, self.values.get(tag, value))
        return {tag: self.values[tag] for tag in values if tag in self.values}
