"""Segmentation: multiclass, binary and multilabel masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import whole_number
from ..metrics import confusion_counts, iou_score
from ..outputs import StepOutput
from ..render import Picture, segmentation_pictures, segmentation_truth
from .kind import DrawOptions, Kind, Sample, Scores, names_for
from .scores import check_tensors, check_whole_numbers, class_scores, num_classes, squeezed

__all__ = ["Binary", "Multiclass", "Multilabel"]

_NOTHING = ("background", "unlabelled", "unlabeled")
_MOST = 255  # maximum number of classes that can be drawn; larger mask values are not classes


class Multiclass(Kind):
    """One class per pixel: masks ``(N, H, W)`` of class indices."""

    name = "multiclass"

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Drop the axis of a single class, and convert unsigned masks to int64."""
        return squeezed(super().tidy(output, options), ndim=4)

    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check shapes, and that each target value is a class or ``ignore_index``."""
        self._check_shapes(output, step)
        self._check_values(
            output, step, options, num_classes(output, by_label=False) or len(_names(options))
        )

    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """1 - mean IoU over the classes in target or prediction, without the background."""
        classes = self._num_classes(output, options)
        background = self.background(_names(options), options)
        return torch.stack(
            [
                _one_minus_iou(
                    confusion_counts(pred, target, classes, ignore_index=options.ignore_index)[
                        :-2
                    ].view(classes, classes),
                    background,
                )
                for pred, target in zip(output["preds"], output["targets"], strict=True)
            ]
        ).nan_to_num(0.0)  # NaN: neither target nor prediction has a class

    def classes(self, output: StepOutput, options: DrawOptions) -> list[list[int]]:
        """The classes that occur in each target mask."""
        nothing = {options.ignore_index, self.background(_names(options), options)}
        return [
            [label for label in target.unique().tolist() if label >= 0 and label not in nothing]
            for target in output["targets"]
        ]

    def pick(self, output: StepOutput, position: int, scale: tuple[float, float]) -> StepOutput:
        """Add the number of classes."""
        return {
            **super().pick(output, position, scale),
            "num_classes": num_classes(output, by_label=False),
        }

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw image, ground truth, prediction and errors side by side."""
        names = names_for(self._highest(sample, options), options)
        (picture,) = segmentation_pictures(
            sample.image[None],
            sample.pred[None],
            sample.target[None],
            names,
            background=self.background(names, options),
            ignore_index=options.ignore_index,
            captions=[caption],
            colors=None if options.colors is None else options.colors[: len(names)],
        )
        return picture

    def draw_truth(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the true mask over the image."""
        names = names_for(self._highest_target(sample, options), options)
        return segmentation_truth(
            sample.image,
            sample.target,
            names,
            background=self.background(names, options),
            ignore_index=options.ignore_index,
            caption=caption,
            colors=options.colors,
        )

    def scores(
        self, output: StepOutput, options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Scores of each class."""
        probs = self.probabilities(output)
        return None if probs is None else class_scores(probs, self._truth(output), options)

    def background(self, names: Sequence[str], options: DrawOptions) -> int | None:
        """Index of the background class; None if there is none."""
        if options.background is not None:
            if names:
                whole_number("background", options.background, -1, len(names) - 1)
            return None if options.background < 0 else options.background
        return next((i for i, name in enumerate(names) if name.lower() in _NOTHING), None)

    def probabilities(self, output: StepOutput) -> Tensor | None:
        """Probabilities ``(N, C, H, W)``; None if the output has none."""
        if output.get("probs") is not None:
            probs: Tensor = output["probs"].detach().float()
            return probs
        if output.get("logits") is None:
            return None
        return self._from_logits(output["logits"].detach().float())

    def _from_logits(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def _truth(self, output: StepOutput) -> Tensor:
        truth: Tensor = output["targets"]
        return truth

    def _check_shapes(self, output: StepOutput, step: str, ndim: int = 3) -> None:
        check_tensors(output, step)
        check_whole_numbers(output, step)
        shape = tuple(output["targets"].shape)
        if len(shape) != ndim:
            axes = "(N, H, W)" if ndim == 3 else "(N, C, H, W)"
            raise ValueError(f"{step}: masks of kind '{self.name}' must be {axes}, got {shape}")

    def _check_values(
        self, output: StepOutput, step: str, options: DrawOptions, classes: int
    ) -> None:
        targets, ignore = output["targets"].long(), options.ignore_index
        outside = (targets < 0) | (targets >= classes)
        if ignore is not None:
            outside &= targets != ignore
        if classes and bool(outside.any()):
            value = int(targets[outside][0])
            raise ValueError(
                f"{step}, targets: mask value {value} is outside 0..{classes - 1}; "
                f"set ignore_index={value} to exclude its pixels"
            )

    def _num_classes(self, output: StepOutput, options: DrawOptions) -> int:
        classes = num_classes(output, by_label=False)
        if classes is not None:
            return classes
        preds, targets = output["preds"], output["targets"]
        parts = (preds.flatten(), targets[_is_class(targets, options.ignore_index)])
        highest = max((int(part.max()) for part in parts if part.numel()), default=0)
        return min(highest, _MOST - 1) + 1

    def _highest(self, sample: Sample, options: DrawOptions) -> int:
        """The highest class that is predicted, predictable or in the target."""
        highest = int(sample.pred.max()) if sample.pred.numel() else 0
        return max(highest, self._highest_target(sample, options))

    def _highest_target(self, sample: Sample, options: DrawOptions) -> int:
        """The highest class that is known or, if none is, in the target."""
        known = (sample.num_classes or 1) - 1
        if options.class_names is not None or sample.num_classes is not None:
            # A target value beyond the known classes is not painted; the check before training
            # reports it.
            return known
        target = sample.target[_is_class(sample.target, options.ignore_index)]
        return max(known, int(target.max())) if target.numel() else known


class Binary(Multiclass):
    """Foreground and background: masks ``(N, H, W)`` of 0 and 1, one logit per pixel."""

    name = "binary"

    def background(self, names: Sequence[str], options: DrawOptions) -> int | None:
        """0 whatever its name, unless ``options.background`` says otherwise."""
        return 0 if options.background is None else super().background(names, options)

    def _num_classes(self, output: StepOutput, options: DrawOptions) -> int:
        return 2

    def _from_logits(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def _truth(self, output: StepOutput) -> Tensor:
        truth: Tensor = output["targets"]
        return truth[:, None] if truth.ndim == 3 else truth


class Multilabel(Multiclass):
    """Overlapping labels: masks ``(N, C, H, W)`` of 0 and 1."""

    name = "multilabel"

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Convert unsigned masks to int64."""
        return squeezed(Kind.tidy(self, output, options), ndim=-1)

    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check shapes, and that targets are 0, 1 or ``ignore_index``."""
        self._check_shapes(output, step, ndim=4)
        self._check_values(output, step, options, 2)

    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """1 - mean IoU over the labels in target or prediction."""
        ignore = options.ignore_index
        losses = []
        for pred, target in zip(output["preds"], output["targets"], strict=True):
            counts = [
                confusion_counts(ours, theirs, 2, ignore_index=ignore)[:-2].view(2, 2)
                for ours, theirs in zip(pred, target, strict=True)
            ]
            losses.append(_one_minus_iou(torch.stack(counts), None))
        return torch.stack(losses).nan_to_num(0.0)

    def classes(self, output: StepOutput, options: DrawOptions) -> list[list[int]]:
        """The labels that occur in each target mask."""
        return [
            (target == 1).flatten(1).any(1).nonzero()[:, 0].tolist() for target in output["targets"]
        ]

    def pick(self, output: StepOutput, position: int, scale: tuple[float, float]) -> StepOutput:
        """Copy the masks; their first axis gives the number of labels."""
        return Kind.pick(self, output, position, scale)

    def background(self, names: Sequence[str], options: DrawOptions) -> int | None:
        """None: overlapping labels have no background class."""
        if options.background is not None and names:
            whole_number("background", options.background, -1, len(names) - 1)
        return None

    def _from_logits(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def _highest(self, sample: Sample, options: DrawOptions) -> int:
        return len(sample.pred) - 1

    def _highest_target(self, sample: Sample, options: DrawOptions) -> int:
        return len(sample.target) - 1


def _names(options: DrawOptions) -> Sequence[str]:
    return options.class_names or ()


def _one_minus_iou(counts: Tensor, background: int | None) -> Tensor:
    iou = iou_score(counts)
    if background is not None and background < len(iou):
        iou[background] = torch.nan
    return 1 - iou.nanmean()


def _is_class(targets: Tensor, ignore_index: int | None) -> Tensor:
    """Mask of the target values that are classes and can be drawn."""
    targets = targets.long()
    is_class = (targets >= 0) & (targets < _MOST)
    return is_class if ignore_index is None else is_class & (targets != ignore_index)
