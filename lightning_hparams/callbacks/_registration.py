"""Whether a model can be registered in MLflow, before training, and doing so after it."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ..isolation import evaluation_mode, random_state_kept
from ..sinks import input_for, is_rehearsal, register_model

__all__ = ["check_forward", "check_registrable", "register"]


def check_registrable(trainer: Trainer, module: LightningModule) -> None:
    """Check that there is a registry, and a batch to find the model's signature by."""
    has_mlflow = any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers)
    if not has_mlflow and not is_rehearsal(trainer):  # which has a logger of its own
        raise ValueError(
            "`register` needs MLflow, and the Trainer has no MLFlowLogger; pass "
            "Trainer(logger=lightning_hparams.mlflow_logger())"
        )
    if not isinstance(module.example_input_array, Tensor):
        raise ValueError(
            f"`register` needs a batch to find the model's signature by; set "
            f"{type(module).__name__}.example_input_array to a tensor that `forward` takes"
        )


def check_forward(module: LightningModule) -> None:
    """Once as registering will do it, before the training that would end with an error."""
    batch = module.example_input_array
    assert isinstance(batch, Tensor)
    try:
        with random_state_kept(), evaluation_mode(module), torch.no_grad():
            module(input_for(module, batch))
    except Exception as error:
        raise ValueError(
            f"`register` needs a batch that `forward` takes, and that of "
            f"{type(module).__name__} refused its example_input_array of shape "
            f"{tuple(batch.shape)}: {error}; set another one"
        ) from error


def register(trainer: Trainer, module: LightningModule, name: str) -> None:
    """Register a trained model; where that fails, it is told: the training itself is done."""
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger):
            try:
                register_model(logger, module, name)
            except Exception as error:
                rank_zero_warn(
                    f"the model was not registered as {name!r}: {error}; it is as it was "
                    "trained: call lightning_hparams.sinks.register_model(logger, module, name)"
                )
