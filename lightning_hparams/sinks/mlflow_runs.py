"""Creating MLflow loggers and registering models."""

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

from ..checks import in_range, require, type_name
from ..internals import adopt_run, current_run, mlflow_client, run_name
from ..isolation import evaluation_mode
from .mlflow_requests import check_answers

__all__ = ["TIMEOUT", "continue_run", "input_for", "mlflow_logger", "register_model"]

_BEGAN = "_lightning_hparams_began"  # set if the run was not created by the user
TIMEOUT = "_lightning_hparams_timeout"
_SQLITE = "sqlite:///mlflow.db"


def mlflow_logger(
    tracking_uri: str | None = None,
    experiment_name: str = "lightning_logs",
    *,
    timeout: float = 30.0,
    **options: Any,
) -> MLFlowLogger:
    """Create Lightning's ``MLFlowLogger`` with a tracking URI that MLflow accepts.

    The default of ``MLFlowLogger()`` is a plain file store, which MLflow rejects since 3.14.

    With a :class:`~lightning_hparams.RunRecorder`, a fit from a checkpoint continues the
    checkpoint's run if it is in the same experiment. It starts a new run if ``run_id`` or a
    different ``run_name`` is given. By then Lightning has named the checkpoint folder after a run
    that is deleted: pass a ``dirpath`` to ``ModelCheckpoint`` to keep all checkpoints together.

    Args:
        tracking_uri: A database, such as ``sqlite:///runs/mlflow.db``, or a server; None for the
            environment variable ``MLFLOW_TRACKING_URI`` or else ``mlflow.db`` in the current
            folder.
        experiment_name: Created if it does not exist. With SQLite, artifacts are stored next to
            the database.
        timeout: Seconds to wait for an unresponsive server: before a checkpoint, at the end of the
            run and when the program exits. A warning lists what could not be delivered, and its
            values are saved to a file in the Trainer's ``default_root_dir``.
        options: Further arguments of ``MLFlowLogger``.

    Raises:
        ValueError: If the URI is a plain file store.
        TimeoutError: If a server does not answer.
        ModuleNotFoundError: If MLflow is not installed.
    """
    require("mlflow", extra="mlflow")
    in_range("timeout", timeout, above=0.0, remedy="30 is usual")
    uri = str(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE)
    if uri.startswith("file:") or not re.match(r"[\w+]{2,}:|databricks|uc$", uri):
        raise ValueError(
            "`tracking_uri` must be a database or a server, since MLflow 3.14 rejects plain file "
            f"stores, got {uri!r}; pass tracking_uri='{_SQLITE}', and view it with: "
            f"mlflow ui --backend-store-uri {_SQLITE}"
        )
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
        options.setdefault("artifact_location", (folder / "mlartifacts").as_uri())
    # Otherwise each `self.log` waits for the database: 23 ms with SQLite.
    options.setdefault("synchronous", False)
    logger = MLFlowLogger(experiment_name, tracking_uri=uri, **options)
    # A Trainer begins the run before any callback, and would wait for hours.
    check_answers(mlflow_client(logger), timeout)
    # Lightning does not remember whether it was given a run or started one.
    setattr(logger, _BEGAN, options.get("run_id") is None)
    setattr(logger, TIMEOUT, timeout)
    return logger


def continue_run(logger: MLFlowLogger, identity: str) -> bool | None:
    """Make a logger continue an earlier run, and delete the one it has begun.

    The logger keeps its own run unless that is empty and the user neither created nor named it,
    which only loggers of :func:`mlflow_logger` record.

    Returns:
        Whether it continues the earlier run.

    Raises:
        MlflowException: If that run is in another store.
    """
    client, begun = mlflow_client(logger), current_run(logger)
    old, new = client.get_run(identity), client.get_run(begun)
    if not (
        getattr(logger, _BEGAN, False)
        and run_name(logger) in (None, old.info.run_name)
        and old.info.experiment_id == new.info.experiment_id
        and old.info.lifecycle_stage == "active"
        and not (new.data.metrics or new.data.params or client.list_artifacts(begun))
    ):
        return False
    adopt_run(logger, identity)
    setattr(logger, _BEGAN, False)
    client.delete_run(begun)
    return True


def input_for(module: LightningModule, batch: Tensor) -> Tensor:
    """Return a batch on the module's device and, if floating point, in its dtype."""
    moved = batch.to(module.device)
    return moved.to(module.dtype) if moved.is_floating_point() else moved


def register_model(
    logger: MLFlowLogger, module: LightningModule, name: str, example: Tensor | None = None
) -> str:
    """Log the model and its signature to the logger's run, as a new version of ``name``.

    Args:
        logger: The logger whose run stores the model.
        module: Its ``forward`` is called once, in evaluation mode and without gradients.
        name: Name of the registered model; created if it does not exist.
        example: A batch; None for the module's ``example_input_array``.

    Returns:
        The model's URI, for ``mlflow.pytorch.load_model(uri)``.

    Raises:
        ValueError: If there is no example input.
    """
    mlflow = require("mlflow", extra="mlflow")
    pytorch = require("mlflow.pytorch", extra="mlflow")
    models = require("mlflow.models", extra="mlflow")
    batch = module.example_input_array if example is None else example
    if not isinstance(batch, Tensor):
        raise ValueError(
            f"registering {type(module).__name__} needs a batch that `forward` accepts, got "
            f"{type_name(batch)}; set `example_input_array` or pass `example`"
        )
    with evaluation_mode(module):
        with torch.no_grad():
            output = module(input_for(module, batch))
        if not isinstance(output, Tensor):
            output = None  # signatures describe tensors only
        signature = models.infer_signature(
            batch.cpu().numpy(), None if output is None else output.float().cpu().numpy()
        )
        # Newer versions trace the model by default, which not every `forward` supports.
        options = {}
        if "serialization_format" in inspect.signature(pytorch.log_model).parameters:
            options["serialization_format"] = "pickle"
        client, run = logger.experiment, logger.run_id
        status = client.get_run(run).info.status
        # Otherwise the model would be stored in MLflow's default experiment.
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
