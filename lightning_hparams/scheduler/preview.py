"""Computes and plots the values of a schedule without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..schedules import Schedule, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Values", "draw_values", "scheduled_values"]

Values = Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]


def scheduled_values(
    shapes: Mapping[str, Schedule], spans: Sequence[Mapping[str, Span]], total: int
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Compute the values of each step.

    Args:
        shapes: Schedule of each parameter.
        spans: Range of each parameter, for each group.
        total: Optimizer steps in the run.

    Returns:
        Name of each parameter -> its values (total, groups).
    """
    values = {}
    for param, shape in shapes.items():
        heights = np.array([shape(step, total) for step in range(total)])[:, None]
        low, high = np.array([each[param] for each in spans]).T
        values[param] = low * (1 - heights) + high * heights
    return values


def draw_values(values: Values, title: str, target: str | Path | Axes | None) -> Axes:
    """Plot values by step, each parameter on its own axis.

    Args:
        values: Name of each parameter -> its values (total,) or (total, groups).
        title: Title of the plot.
        target: A file to write, axes to draw into, or None for a new figure.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    size: dict[str, Any] = {"figsize": (6, 3), "layout": "constrained"}
    figure = require("matplotlib.figure", extra="plot").Figure(**size)
    axes: Axes
    if target is None:  # one that a notebook shows
        axes = require("matplotlib.pyplot", extra="plot").subplots(**size)[1]
    else:
        axes = figure.add_subplot() if isinstance(target, (str, Path)) else target
    for index, (param, curve) in enumerate(values.items()):
        side = axes if index == 0 else axes.twinx()
        side.plot(curve, color=f"C{index}" if curve.ndim == 1 else None)
        side.set_ylabel(param, color=f"C{index}")
    axes.set_xlabel("optimizer step")
    axes.set_title(title)
    if isinstance(target, (str, Path)):
        figure.savefig(target)
    return axes
