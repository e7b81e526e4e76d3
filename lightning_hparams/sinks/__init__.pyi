from .base import (
    Domain as Domain,
    Layout as Layout,
    PRCounts as PRCounts,
    RunStatus as RunStatus,
    Scalar as Scalar,
    Sink as Sink,
    SinkLogger as SinkLogger,
)
from .files import FilesSink as FilesSink
from .many import Sinks as Sinks
from .mlflow import MLflowSink as MLflowSink
from .mlflow_requests import answered_within as answered_within
from .mlflow_runs import (
    input_for as input_for,
    mlflow_logger as mlflow_logger,
    register_model as register_model,
)
from .opening import (
    encode_figure as encode_figure,
    is_rehearsal as is_rehearsal,
    open_sinks as open_sinks,
)
from .tensorboard import TensorBoardSink as TensorBoardSink
from .text import csv_rows as csv_rows
from .wandb import WandbSink as WandbSink
