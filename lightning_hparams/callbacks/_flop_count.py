"""Count the floating point operations of a training step on a copy of the module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..isolation import copy_module, random_state_kept

__all__ = ["count_flops"]


def count_flops(trainer: Trainer, module: LightningModule, batch: object) -> int:
    """Count the operations of forward and backward of ``training_step``, without side effects.

    ``FlopCounterMode`` counts matrix products, convolutions and attention; a multiply-add counts
    as two. The step runs on copies of the module and the batch, logs nothing, and the state of the
    random generators is restored.

    Raises:
        Exception: Any error of copying the module or running the step; nothing has changed then.
    """
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise TypeError(f"{type(trainer.strategy).__name__} holds only a part of the model")
    with random_state_kept():
        loggers = {id(logger): DummyLogger() for logger in trainer.loggers}
        double = copy_module(module, {id(trainer): trainer, **loggers})
        double.trainer = trainer
        kind = type(module)
        double.__class__ = type(kind.__name__, (_Rehearsal, kind), {})
        args = [copy.deepcopy(batch)]
        if is_param_in_hook_signature(kind.training_step, "batch_idx", min_args=2):
            args.append(0)
        counter = FlopCounterMode(display=False)
        with trainer.precision_plugin.train_step_context(), counter:
            # Called through the class: the instance may hold a wrapper around the original.
            output = kind.training_step(double, *args)
            loss = output.get("loss") if isinstance(output, Mapping) else output
            if module.automatic_optimization and isinstance(loss, Tensor):
                loss.backward()
        return int(counter.get_total_flops())


class _Still:
    """A scheduler whose ``step`` does nothing."""

    def step(self, *args: object, **kwargs: object) -> None:
        pass


class _Rehearsal(LightningModule):
    """Replaces the methods through which a copy would affect the original's run."""

    logger = property(lambda self: DummyLogger())
    loggers = property(lambda self: [DummyLogger()])

    def log(self, *args: object, **kwargs: object) -> None:
        pass

    def log_dict(self, *args: object, **kwargs: object) -> None:
        pass

    def optimizers(self, *args: object, **kwargs: object) -> Any:
        """Return optimizers that do not change the copy."""
        made = [torch.optim.SGD(self.parameters(), lr=0.0) for _ in self.trainer.optimizers]
        return made[0] if len(made) == 1 else made

    def lr_schedulers(self) -> Any:
        """Return as many schedulers as the run has; they do nothing."""
        made = [_Still() for _ in self.trainer.lr_scheduler_configs]
        return made if len(made) > 1 else made[0] if made else None

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward(*args, **kwargs)

    def clip_gradients(self, *args: object, **kwargs: object) -> None:
        pass

    def toggle_optimizer(self, *args: object, **kwargs: object) -> None:
        pass

    def untoggle_optimizer(self, *args: object, **kwargs: object) -> None:
        pass
