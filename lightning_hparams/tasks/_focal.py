"""The focal loss of detectors, with class weights."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import sigmoid_focal_loss

from ..losses import WeightedLoss

__all__ = ["WeightedRetinaHead", "focal_sum", "weighted_focal"]

_ALPHA = 0.25  # as torchvision's function


def weighted_focal(class_weights: list[float] | None) -> WeightedLoss:
    """Return the focal loss of each class against all others, as a weighted mean.

    Args:
        class_weights: One for each class; None if they are set later.
    """
    return WeightedLoss(
        "focal",
        task="multilabel",
        class_weights=class_weights,
        loss_args={"focal": {"alpha": _ALPHA}},
        validate_target=False,
    )


def focal_sum(logits: Tensor, wanted: Tensor, weighted: WeightedLoss | None) -> Tensor:
    """Sum the focal loss over locations and classes.

    Args:
        logits: ``(..., C)``.
        wanted: 0 and 1, of the same shape.
        weighted: From :func:`weighted_focal`; None for equal weights.
    """
    if weighted is None or weighted.class_weights is None or not logits.numel():
        loss: Tensor = sigmoid_focal_loss(logits, wanted, reduction="sum")
        return loss
    classes = logits.shape[-1]
    mean: Tensor = weighted(logits.reshape(-1, classes), wanted.reshape(-1, classes))
    return mean * logits.numel()


class WeightedRetinaHead(RetinaNetClassificationHead):  # type: ignore[misc]
    """torchvision's classification head of RetinaNet, with class weights in its loss.

    Args:
        head: The head whose layers to use.
        weighted: From :func:`weighted_focal`.
    """

    def __init__(self, head: RetinaNetClassificationHead, weighted: WeightedLoss) -> None:
        nn.Module.__init__(self)  # without other layers
        self.conv, self.cls_logits = head.conv, head.cls_logits
        self.num_classes, self.num_anchors = head.num_classes, head.num_anchors
        self.BETWEEN_THRESHOLDS = head.BETWEEN_THRESHOLDS
        self.focal = weighted

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        matched_idxs: list[Tensor],
    ) -> Tensor:
        """Compute the focal loss per matched anchor of each image, averaged over images."""
        logits = head_outputs["cls_logits"]  # (N, A, C)
        total = logits.new_zeros(())
        for target, outputs, matched in zip(targets, logits, matched_idxs, strict=True):
            inside, kept = matched >= 0, matched != self.BETWEEN_THRESHOLDS
            wanted = outputs.new_zeros(outputs.shape)
            wanted[inside, target["labels"][matched[inside]]] = 1.0
            loss = focal_sum(outputs[kept], wanted[kept], self.focal)
            total = total + loss / inside.sum().clamp(min=1)
        return total / len(targets)
