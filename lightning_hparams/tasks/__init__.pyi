from .base import VisionTask as VisionTask
from .classification import ClassificationTask as ClassificationTask
from .detection import DetectionTask as DetectionTask
from .regression import RegressionTask as RegressionTask
from .segmentation import SegmentationTask as SegmentationTask
