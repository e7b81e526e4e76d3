"""Averaged weights, as Lightning's ``EMAWeightAveraging`` keeps them."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from torch.optim.swa_utils import AveragedModel

__all__ = ["keep_counters"]

_CONSTANT = {"mean", "std", "scaling"}  # buffers of tasks that training does not change


def keep_counters(trainer: Trainer | None, task: LightningModule) -> None:
    """Copy buffers that have no average into the averaged models of a Trainer's callbacks.

    torch averages integers, too (2.14): an index of 5 becomes 0.9999 * 5 + 0.0001 * 5, cut to 4,
    which breaks the tables of relative positions in Swin and its like.
    """
    callbacks = getattr(trainer, "callbacks", [])
    averages = [v for c in callbacks for v in vars(c).values() if isinstance(v, AveragedModel)]
    for average in averages:
        averaged = dict(average.module.named_buffers())
        for name, buffer in task.named_buffers():
            constant = name.partition(".")[0] in _CONSTANT
            if name in averaged and (constant or not buffer.is_floating_point()):
                averaged[name].copy_(buffer)
