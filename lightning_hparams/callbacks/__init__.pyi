from .augmentation_sheet import AugmentationSheet as AugmentationSheet
from .cycles import Cyclic as Cyclic, OneCycle as OneCycle
from .exact_resume import ExactResume as ExactResume
from .metric_monitor import MetricMonitor as MetricMonitor
from .param_scheduler import ParamScheduler as ParamScheduler
from .prediction_monitor import PredictionMonitor as PredictionMonitor
from .prediction_writer import PredictionWriter as PredictionWriter
from .pruning import TrialPruning as TrialPruning
from .range_test import LRRangeTest as LRRangeTest, lr_range_test as lr_range_test
from .run_recorder import RunRecorder as RunRecorder
from .speed_monitor import SpeedMonitor as SpeedMonitor
