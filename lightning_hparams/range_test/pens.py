"""Backends that draw a chart: Pillow, which is fast and always installed, or matplotlib axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..render import Picture

__all__ = ["LINE_COLOR", "AxesPen", "Limits", "Pen", "PicturePen"]

Limits: TypeAlias = tuple[float, float, float, float]  # left, right, bottom and top

_SIZE = (760, 440)  # width and height in pixels
_FINE = 3  # enlargement while drawing; reducing the picture smooths its lines
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 22, 62, 72  # margins around the axes
_PAPER, _INK, _GREY, _GRID = "#ffffff", "#1f2328", "#6b7280", "#dde1e6"
# Okabe & Ito's blue and vermilion, distinct under any common colour blindness.
LINE_COLOR, _DOTS, _SHADE, _MARK = "#0072b2", "#93aabf", "#d6e9f6", "#d55e00"
_PLAIN = Image.Dither.NONE


class Pen(Protocol):
    """Draws the elements of a chart, in data coordinates."""

    def band(self, begin: float, end: float) -> None:
        """Shade a range of x."""

    def grid(self) -> None:
        """Draw grid lines and their tick labels."""

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Draw points, except non-finite ones."""

    def curve(
        self, xs: Sequence[float], ys: Sequence[float], color: str, name: str, *, wide: bool
    ) -> None:
        """Draw a line; the wide one is drawn last and named first."""

    def mark(self, x: float, height: float | None) -> None:
        """Mark a value of x, and the point of the wide line at it."""

    def texts(self, title: str, caption: str, x_label: str, y_label: str) -> None:
        """Write the texts around the axes."""


class PicturePen:
    """Draws with Pillow, and clips elements at the edges of the axes.

    Args:
        limits: Limits of the axes.
        log: Whether the x axis is logarithmic.
    """

    def __init__(self, limits: Limits, *, log: bool) -> None:
        self._limits = limits
        self._log = log
        self._canvas = Image.new("RGB", (_SIZE[0] * _FINE, _SIZE[1] * _FINE), _PAPER)
        self._pen = ImageDraw.Draw(self._canvas)
        self._layer = self._canvas  # clipped at the axes
        self._top: tuple[float, float] | None = None  # the marked point, above all lines
        self._names: list[tuple[str, str]] = []

    def band(self, begin: float, end: float) -> None:
        """See :class:`Pen`."""
        left, right, low, high = self._limits
        begin, end = (min(max(value, left), right) for value in (begin, end))
        self._pen.rectangle((*self._pixel(begin, high), *self._pixel(end, low)), fill=_SHADE)

    def grid(self) -> None:
        """See :class:`Pen`."""
        left, right, low, high = self._limits
        for x in self._x_ticks():
            self._pen.line((self._pixel(x, low), self._pixel(x, high)), fill=_GRID, width=_FINE)
            across, down = self._pixel(x, low)
            self._pen.text((across, down + 6 * _FINE), _number(x), _GREY, _font(12), anchor="ma")
        for y in _steps(low, high):
            self._pen.line((self._pixel(left, y), self._pixel(right, y)), fill=_GRID, width=_FINE)
            across, down = self._pixel(left, y)
            self._pen.text((across - 8 * _FINE, down), _number(y), _GREY, _font(12), anchor="rm")
        self._layer = self._canvas.copy()
        self._pen = ImageDraw.Draw(self._layer)

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """See :class:`Pen`."""
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(y):
                self._pen.circle(self._pixel(x, y), 2 * _FINE, fill=_DOTS)

    def curve(
        self, xs: Sequence[float], ys: Sequence[float], color: str, name: str, *, wide: bool
    ) -> None:
        """See :class:`Pen`."""
        pixels = [self._pixel(x, y) for x, y in zip(xs, ys, strict=True)]
        if len(pixels) > 1:
            width = round((2.4 if wide else 1.6) * _FINE)
            self._pen.line(pixels, fill=color, width=width, joint="curve")
        self._names.insert(0 if wide else len(self._names), (name, color))

    def mark(self, x: float, height: float | None) -> None:
        """See :class:`Pen`."""
        _, _, low, high = self._limits
        self._pen.line((self._pixel(x, low), self._pixel(x, high)), fill=_MARK, width=2 * _FINE)
        self._top = None if height is None else self._pixel(x, height)

    def texts(self, title: str, caption: str, x_label: str, y_label: str) -> None:
        """See :class:`Pen`."""
        self._close_axes()
        pen, bottom = self._pen, _SIZE[1] * _FINE
        left, right, low, _ = self._limits
        pen.text((_LEFT * _FINE, 12 * _FINE), title, _INK, _font(15))
        pen.text((_LEFT * _FINE, 52 * _FINE), y_label, _GREY, _font(12), anchor="rs")
        middle = (self._pixel(left, low)[0] + self._pixel(right, low)[0]) / 2
        pen.text((middle, bottom - 46 * _FINE), x_label, _GREY, _font(12), anchor="ma")
        pen.text((_LEFT * _FINE, bottom - 10 * _FINE), caption, _INK, _font(13), anchor="ls")
        across = (_LEFT + 10) * _FINE
        for name, color in self._names:
            pen.text((across, (_TOP + 6) * _FINE), name, color, _font(13))
            across += round(_font(13).getlength(name)) + 14 * _FINE

    def picture(self) -> Picture:
        """Return the picture at its final size."""
        # With few enough colours for a palette, it is stored as a PNG, which is small and keeps
        # lines sharp. These fast ways to shrink and to choose colours take 7 of 70 ms.
        few = self._canvas.reduce(_FINE).quantize(200, Image.Quantize.FASTOCTREE, dither=_PLAIN)
        return np.asarray(few.convert("RGB"))

    def _close_axes(self) -> None:
        left, right, low, high = self._limits
        if self._top is not None:
            self._pen.circle(self._top, 5 * _FINE, fill=_MARK)
        (west, north), (east, south) = self._pixel(left, high), self._pixel(right, low)
        box = (round(west), round(north), round(east), round(south))
        self._canvas.paste(self._layer.crop(box), box)
        self._pen = ImageDraw.Draw(self._canvas)
        corners = [self._pixel(left, high), self._pixel(left, low), self._pixel(right, low)]
        self._pen.line(corners, fill=_GREY, width=_FINE)

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        left, right, low, high = self._limits
        if self._log:
            x, left, right = math.log(x), math.log(left), math.log(right)
        width = (_SIZE[0] - _LEFT - _RIGHT) * _FINE
        height = (_SIZE[1] - _TOP - _BOTTOM) * _FINE
        across = (x - left) / (right - left)
        up = min(max((y - low) / (high - low), -1.0), 2.0)
        return _LEFT * _FINE + across * width, _TOP * _FINE + (1 - up) * height

    def _x_ticks(self) -> list[float]:
        left, right, *_ = self._limits
        if not self._log:
            return _steps(left, right)
        first, last = math.ceil(math.log10(left) - 1e-9), math.floor(math.log10(right) + 1e-9)
        every = max((last - first) // 9 + 1, 1)
        return [float(f"1e{power}") for power in range(first, last + 1, every)]


class AxesPen:
    """Draws on matplotlib axes, with their own grid and legend."""

    def __init__(self, axes: Any, limits: Limits, *, log: bool) -> None:
        self._axes = axes
        self._marked: float | None = None
        left, right, low, high = limits
        axes.set(xscale="log" if log else "linear", xlim=(left, right), ylim=(low, high))

    def band(self, begin: float, end: float) -> None:
        """See :class:`Pen`."""
        self._axes.axvspan(begin, end, color=_SHADE, zorder=0, label="range")

    def grid(self) -> None:
        """See :class:`Pen`."""

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """See :class:`Pen`."""
        self._axes.plot(xs, ys, ".", color=_DOTS, label="measured")

    def curve(
        self, xs: Sequence[float], ys: Sequence[float], color: str, name: str, *, wide: bool
    ) -> None:
        """See :class:`Pen`."""
        width = 2 if wide else 1.2
        self._axes.plot(xs, ys, color=color, linewidth=width, label=name or "smoothed")

    def mark(self, x: float, height: float | None) -> None:
        """See :class:`Pen`."""
        self._marked = x

    def texts(self, title: str, caption: str, x_label: str, y_label: str) -> None:
        """See :class:`Pen`."""
        if self._marked is not None:  # last in the legend
            self._axes.axvline(self._marked, color=_MARK, label=f"suggested: {self._marked:.2g}")
        self._axes.set(title=title, xlabel=f"{x_label}\n{caption}", ylabel=y_label)
        self._axes.legend(frameon=False)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size * _FINE)


def _steps(low: float, high: float) -> list[float]:
    """About five round numbers between two values."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= raw)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")
