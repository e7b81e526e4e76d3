"""Curves over a learning rate with the verdict on them, by Pillow or on matplotlib axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..checks import require
from ..render import Picture, palette

__all__ = ["Chart"]

_SIZE = (760, 440)  # width and height in pixels
_FINE = 3  # drawn so many times as large and reduced, which smooths the lines
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 22, 62, 72  # margins around the axes
_PAPER, _INK, _GREY, _GRID = "#ffffff", "#1f2328", "#6b7280", "#dde1e6"
# Okabe & Ito's blue and vermilion: told apart with any common colour blindness.
_LINE, _DOTS, _SHADE, _MARK = "#0072b2", "#93aabf", "#d6e9f6", "#d55e00"

_PLAIN = Image.Dither.NONE

Place: TypeAlias = Callable[[float, float], tuple[float, float]]  # from values to pixels


@dataclass(frozen=True)
class Chart:
    """Points and a smooth line over a positive quantity, with one value of it marked."""

    x: Sequence[float]  # positive, rising
    y: Sequence[float]  # one for each x; those that are not finite are left out
    line: Sequence[float]  # smoothed y from the first x on; may end earlier
    marked: float | None
    shaded: tuple[float, float] | None
    title: str
    caption: str
    x_label: str = "learning rate"
    y_label: str = "loss"
    name: str = ""  # of the line, where there are others
    others: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    def picture(self) -> Picture:
        """The chart, ``(440, 760, 3)``."""
        canvas = Image.new("RGB", (_SIZE[0] * _FINE, _SIZE[1] * _FINE), _PAPER)
        place = self._place()
        self._draw_ground(ImageDraw.Draw(canvas), place)
        self._draw_curves(canvas, place)
        self._draw_words(ImageDraw.Draw(canvas), place)
        # No more colours than a palette holds: a PNG then, which is small and keeps lines sharp.
        # These two ways to shrink and to pick colours are the fast ones, 7 of 70 ms.
        few = canvas.reduce(_FINE).quantize(200, Image.Quantize.FASTOCTREE, dither=_PLAIN)
        return np.asarray(few.convert("RGB"))

    def plot(self, to: str | Path | Any = None) -> Any:
        """Draw into a file, into matplotlib axes, or into new ones.

        Args:
            to: A file name, whose folder is made; matplotlib axes; or None for new axes. A PNG
                file needs no matplotlib.

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
        self._draw_on(axes)
        return axes

    # -- limits

    @property
    def log(self) -> bool:
        """Whether x is drawn by its logarithm."""
        return len(self.x) > 1 and self.x[-1] / self.x[0] > 20

    @functools.cached_property
    def limits(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the axes. What has diverged leaves through the top."""
        left, right = (self.x[0], self.x[-1]) if len(self.x) > 1 else (1e-7, 10.0)
        finite = np.array([value for value in self.y if math.isfinite(value)] or [0.0, 1.0])
        early = finite[: max(len(finite) // 3, 1)]
        lines = [np.asarray(line) for line in (self.line, *(y for _, y in self.others.values()))]
        shown = np.concatenate([line for line in lines if len(line)] or [finite])
        low = min(float(shown.min()), float(np.quantile(finite, 0.02)))
        high = max(float(shown.max()), float(np.quantile(early, 0.98)))
        room = 0.08 * (high - low) or 0.1 * (abs(high) or 1.0)
        return left, right, low - room, high + room

    def _place(self) -> Place:
        left, right, low, high = self.limits
        scale = math.log if self.log else float
        begin, length = scale(left), scale(right) - scale(left)
        width = (_SIZE[0] - _LEFT - _RIGHT) * _FINE
        height = (_SIZE[1] - _TOP - _BOTTOM) * _FINE

        def place(x: float, y: float) -> tuple[float, float]:
            across = (scale(x) - begin) / length
            up = min(max((y - low) / (high - low), -1.0), 2.0)
            return _LEFT * _FINE + across * width, _TOP * _FINE + (1 - up) * height

        return place

    def _x_ticks(self) -> list[float]:
        left, right, *_ = self.limits
        if not self.log:
            return _steps(left, right)
        first, last = math.ceil(math.log10(left) - 1e-9), math.floor(math.log10(right) + 1e-9)
        every = max((last - first) // 9 + 1, 1)
        return [float(f"1e{power}") for power in range(first, last + 1, every)]

    def _height(self, x: float) -> float:
        """Of the line at x."""
        return float(np.interp(x, self.x[: len(self.line)], self.line))

    def _colors(self) -> list[str]:
        colors = palette(len(self.others)).tolist() if self.others else []
        return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors]

    # -- Pillow

    def _draw_ground(self, pen: ImageDraw.ImageDraw, place: Place) -> None:
        left, right, low, high = self.limits
        if self.shaded is not None:
            begin, end = (min(max(value, left), right) for value in self.shaded)
            pen.rectangle((*place(begin, high), *place(end, low)), fill=_SHADE)
        for x in self._x_ticks():
            pen.line((place(x, low), place(x, high)), fill=_GRID, width=_FINE)
            across, down = place(x, low)
            pen.text((across, down + 6 * _FINE), _number(x), _GREY, _font(12), anchor="ma")
        for y in _steps(low, high):
            pen.line((place(left, y), place(right, y)), fill=_GRID, width=_FINE)
            across, down = place(left, y)
            pen.text((across - 8 * _FINE, down), _number(y), _GREY, _font(12), anchor="rm")

    def _draw_curves(self, canvas: Image.Image, place: Place) -> None:
        """Points, lines and mark, cut off at the axes."""
        left, right, low, high = self.limits
        (west, north), (east, south) = place(left, high), place(right, low)
        box = (round(west), round(north), round(east), round(south))
        layer = canvas.copy()
        pen = ImageDraw.Draw(layer)
        for x, y in zip(self.x, self.y, strict=True):
            if math.isfinite(y):
                pen.circle(place(x, y), 2 * _FINE, fill=_DOTS)
        for color, (xs, ys) in zip(self._colors(), self.others.values(), strict=True):
            _polyline(pen, place, xs, ys, color, 1.6)
        if self.marked is not None:
            ends = (place(self.marked, low), place(self.marked, high))
            pen.line(ends, fill=_MARK, width=2 * _FINE)
        _polyline(pen, place, self.x, self.line, _LINE, 2.4)
        if self.marked is not None and len(self.line):
            pen.circle(place(self.marked, self._height(self.marked)), 5 * _FINE, fill=_MARK)
        canvas.paste(layer.crop(box), box)
        axes = [place(left, high), place(left, low), place(right, low)]
        ImageDraw.Draw(canvas).line(axes, fill=_GREY, width=_FINE)

    def _draw_words(self, pen: ImageDraw.ImageDraw, place: Place) -> None:
        left, right, low, _ = self.limits
        bottom = _SIZE[1] * _FINE
        pen.text((_LEFT * _FINE, 12 * _FINE), self.title, _INK, _font(15))
        pen.text((_LEFT * _FINE, 52 * _FINE), self.y_label, _GREY, _font(12), anchor="rs")
        middle = (place(left, low)[0] + place(right, low)[0]) / 2
        pen.text((middle, bottom - 46 * _FINE), self.x_label, _GREY, _font(12), anchor="ma")
        pen.text((_LEFT * _FINE, bottom - 10 * _FINE), self.caption, _INK, _font(13), anchor="ls")
        across = (_LEFT + 10) * _FINE
        for name, color in zip((self.name, *self.others), (_LINE, *self._colors()), strict=True):
            pen.text((across, (_TOP + 6) * _FINE), name, color, _font(13))
            across += round(_font(13).getlength(name)) + 14 * _FINE

    # -- files and matplotlib

    def _save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ("", ".png"):
            path = path.with_suffix(".png")
            Image.fromarray(self.picture()).save(path)
            return path
        figure = require("matplotlib.figure", extra="plot").Figure(figsize=(7.6, 4.4))
        self._draw_on(figure.subplots())
        figure.savefig(path, bbox_inches="tight")
        return path

    def _draw_on(self, axes: Any) -> None:
        left, right, low, high = self.limits
        if self.shaded is not None:
            axes.axvspan(*self.shaded, color=_SHADE, zorder=0, label="range")
        axes.plot(self.x, self.y, ".", color=_DOTS, label="measured")
        for color, (name, (xs, ys)) in zip(self._colors(), self.others.items(), strict=True):
            axes.plot(xs[: len(ys)], ys, color=color, linewidth=1.2, label=name)
        label = self.name or "smoothed"
        axes.plot(self.x[: len(self.line)], self.line, color=_LINE, linewidth=2, label=label)
        if self.marked is not None:
            axes.axvline(self.marked, color=_MARK, label=f"suggested: {self.marked:.2g}")
        axes.set(
            xscale="log" if self.log else "linear",
            xlim=(left, right),
            ylim=(low, high),
            xlabel=f"{self.x_label}\n{self.caption}",
            ylabel=self.y_label,
            title=self.title,
        )
        axes.legend(frameon=False)


def _polyline(
    pen: ImageDraw.ImageDraw,
    place: Place,
    xs: Sequence[float],
    ys: Sequence[float],
    color: str,
    width: float,
) -> None:
    points = [place(x, y) for x, y in zip(xs, ys, strict=False)]
    if len(points) > 1:
        pen.line(points, fill=color, width=round(width * _FINE), joint="curve")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size * _FINE)


def _steps(low: float, high: float) -> list[float]:
    """Five or so round numbers between two values."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= raw)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")
