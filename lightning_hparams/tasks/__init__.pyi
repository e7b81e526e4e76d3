from .base import VisionTask as VisionTask
from .classification import ClassificationTask as ClassificationTask
from .detection import DetectionTask as DetectionTask
from .regression import RegressionTask as RegressionTask
from .resuming import check_resumable as check_resumable
from .segmentation import SegmentationTask as SegmentationTask
