"""MLflow's loggers and models."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.loggers import MLFlowLogger
from torch import Tensor

from ..checks import in_range, require
from ..isolation import evaluation_mode

__all__ = ["BEGAN", "TIMEOUT", "input_for", "mlflow_logger", "register_model"]

BEGAN = "_lightning_hparams_began"  # set if the logger's run is not one that the user made
TIMEOUT = "_lightning_hparams_timeout"
_SQLITE = "sqlite:///mlflow.db"


def mlflow_logger(
    tracking_uri: str | None = None,
    experiment_name: str = "lightning_logs",
    *,
    timeout: float = 30.0,
    **options: Any,
) -> MLFlowLogger:
    """Lightning's logger with an address that MLflow accepts.

    ``MLFlowLogger()`` itself asks for a store of plain files, which MLflow refuses since 3.14.

    With a :class:`~lightning_hparams.RunRecorder`, a fit that is given a checkpoint goes on in the
    run that the checkpoint is of, if that is in the same experiment. It begins a run of its own
    where ``run_id`` or another ``run_name`` says so. Lightning has named the folder of checkpoints
    by then, after a run that is deleted: give ``ModelCheckpoint`` a ``dirpath`` to have all in one.

    Args:
        tracking_uri: A database, such as ``sqlite:///runs/mlflow.db``, or a server; None for the
            environment's ``MLFLOW_TRACKING_URI`` or else a file ``mlflow.db`` in this folder.
        experiment_name: Made if it does not exist. With SQLite, its files go beside the database.
        timeout: Seconds that a run waits for a server that does not answer: for a checkpoint, at
            its end and at that of the program. What monitors could not deliver by then is told in a
            warning, and its values are kept in a file of the Trainer's ``default_root_dir``.
        options: Further arguments of ``MLFlowLogger``.

    Raises:
        ValueError: If the address is a store of plain files.
        ModuleNotFoundError: If MLflow is not installed.
    """
    require("mlflow", extra="mlflow")
    in_range("timeout", timeout, above=0.0, remedy="30 is usual")
    uri = str(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE)
    if uri.startswith("file:") or not re.match(r"[\w+]{2,}:|databricks|uc$", uri):
        raise ValueError(
            "`tracking_uri` must be a database or a server, for MLflow refuses stores of plain "
            f"files since 3.14, got {uri!r}; pass tracking_uri='{_SQLITE}', and see it by: "
            f"mlflow ui --backend-store-uri {_SQLITE}"
        )
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
        options.setdefault("artifact_location", (folder / "mlartifacts").as_uri())
    # Else each call of `self.log` waits for the database: 23 ms with SQLite.
    options.setdefault("synchronous", False)
    logger = MLFlowLogger(experiment_name, tracking_uri=uri, **options)
    # Lightning forgets whether it was given a run or has begun one.
    setattr(logger, BEGAN, options.get("run_id") is None)
    setattr(logger, TIMEOUT, timeout)
    return logger


def input_for(module: LightningModule, batch: Tensor) -> Tensor:
    """A batch where the module is, and as it computes: in bfloat16, it may be."""
    moved = batch.to(module.device)
    return moved.to(module.dtype) if moved.is_floating_point() else moved


def register_model(
    logger: MLFlowLogger, module: LightningModule, name: str, example: Tensor | None = None
) -> str:
    """Keep the model with the logger's run, with its signature, as a new version of ``name``.

    Args:
        logger: Of a run; the model is saved as an artifact of it.
        module: Its ``forward`` is called once, in evaluation mode and without gradients.
        name: Under which it is registered; made if it does not exist.
        example: A batch; None for the module's ``example_input_array``.

    Returns:
        The address to load it by: ``mlflow.pytorch.load_model(address)``.

    Raises:
        ValueError: If there is no example of the input.
    """
    mlflow = require("mlflow", extra="mlflow")
    pytorch = require("mlflow.pytorch", extra="mlflow")
    models = require("mlflow.models", extra="mlflow")
    batch = module.example_input_array if example is None else example
    if not isinstance(batch, Tensor):
        raise ValueError(
            f"to register {type(module).__name__} a batch is needed that `forward` takes, got "
            f"{type(batch).__name__}; set `example_input_array` or pass `example`"
        )
    with evaluation_mode(module):
        with torch.no_grad():
            output = module(input_for(module, batch))
        if not isinstance(output, Tensor):
            output = None  # MLflow describes tensors
        signature = models.infer_signature(
            batch.cpu().numpy(), None if output is None else output.float().cpu().numpy()
        )
        # Newer versions would trace the model otherwise, which not every `forward` can be.
        options = {}
        if "serialization_format" in inspect.signature(pytorch.log_model).parameters:
            options["serialization_format"] = "pickle"
        client, run = logger.experiment, logger.run_id
        status = client.get_run(run).info.status
        # Else the model would belong to MLflow's default experiment, and lie among its files.
        with mlflow.start_run(run_id=run, nested=True):
            info = pytorch.log_model(
                module,
                name="model",
                signature=signature,
                registered_model_name=name,
                **options,
            )
        client.update_run(run, status)
    return str(info.model_uri)
