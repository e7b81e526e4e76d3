"""Parts of a model that are not trained, for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lightning import Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

__all__ = ["has_finetuning", "norms_within", "train_what_is_optimized", "wrap_again"]


def norms_within(model: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[nn.Module]:
    """Return the batch normalisations of a part of a model, given its parameters.

    One without parameters belongs to the part that the module around it belongs to.
    """
    inside = {id(p) for p in parameters}
    around: dict[str, bool] = {}
    for name, module in model.named_modules():
        own = [id(p) in inside for p in module.parameters()]
        around[name] = all(own) if own else around.get(name.rpartition(".")[0], False)
        if isinstance(module, _BatchNorm) and around[name]:
            yield module


def wrap_again(trainer: Trainer) -> None:
    """Make DistributedDataParallel notice which parameters are trained now.

    It averages the gradients of those that were trainable when it was made, and no others.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        strategy.model = strategy.lightning_module
        strategy.configure_ddp()


def has_finetuning(trainer: Trainer | None) -> bool:
    """Whether one of Lightning's callbacks freezes parts, and adds them to the optimizer later."""
    callbacks = getattr(trainer, "callbacks", [])
    return any(isinstance(callback, BaseFinetuning) for callback in callbacks)


def train_what_is_optimized(model: nn.Module, trainer: Trainer) -> bool:
    """Unfreeze parameters of an optimizer, and return whether any was frozen.

    When a run is resumed, Lightning's callbacks add what they had unfrozen to the optimizer again,
    but leave it frozen (2.6).
    """
    optimized = {
        id(p)
        for optimizer in trainer.optimizers
        for g in optimizer.param_groups
        for p in g["params"]
    }
    frozen = [
        module
        for module in model.modules()
        if any(id(p) in optimized and not p.requires_grad for p in module.parameters(recurse=False))
    ]
    for module in frozen:
        BaseFinetuning.make_trainable(module)
    return bool(frozen)
