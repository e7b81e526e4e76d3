"""Losses of a module between two training steps, without a trace in the training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from ..isolation import evaluation_mode
from ..optim import switch_weights
from .inner_trainer import nothing

__all__ = ["called", "loss_in", "measuring"]


@contextmanager
def measuring(
    trainer: Trainer, module: LightningModule, *, evaluates: bool = True
) -> Iterator[None]:
    """Call steps of the module in a training hook, with the weights it is evaluated with.

    Args:
        trainer: The Trainer, whose optimizers may keep two sets of weights.
        module: The module.
        evaluates: Whether the module is in evaluation mode.
    """
    vars(module)["log"] = vars(module)["log_dict"] = nothing  # not allowed in training hooks
    switch_weights(trainer.optimizers, "eval")
    try:
        with evaluation_mode(module) if evaluates else nullcontext(), torch.no_grad():
            yield
    finally:
        switch_weights(trainer.optimizers, "train")
        del vars(module)["log"], vars(module)["log_dict"]


def called(step: Callable[..., object], *arguments: Any) -> object:
    """Call a step with as many of the arguments as it takes.

    >>> called(lambda batch: batch, "batch", 0)
    'batch'
    """
    return step(*arguments[: len(inspect.signature(step).parameters)])


def loss_in(output: object) -> Tensor | None:
    """Return the loss in the output of a step, a tensor or a dict with ``loss``, if it has one."""
    loss = output.get("loss") if isinstance(output, Mapping) else output
    return loss if isinstance(loss, Tensor) else None
