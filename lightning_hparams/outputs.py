"""The outputs of a step: the contract between tasks and callbacks.

Tasks and callbacks never import each other. If ``training_step`` or ``validation_step`` returns
these keys, monitors need no second forward pass. Any LightningModule that returns them works like
the package's own tasks.

``kind`` is the name of one of the kinds below, or an instance of a custom subclass of
:class:`lightning_hparams.samples.Kind`, which then checks, rates and draws the samples. A custom
kind needs no registration.

Confusion matrices are drawn for modules with the attributes ``val_counts`` and ``test_counts``:
metrics whose ``compute()`` returns ``(C, C)`` with one row per true class, such as
:class:`~lightning_hparams.metrics.ConfusionCounts` or ``MulticlassConfusionMatrix``.
Predicted values are drawn against true ones for modules with a metric
``lightning_hparams.metrics.ValueCounts`` at ``val_pairs`` and ``test_pairs``.

Shapes: N images, C classes, I image channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from torch import Tensor

__all__ = [
    "Boxes",
    "ClassificationBatch",
    "ClassificationOutput",
    "ClassificationPrediction",
    "DetectionBatch",
    "DetectionOutput",
    "DetectionPrediction",
    "Output",
    "RegressionBatch",
    "RegressionOutput",
    "RegressionPrediction",
    "SegmentationBatch",
    "SegmentationKind",
    "SegmentationOutput",
    "SegmentationPrediction",
    "StepOutput",
    "TrainingOutput",
]

SegmentationKind = Literal["multiclass", "binary", "multilabel"]


class SegmentationBatch(TypedDict, total=False):
    """A batch of images and masks, as returned by the package's datamodules.

    ``image`` is uint8 in 0..255 or floating point in 0..1; the task normalises it.
    """

    image: Tensor  # (N, I, H, W)
    mask: Tensor  # (N, H, W) class indices, or (N, C, H, W) of 0 and 1 for multilabel
    index: Tensor  # (N,) dataset index
    path: list[str]  # image files, for messages and predictions
    size: Tensor  # (N, 2) original height and width of each image


class ClassificationBatch(TypedDict, total=False):
    """A batch of images with one class or several labels each; see :class:`SegmentationBatch`."""

    image: Tensor  # (N, I, H, W)
    label: Tensor  # (N,) class indices, or (N, C) of 0 and 1 for multilabel
    index: Tensor  # (N,) dataset index
    path: list[str]  # image files, for messages and predictions
    size: Tensor  # (N, 2) original height and width of each image


class RegressionBatch(TypedDict, total=False):
    """A batch of images with one or several numbers each; see :class:`SegmentationBatch`."""

    image: Tensor  # (N, I, H, W)
    value: Tensor  # (N,) or (N, D) floating point; NaN means unknown
    index: Tensor  # (N,) dataset index
    path: list[str]  # image files, for messages and predictions
    size: Tensor  # (N, 2) original height and width of each image


class Boxes(TypedDict, total=False):
    """The objects in one image, as in torchvision's detectors except for the labels."""

    boxes: Tensor  # (K, 4) xyxy in pixels of the image: 0 <= x1 <= x2 <= W
    labels: Tensor  # (K,) int64 in 0..C-1, index into the class names; background has no label
    scores: Tensor  # (K,) in 0..1; predictions only
    crowd: Tensor  # (K,) bool, regions that count neither as hit nor as miss; targets only


class DetectionBatch(TypedDict, total=False):
    """A batch of images with boxes; see :class:`SegmentationBatch`."""

    image: list[Tensor] | Tensor  # N of (I, H, W), sizes may differ
    target: list[Boxes]  # N, in pixels of ``image``; empty for an image without objects
    index: Tensor  # (N,) dataset index
    path: list[str]  # image files, for messages and predictions
    size: Tensor  # (N, 2) original height and width of each image


class TrainingOutput(TypedDict):
    """Return value of ``training_step``."""

    loss: Tensor  # scalar, attached to the graph
    terms: dict[str, Tensor]  # the loss terms by name, scalar, unweighted, detached


class SegmentationOutput(TypedDict):
    """Return value of ``validation_step`` and ``test_step``; all tensors are detached."""

    kind: SegmentationKind
    loss: Tensor  # scalar
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) before normalisation
    logits: Tensor  # (N, C, H, W); C = 1 if binary
    preds: Tensor  # (N, H, W) class indices, or (N, C, H, W) of 0 and 1 for multilabel
    targets: Tensor  # shaped like preds
    indices: Tensor | None  # (N,) dataset indices, if the batch has them


class SegmentationPrediction(TypedDict):
    """Return value of ``predict_step``: one entry per image, each at its original size."""

    probs: list[Tensor]  # float32 (C, H, W) in 0..1; C = 1 if binary
    masks: list[Tensor]  # uint8 (H, W) class indices, or (C, H, W) of 0 and 1 for multilabel
    paths: list[str]
    indices: Tensor | None


class ClassificationPrediction(TypedDict):
    """Return value of ``predict_step``."""

    probs: Tensor  # float32 (N, C) in 0..1, over classes or of each label
    labels: Tensor  # (N,) class indices, or (N, C) of 0 and 1 for multilabel
    paths: list[str]
    indices: Tensor | None


class RegressionPrediction(TypedDict):
    """Return value of ``predict_step``."""

    values: Tensor  # float32 (N, D), in the units of the targets
    paths: list[str]
    indices: Tensor | None


class DetectionPrediction(TypedDict):
    """Return value of ``predict_step``: one entry per image, in pixels of the original image."""

    boxes: list[Boxes]  # with scores
    sizes: Tensor  # (N, 2) original height and width of each image
    paths: list[str]
    indices: Tensor | None


class ClassificationOutput(TypedDict, total=False):
    """Return value of ``validation_step`` and ``test_step``; all tensors are detached.

    Drawing requires ``kind``, ``images``, ``preds`` and ``targets``; ``logits`` or ``probs`` add
    the probabilities.
    """

    kind: Literal["classification"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) per sample, ranks the worst; otherwise the kind rates them
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) before normalisation
    logits: Tensor  # (N, C); for two classes also (N, 1), the logit of the second
    probs: Tensor  # (N, C) in 0..1 instead of logits, over classes or of each label
    preds: Tensor  # (N,) class indices, or (N, C) of 0 and 1 for multilabel
    targets: Tensor  # shaped like preds; values outside 0..C-1 mean unlabelled
    indices: Tensor | None  # (N,) dataset indices, if the batch has them


class DetectionOutput(TypedDict, total=False):
    """Return value of ``validation_step`` and ``test_step``; all tensors are detached.

    Drawing requires ``kind``, ``images``, ``preds`` and ``targets``.
    """

    kind: Literal["detection"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) per sample, ranks the worst; otherwise the kind rates them
    terms: dict[str, Tensor]
    images: list[Tensor] | Tensor  # N of (I, H, W), sizes may differ, before normalisation
    preds: list[Boxes]  # N, with scores
    targets: list[Boxes]  # N
    indices: Tensor | None  # (N,) dataset indices, if the batch has them


class RegressionOutput(TypedDict, total=False):
    """Return value of ``validation_step`` and ``test_step``; all tensors are detached.

    Drawing requires ``kind``, ``images``, ``preds`` and ``targets``. ``class_names`` of the module
    or monitor, if given, name the D values.
    """

    kind: Literal["regression"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) per sample, ranks the worst; otherwise the mean absolute error
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) before normalisation
    preds: Tensor  # (N,), or (N, D) for D values
    targets: Tensor  # shaped like preds; NaN means unknown
    indices: Tensor | None  # (N,) dataset indices, if the batch has them


StepOutput: TypeAlias = Mapping[str, Any]  # an output of any kind, custom kinds included
Output: TypeAlias = ClassificationOutput | DetectionOutput | RegressionOutput | SegmentationOutput
