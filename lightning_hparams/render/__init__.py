"""Outputs of a task -> uint8 pictures ``(H, W, 3)`` and the bytes of their files."""

from __future__ import annotations

from .calibration import calibration_picture
from .classification import classification_picture
from .colors import ERROR_COLORS, Color, Picture, palette
from .confusion import confusion_picture
from .detection import detection_picture
from .images import Encoded, encode, sheet, to_rgb
from .segmentation import error_map, overlay, segmentation_pictures

__all__ = [
    "ERROR_COLORS",
    "Color",
    "Encoded",
    "Picture",
    "calibration_picture",
    "classification_picture",
    "confusion_picture",
    "detection_picture",
    "encode",
    "error_map",
    "overlay",
    "palette",
    "segmentation_pictures",
    "sheet",
    "to_rgb",
]
