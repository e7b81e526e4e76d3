"""Boxes with labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ..boxes import check_boxes, confident, match_boxes
from ..metrics import BoxScoreCounts
from ..outputs import Boxes
from ..render import Picture, detection_picture
from .kind import DrawOptions, Kind, Sample, Scores, names_for

__all__ = ["Detection"]


class Detection(Kind):
    """Predicted and true boxes of each image, as torchvision's detectors give them."""

    name = "detection"

    def tidy(self, output: Mapping[str, Any], options: DrawOptions) -> Mapping[str, Any]:
        """The output with tensors in place of arrays."""
        output = super().tidy(output, options)
        boxes = {key: [_tensors(each) for each in output[key]] for key in ("preds", "targets")}
        return {**output, **boxes}

    def check(self, output: Mapping[str, Any], step: str, options: DrawOptions) -> None:
        """Check that boxes are xyxy in pixels, each with a label, and predictions with a score."""
        for key, needed in (
            ("preds", ("boxes", "labels", "scores")),
            ("targets", ("boxes", "labels")),
        ):
            for each in output[key]:
                missing = [name for name in needed if name not in each]
                if missing:
                    raise ValueError(
                        f"{step}, {key}: each image needs {', '.join(needed)}, got {sorted(each)}; "
                        f"add {', '.join(missing)}, (K,) for K boxes"
                    )
                sizes = {name: len(each[name]) for name in needed}
                if len(set(sizes.values())) > 1:
                    raise ValueError(f"{step}, {key}: each box needs one of each, got {sizes}")
            check_boxes([each["boxes"] for each in output[key]], f"{step}, {key}")

    def losses(self, output: Mapping[str, Any], options: DrawOptions) -> Tensor:
        """The number of false and missed boxes."""
        pairs = zip(output["preds"], output["targets"], strict=True)
        return torch.tensor(
            [
                float(sum(match_boxes(confident(pred, options.min_score), target).counts[1:]))
                for pred, target in pairs
            ]
        )

    def classes(self, output: Mapping[str, Any], options: DrawOptions) -> list[list[int]]:
        """The labels of the true boxes."""
        return [target["labels"].unique().tolist() for target in output["targets"]]

    def pick(
        self, output: Mapping[str, Any], position: int, scale: tuple[float, float]
    ) -> Mapping[str, Any]:
        """With boxes in pixels of the image as it is shown."""
        return {key: _scaled(output[f"{key}s"][position], scale) for key in ("pred", "target")}

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """True boxes beside predicted ones."""
        labels = [*sample.pred["labels"].tolist(), *sample.target["labels"].tolist()]
        return detection_picture(
            sample.image,
            sample.pred,
            sample.target,
            names_for(max(labels, default=0), options),
            min_score=options.min_score,
            caption=caption,
            colors=options.colors,
        )

    def scores(
        self, output: Mapping[str, Any], options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Of each box, at an IoU of 0.5."""
        names = options.class_names
        if names is None:
            raise ValueError(
                "MetricMonitor: curves of boxes need the names of all classes; pass class_names="
            )
        parts = [
            _matched(pred, target, names)
            for pred, target in zip(output["preds"], output["targets"], strict=True)
        ]

        def make_counter() -> Metric:
            return BoxScoreCounts(len(names)).to(device)

        def updates() -> Iterator[tuple[Tensor, ...]]:
            for part in parts:
                yield tuple(each.to(device) for each in part)

        def confidences() -> Iterator[tuple[Tensor, Tensor]]:
            for _, scores, hits, _ in parts:
                yield scores.to(device), hits.to(device)

        return Scores(make_counter, updates, confidences)


def _tensors(boxes: Any) -> Any:
    if not isinstance(boxes, Mapping):
        return boxes
    return {key: torch.as_tensor(value) for key, value in boxes.items()}


def _matched(pred: Boxes, target: Boxes, names: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, scores and hits of predictions, and labels of the true boxes that were missed."""
    matches = match_boxes(pred, target)
    hits, found = (torch.from_numpy(part) for part in (matches.hits, matches.found))
    labels, missed = pred["labels"].cpu(), target["labels"].cpu()[~found]
    highest = max([*labels.tolist(), *missed.tolist()], default=0)
    if highest >= len(names):
        raise ValueError(f"class_names has {len(names)} entries, but a box {highest}")
    return labels, pred["scores"].cpu(), hits, missed


def _scaled(boxes: Boxes, scale: tuple[float, float]) -> Boxes:
    corners = boxes["boxes"].detach().cpu().float() * torch.tensor([*scale, *scale])
    # A box whose corners are not numbers is nowhere.
    kept = corners.isfinite().all(1)
    made: Boxes = {"boxes": corners[kept], "labels": _kept(boxes["labels"], kept)}
    if "scores" in boxes:
        made["scores"] = _kept(boxes["scores"], kept)
    return made


def _kept(values: Tensor, kept: Tensor) -> Tensor:
    copy: Tensor = values.detach().cpu()[kept]  # indexing copies: a view would hold its batch
    return copy
