from .base import (
    Domain as Domain,
    Layout as Layout,
    PRCounts as PRCounts,
    Scalar as Scalar,
    Sink as Sink,
    Status as Status,
)
from .files import FilesSink as FilesSink
from .mlflow import (
    MLflowSink as MLflowSink,
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
