from .base import VisionTask as VisionTask
from .detection import DetectionTask as DetectionTask
from .segmentation import SegmentationTask as SegmentationTask
