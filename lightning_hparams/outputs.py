"""What a task hands to the callbacks: the contract between them.

Tasks and callbacks never import each other. A monitor that finds these keys in what
``training_step`` or ``validation_step`` returned needs no second forward pass; any
LightningModule that returns them is served like the package's own.

``kind`` says which kind of task an output belongs to: the name of one of those below, or an object
of a class of your own, a subclass of :class:`lightning_hparams.samples.Kind`, which then checks,
rates and draws the samples. Such a class needs no registration and no file of this package.

A module that keeps confusion counts in ``val_counts`` and ``test_counts`` has them drawn: metrics
whose ``compute()`` gives ``(C, C)`` with rows of true classes, such as
:class:`~lightning_hparams.metrics.ConfusionCounts` or ``MulticlassConfusionMatrix``.

Shapes: N images, C classes, I image channels, H x W pixels.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from torch import Tensor

__all__ = [
    "Boxes",
    "ClassificationOutput",
    "DetectionOutput",
    "Output",
    "RegressionOutput",
    "SegmentationBatch",
    "SegmentationKind",
    "SegmentationOutput",
    "SegmentationPrediction",
    "TrainingOutput",
]

SegmentationKind = Literal["multiclass", "binary", "multilabel"]


class SegmentationBatch(TypedDict, total=False):
    """A batch of images and masks, as the package's data modules give it.

    ``image`` is uint8 in 0..255 or floating point in 0..1; the task normalises it.
    """

    image: Tensor  # (N, I, H, W)
    mask: Tensor  # (N, H, W) class indices, or (N, C, H, W) of 0 and 1 for multilabel
    index: Tensor  # (N,) position in the dataset
    path: list[str]  # file of each image, for messages and predictions
    size: Tensor  # (N, 2) height and width of each image before it was resized


class TrainingOutput(TypedDict):
    """What ``training_step`` returns."""

    loss: Tensor  # scalar, with its graph
    terms: dict[str, Tensor]  # each part of the loss by name, scalar, unweighted, detached


class SegmentationOutput(TypedDict):
    """What ``validation_step`` and ``test_step`` return; every tensor is detached."""

    kind: SegmentationKind
    loss: Tensor  # scalar
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) as they came, before normalisation
    logits: Tensor  # (N, C, H, W); C = 1 if binary
    preds: Tensor  # (N, H, W) class indices, or (N, C, H, W) of 0 and 1 for multilabel
    targets: Tensor  # shaped like preds
    indices: Tensor | None  # (N,) position in the dataset, where the batch tells


class SegmentationPrediction(TypedDict):
    """What ``predict_step`` returns: one entry an image, each at its own original size."""

    probs: list[Tensor]  # float32 (C, H, W) in 0..1; C = 1 if binary
    masks: list[Tensor]  # uint8 (H, W) class indices, or (C, H, W) of 0 and 1 for multilabel
    paths: list[str]
    indices: Tensor | None


class ClassificationOutput(TypedDict, total=False):
    """What ``validation_step`` and ``test_step`` return; every tensor is detached.

    ``kind``, ``images``, ``preds`` and ``targets`` are needed to draw it; ``logits`` or ``probs``
    for the probabilities beside a picture.
    """

    kind: Literal["classification"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) of each sample, to find the worst; without it they are found otherwise
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) as they came, before normalisation
    logits: Tensor  # (N, C); of two classes (N, 1) too, that of the second
    probs: Tensor  # (N, C) in 0..1, instead of logits: of one class each, or of each label
    preds: Tensor  # (N,) class indices, or (N, C) of 0 and 1 for multilabel
    targets: Tensor  # shaped like preds; -1 or another number outside 0..C-1 is no label
    indices: Tensor | None  # (N,) position in the dataset, where the batch tells


class Boxes(TypedDict, total=False):
    """The objects of one image, as torchvision's detection models take and give them."""

    boxes: Tensor  # (K, 4) xyxy in pixels of the image as given: 0 <= x1 <= x2 <= W
    labels: Tensor  # (K,) index into the class names; torchvision's models leave 0 to background
    scores: Tensor  # (K,) in 0..1; predictions only


class DetectionOutput(TypedDict, total=False):
    """What ``validation_step`` and ``test_step`` return; every tensor is detached.

    ``kind``, ``images``, ``preds`` and ``targets`` are needed to draw it.
    """

    kind: Literal["detection"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) of each sample, to find the worst; without it they are found otherwise
    terms: dict[str, Tensor]
    images: list[Tensor] | Tensor  # N of (I, H, W), of any sizes, before normalisation
    preds: list[Boxes]  # N, with scores
    targets: list[Boxes]  # N
    indices: Tensor | None  # (N,) position in the dataset, where the batch tells


class RegressionOutput(TypedDict, total=False):
    """What ``validation_step`` and ``test_step`` return; every tensor is detached.

    ``kind``, ``images``, ``preds`` and ``targets`` are needed to draw it. ``class_names`` of the
    module or the monitor, if there are any, name the D values.
    """

    kind: Literal["regression"]
    loss: Tensor  # scalar
    losses: Tensor  # (N,) of each sample, to find the worst; without it, the mean absolute error
    terms: dict[str, Tensor]
    images: Tensor  # (N, I, H, W) as they came, before normalisation
    preds: Tensor  # (N,), or (N, D) for several values
    targets: Tensor  # shaped like preds; NaN is unknown
    indices: Tensor | None  # (N,) position in the dataset, where the batch tells


Output: TypeAlias = ClassificationOutput | DetectionOutput | RegressionOutput | SegmentationOutput
