"""Plain training loops of what users would write or copy instead of a task."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from _timing import device
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn

__all__ = ["cycled", "moved", "until", "until_steps", "until_time"]

Batch = Mapping[str, Any]
Loss = Callable[[nn.Module, Batch], Tensor]
Stop = Callable[[int, float], bool]  # steps taken and seconds passed -> whether to stop


def cycled(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a loader, epoch after epoch."""
    return itertools.chain.from_iterable(itertools.repeat(loader))


def moved(batch: Batch) -> Batch:
    """A batch where the model is."""
    found: Batch = move_data_to_device(batch, device())
    return found


def until_steps(steps: int) -> Stop:
    """Stop after a number of steps."""
    return lambda taken, _: taken >= steps


def until_time(seconds: float) -> Stop:
    """Stop after a number of seconds."""
    return lambda _, passed: passed >= seconds


def until(
    stop: Stop,
    model: nn.Module,
    loss: Loss,
    loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    rate: Callable[[int, float], float] = lambda taken, passed: 1.0,
    clip: float | None = None,
) -> tuple[int, float]:
    """Train until told to stop.

    Args:
        stop: Whether to stop.
        model: What to train.
        loss: Loss of a batch.
        loader: Batches.
        optimizer: Steps.
        rate: Multiplier of the learning rate, of steps taken and seconds passed.
        clip: Largest norm of the gradients.

    Returns:
        The steps taken, and the seconds passed.
    """
    model.train().to(device())
    peaks = [group["lr"] for group in optimizer.param_groups]
    taken, start = 0, time.perf_counter()
    for batch in cycled(loader):
        passed = time.perf_counter() - start
        if stop(taken, passed):
            break
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * rate(taken, passed)
        optimizer.zero_grad(set_to_none=True)
        loss(model, moved(batch)).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        taken += 1
    model.eval()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return taken, time.perf_counter() - start
