"""FCOS with a light head, a choice of box losses, and feature maps of any timm model.

Tian et al., "FCOS: A Simple and Strong Anchor-Free Object Detector", 2020. torchvision's
implementation does the matching, decoding and suppression.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import (
    FeaturePyramidNetwork,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
)

from ..losses import WeightedLoss
from ._focal import focal_sum

__all__ = ["BOX_LOSSES", "LEVEL_SIZES", "FcosHead", "PyramidEncoder", "build_fcos"]

_IOU_LOSSES = {
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
BOX_LOSSES = ("smooth_l1", *_IOU_LOSSES)
# The strides: for objects of some ten to two hundred pixels. Without a level of stride 4, small and
# overlapping objects have a location or two each, and are hard to tell apart.
LEVEL_SIZES = (4, 8, 16, 32)
_FIRST_DISTANCE = 1.0  # of each side before training, in units of the level
_LEAST = 1e-4  # distance of a side, in units of the level


class PyramidEncoder(nn.Module):
    """An encoder with a feature pyramid on top of its coarsest feature maps.

    Args:
        encoder: Returns a list of feature maps, and has their ``out_channels``.
        out_channels: Channels of each level of the pyramid.
        levels: Number of maps to use.
    """

    def __init__(self, encoder: nn.Module, out_channels: int, levels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = levels
        channels = list(encoder.out_channels)  # type: ignore[arg-type]
        self.fpn = FeaturePyramidNetwork(channels[-levels:], out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the levels of the pyramid, from the finest."""
        maps: list[Tensor] = self.encoder(images)[-self.levels :]
        levels: dict[str, Tensor] = self.fpn({str(index): each for index, each in enumerate(maps)})
        return levels


class FcosHead(FCOSHead):  # type: ignore[misc]
    """torchvision's head of FCOS with a choice of box losses, all of them in float32.

    Args:
        channels: Channels of each level, a multiple of 32.
        num_classes: C, without the background.
        convs: Number of convolutions before the outputs.
        box_loss: One of :data:`BOX_LOSSES`.
        focal: Weighs the classes in the classification loss; None for equal weights.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        convs: int = 2,
        box_loss: str = "giou",
        focal: WeightedLoss | None = None,
    ) -> None:
        super().__init__(channels, 1, num_classes, convs)
        self.box_loss, self.focal = box_loss, focal
        # From 0, the ReLU of the distances would start without a gradient for half of them.
        nn.init.constant_(self.regression_head.bbox_reg.bias, _FIRST_DISTANCE)

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Compute the focal loss, the box loss and the centre-ness loss, per matched location."""
        logits = head_outputs["cls_logits"]  # (N, A, C)
        matched = torch.stack(matched_idxs)
        inside = matched >= 0
        labels, boxes = _matched_targets(targets, matched_idxs)
        count = max(1, len(labels))

        wanted = torch.zeros_like(logits)
        image, location = inside.nonzero().unbind(1)
        wanted[image, location, labels] = 1.0

        reference = torch.stack(anchors)[inside]
        outputs = head_outputs["bbox_regression"][inside]
        distances = self.box_coder.encode(reference, boxes)
        centred = head_outputs["bbox_ctrness"][inside].squeeze(1)
        return {
            "classification": focal_sum(logits, wanted, self.focal) / count,
            "bbox_regression": self._box_loss(outputs, distances, reference, boxes) / count,
            "bbox_ctrness": F.binary_cross_entropy_with_logits(
                centred, _centreness(distances), reduction="sum"
            )
            / count,
        }

    def _box_loss(
        self, outputs: Tensor, distances: Tensor, reference: Tensor, boxes: Tensor
    ) -> Tensor:
        if self.box_loss == "smooth_l1":
            return F.smooth_l1_loss(outputs, distances, reduction="sum")
        # torchvision's CIoU is NaN for a box without width and height, as of ReLUs that return 0.
        decoded = self.box_coder.decode(outputs.clamp(min=_LEAST), reference)
        loss: Tensor = _IOU_LOSSES[self.box_loss](decoded, boxes, reduction="sum")
        return loss


def build_fcos(
    encoder: nn.Module,
    num_classes: int,
    *,
    fpn_channels: int = 64,
    head_convs: int = 2,
    level_sizes: Sequence[float] = LEVEL_SIZES,
    center_sampling_radius: float = 1.5,
    box_loss: str = "giou",
    focal: WeightedLoss | None = None,
) -> FCOS:
    """Build a detector on the coarsest feature maps of an encoder.

    Args:
        encoder: Returns a list of feature maps, and has their ``out_channels``.
        num_classes: C, without the background.
        fpn_channels: Channels of the feature pyramid and of the head, a multiple of 32.
        head_convs: Number of convolutions in each branch of the head.
        level_sizes: Unit of length of each level in pixels, at most its stride: one for each
            feature map to use, which are the coarsest ones, from the finest. A level predicts
            objects of 4 to 8 units, measured from a location to the farthest side; the first one
            smaller objects too, and the last one larger ones.
        center_sampling_radius: Locations within this many units of an object's centre predict it.
        box_loss: One of :data:`BOX_LOSSES`.
        focal: As in :class:`FcosHead`.
    """
    sizes = tuple((size,) for size in level_sizes)
    return FCOS(
        PyramidEncoder(encoder, fpn_channels, len(sizes)),
        num_classes,
        anchor_generator=_Locations(sizes, ((1.0,),) * len(sizes)),
        head=FcosHead(fpn_channels, num_classes, convs=head_convs, box_loss=box_loss, focal=focal),
        center_sampling_radius=center_sampling_radius,
    )


class _Locations(AnchorGenerator):  # type: ignore[misc]
    """Squares around each location of the feature maps.

    In float32 for feature maps of any type: in bfloat16, 257 pixels are 256.
    """

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return squares of any size; torchvision rounds half of it to whole pixels."""
        half = torch.as_tensor(scales, dtype=dtype, device=device)[:, None] / 2
        return torch.cat([-half, -half, half, half], 1)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        anchors: list[Tensor] = super().forward(image_list, [each.float() for each in feature_maps])
        return anchors


def _matched_targets(
    targets: list[dict[str, Tensor]], matched_idxs: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The labels ``(M,)`` and boxes ``(M, 4)`` of all matched locations, image by image."""
    pairs = [
        (target, matched[matched >= 0])
        for target, matched in zip(targets, matched_idxs, strict=True)
    ]
    labels = torch.cat([target["labels"][index] for target, index in pairs])
    boxes = torch.cat([target["boxes"][index] for target, index in pairs])
    return labels, boxes


def _centreness(distances: Tensor) -> Tensor:
    """How near locations are to the centre of their box, from its ``(M, 4)`` sides, in 0..1."""
    across, along = distances[:, [0, 2]], distances[:, [1, 3]]
    shares = [each.amin(1) / each.amax(1) for each in (across, along)]
    return (shares[0] * shares[1]).sqrt()
