"""Learning rates, schedules, losses, metrics and pictures for vision models with Lightning.

Names are imported when first used, so that ``import lightning_hparams`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .callbacks.lr_range_test import LRRangeTest as LRRangeTest
    from .callbacks.lr_range_test import lr_range_test as lr_range_test
    from .callbacks.metric_monitor import MetricMonitor as MetricMonitor
    from .callbacks.param_scheduler import Cyclic as Cyclic
    from .callbacks.param_scheduler import OneCycle as OneCycle
    from .callbacks.param_scheduler import ParamScheduler as ParamScheduler
    from .callbacks.prediction_monitor import PredictionMonitor as PredictionMonitor
    from .callbacks.run_recorder import RunRecorder as RunRecorder
    from .callbacks.speed_monitor import SpeedMonitor as SpeedMonitor
    from .data.folders import MaskFolderData as MaskFolderData
    from .data.samples import BrainTissueData as BrainTissueData
    from .data.samples import SyntheticShapesData as SyntheticShapesData
    from .lr_curve import RangeTestResult as RangeTestResult
    from .sinks.mlflow import mlflow_logger as mlflow_logger
    from .tasks.segmentation import SegmentationTask as SegmentationTask

__version__ = "0.1.0.dev0"

_HOME = {
    "BrainTissueData": "data.samples",
    "Cyclic": "callbacks.param_scheduler",
    "LRRangeTest": "callbacks.lr_range_test",
    "MaskFolderData": "data.folders",
    "MetricMonitor": "callbacks.metric_monitor",
    "OneCycle": "callbacks.param_scheduler",
    "ParamScheduler": "callbacks.param_scheduler",
    "PredictionMonitor": "callbacks.prediction_monitor",
    "RangeTestResult": "lr_curve",
    "RunRecorder": "callbacks.run_recorder",
    "SegmentationTask": "tasks.segmentation",
    "SpeedMonitor": "callbacks.speed_monitor",
    "SyntheticShapesData": "data.samples",
    "lr_range_test": "callbacks.lr_range_test",
    "mlflow_logger": "sinks.mlflow",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
