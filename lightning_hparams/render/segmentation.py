"""Draw class masks over images, and their errors.

Masks are drawn by table look-up: torchvision's ``draw_segmentation_masks`` builds one boolean mask
per class and takes 15 to 30 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..metrics import confusion_counts, iou_score
from ..resize import resized
from .colors import ERROR_COLORS, Picture, as_color, palette
from .images import panel_size, to_rgb
from .text import Entry, framed

__all__ = ["error_map", "overlay", "segmentation_pictures"]

_ALPHA = 115  # of 256: opacity of a class colour over the image, 0.45
_NONE = 255  # value of pixels without a class


def overlay(
    pictures: Picture,
    masks: Picture,
    colors: Picture,
    *,
    hidden: Sequence[int] = (),
    alpha: int = _ALPHA,
) -> Picture:
    """Blend class colours over pictures, with an opaque one-pixel line along class borders.

    Args:
        pictures: ``(N, H, W, 3)``.
        masks: ``(N, H, W)`` class indices; values without a colour are not painted.
        colors: ``(C, 3)`` with C up to 256.
        hidden: Classes that are not painted, such as the background.
        alpha: Opacity in 256ths.
    """
    # Rows 0..255 of the table are for the interior of a class, rows 256..511 for its border.
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
    """Paint errors in the colours of :data:`ERROR_COLORS` over a grey image.

    Args:
        pictures: ``(N, H, W, 3)``.
        preds: ``(N, H, W)`` class indices.
        targets: ``(N, H, W)`` class indices.
        background: Index of the background class: another prediction on background is a false
            positive, background predicted elsewhere a miss. None: every error is a wrong class.
        ignore_index: Target value of ignored pixels, which are hatched.
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
    colors: Picture | None = None,
) -> list[Picture]:
    """Draw image, ground truth, prediction and errors side by side, one picture per sample.

    Args:
        images: ``(N, I, H, W)``, as for :func:`to_rgb`.
        preds: ``(N, H, W)`` class indices, or ``(N, C, H, W)`` of 0 and 1 for multilabel.
        targets: Shaped like ``preds``. Values outside 0..C-1 are not painted.
        class_names: C names, for the legend; at most 255.
        background: Index of the class not to paint; see :func:`error_map`.
        ignore_index: Target value of ignored pixels.
        captions: One line of text per sample; None for none.
        rgb: Channels to show.
        colors: ``(C, 3)``; None for :func:`palette`.

    Returns:
        N pictures ``(H', W', 3)``: four titled panels above a legend with colour, name and
        intersection over union of each class in the sample.

    Raises:
        ValueError: If there are more than 255 classes.
    """
    if len(class_names) > _NONE:
        raise ValueError(f"masks of at most {_NONE} classes can be drawn, got {len(class_names)}")
    size = panel_size(images.shape[-2], images.shape[-1])
    pictures = to_rgb(images, rgb, size)
    colors = palette(len(class_names)) if colors is None else colors
    legends = [
        _legend(one, other, class_names, colors, background, ignore_index)
        for one, other in zip(preds, targets, strict=True)
    ]
    values = 2 if preds.ndim == 4 else len(class_names)
    predicted = _as_uint8(resized(preds, size, mask=True), values)
    truth = _as_uint8(resized(targets, size, mask=True), values, ignore_index)
    if preds.ndim == 4:
        panels = _multilabel_panels(pictures, predicted, truth, colors)
    else:
        ignored = None if ignore_index is None else _NONE
        panels = _multiclass_panels(pictures, predicted, truth, colors, background, ignored)
    titles = ("image", "ground truth", "prediction", "errors")
    possible = _possible_errors(len(class_names), background, multilabel=preds.ndim == 4)
    key = [Entry(ERROR_COLORS[name], name) for name in possible]
    if ignore_index is not None and bool((truth == _NONE).any()):
        key.append(Entry(ERROR_COLORS["ignored"], "ignored"))
    return [
        framed([panel[index] for panel in panels], titles, legend, key, caption)
        for index, (legend, caption) in enumerate(
            zip(legends, captions or [""] * len(images), strict=True)
        )
    ]


def _possible_errors(classes: int, background: int | None, *, multilabel: bool) -> list[str]:
    """The kinds of error a picture can show, in the order of :data:`ERROR_COLORS`."""
    one_or_nothing = classes == 1 if multilabel else classes <= 2
    if not multilabel and background is None:
        return ["wrong class"]
    return ["false positive", "missed", *([] if one_or_nothing else ["wrong class"])]


def _multiclass_panels(
    pictures: Picture,
    predicted: Picture,
    truth: Picture,
    colors: Picture,
    background: int | None,
    ignored: int | None,
) -> list[Picture]:
    hidden = [] if background is None else [background]
    return [
        pictures,
        overlay(pictures, truth, colors, hidden=hidden),
        overlay(pictures, predicted, colors, hidden=hidden),
        error_map(pictures, predicted, truth, background=background, ignore_index=ignored),
    ]


def _multilabel_panels(
    pictures: Picture, preds: Picture, targets: Picture, colors: Picture
) -> list[Picture]:
    counted = targets != _NONE
    predicted, truth = preds == 1, targets == 1
    false = (predicted & ~truth & counted).any(1)
    missed = (truth & ~predicted).any(1)
    kind = np.where(false & missed, 3, np.where(false, 1, np.where(missed, 2, 0)))
    layers = []
    for labels in (truth, predicted):
        layer = pictures
        for index in range(labels.shape[1]):
            mask = np.where(labels[:, index], np.uint8(index), np.uint8(_NONE))
            layer = overlay(layer, mask, colors)
        layers.append(layer)
    return [pictures, *layers, _painted_errors(pictures, kind.astype(np.uint8))]


def _painted_errors(pictures: Picture, kind: Picture) -> Picture:
    table = np.zeros((5, 3), dtype=np.uint16)
    table[1:] = list(ERROR_COLORS.values())
    red, green, blue = (pictures[..., channel].astype(np.uint16) for channel in range(3))
    # Rec. 601 luma in 256ths, dimmed to three quarters so that errors stand out on bright images.
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
    """Blend the colours of a table over pictures in integer arithmetic.

    Args:
        below: ``(N, H, W, 3)``.
        rows: ``(N, H, W)``, table row of each pixel.
        table: ``(R, 3)``, colours.
        opacity: ``(R,)`` in 256ths.
    """
    kept = np.repeat((256 - opacity)[:, None], 3, axis=1)
    mixed = below * kept.take(rows, axis=0)  # at most 255 * 256, which fits into 16 bits
    mixed += (table * opacity[:, None]).take(rows, axis=0)
    mixed >>= 8
    return mixed.astype(np.uint8)


def _borders(masks: Picture) -> npt.NDArray[np.bool_]:
    """Pixels that differ in class from a direct neighbour."""
    borders = np.zeros(masks.shape, dtype=bool)
    across = masks[:, :, 1:] != masks[:, :, :-1]
    down = masks[:, 1:] != masks[:, :-1]
    borders[:, :, 1:] |= across
    borders[:, :, :-1] |= across
    borders[:, 1:] |= down
    borders[:, :-1] |= down
    return borders


def _legend(
    pred: Tensor,
    target: Tensor,
    names: Sequence[str],
    colors: Picture,
    background: int | None,
    ignore_index: int | None,
) -> list[Entry]:
    """Legend entries of the classes in the sample, with intersection over union."""
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
        Entry(color, f"{name}: IoU {score:.2f}")
        for index, (name, score) in enumerate(zip(names, iou_score(counts).tolist(), strict=False))
        if not math.isnan(score) and index != background
        for color in [as_color(colors[index])]
    ]


def _as_uint8(mask: Tensor, values: int, ignore_index: int | None = None) -> Picture:
    """Class indices as uint8; ignored values and those outside 0..values-1 are :data:`_NONE`."""
    indices = mask.detach().cpu().long()
    no_class = (indices < 0) | (indices >= values)
    if ignore_index is not None:
        no_class |= indices == ignore_index
    array: Picture = indices.masked_fill(no_class, _NONE).to(torch.uint8).numpy()
    return array
