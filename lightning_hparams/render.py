"""Outputs of a task -> uint8 pictures: palettes, overlays, error maps, legends, bytes of a file.

Pictures are numpy arrays ``(N, H, W, 3)`` of uint8. Masks are drawn by table look-up: torchvision's
``draw_segmentation_masks`` makes one boolean mask a class and takes 15 to 30 times as long.
"""

from __future__ import annotations

import colorsys
import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .checks import in_range
from .metrics import confusion_counts, iou_score

__all__ = [
    "ERROR_COLORS",
    "Encoded",
    "Picture",
    "encode",
    "error_map",
    "overlay",
    "palette",
    "segmentation_pictures",
    "stack",
    "to_rgb",
]

Picture: TypeAlias = npt.NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

# Okabe & Ito's eight colours without black (Color Universal Design, 2008), then Paul Tol's muted
# and light schemes where they differ from those (SRON/EPS/TN/09-002, 2021): told apart with any
# common colour blindness. Blue and orange come second and third, since the first is often nothing.
_BASE: list[Color] = [
    (0, 158, 115), (86, 180, 233), (230, 159, 0), (204, 121, 167), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (51, 34, 136), (153, 153, 51), (136, 204, 238),
    (136, 34, 85), (170, 68, 153), (17, 119, 51), (238, 136, 102), (187, 204, 51),
    (68, 187, 153), (153, 221, 255), (255, 170, 187), (221, 204, 119), (119, 170, 221),
]  # fmt: skip
_GOLDEN = 0.618034  # steps of the golden ratio keep any number of hues apart

# Red and blue differ in every common colour blindness; amber differs from both in brightness.
ERROR_COLORS: dict[str, Color] = {
    "false positive": (220, 50, 47),
    "missed": (38, 110, 255),
    "wrong class": (255, 190, 0),
    "ignored": (128, 128, 128),
}

_ALPHA = 115  # of 256: opacity of a class colour over the image, 0.45
_PANEL = (256, 512)  # panels smaller than this are enlarged, larger ones reduced, in pixels
_LINE = 20  # height of a line of text
_MARGIN = 6
_INK, _PAPER = (25, 25, 25), (250, 250, 250)


@dataclass(frozen=True)
class Encoded:
    """A picture as the bytes of a file."""

    data: bytes
    height: int
    width: int
    suffix: str  # ".jpg" or ".png"


def palette(num_classes: int) -> Picture:
    """A colour for each class, ``(C, 3)``; the same class has the same one in every run.

    >>> palette(2).tolist()
    [[0, 158, 115], [86, 180, 233]]
    """
    in_range("num_classes", num_classes, 1)
    colors = list(_BASE[:num_classes])
    for index in range(len(colors), num_classes):
        hue = (index * _GOLDEN) % 1
        light = (0.45, 0.62, 0.78)[index % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.7)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colors, dtype=np.uint8)


def to_rgb(images: Tensor, rgb: Sequence[int] = (0, 1, 2)) -> Picture:
    """Images as pictures.

    Args:
        images: ``(N, I, H, W)``. uint8 stays as it is; floating point in 0..1 is scaled. Anything
            else (16-bit, multispectral floats) is stretched between its 1st and 99th percentile,
            each image and channel by itself.
        rgb: The channels to show as red, green and blue, where there are three or more.

    Returns:
        ``(N, H, W, 3)``.
    """
    images = images.detach().cpu()
    channels = images.shape[1]
    if channels >= 3:
        if max(rgb) >= channels:
            raise ValueError(f"`rgb` names channel {max(rgb)}, but images have {channels}")
        images = images[:, list(rgb)]
    else:
        images = images[:, :1].expand(-1, 3, -1, -1)
    if images.dtype != torch.uint8:
        images = images.float()
        if not bool(((images >= 0) & (images <= 1)).all()):
            images = _stretched(images)
        images = images.mul(255).round().to(torch.uint8)
    pictures: Picture = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    return pictures


def overlay(
    pictures: Picture,
    masks: Picture,
    colors: Picture,
    *,
    hidden: Sequence[int] = (),
    alpha: int = _ALPHA,
) -> Picture:
    """Class colours over pictures, with an opaque line of one pixel along each border.

    Args:
        pictures: ``(N, H, W, 3)``.
        masks: ``(N, H, W)``, class indices; one beyond the colours is not painted.
        colors: ``(C, 3)`` with C up to 256.
        hidden: Classes that are not painted, such as the background.
        alpha: Opacity in 256ths.
    """
    # Rows 0..255 of the table are the inside of a class, rows 256..511 its border.
    opacity = np.zeros(512, dtype=np.uint16)
    opacity[: len(colors)] = alpha
    opacity[256 : 256 + len(colors)] = 256
    opacity[[*hidden, *(256 + np.array(hidden, dtype=int))]] = 0
    table = np.zeros((512, 3), dtype=np.uint16)
    table[: len(colors)] = table[256 : 256 + len(colors)] = colors
    rows = masks.astype(np.intp)
    rows += _borders(masks).astype(np.intp) << 8
    return _painted(pictures, rows, table, opacity)


def error_map(
    pictures: Picture,
    preds: Picture,
    targets: Picture,
    *,
    background: int | None = None,
    ignore_index: int | None = None,
) -> Picture:
    """Where the prediction is wrong, in the colours of :data:`ERROR_COLORS` over a grey image.

    Args:
        pictures: ``(N, H, W, 3)``.
        preds: ``(N, H, W)`` class indices.
        targets: ``(N, H, W)`` class indices.
        background: The class that stands for nothing: predicting something there is a false
            positive, predicting it on something a miss. None: each error is a wrong class.
        ignore_index: Target value of pixels that do not count, hatched.
    """
    wrong = preds != targets
    kind = np.where(wrong, 3, 0).astype(np.uint8)
    if background is not None:
        kind[wrong & (targets == background)] = 1
        kind[wrong & (preds == background)] = 2
    if ignore_index is not None:
        rows, columns = np.arange(kind.shape[1])[:, None], np.arange(kind.shape[2])
        ignored = targets == ignore_index
        kind[ignored] = 0
        kind[ignored & ((rows + columns) % 8 < 2)] = 4
    return _painted_errors(pictures, kind)


def segmentation_pictures(
    images: Tensor,
    preds: Tensor,
    targets: Tensor,
    class_names: Sequence[str],
    *,
    background: int | None = None,
    ignore_index: int | None = None,
    captions: Sequence[str] | None = None,
    rgb: Sequence[int] = (0, 1, 2),
) -> list[Picture]:
    """Draw image, ground truth, prediction and errors side by side, one picture a sample.

    Args:
        images: ``(N, I, H, W)``, as for :func:`to_rgb`.
        preds: ``(N, H, W)`` class indices, or ``(N, C, H, W)`` of 0 and 1 for multilabel.
        targets: Shaped like ``preds``.
        class_names: C names, for the legend.
        background: Class that is not painted; see :func:`error_map`.
        ignore_index: Target value of pixels that do not count.
        captions: A line for each sample; None for none.
        rgb: Channels to show.

    Returns:
        N pictures ``(H', W', 3)``: the four panels under their titles, over a legend with the
        colour, name and intersection over union of each class in the sample.
    """
    size = _panel_size(images.shape[-2], images.shape[-1])
    pictures = to_rgb(_resized(images, size, smooth=True), rgb)
    colors = palette(len(class_names))
    legends = [
        _legend(one, other, class_names, colors, background, ignore_index)
        for one, other in zip(preds, targets, strict=True)
    ]
    shown_preds, shown_targets = (_resized(mask, size, smooth=False) for mask in (preds, targets))
    draw = _multilabel_panels if preds.ndim == 4 else _multiclass_panels
    panels = draw(pictures, shown_preds, shown_targets, colors, background, ignore_index)
    titles = ("image", "ground truth", "prediction", "errors")
    return [
        _framed([panel[index] for panel in panels], titles, legend, caption)
        for index, (legend, caption) in enumerate(
            zip(legends, captions or [""] * len(images), strict=True)
        )
    ]


def stack(pictures: Sequence[Picture]) -> Picture:
    """Pictures below each other, the narrower ones filled with the paper's colour."""
    width = max(picture.shape[1] for picture in pictures)
    rows = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=_PAPER[0])
        for p in pictures
    ]
    return np.concatenate(rows)


def encode(picture: Picture, *, quality: int = 90) -> Encoded:
    """Encode a picture ``(H, W, 3)`` as JPEG, or as PNG where that is exact and small.

    Line drawings and label maps compress well without loss; photographs do not, and a PNG of one
    is five times the size, which TensorBoard's writer then checksums in pure Python.
    """
    image = Image.fromarray(picture)
    few_colors = image.getcolors(256) is not None
    buffer = io.BytesIO()
    if few_colors:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=quality)
    suffix = ".png" if few_colors else ".jpg"
    return Encoded(buffer.getvalue(), picture.shape[0], picture.shape[1], suffix)


# -- panels ----------------------------------------------------------------------------------------


def _multiclass_panels(
    pictures: Picture,
    preds: Tensor,
    targets: Tensor,
    colors: Picture,
    background: int | None,
    ignore_index: int | None,
) -> list[Picture]:
    hidden = [] if background is None else [background]
    predicted, truth = _as_uint8(preds), _as_uint8(targets)
    ignored = None if ignore_index is None else ignore_index % 256
    errors = error_map(pictures, predicted, truth, background=background, ignore_index=ignored)
    unpainted = hidden if ignored is None else [*hidden, ignored]
    return [
        pictures,
        overlay(pictures, truth, colors, hidden=unpainted),
        overlay(pictures, predicted, colors, hidden=hidden),
        errors,
    ]


def _multilabel_panels(
    pictures: Picture,
    preds: Tensor,
    targets: Tensor,
    colors: Picture,
    background: int | None,
    ignore_index: int | None,
) -> list[Picture]:
    counted = np.ones(targets.shape, bool)
    if ignore_index is not None:
        counted = _as_uint8(targets) != ignore_index % 256
    predicted, truth = _as_uint8(preds) == 1, (_as_uint8(targets) == 1) & counted
    false = (predicted & ~truth & counted).any(1)
    missed = (truth & ~predicted).any(1)
    kind = np.where(false & missed, 3, np.where(false, 1, np.where(missed, 2, 0)))
    layers = []
    for labels in (truth, predicted):
        layer = pictures
        for index in range(labels.shape[1]):
            mask = np.where(labels[:, index], np.uint8(index), np.uint8(255))
            layer = overlay(layer, mask, colors[:255])
        layers.append(layer)
    return [pictures, *layers, _painted_errors(pictures, kind.astype(np.uint8))]


def _painted_errors(pictures: Picture, kind: Picture) -> Picture:
    table = np.zeros((5, 3), dtype=np.uint16)
    table[1:] = list(ERROR_COLORS.values())
    red, green, blue = (pictures[..., channel].astype(np.uint16) for channel in range(3))
    # Rec. 601 luma in 256ths, at three quarters, so that errors stand out on a bright image too.
    grey = ((58 * red + 112 * green + 22 * blue) >> 8).astype(np.uint8)
    ground = np.broadcast_to(grey[..., None], pictures.shape)
    opacity = np.array([0, 200, 200, 200, 160], dtype=np.uint16)
    return _painted(ground, kind.astype(np.intp), table, opacity)


def _painted(
    below: Picture,
    rows: npt.NDArray[np.intp],
    table: npt.NDArray[np.uint16],
    opacity: npt.NDArray[np.uint16],
) -> Picture:
    """Colours of a table over pictures, in whole numbers.

    Args:
        below: ``(N, H, W, 3)``.
        rows: ``(N, H, W)``, the row of the table for each pixel.
        table: ``(R, 3)``, colours.
        opacity: ``(R,)`` in 256ths.
    """
    kept = np.repeat((256 - opacity)[:, None], 3, axis=1)
    mixed = below * kept.take(rows, axis=0)  # at most 255 * 256: it fits into 16 bits
    mixed += (table * opacity[:, None]).take(rows, axis=0)
    mixed >>= 8
    return mixed.astype(np.uint8)


def _borders(masks: Picture) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another class, and those neighbours."""
    borders = np.zeros(masks.shape, dtype=bool)
    across = masks[:, :, 1:] != masks[:, :, :-1]
    down = masks[:, 1:] != masks[:, :-1]
    borders[:, :, 1:] |= across
    borders[:, :, :-1] |= across
    borders[:, 1:] |= down
    borders[:, :-1] |= down
    return borders


def _stretched(images: Tensor) -> Tensor:
    flat = images.flatten(2)
    # Some 65536 values are enough for a percentile, and torch's quantile takes no large ones.
    sample = flat[..., :: max(flat.shape[-1] // 65536, 1)]
    low, high = torch.quantile(sample, torch.tensor([0.01, 0.99]), dim=-1, keepdim=True)
    low, high = low[..., None], high[..., None]
    stretched: Tensor = (images - low) / (high - low).clamp_min(1e-12)
    return stretched.clamp(0, 1)


def _panel_size(height: int, width: int) -> tuple[int, int]:
    """Enlarge small images by a whole factor; reduce large ones to what a screen shows."""
    longest = max(height, width)
    if longest <= _PANEL[0]:
        factor = math.ceil(_PANEL[0] / longest)
        return height * factor, width * factor
    scale = min(_PANEL[1] / longest, 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _resized(images: Tensor, size: tuple[int, int], *, smooth: bool) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    if not smooth:
        rows = torch.arange(size[0], device=images.device) * images.shape[-2] // size[0]
        columns = torch.arange(size[1], device=images.device) * images.shape[-1] // size[1]
        picked: Tensor = images[..., rows[:, None], columns]
        return picked
    resized: Tensor = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    if images.dtype == torch.uint8:
        resized = resized.round().to(torch.uint8)
    return resized


def _as_uint8(mask: Tensor) -> Picture:
    array: Picture = mask.detach().cpu().to(torch.uint8).numpy()
    return array


# -- text ------------------------------------------------------------------------------------------


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)


def _legend(
    pred: Tensor,
    target: Tensor,
    names: Sequence[str],
    colors: Picture,
    background: int | None,
    ignore_index: int | None,
) -> list[tuple[Color, str]]:
    """Colour and text of each class in the sample, with its intersection over union."""
    pred, target = pred.cpu(), target.cpu()
    if pred.ndim == 2:
        counts = confusion_counts(pred, target, len(names), ignore_index=ignore_index)
        counts = counts[:-2].view(len(names), len(names))
    else:
        labels = [
            confusion_counts(ours, theirs, 2, ignore_index=ignore_index)[:-2].view(2, 2)
            for ours, theirs in zip(pred, target, strict=True)
        ]
        counts = torch.stack(labels)
    return [
        ((int(red), int(green), int(blue)), f"{name}: IoU {score:.2f}")
        for index, (name, score) in enumerate(zip(names, iou_score(counts).tolist(), strict=True))
        if not math.isnan(score) and index != background
        for red, green, blue in [colors[index]]
    ]


def _framed(
    panels: Sequence[Picture], titles: Sequence[str], legend: list[tuple[Color, str]], caption: str
) -> Picture:
    """Panels side by side under their titles, the legend and the key of the errors below."""
    height, width = panels[0].shape[:2]
    step = width + _MARGIN
    total = step * len(panels) - _MARGIN
    key = [(color, name) for name, color in ERROR_COLORS.items() if name != "ignored"]
    lines = _lines(legend, step * (len(panels) - 1) - _MARGIN)
    key_lines = _lines(key, width)
    foot = _LINE * (max(len(lines), len(key_lines)) + bool(caption)) + _MARGIN
    canvas = Image.new("RGB", (total, _LINE + height + foot), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        draw.text((index * step + 2, 2), title, fill=_INK, font=_font())
        canvas.paste(Image.fromarray(panel), (index * step, _LINE))
    top = _LINE + height + _MARGIN // 2
    _write(draw, lines, 2, top)
    _write(draw, key_lines, step * (len(panels) - 1), top)
    if caption:
        draw.text((2, canvas.height - _LINE), caption, fill=_INK, font=_font())
    return np.asarray(canvas)


Line: TypeAlias = list[tuple[int, Color, str]]  # offset, colour, text of each entry


def _lines(entries: Sequence[tuple[Color, str]], width: int) -> list[Line]:
    """Break a legend into lines that fit the width."""
    lines: list[Line] = [[]]
    offset = 0
    for color, text in entries:
        length = 18 + round(_font().getlength(text)) + 12
        if offset and offset + length > width:
            lines.append([])
            offset = 0
        lines[-1].append((offset, color, text))
        offset += length
    return lines


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[Line], left: int, top: int) -> None:
    for row, line in enumerate(lines):
        y = top + row * _LINE
        for offset, color, text in line:
            x = left + offset
            draw.rectangle((x, y + 3, x + 12, y + 15), fill=color, outline=_INK)
            draw.text((x + 18, y + 1), text, fill=_INK, font=_font())
