"""Finds other schedulers and hooks that set values of the parameter groups."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning, StochasticWeightAveraging

from .group_values import Change

__all__ = [
    "averaging_warning",
    "likely_rivals",
    "refuse_rivals",
    "replacement_warning",
    "rival_warning",
]

# Hooks that run between two updates, where a manual warm-up would be written.
_HOOKS = [
    "optimizer_step",
    "lr_scheduler_step",
    "configure_gradient_clipping",
    "training_step",
    "backward",
    *(name for name in vars(Callback) if name.startswith(("on_train", "on_before", "on_after"))),
]
_SHOWN = 4


def refuse_rivals(
    trainer: Trainer,
    module: LightningModule,
    name: str,
    param: str,
    params: set[str],
    override: bool,
) -> None:
    """Refuse a scheduler of the module that sets the same values, or replace it.

    Args:
        trainer: The trainer of the run.
        module: Its module.
        name: Name of the callback.
        param: The parameter that the callback schedules, for the error.
        params: All parameters that the callback sets.
        override: Replace the module's scheduler.

    Raises:
        RuntimeError: If there is such a scheduler and ``override`` is False, or it cannot be
            replaced.
    """
    rival = _scheduler(trainer, params)
    if rival is None:
        return
    if not override:
        raise RuntimeError(
            f"{name} and {rival} (from configure_optimizers) would both set the "
            f"{param.replace('lr', 'learning rate')}; return the optimizer alone, "
            f"remove the callback, or pass {name}(override=True)"
        )
    if not module.automatic_optimization:
        raise RuntimeError(
            f"{name}(override=True) cannot replace {rival}, which the module steps itself under "
            "manual optimization; return the optimizer alone"
        )
    trainer.strategy.lr_scheduler_configs = []
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            if "max_lr" in group:  # of OneCycleLR; the others keep the configured rate
                group["initial_lr"] = group["max_lr"]


def _scheduler(trainer: Trainer, params: set[str]) -> str | None:
    for config in trainer.lr_scheduler_configs:
        cycles = getattr(config.scheduler, "cycle_momentum", False)
        if "lr" in params or ("momentum" in params and cycles):
            return type(config.scheduler).__name__
    return None


def _averaging_rival(trainer: Trainer) -> str | None:
    """Name of a callback that adds its own scheduler in the middle of training, or None."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, StochasticWeightAveraging):
            return type(callback).__name__
    return None


def averaging_warning(trainer: Trainer, name: str) -> str | None:
    """Return a warning if a callback averages weights at rates of its own.

    Args:
        trainer: The Trainer.
        name: Name of the callback that schedules the rates.
    """
    averaging = _averaging_rival(trainer)
    if averaging is None:
        return None
    return (
        f"{averaging} adds its own scheduler towards the end of training, but {name} "
        "sets the learning rates at every step; the weights are averaged all the same. "
        "Remove one of the two to use the other's rates"
    )


def rival_warning(trainer: Trainer, module: LightningModule, name: str, change: Change) -> str:
    """Return the warning about a value that something else has set.

    Args:
        trainer: The trainer.
        module: Its module.
        name: Name of the callback that schedules the value.
        change: The value found, and the scheduled one.
    """
    return (
        f"{likely_rivals(trainer, module, change.param)} set the {change.param} of a parameter "
        f"group to {change.found:g} in the middle of training; {name} sets it at every step, here "
        f"to {change.ours:g}, so that value is not used. Remove one of the two"
    )


def replacement_warning(name: str, before: int, now: int) -> str:
    """Return the warning about another number of optimizers in the middle of training."""
    return (
        f"the number of optimizers was {before} at the start of training and is {now} now, so "
        f"{name} does not schedule the new ones; replace each by one, or return all from "
        "configure_optimizers"
    )


def likely_rivals(trainer: Trainer, module: LightningModule, param: str) -> str:
    """Describe what may have set a parameter in the middle of training.

    Args:
        trainer: The trainer, whose schedulers are named.
        module: The module; hooks of it and of the user's callbacks are named if their code mentions
            the parameter.
        param: Key of the parameter groups.
    """
    found = [type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs]
    for owner in (module, *trainer.callbacks):  # type: ignore[attr-defined]
        if isinstance(owner, (StochasticWeightAveraging, BaseFinetuning)):
            found.append(type(owner).__name__)
        elif not type(owner).__module__.startswith(("lightning_hparams.", "lightning.")):
            found += _hooks_that_name(owner, param)
    names = list(dict.fromkeys(found))[:_SHOWN]
    return " or ".join(names) or "a hook of the module or of a callback"


def _hooks_that_name(owner: object, param: str) -> Iterator[str]:
    for name in _HOOKS:
        hook = getattr(type(owner), name, None)
        if isinstance(hook, FunctionType) and param in _constants(hook.__code__.co_consts):
            yield f"{type(owner).__name__}.{name}"


def _constants(constants: tuple[object, ...]) -> Iterator[object]:
    """Constants of a function's code, including nested functions and comprehensions."""
    for each in constants:
        yield each
        yield from _constants(getattr(each, "co_consts", ()))
