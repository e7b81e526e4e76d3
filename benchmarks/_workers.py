"""Spread the trainings of a benchmark over processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch

_Found = TypeVar("_Found")


def spread(
    function: Callable[..., _Found],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[_Found]:
    """Call a function with the arguments of each job; results come in the order they finish.

    Args:
        function: A function of a module, which results and arguments can be sent to and from.
        jobs: Arguments of each call; the longest ones first keep all processes busy.
        workers: Processes; with 1, everything runs in this one.
        prepare: Called first in each of the processes.
    """
    if workers == 1:
        yield from (function(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(workers, context, _begin, (prepare,)) as pool:
        for future in as_completed([pool.submit(function, *job) for job in jobs]):
            yield future.result()


def _begin(prepare: Callable[[], None] | None) -> None:
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
