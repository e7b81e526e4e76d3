"""The parts of a checkpoint that make a resumed run exact: one per process, and the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer

from ..notices import warn_user

__all__ = ["gathered", "gradients_of", "own_part", "restore_gradients"]


def own_part(
    loaded: Mapping[str, Any], trainer: Trainer, accumulated: int
) -> dict[str, Any] | None:
    """Return the checkpoint's state for this process; warn if it does not match this run.

    Args:
        loaded: State of all processes.
        trainer: The Trainer that resumes.
        accumulated: Its ``accumulate_grad_batches``, before any callback changes it.

    Returns:
        The state; None if the number of processes has changed.
    """
    before, now = len(loaded["ranks"]), trainer.world_size
    size = None
    if before != now:
        warn_user(
            f"ExactResume: the checkpoint has the random states of {before} processes and this run "
            f"has {now}, so they are not restored and it will not equal the stopped run; a "
            "checkpoint saved on an exception has those of one process"
        )
        return None
    if loaded["batches"] != trainer.num_training_batches:
        warn_user(
            f"ExactResume: an epoch had {loaded['batches']} batches and has "
            f"{trainer.num_training_batches} now, so this run will not equal the stopped one; "
            "resume it with the same data and batch size"
        )
    elif loaded.get("configured", accumulated) == accumulated:
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        size = loaded["accumulate_grad_batches"] if seen % loaded["batches"] else None
    shared = {"gradients": loaded["gradients"], "size": size}
    return {**loaded["ranks"][trainer.global_rank], **shared}


def gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes; must be called in each of them."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, own)
    return every


def gradients_of(module: LightningModule) -> dict[str, torch.Tensor]:
    """Return copies of a module's gradients by parameter name."""
    named = module.named_parameters()
    return {name: one.grad.detach().clone() for name, one in named if one.grad is not None}


def restore_gradients(module: LightningModule, gradients: Mapping[str, torch.Tensor]) -> None:
    """Set gradients of parameters by name; others are left as they are."""
    for name, parameter in module.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, parameter.dtype)
