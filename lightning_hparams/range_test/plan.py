"""Checks of the arguments that say what a range test measures, and when."""

from __future__ import annotations

from collections.abc import Sequence

from ..checks import in_range, one_of, whole_number

__all__ = ["check_plan"]


def check_plan(
    param: str,
    stage: str,
    probe_steps: int,
    at_epochs: Sequence[int],
    budget: float | None,
    *,
    values: Sequence[float] | None,
    val_batches: int,
) -> None:
    """Check arguments of ``LRRangeTest`` that depend on one another.

    Raises:
        ValueError: If a value is out of range or cannot be combined with ``param``.
        TypeError: If ``at_epochs`` is not a sequence.
    """
    one_of("stage", stage, ("train", "val"))
    in_range("val_batches", val_batches, 1)
    _check_probes(param, probe_steps)
    if budget is not None:
        remedy = "0.1 is a tenth of the run, 600 are steps, 0 is none"
        in_range("budget", budget, 0, remedy=remedy)
    _check_epochs(param, at_epochs)
    if values is not None:
        _check_values(param, values)


def _check_probes(param: str, probe_steps: int) -> None:
    if not isinstance(probe_steps, int) or probe_steps:
        whole_number("probe_steps", probe_steps, 10, remedy="50 is usual, 0 is none")
    if probe_steps and param != "lr":
        raise ValueError(f"`probe_steps` goes with param='lr', got param={param!r}")


def _check_epochs(param: str, at_epochs: Sequence[int]) -> None:
    if not isinstance(at_epochs, Sequence):
        raise TypeError(f"`at_epochs` must be a list of epochs, got {at_epochs!r}")
    for epoch in at_epochs:
        in_range("at_epochs", epoch, 0)
    if param == "batch_size" and any(at_epochs):
        raise ValueError(
            "param='batch_size' goes with at_epochs=[0] alone, since loaders are made once; "
            f"got at_epochs={list(at_epochs)}"
        )


def _check_values(param: str, values: Sequence[float]) -> None:
    if param == "lr":
        raise ValueError(
            "`values` goes with another `param` than 'lr'; for that set min_lr, max_lr"
        )
    if len(set(values)) < 2:
        raise ValueError(f"`values` needs at least two different values, got {list(values)}")
    for value in values:
        in_range("values", value, 1 if param == "batch_size" else 0)
