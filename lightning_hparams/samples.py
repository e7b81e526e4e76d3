"""Single samples of what a validation step returned: pick, rate, keep the worst, draw.

The three tasks differ here and nowhere else among the monitors: see
:mod:`lightning_hparams.outputs` for what each returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import check_boxes, confident, match_boxes
from .checks import one_of, whole_number
from .metrics import confusion_counts, iou_score
from .render import Picture, classification_picture, detection_picture, segmentation_pictures

__all__ = [
    "NEEDED",
    "Look",
    "Sample",
    "badness",
    "check_output",
    "draw",
    "pick",
    "probabilities",
    "worst_of",
]

NEEDED = ("kind", "images", "preds", "targets")
_MASKS = ("multiclass", "binary", "multilabel")
_NOTHING = ("background", "unlabelled", "unlabeled")


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset, on the CPU."""

    kind: str
    index: int  # in the dataset
    image: Tensor  # (I, H, W)
    pred: Any  # a mask, a class, or boxes, as in the output of its task
    target: Any
    probs: Tensor | None = None  # (C,), classification only
    badness: float = 0.0


@dataclass(frozen=True)
class Look:
    """How samples are drawn."""

    class_names: Sequence[str] | None = None
    ignore_index: int | None = None
    background: int | None = None  # -1: none; None: the class of that name
    rgb: Sequence[int] = (0, 1, 2)
    mean: Sequence[float] | None = None  # of normalised images, in units of 0..1
    std: Sequence[float] | None = None
    min_score: float = 0.3  # of a box


def check_output(output: Mapping[str, Any], step: str) -> None:
    """Check what is drawn, as far as its shapes and kinds tell.

    Args:
        output: Has the keys of :data:`NEEDED`.
        step: Name of the method that returned it.

    Raises:
        ValueError: If it is of no known kind, or its boxes are not xyxy in pixels.
    """
    one_of("kind", output["kind"], (*_MASKS, "classification", "detection"))
    sizes = {key: len(output[key]) for key in NEEDED[1:]}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{step} must return as many images as preds and targets, got {sizes}")
    if output["kind"] != "detection":
        return
    for key in ("preds", "targets"):
        for boxes in output[key]:
            check_boxes(boxes["boxes"], f"{step}, {key}")


def pick(output: Mapping[str, Any], place: int, index: int, badness: float = 0.0) -> Sample:
    """One sample of a batch, brought to the CPU and nothing else with it."""
    probs = None
    if output["kind"] == "classification":
        probs = probabilities(output, slice(place, place + 1))
    return Sample(
        kind=output["kind"],
        index=index,
        image=_on_cpu(output["images"][place]),
        pred=_on_cpu(output["preds"][place]),
        target=_on_cpu(output["targets"][place]),
        probs=None if probs is None else probs[0].cpu(),
        badness=badness,
    )


def badness(output: Mapping[str, Any], look: Look) -> list[float]:
    """How wrong each sample of a batch is, from 0.

    Its loss, where the output has ``losses``; else by task: 1 - mean IoU of the classes in the mask
    or the prediction (without the background), the cross entropy of the true class, or the number
    of false and missed boxes.
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


def draw(sample: Sample, look: Look, caption: str) -> Picture:
    """The picture of a sample, as its task asks for.

    Raises:
        ValueError: If there are fewer class names than classes.
    """
    names = _names(sample, look)
    image = sample.image
    if look.mean is not None and look.std is not None and image.is_floating_point():
        mean, std = (torch.tensor(list(part)).view(-1, 1, 1) for part in (look.mean, look.std))
        image = (image.float() * std + mean).clamp(0, 1)
    if sample.kind == "detection":
        return detection_picture(
            image,
            sample.pred,
            sample.target,
            names,
            min_score=look.min_score,
            caption=caption,
            rgb=look.rgb,
        )
    if sample.kind == "classification":
        return classification_picture(
            image,
            sample.pred,
            sample.target,
            names,
            probs=sample.probs,
            caption=caption,
            rgb=look.rgb,
        )
    (picture,) = segmentation_pictures(
        image[None],
        sample.pred[None],
        sample.target[None],
        names,
        background=_background(names, look, sample.pred.ndim == 3),
        ignore_index=look.ignore_index,
        captions=[caption],
        rgb=look.rgb,
    )
    return picture


def probabilities(output: Mapping[str, Any], rows: slice = slice(None)) -> Tensor | None:
    """Probabilities ``(n, C, ...)`` of samples of a batch; None if the output has none."""
    if output.get("probs") is not None:
        probs: Tensor = output["probs"][rows].detach().float()
        return probs
    if output.get("logits") is None:
        return None
    logits: Tensor = output["logits"][rows].detach().float()
    single_label = output["kind"] == "classification" and output["targets"].ndim == 1
    if single_label or output["kind"] == "multiclass":
        return logits.softmax(1)
    return logits.sigmoid()


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    return torch.as_tensor(value).detach().cpu()


def _surprise(output: Mapping[str, Any]) -> Tensor:
    """Cross entropy of each sample; without probabilities, whether it is wrong."""
    preds, targets = output["preds"], output["targets"]
    probs = probabilities(output)
    if probs is None:
        wrong: Tensor = (preds != targets).float().reshape(len(preds), -1)
        return wrong.mean(1)
    if targets.ndim == 1:
        true: Tensor = probs.gather(1, targets.long()[:, None])[:, 0]
        return -true.clamp_min(1e-12).log()
    by_label: Tensor = F.binary_cross_entropy(probs, targets.float(), reduction="none")
    return by_label.mean(1)


def _one_minus_iou(output: Mapping[str, Any], look: Look) -> Tensor:
    preds, targets = output["preds"], output["targets"]
    multilabel = output["kind"] == "multilabel"
    classes = 2 if multilabel else _num_classes(preds, targets, look.ignore_index)
    background = _background(look.class_names or [], look, multilabel)
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


def _num_classes(preds: Tensor, targets: Tensor, ignore_index: int | None) -> int:
    counted = targets if ignore_index is None else targets[targets != ignore_index]
    return 1 + max(int(part.max()) for part in (preds, counted) if part.numel())


def _names(sample: Sample, look: Look) -> Sequence[str]:
    if sample.kind == "detection":
        parts = (sample.pred["labels"], sample.target["labels"])
        highest = max((int(labels.max()) for labels in parts if len(labels)), default=0)
    elif sample.probs is not None:
        highest = len(sample.probs) - 1
    elif sample.pred.ndim in (1, 3):
        highest = len(sample.pred) - 1
    else:
        highest = int(sample.pred.max())
    if look.class_names is None:
        return [f"class {index}" for index in range(highest + 1)]
    if len(look.class_names) <= highest:
        raise ValueError(
            f"class_names has {len(look.class_names)} entries, but a prediction class {highest}; "
            "name every class, in order"
        )
    return look.class_names


def _background(names: Sequence[str], look: Look, multilabel: bool) -> int | None:
    """The class that stands for nothing, if there is one."""
    if look.background is not None and names:
        whole_number("background", look.background, -1, len(names) - 1)
    if multilabel:
        return None
    if look.background is not None:
        return None if look.background < 0 else look.background
    return next((i for i, name in enumerate(names) if name.lower() in _NOTHING), None)
