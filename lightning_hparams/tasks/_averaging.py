"""Averaged weights: of Lightning's ``EMAWeightAveraging``, and of schedule-free optimizers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_leaves

from ..isolation import random_state_kept
from ..optim import switch_weights

__all__ = ["TwoWeights", "keep_counters"]

_BATCHES = 50  # for statistics, as the authors of schedule-free optimizers take
_VALUES = 1 << 25  # in all of these batches: 128 MB in single precision

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


class TwoWeights:
    """Switches a task between the two sets of weights of a schedule-free optimizer (2405.15682).

    Statistics of batch normalisations belong to the weights in training. Those of the averaged
    weights are computed from the latest training batches of the epoch, as the authors recommend
    (github.com/facebookresearch/schedule_free, "Caveats"), before these weights are used.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[Any, ...]] = deque(maxlen=_BATCHES)
        self._values = 0
        self._trained = False  # since the statistics were computed

    def use_own(self, trainer: Trainer | None) -> None:
        """Switch to the weights in training."""
        self._trained = trainer is not None and switch_weights(trainer.optimizers, "train")

    def use_average(self, trainer: Trainer | None, task: LightningModule) -> bool:
        """Switch to the averaged weights; False if the optimizer has none."""
        if trainer is None or not switch_weights(trainer.optimizers, "eval"):
            return False
        if self._trained and self._batches:
            self._compute_statistics(trainer, task)
        self._trained = False
        return True

    def save(
        self, trainer: Trainer | None, task: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the averaged weights, which a checkpoint shares with the task."""
        if trainer is None or not self.use_average(trainer, task):
            return
        if "optimizer_states" in checkpoint:  # these are copies, of the other mode
            states = [trainer.strategy.optimizer_state(one) for one in trainer.optimizers]
            checkpoint["optimizer_states"] = states

    def see(self, inputs: tuple[Any, ...], task: LightningModule) -> None:
        """Keep the inputs of a training batch if statistics will be computed from it."""
        if not self._trained or not any(True for _ in _norms(task)):
            return
        if len(self._batches) == _BATCHES:
            self._drop()
        self._batches.append(inputs)
        self._values += _count(inputs)
        while self._values > _VALUES and len(self._batches) > 1:
            self._drop()

    def forget(self) -> None:
        """Forget the batches of an epoch, which a run resumed in the next one does not know."""
        self._batches.clear()
        self._values = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> TwoWeights:
        """Copy for a copy of the task, without the batches."""
        return TwoWeights()

    def _drop(self) -> None:
        self._values -= _count(self._batches.popleft())

    def _compute_statistics(self, trainer: Trainer, task: LightningModule) -> None:
        modes = [(module, module.training) for module in task.modules()]
        task.train()
        norms = list(_norms(task))
        try:
            with random_state_kept(task), torch.no_grad(), _averaging(norms):
                for inputs in self._batches:
                    with trainer.precision_plugin.forward_context():
                        task(*inputs)
        finally:
            for module, mode in modes:
                module.training = mode
        if trainer.world_size > 1:
            for norm in norms:
                for statistic in (norm.running_mean, norm.running_var):
                    assert statistic is not None
                    statistic.copy_(trainer.strategy.reduce(statistic.clone(), reduce_op="mean"))


def _norms(task: LightningModule) -> Iterator[_BatchNorm]:
    """Batch normalisations whose statistics training changes."""
    for module in task.modules():
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats:
            yield module


def _count(inputs: tuple[Any, ...]) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))


@contextmanager
def _averaging(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Let batch normalisations average their statistics over batches, from none on."""
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain mean
        norm.num_batches_tracked = torch.zeros_like(norm.num_batches_tracked)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
