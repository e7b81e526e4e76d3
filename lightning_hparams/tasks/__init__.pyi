from .base import VisionTask as VisionTask
from .segmentation import SegmentationTask as SegmentationTask
