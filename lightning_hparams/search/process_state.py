"""Settings of the process that one trial may change, and the next one must not see."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..configuration import without_deprecations
from ..random_states import RandomStates

__all__ = ["as_in_a_new_process", "leaving_out_what_stays", "without_messages"]


@contextmanager
def as_in_a_new_process(threads: int | None = None) -> Iterator[None]:
    """Undo what the block changes in the settings and random states of Python and torch.

    With it, a trial in a process that has run others equals one in a new process.

    Args:
        threads: Threads of torch within the block, on which the last bits of sums depend.
    """
    environment, folder = dict(os.environ), os.getcwd()
    backends = torch.backends
    kept: list[tuple[Callable[[Any], object], object]] = [
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_num_threads, torch.get_num_threads()),
        (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()),
        (torch.set_grad_enabled, torch.is_grad_enabled()),
        (torch.autograd.set_detect_anomaly, torch.is_anomaly_enabled()),
    ]
    deterministic = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn = (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic)
    random = RandomStates.now({})
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        random.restore({})
        for restore, value in kept:
            restore(value)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic = cudnn
        os.chdir(folder)
        _restore_environment(environment)


@contextmanager
def leaving_out_what_stays() -> Iterator[Callable[[], None]]:
    """Yield a function whose first call takes what exists out of garbage collection.

    A full collection looks at every object, of which torch, Lightning and Optuna have a million:
    a quarter of a second after each trial, for objects that stay until the process ends.
    """
    unused = not _frozen()  # else the user's program does the same

    def leave_out() -> None:
        if unused and not _frozen():
            gc.freeze()

    try:
        yield leave_out
    finally:
        if unused:
            gc.unfreeze()


def _frozen() -> bool:
    """Whether `gc.freeze` has been called: at start-up there are thousands of objects already.

    Python 3.12 keeps its immortal objects, some 400, where `gc.freeze` puts others.
    """
    return gc.get_freeze_count() > 1000


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@contextmanager
def without_messages() -> Iterator[None]:
    """Keep Lightning's and Optuna's messages about each step out of what a search prints."""
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "optuna")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with without_deprecations():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
