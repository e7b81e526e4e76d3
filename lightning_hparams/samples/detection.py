"""Object detection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torchmetrics import Metric

from ..boxes import check_boxes, confident, match_boxes
from ..metrics import BoxScoreCounts
from ..outputs import Boxes, StepOutput
from ..render import Picture, detection_picture, detection_truth
from .kind import DrawOptions, Kind, Sample, Scores, completed_names, names_for

__all__ = ["Detection"]


_KEYS = ("boxes", "labels", "scores", "crowd")


class Detection(Kind):
    """Predicted and true boxes of each image, in the format of torchvision's detectors."""

    name = "detection"

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Convert arrays to tensors."""
        output = super().tidy(output, options)
        boxes = {key: [_tensors(each) for each in output[key]] for key in ("preds", "targets")}
        return {**output, **boxes}

    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check that boxes are xyxy in pixels and have labels, and predictions have scores."""
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
                    raise ValueError(f"{step}, {key}: these must have the same length, got {sizes}")
                _check_types(cast(Mapping[str, Tensor], each), f"{step}, {key}")
            check_boxes([each["boxes"] for each in output[key]], f"{step}, {key}")

    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """The number of false positives and misses."""
        pairs = zip(output["preds"], output["targets"], strict=True)
        return torch.tensor(
            [
                float(sum(match_boxes(confident(pred, options.min_score), target).counts[1:]))
                for pred, target in pairs
            ]
        )

    def classes(self, output: StepOutput, options: DrawOptions) -> list[list[int]]:
        """The labels of the true boxes."""
        return [target["labels"].unique().tolist() for target in output["targets"]]

    def pick(self, output: StepOutput, position: int, scale: tuple[float, float]) -> StepOutput:
        """Scale boxes to pixels of the shown image."""
        return {key: _scaled(output[f"{key}s"][position], scale) for key in ("pred", "target")}

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw true and predicted boxes side by side."""
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

    def draw_truth(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the true boxes."""
        names = names_for(max(sample.target["labels"].tolist(), default=0), options)
        return detection_truth(
            sample.image, sample.target, names, caption=caption, colors=options.colors
        )

    def scores(
        self, output: StepOutput, options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Scores of the boxes, matched at an IoU of 0.5."""
        names = options.class_names
        if names is None:
            raise ValueError(
                "MetricMonitor: detection curves need the names of all classes; pass class_names="
            )
        parts = [
            _matched(pred, target, names, options)
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


def _tensors(boxes: object) -> object:
    if not isinstance(boxes, Mapping):
        return boxes
    # Targets often have further keys, such as the name of their file.
    return {key: _tensor(key, boxes[key]) for key in _KEYS if boxes.get(key) is not None}


def _tensor(key: str, value: object) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{key} of boxes must be a tensor of numbers, got {value!r:.80}; convert it"
        ) from error


def _check_types(boxes: Mapping[str, Tensor], what: str) -> None:
    corners, labels, scores = (boxes.get(key) for key in ("boxes", "labels", "scores"))
    if labels is not None:
        if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
            if labels.numel():
                raise TypeError(
                    f"{what}: labels must be class indices, got {labels.dtype}; convert them with "
                    ".long()"
                )
        elif bool((labels < 0).any()):
            raise ValueError(f"{what}: labels must be at least 0, got {int(labels.min())}")
    for key, value in (("boxes", corners), ("scores", scores)):
        if value is not None and value.is_complex():
            raise TypeError(f"{what}: {key} must be real, got {value.dtype}")
    for key in ("labels", "scores", "crowd"):
        value = boxes.get(key)
        if value is not None and corners is not None and value.shape != corners.shape[:1]:
            raise ValueError(
                f"{what}: {key} must be ({len(corners)},), one per box, got {tuple(value.shape)}"
            )


def _matched(
    pred: Boxes, target: Boxes, names: Sequence[str], options: DrawOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, scores and hits of predictions, and labels of missed true boxes."""
    matches = match_boxes(pred, target)
    counted = torch.from_numpy(~matches.ignored)
    hits = torch.from_numpy(matches.hits)[counted]
    labels, scores = (pred["labels"].cpu()[counted], pred["scores"].cpu()[counted])
    missed = target["labels"].cpu()[torch.from_numpy(matches.missed)]
    highest = max([*labels.tolist(), *missed.tolist()], default=0)
    completed_names(names, highest + 1, options, f"a box has label {highest}")
    # The counts have a row for each name, so boxes of other labels do not count.
    named, known = ((each >= 0) & (each < len(names)) for each in (labels, missed))
    return labels[named], scores[named], hits[named], missed[known]


def _scaled(boxes: Boxes, scale: tuple[float, float]) -> Boxes:
    corners = boxes["boxes"].detach().cpu().float() * torch.tensor([*scale, *scale])
    # A box with a NaN or infinite corner cannot be drawn.
    kept = corners.isfinite().all(1)
    made: Boxes = {"boxes": corners[kept], "labels": _kept(boxes["labels"], kept)}
    if "scores" in boxes:
        made["scores"] = _kept(boxes["scores"], kept)
    if "crowd" in boxes:
        made["crowd"] = _kept(boxes["crowd"], kept)
    return made


def _kept(values: Tensor, kept: Tensor) -> Tensor:
    copy: Tensor = values.detach().cpu()[kept]  # indexing copies; a view would keep the batch alive
    return copy
