"""Single samples of what a validation step returned: pick, rate, keep the worst, draw.

The three tasks differ here and nowhere else among the monitors: see
:mod:`lightning_hparams.outputs` for what each returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..boxes import check_boxes, confident, match_boxes
from ..checks import one_of, whole_number
from ..metrics import confusion_counts, iou_score
from ..outputs import Boxes
from ..render import (
    Picture,
    classification_picture,
    detection_picture,
    is_unit_range,
    panel_size,
    segmentation_pictures,
    to_rgb,
)

__all__ = [
    "NEEDED",
    "Look",
    "Sample",
    "badness",
    "check_output",
    "classes_of",
    "draw",
    "first_of_each",
    "pick",
    "probabilities",
    "tidied",
    "worst_of",
]

NEEDED = ("kind", "images", "preds", "targets")
_MASKS = ("multiclass", "binary", "multilabel")
_NOTHING = ("background", "unlabelled", "unlabeled")
_MOST = 255  # classes of a mask that can be drawn; a larger value in it stands for no class


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset, on the CPU and as small as its picture allows."""

    kind: str
    index: int  # in the dataset
    image: Tensor  # (3, H, W), uint8, as it is shown and no larger than that
    pred: Any  # a mask, a class, or boxes, as in the output of its task
    target: Any
    probs: Tensor | None = None  # (C,), classification only
    num_classes: int | None = None  # where the output tells
    badness: float = 0.0


@dataclass(frozen=True)
class Look:
    """How samples are drawn."""

    class_names: Sequence[str] | None = None
    ignore_index: int | None = None
    background: int | None = None  # -1: none; None: the class of that name, 0 of binary masks
    rgb: Sequence[int] = (0, 1, 2)
    mean: Sequence[float] | None = None  # of normalised images, in units of 0..1
    std: Sequence[float] | None = None
    min_score: float = 0.3  # of a box
    colors: Picture | None = None  # (C, 3)


def tidied(output: Mapping[str, Any], look: Look) -> Mapping[str, Any]:
    """The output without what other code leaves in it: an axis of one class, 16-bit masks."""
    if output["kind"] == "detection":
        return output
    changed = dict(output)
    for key in ("preds", "targets"):
        value = output.get(key)
        if not isinstance(value, Tensor):
            continue
        if value.dtype in (torch.uint16, torch.uint32, torch.uint64):
            value = value.long()  # torch has few operations on them
        is_mask = value.ndim == 4 and output["kind"] != "multilabel"
        # One label with one name says whether it is there; with two, which of two classes it is.
        is_class = value.ndim == 2 and len(look.class_names or ("", "")) > 1
        if value.ndim > 1 and value.shape[1] == 1 and (is_mask or is_class):
            value = value.squeeze(1)
        changed[key] = value
    return changed


def check_output(output: Mapping[str, Any], step: str, look: Look) -> None:
    """Check what is drawn, as far as its shapes, kinds and values tell.

    It looks at all values, so it is for a batch before training.

    Args:
        output: Has the keys of :data:`NEEDED`, tidied.
        step: Name of the method that returned it.
        look: Tells how many classes there are, and which values do not count.

    Raises:
        ValueError: If it is of no known kind, its shapes do not fit together, a mask has a value
            that is no class, or its boxes are not xyxy in pixels.
        TypeError: If predictions or targets are no tensors.
    """
    kind, losses = output["kind"], output.get("losses")
    one_of("kind", kind, (*_MASKS, "classification", "detection"))
    sizes = {key: len(output[key]) for key in NEEDED[1:]}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{step} must return as many images as preds and targets, got {sizes}")
    count = sizes["images"]
    if losses is not None and tuple(losses.shape) != (count,):
        raise ValueError(
            f"{step}: losses must be ({count},), one a sample, got {tuple(losses.shape)}"
        )
    for image in output["images"][:1]:
        if image.ndim != 3:
            raise ValueError(
                f"{step}: an image must be (channels, height, width), got {tuple(image.shape)}"
            )
    if kind == "detection":
        for key in ("preds", "targets"):
            check_boxes([boxes["boxes"] for boxes in output[key]], f"{step}, {key}")
        return
    preds, targets = output["preds"], output["targets"]
    for key, value in (("preds", preds), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{step}: {key} must be a tensor, got {type(value).__name__}")
    if preds.shape != targets.shape:
        raise ValueError(
            f"{step}: preds and targets must have one shape, got {tuple(preds.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if kind in _MASKS:
        classes = 2 if kind == "multilabel" else _num_classes(output) or len(look.class_names or ())
        _check_values(targets, classes, look.ignore_index, step)


def _check_values(targets: Tensor, classes: int, ignore_index: int | None, step: str) -> None:
    outside = (targets < 0) | (targets >= classes)
    if ignore_index is not None:
        outside &= targets != ignore_index
    if classes and bool(outside.any()):
        value = int(targets[outside][0])
        raise ValueError(
            f"{step}, targets: mask value {value} is outside 0..{classes - 1}; "
            f"set ignore_index={value} if its pixels do not count"
        )


def pick(
    output: Mapping[str, Any], place: int, index: int, look: Look, badness: float = 0.0
) -> Sample:
    """One sample of a tidied batch, brought to the CPU and nothing else with it.

    Raises:
        ValueError: If the image does not have the channels that are to be shown.
    """
    pred, target = output["preds"][place], output["targets"][place]
    image = output["images"][place]
    shown = _shown(image, look)
    probs = None
    if output["kind"] == "detection":
        scale = (shown.shape[-1] / image.shape[-1], shown.shape[-2] / image.shape[-2])
        pred, target = _own_boxes(pred, scale), _own_boxes(target, scale)
    else:
        pred, target = _own(pred), _own(target)
    if output["kind"] == "classification":
        probs = probabilities(output, slice(place, place + 1))
    return Sample(
        kind=output["kind"],
        index=index,
        image=shown,
        pred=pred,
        target=target,
        probs=None if probs is None else _own(probs[0]),
        num_classes=_num_classes(output),
        badness=badness,
    )


def badness(output: Mapping[str, Any], look: Look) -> list[float]:
    """How wrong each sample of a tidied batch is, from 0.

    Its loss, where the output has ``losses``; else by task: 1 - mean IoU of the classes in the mask
    or the prediction (without the background), the cross entropy of the true class, or the number
    of false and missed boxes. A sample without a label is not wrong.
    """
    if output.get("losses") is not None:
        scores = output["losses"].detach().float()
    elif output["kind"] == "detection":
        return [
            float(sum(match_boxes(confident(pred, look.min_score), target).counts[1:]))
            for pred, target in zip(output["preds"], output["targets"], strict=True)
        ]
    elif output["kind"] == "classification":
        scores = _surprise(output)
    else:
        scores = _one_minus_iou(output, look)
    # A loss that is not a number is as bad as can be.
    values: list[float] = scores.nan_to_num(nan=torch.inf, posinf=torch.inf).tolist()
    return values


def worst_of(samples: Iterable[Sample], count: int) -> list[Sample]:
    """The worst samples, the worst first, each once; those without fault are not among them."""
    by_index = {sample.index: sample for sample in samples if sample.badness > 0}
    order = sorted(by_index.values(), key=lambda sample: (-sample.badness, sample.index))
    return order[:count]


def classes_of(output: Mapping[str, Any], look: Look) -> list[list[int]]:
    """The classes that each sample of a tidied batch has, without the background."""
    kind, targets = output["kind"], output["targets"]
    if kind == "detection":
        return [target["labels"].unique().tolist() for target in targets]
    if kind == "multilabel" or targets.ndim == 2:
        return [
            (target == 1).reshape(len(target), -1).any(1).nonzero()[:, 0].tolist()
            for target in targets
        ]
    names = look.class_names or []
    nothing = {look.ignore_index, _background(names, look, kind) if kind in _MASKS else None}
    return [
        [label for label in target.unique().tolist() if label >= 0 and label not in nothing]
        for target in targets
    ]


def first_of_each(classes: Mapping[int, Sequence[int]], count: int) -> list[int]:
    """The first samples of each class in turn, each once.

    Args:
        classes: The classes of each sample, by its index.
        count: At most so many are taken.

    Returns:
        Indices: the first sample of the first class, of the second, ..., then the second ones.

    >>> first_of_each({0: [1], 1: [1], 2: [2, 3], 3: [3]}, 3)
    [0, 2, 3]
    """
    by_class: dict[int, list[int]] = {}
    for index in sorted(classes):
        for label in classes[index]:
            by_class.setdefault(label, []).append(index)
    waiting = [by_class[label] for label in sorted(by_class)]
    taken: dict[int, None] = {}
    while len(taken) < count and any(waiting):
        for indices in waiting:
            while indices and indices[0] in taken:
                indices.pop(0)
            if indices and len(taken) < count:
                taken[indices.pop(0)] = None
    return list(taken)


def draw(sample: Sample, look: Look, caption: str) -> Picture:
    """The picture of a sample, as its task asks for.

    Raises:
        ValueError: If there are fewer class names or colours than classes.
    """
    names, colors = _names(sample, look), look.colors
    if colors is not None and len(colors) < len(names):
        raise ValueError(
            f"class_colors has {len(colors)} entries, but there are {len(names)} classes; "
            "give one to each"
        )
    if sample.kind == "detection":
        return detection_picture(
            sample.image,
            sample.pred,
            sample.target,
            names,
            min_score=look.min_score,
            caption=caption,
            colors=colors,
        )
    if sample.kind == "classification":
        return classification_picture(
            sample.image, sample.pred, sample.target, names, probs=sample.probs, caption=caption
        )
    (picture,) = segmentation_pictures(
        sample.image[None],
        sample.pred[None],
        sample.target[None],
        names,
        background=_background(names, look, sample.kind),
        ignore_index=look.ignore_index,
        captions=[caption],
        colors=None if colors is None else colors[: len(names)],
    )
    return picture


def probabilities(output: Mapping[str, Any], rows: slice = slice(None)) -> Tensor | None:
    """Probabilities ``(n, C, ...)`` of samples of a batch; None if the output has none.

    One value for two classes is the probability, or the logit, of the second.
    """
    single_label = output["kind"] == "classification" and output["targets"].ndim == 1
    if output.get("probs") is not None:
        probs: Tensor = output["probs"][rows].detach().float()
    elif output.get("logits") is not None:
        logits: Tensor = output["logits"][rows].detach().float()
        if output["kind"] == "multiclass" or (single_label and logits[:1].numel() > 1):
            return logits.softmax(1)
        probs = logits.sigmoid()
    else:
        return None
    if single_label and probs[:1].numel() == 1:
        probs = torch.stack([1 - probs.flatten(), probs.flatten()], dim=1)
    return probs


def _shown(image: Tensor, look: Look) -> Tensor:
    """The three channels of an image that are shown, reduced where it is larger than that."""
    if look.mean is not None and look.std is not None and image.is_floating_point():
        image = image if is_unit_range(image) else _as_it_was(image, look.mean, look.std)
    size = panel_size(*image.shape[-2:])
    (picture,) = to_rgb(image[None], look.rgb, size if max(size) < max(image.shape[-2:]) else None)
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def _as_it_was(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    if len(mean) not in (1, len(image)):
        raise ValueError(
            f"`mean` and `std` have {len(mean)} values, but images have {len(image)} channels; "
            "pass one a channel"
        )
    center, scale = (
        torch.tensor(list(part), device=image.device).view(-1, 1, 1) for part in (mean, std)
    )
    return (image.float() * scale + center).clamp(0, 1)


def _copied(value: Any) -> Tensor:
    """On the CPU; a view would hold its whole batch."""
    return torch.as_tensor(value).detach().to("cpu", copy=True)


def _own(value: Any) -> Tensor:
    """A copy; of whole numbers, in as few bytes as they need."""
    copied = _copied(value)
    if not copied.is_floating_point() and copied.numel() > 1:
        low, high = int(copied.min()), int(copied.max())
        for dtype in (torch.uint8, torch.int16):
            if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
                return copied.to(dtype)
    return copied


def _own_boxes(boxes: Boxes, scale: tuple[float, float]) -> Boxes:
    scaled = boxes["boxes"].detach().cpu().float() * torch.tensor([*scale, *scale])
    copied: Boxes = {"boxes": scaled, "labels": _copied(boxes["labels"])}
    if "scores" in boxes:
        copied["scores"] = _copied(boxes["scores"])
    return copied


def _surprise(output: Mapping[str, Any]) -> Tensor:
    """Cross entropy of each sample; without probabilities, whether it is wrong."""
    preds, targets = output["preds"], output["targets"]
    probs = probabilities(output)
    if probs is None:
        known, scores = targets >= 0, (preds != targets).float()
    else:
        if targets.ndim == 1:
            known = (targets >= 0) & (targets < probs.shape[1])
            right = probs.gather(1, targets.long().where(known, 0)[:, None])[:, 0]
        else:
            known = (targets == 0) | (targets == 1)
            right = probs.where(targets == 1, 1 - probs)
        scores = -right.clamp_min(1e-12).log()
    total = scores.where(known, 0).reshape(len(preds), -1).sum(1)
    mean: Tensor = total / known.reshape(len(preds), -1).sum(1).clamp_min(1)
    return mean


def _one_minus_iou(output: Mapping[str, Any], look: Look) -> Tensor:
    preds, targets = output["preds"], output["targets"]
    kind = output["kind"]
    multilabel = kind == "multilabel"
    classes = 2 if kind != "multiclass" else _num_classes(output)
    if classes is None:
        parts = (preds.flatten(), targets[_is_class(targets, look.ignore_index)])
        highest = max(int(part.max()) for part in parts if part.numel())
        classes = min(highest, _MOST - 1) + 1
    background = _background(look.class_names or [], look, kind)
    scores = []
    for pred, target in zip(preds, targets, strict=True):
        pairs = zip(pred, target, strict=True) if multilabel else [(pred, target)]
        counts = torch.stack(
            [
                confusion_counts(*pair, classes, ignore_index=look.ignore_index)[:-2]
                for pair in pairs
            ]
        ).view(-1, classes, classes)
        iou = iou_score(counts if multilabel else counts[0])
        if background is not None and background < classes:
            iou[background] = torch.nan
        scores.append(1 - iou.nanmean())
    return torch.stack(scores).nan_to_num(0.0)  # NaN: nothing there, and nothing predicted


def _num_classes(output: Mapping[str, Any]) -> int | None:
    """As many classes as the output has logits or probabilities for."""
    for key in ("logits", "probs"):
        if output.get(key) is not None and output["kind"] != "detection":
            scores = output[key]
            classes = int(scores.shape[1]) if scores.ndim > 1 else 1
            by_label = output["kind"] == "multilabel" or scores.ndim == output["targets"].ndim == 2
            return classes if by_label else max(classes, 2)
    return None


def _is_class(targets: Tensor, ignore_index: int | None) -> Tensor:
    """Whether each value of a target is that of a class which can be drawn."""
    targets = targets.int()
    is_class = (targets >= 0) & (targets < _MOST)
    return is_class if ignore_index is None else is_class & (targets != ignore_index)


def _names(sample: Sample, look: Look) -> Sequence[str]:
    """A name for each class that was predicted, could have been, or is there."""
    if sample.kind == "detection":
        predicted, there = sample.pred["labels"], sample.target["labels"]
    elif sample.kind == "multilabel" or sample.pred.ndim == 1:
        predicted = there = torch.tensor([len(sample.pred) - 1])
    else:
        predicted, there = sample.pred.flatten(), sample.target.flatten()
        if sample.kind in _MASKS:
            there = there[_is_class(there, look.ignore_index)]
    # A target beyond all known classes is not painted; it was told of before training.
    known = look.class_names is not None or sample.num_classes is not None
    parts = (predicted,) if known and sample.kind != "detection" else (predicted, there)
    classes = sample.num_classes or 1
    highest = max([classes - 1, *(int(part.max()) for part in parts if part.numel())])
    if look.class_names is None:
        return [f"class {index}" for index in range(highest + 1)]
    if len(look.class_names) <= highest:
        raise ValueError(
            f"class_names has {len(look.class_names)} entries, but a prediction class {highest}; "
            "name every class, in order"
        )
    return look.class_names


def _background(names: Sequence[str], look: Look, kind: str) -> int | None:
    """The class that stands for nothing, if there is one."""
    if look.background is not None and names:
        whole_number("background", look.background, -1, len(names) - 1)
    if kind == "multilabel":
        return None
    if look.background is not None:
        return None if look.background < 0 else look.background
    if kind == "binary":
        return 0
    return next((i for i, name in enumerate(names) if name.lower() in _NOTHING), None)
