"""Plain loops that train, sweep and judge a task of the learning-rate benchmarks."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lightning_hparams.optim import make_optimizer, switch_weights
from lightning_hparams.range_test import Sweep, Trained, lr_values
from lightning_hparams.schedules import one_cycle

Data = tuple[Tensor, Tensor, Tensor, Tensor]  # training inputs and targets, then validation
Loss = Callable[[Tensor, Tensor], Tensor]
Optimizer = Callable[..., torch.optim.Optimizer]
Group = dict[str, Any]
GRID = tuple(float(lr) for lr in np.geomspace(1e-5, 10, 13))
OURS = lr_values(1e-7, 10, 100)  # the rates of a range test by default
# What a user would pick instead of any test, at the rates that their authors recommend; of some, if
# the package is installed.
DEFAULT = "optimizer's default"
_OF_PACKAGES = {"DAdaptAdam": ("dadaptation", 1.0), "MomoAdam": ("momo", 1e-2)}
UNTUNED = {
    DEFAULT: math.nan,
    "AdamW": 1e-3,
    "AdamWScheduleFree": 0.0025,
    "SGDScheduleFree": 1.0,
    "Prodigy": 1.0,
    **{
        name: lr
        for name, (package, lr) in _OF_PACKAGES.items()
        if importlib.util.find_spec(package) is not None
    },
}
_CONSTANT = ("AdamWScheduleFree", "SGDScheduleFree", "MomoAdam")
_ONE_RATE = ("Prodigy", "DAdaptAdam")  # for all parameters: they refuse others


@dataclass(frozen=True)
class Task:
    """A training whose best peak learning rate is found by trying them."""

    name: str
    model: Callable[[], nn.Module]
    data: Callable[[], Data]
    loss: Loss
    optimizer: Optimizer
    batch_size: int = 64
    held_out: bool = False  # not looked at while the rules were made
    hard: bool = False  # a sweep of 100 steps does not show what 300 do
    grid: Sequence[float] = GRID
    error: Callable[[Tensor, Tensor], float] | None = None  # by the target's kind if None
    factor: Callable[[str], float] = lambda name: 1.0  # of a parameter's rate; 0 freezes it
    device: str = "cpu"
    least: float = 0.0  # no loss is below it; MoMo's authors ask for it


# -- training --------------------------------------------------------------------------------------


def train(task: Task, peak: float, steps: int, seed: int) -> tuple[float, float]:
    """Validation loss and error after a one-cycle to this peak; infinite if it did not survive."""
    return train_at(task, [peak * one_cycle(number, steps) for number in range(steps)], seed)


def train_at(task: Task, rates: Sequence[float], seed: int) -> tuple[float, float]:
    """The same after a step at each of these rates."""
    model, optimizer, batches = start(task, seed)
    for lr, (inputs, target) in zip(rates, batches, strict=False):
        set_lr(optimizer, lr)
        loss = step(task, model, optimizer, inputs, target)
        if not math.isfinite(loss):
            return math.inf, math.inf
    return evaluate(task, model)


def untuned(task: Task, name: str, steps: int, seed: int) -> tuple[float, float]:
    """Validation loss and error of what a user would pick instead of any test.

    Args:
        task: The task.
        name: Key of ``UNTUNED``: a one-cycle to the default rate of the task's optimizer, or
            another optimizer as its authors recommend, with a cosine if it needs a schedule.
        steps: Steps of the training.
        seed: Of the start and the batches.
    """
    if name == DEFAULT:
        default = inspect.signature(task.optimizer).parameters["lr"].default
        return train(task, float(default), steps, seed)
    torch.manual_seed(seed)
    model, batches = task.model().to(task.device), _batches(task, seed)
    groups = _groups(task, model)
    if name in _ONE_RATE:
        groups = [{"params": [p for group in groups for p in group["params"]], "factor": 1.0}]
    optimizer = _named(name, groups, task.least)
    set_lr(optimizer, UNTUNED[name])
    is_free = switch_weights([optimizer], "train")
    for number, (inputs, target) in zip(range(steps), batches, strict=False):
        if name not in _CONSTANT:
            set_lr(optimizer, UNTUNED[name] * (1 + math.cos(math.pi * number / steps)) / 2)
        if not math.isfinite(step(task, model, optimizer, inputs, target)):
            return math.inf, math.inf
    if is_free:
        switch_weights([optimizer], "eval")
        if all(parameter.requires_grad for parameter in model.parameters()):
            update_bn((inputs for inputs, _ in itertools.islice(batches, 30)), model)
    return evaluate(task, model)


def _named(name: str, groups: list[Group], least: float) -> torch.optim.Optimizer:
    lr = UNTUNED[name]
    if name in _OF_PACKAGES:
        kind = getattr(importlib.import_module(_OF_PACKAGES[name][0]), name)
        decay = {"decouple": True, "weight_decay": 0.01}
        own = decay if name == "DAdaptAdam" else {"lb": least}
        with contextlib.redirect_stdout(None):  # D-Adaptation prints a line each time
            made: torch.optim.Optimizer = kind(groups, lr=lr, **own)
        return made
    args = {"safeguard_warmup": True} if name == "Prodigy" else {}
    return make_optimizer(name, groups, lr=lr, args=args)


def _groups(task: Task, model: nn.Module) -> list[Group]:
    """Parameters by the factor of their rate, without those that are frozen."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = task.factor(name)
        if factor:
            groups.setdefault(factor, []).append(parameter)
        else:
            parameter.requires_grad_(False)
    return [{"params": params, "factor": factor} for factor, params in groups.items()]


def short_training(task: Task, peak: float, steps: int, seed: int) -> Trained:
    """A one-cycle judged by training samples that are kept out of it."""
    inputs, target, *_ = _data(task)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(77))
    count = min(len(inputs) // 5, max(256, 8 * task.batch_size)) // 16 * 16
    held, kept = order[:count], order[count:]
    model, optimizer, batches = start(task, seed, kept)
    before = _each_loss(task, model, inputs[held], target[held])
    losses = []
    for number, (images, goal) in zip(range(steps), batches, strict=False):
        set_lr(optimizer, peak * one_cycle(number, steps))
        losses.append(step(task, model, optimizer, images, goal))
        if not math.isfinite(losses[-1]):
            return Trained(losses, before, ())
    return Trained(losses, before, _each_loss(task, model, inputs[held], target[held]))


def _each_loss(task: Task, model: nn.Module, inputs: Tensor, target: Tensor) -> list[float]:
    parts = zip(inputs.chunk(16), target.chunk(16), strict=True)
    return [_loss(task, model, each, goal) for each, goal in parts]


def _loss(task: Task, model: nn.Module, inputs: Tensor, target: Tensor) -> float:
    model.eval()
    with torch.no_grad():
        return float(task.loss(model(inputs), target))


def probe_loss(task: Task, peak: float, steps: int, seed: int) -> float:
    """Mean training loss over the last fifth of a short one-cycle: what a user can afford."""
    model, optimizer, batches = start(task, seed)
    losses = []
    for number, (inputs, target) in zip(range(steps), batches, strict=False):
        set_lr(optimizer, peak * one_cycle(number, steps))
        losses.append(step(task, model, optimizer, inputs, target))
        if not math.isfinite(losses[-1]):
            return math.inf
    return float(np.mean(losses[-max(steps // 5, 1) :]))


def sweep(task: Task, lrs: Sequence[float], seed: int, validated: int = 0) -> list[float]:
    """Loss before each step at its learning rate, up to the first that is not finite.

    Args:
        task: The task.
        lrs: Rate of each step.
        seed: Of the start and the batches.
        validated: Validation samples whose loss is measured; 0 for the training loss.
    """
    model, optimizer, batches = start(task, seed)
    *_, held, goal = (part[:validated] for part in _data(task))
    losses = []
    for lr, (inputs, target) in zip(lrs, batches, strict=False):
        before = _loss(task, model, held, goal) if validated else None
        set_lr(optimizer, lr)
        loss = step(task, model, optimizer, inputs, target)
        losses.append(loss if before is None else before)
        if not math.isfinite(losses[-1]):
            break
    return losses


def our_sweep(task: Task, seed: int, validated: int = 0) -> Sweep:
    """A range test's sweep by default; after a loss that is not finite, none would be."""
    losses = sweep(task, OURS, seed, validated)
    return Sweep(OURS, losses + [math.nan] * (len(OURS) - len(losses)))


def untrained(task: Task, seed: int) -> tuple[float, float]:
    """Validation loss and error before the first step."""
    return evaluate(task, start(task, seed)[0])


def evaluate(task: Task, model: nn.Module) -> tuple[float, float]:
    """Validation loss and error of a model; infinite if the loss is not a number."""
    *_, inputs, target = _data(task)
    model.eval()
    with torch.no_grad():
        outputs = model(inputs)
        loss = float(task.loss(outputs, target))
    if not math.isfinite(loss):
        return math.inf, math.inf
    return loss, (task.error or _error)(outputs.cpu(), target.cpu())


def lost(value: float, truth: npt.NDArray[np.float64], worst: float, least: float = 0.0) -> float:
    """Share of what there was to gain that a loss or error misses."""
    best = float(truth.min())
    return min(max((value - best) / (worst - best), least), 1.0)


def _error(outputs: Tensor, target: Tensor) -> float:
    """Share of wrong classes, 1 - mean Dice of masks, or the RMSE in deviations of the target."""
    if target.is_floating_point() and target.unique().numel() > 2:
        return float((outputs - target).square().mean().sqrt() / target.std())
    if target.is_floating_point():
        return float(((outputs > 0) != (target > 0)).float().mean())
    found = outputs.argmax(1)
    if target.ndim == 1:
        return float((found != target).float().mean())
    dice = [
        2
        * ((found == each) & (target == each)).sum()
        / ((found == each).sum() + (target == each).sum())
        for each in range(1, outputs.shape[1])
    ]
    return 1 - float(torch.stack(dice).mean())


def start(
    task: Task, seed: int, rows: Tensor | None = None
) -> tuple[nn.Module, torch.optim.Optimizer, Iterator[tuple[Tensor, Tensor]]]:
    torch.manual_seed(seed)
    model = task.model().to(task.device)
    return model, task.optimizer(_groups(task, model)), _batches(task, seed, rows)


def _data(task: Task) -> Data:
    return _moved(task.data, task.device)


@functools.cache
def _moved(data: Callable[[], Data], device: str) -> Data:
    inputs, target, val_inputs, val_target = (part.to(device) for part in data())
    return inputs, target, val_inputs, val_target


def _batches(task: Task, seed: int, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1000 + seed)
    inputs, target, *_ = _data(task)
    if rows is not None:
        inputs, target = inputs[rows], target[rows]
    size = min(task.batch_size, len(inputs))
    while True:
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield inputs[chosen], target[chosen]


def step(
    task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, target: Tensor
) -> float:
    model.train()
    loss = task.loss(model(inputs), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step(**({"loss": loss.detach()} if type(optimizer).__name__ == "MomoAdam" else {}))
    return float(loss.detach())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
