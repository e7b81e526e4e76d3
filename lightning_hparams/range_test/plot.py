"""Charts of losses over a learning rate, with the suggestion marked."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..checks import require
from ..render import Picture, palette
from .pens import LINE_COLOR, AxesPen, Pen, PicturePen

__all__ = ["Chart"]


@dataclass(frozen=True)
class Chart:
    """Points and a smooth line over a positive quantity, with one of its values marked."""

    x: Sequence[float]  # positive, rising
    y: Sequence[float]  # one for each x; non-finite values are left out
    line: Sequence[float]  # smoothed y, starting at the first x; may be shorter
    marked: float | None
    shaded: tuple[float, float] | None
    title: str
    caption: str
    x_label: str = "learning rate"
    y_label: str = "loss"
    name: str = ""  # of the line, if there are others
    others: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    def picture(self) -> Picture:
        """Draw the chart as a picture, ``(440, 760, 3)``."""
        pen = PicturePen(self.limits, log=self.log)
        self._draw(pen)
        return pen.picture()

    def plot(self, to: str | Path | Any = None) -> Any:
        """Draw into a file or matplotlib axes.

        Args:
            to: A file name, whose folder is created if missing; matplotlib axes; or None for new
                axes. A PNG file does not need matplotlib.

        Returns:
            The path written, or the axes.

        Raises:
            ModuleNotFoundError: If matplotlib is needed and not installed.
        """
        if isinstance(to, str | Path):
            return self._save(Path(to))
        axes = to
        if axes is None:
            axes = require("matplotlib.pyplot", extra="plot").subplots(figsize=(7.6, 4.4))[1]
        self._draw(AxesPen(axes, self.limits, log=self.log))
        return axes

    # -- limits

    @property
    def log(self) -> bool:
        """Whether the x axis is logarithmic."""
        return len(self.x) > 1 and self.x[-1] / self.x[0] > 20

    @functools.cached_property
    def limits(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the axes. Diverged losses may exceed the top."""
        left, right = (self.x[0], self.x[-1]) if len(self.x) > 1 else (1e-7, 10.0)
        finite = np.array([value for value in self.y if math.isfinite(value)] or [0.0, 1.0])
        early = finite[: max(len(finite) // 3, 1)]
        lines = [np.asarray(line) for line in (self.line, *(y for _, y in self.others.values()))]
        shown = np.concatenate([line for line in lines if len(line)] or [finite])
        low = min(float(shown.min()), float(np.quantile(finite, 0.02)))
        high = max(float(shown.max()), float(np.quantile(early, 0.98)))
        room = 0.08 * (high - low) or 0.1 * (abs(high) or 1.0)
        return left, right, low - room, high + room

    def _height(self, x: float) -> float:
        """Height of the line at x."""
        return float(np.interp(x, self.x[: len(self.line)], self.line))

    def _colors(self) -> list[str]:
        colors = palette(len(self.others)).tolist() if self.others else []
        return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors]

    # -- drawing

    def _draw(self, pen: Pen) -> None:
        """Draw all elements with a pen."""
        if self.shaded is not None:
            pen.band(*self.shaded)
        pen.grid()
        pen.points(self.x, self.y)
        for color, (name, (xs, ys)) in zip(self._colors(), self.others.items(), strict=True):
            pen.curve(xs[: len(ys)], ys, color, name, wide=False)
        if self.marked is not None:
            pen.mark(self.marked, self._height(self.marked) if len(self.line) else None)
        pen.curve(self.x[: len(self.line)], self.line, LINE_COLOR, self.name, wide=True)
        pen.texts(self.title, self.caption, self.x_label, self.y_label)

    def _save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ("", ".png"):
            path = path.with_suffix(".png")
            Image.fromarray(self.picture()).save(path)
            return path
        figure = require("matplotlib.figure", extra="plot").Figure(figsize=(7.6, 4.4))
        self._draw(AxesPen(figure.subplots(), self.limits, log=self.log))
        figure.savefig(path, bbox_inches="tight")
        return path
