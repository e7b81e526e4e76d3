"""Registration of a model in MLflow: checked before training, done after it."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger
from torch import Tensor

from ..isolation import evaluation_mode, random_state_kept
from ..notices import warn_user
from ..sinks import (
    MLflowSink,
    Sinks,
    answered_within,
    input_for,
    is_rehearsal,
    register_model,
)

__all__ = ["check_forward", "check_registrable", "register"]


def check_registrable(trainer: Trainer, module: LightningModule) -> None:
    """Check that there is a registry, and an example batch for the model's signature."""
    has_mlflow = any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers)
    if not has_mlflow and not is_rehearsal(trainer):  # which replaces the loggers
        raise ValueError(
            "`register` needs MLflow, and the Trainer has no MLFlowLogger; pass "
            "Trainer(logger=lightning_hparams.mlflow_logger())"
        )
    if not isinstance(module.example_input_array, Tensor):
        raise ValueError(
            f"`register` needs an example batch for the model's signature; set "
            f"{type(module).__name__}.example_input_array to a tensor that `forward` accepts"
        )


def check_forward(module: LightningModule) -> None:
    """Run `forward` as registration will, so that it fails before training instead of after."""
    batch = module.example_input_array
    assert isinstance(batch, Tensor)
    try:
        with random_state_kept(module), evaluation_mode(module), torch.no_grad():
            module(input_for(module, batch))
    except Exception as error:
        raise ValueError(
            "`register` needs an example batch that `forward` accepts, but "
            f"{type(module).__name__} refused its example_input_array of shape "
            f"{tuple(batch.shape)}: {error}; set another one"
        ) from error


def register(sinks: Sinks, module: LightningModule, name: str) -> None:
    """Register a trained model in each MLflow sink; a failure is only a warning.

    The server must answer each request within the sink's deadline, or accept more of an upload,
    which may take longer in all.
    """
    for sink in sinks:
        if isinstance(sink, MLflowSink):
            try:
                if not sink.answers():
                    raise TimeoutError("the server does not answer")
                with answered_within(sink.timeout):
                    register_model(sink.logger, module, name)
            except Exception as error:
                warn_user(
                    f"the model was not registered as {name!r}: {error}; the trained model is not "
                    "affected: call lightning_hparams.sinks.register_model(logger, module, name)"
                )
