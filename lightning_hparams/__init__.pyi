from .callbacks import (
    AugmentationSheet as AugmentationSheet,
    Cyclic as Cyclic,
    ExactResume as ExactResume,
    LRRangeTest as LRRangeTest,
    MetricMonitor as MetricMonitor,
    OneCycle as OneCycle,
    ParamScheduler as ParamScheduler,
    PredictionMonitor as PredictionMonitor,
    PredictionWriter as PredictionWriter,
    RunRecorder as RunRecorder,
    SpeedMonitor as SpeedMonitor,
    lr_range_test as lr_range_test,
)
from .data import (
    BrainTissueData as BrainTissueData,
    Cifar10Data as Cifar10Data,
    CocoData as CocoData,
    DigitsData as DigitsData,
    ImageFolderData as ImageFolderData,
    MaskFolderData as MaskFolderData,
    OxfordPetData as OxfordPetData,
    SyntheticShapesData as SyntheticShapesData,
    VocData as VocData,
)
from .range_test import RangeTestResult as RangeTestResult
from .search import (
    Choice as Choice,
    Float as Float,
    Int as Int,
    Search as Search,
    replay as replay,
)
from .sinks import mlflow_logger as mlflow_logger
from .tasks import (
    ClassificationTask as ClassificationTask,
    DetectionTask as DetectionTask,
    RegressionTask as RegressionTask,
    SegmentationTask as SegmentationTask,
)

__version__: str
