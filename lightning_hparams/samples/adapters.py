"""Outputs for modules that return something else, by what they and their batches look like."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import one_of
from ..isolation import evaluation_mode, random_state_kept

__all__ = ["ADAPTERS", "Adapter", "ReadyAdapter", "adapter_for", "count_of", "indices_of"]

Adapter = Callable[[Any, Any, nn.Module], Mapping[str, Any]]

_IMAGES = ("image", "images", "pixel_values", "x", "input", "inputs", "img")
_TARGETS = ("mask", "masks", "label", "labels", "target", "targets", "y")
_BOXES = ("bbox_xyxy", "boxes", "bboxes")


class ReadyAdapter:
    """Runs ``module(images)`` in evaluation mode and without gradients, and makes an output of it.

    Images are ``batch["image"]`` or ``batch[0]``, targets ``batch["mask"]``, ``batch["label"]`` or
    ``batch[1]``, and other usual names. A step that returned an output already keeps it.

    Args:
        make: Makes the output of the module's answer and the batch.
    """

    def __init__(self, make: Callable[[Any, Any], Mapping[str, Any]]) -> None:
        self._make = make

    def __call__(self, outputs: Any, batch: Any, module: nn.Module) -> Mapping[str, Any]:
        """The output of a batch, as :mod:`lightning_hparams.outputs` describes it."""
        if isinstance(outputs, Mapping) and "kind" in outputs:
            return outputs
        images = _images(batch)
        with torch.no_grad(), evaluation_mode(module), random_state_kept():
            answer = module(_on_device(images, module))
        made = dict(self._make(answer, batch))
        made["indices"] = indices_of(batch)
        return {"images": images, **made}


def adapter_for(adapter: str | Callable[..., Any]) -> Adapter:
    """An adapter of three arguments.

    Args:
        adapter: One of :data:`ADAPTERS`, the dotted path of a function, or a function of
            ``(outputs, batch, module)`` or ``(outputs, batch)``.

    Raises:
        ValueError: If there is none of that name.
        TypeError: If it takes another number of arguments.
    """
    if isinstance(adapter, str):
        if adapter in ADAPTERS:
            return ADAPTERS[adapter]
        adapter = _imported(adapter)
    if not callable(adapter):
        raise TypeError(f"`adapter` must be one of {list(ADAPTERS)} or a function, got {adapter!r}")
    function = adapter
    if _takes(function, 3):
        return function
    if not _takes(function, 2):
        raise TypeError(
            "`adapter` must take (outputs, batch, module) or (outputs, batch), got "
            f"{getattr(function, '__name__', function)}{inspect.signature(function)}"
        )
    return lambda outputs, batch, module: function(outputs, batch)


def count_of(batch: Any) -> int | None:
    """The number of images in a batch; None if it does not say."""
    try:
        return len(_images(batch))
    except TypeError:
        return None


def indices_of(batch: Any) -> list[int] | None:
    """The dataset indices that a batch has under ``index``; None if it has none."""
    indices = _entry(batch, ("index", "indices"))
    whole = isinstance(indices, Tensor) and indices.ndim == 1 and not indices.is_floating_point()
    return indices.tolist() if whole else None


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        one_of("adapter", path, ADAPTERS, otherwise="or a function")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"`adapter` must be one of {list(ADAPTERS)} or the dotted path of a function, got "
            f"{path!r}: {error}"
        ) from error


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a function in C that has no signature
        return count == 3
    return True


# -- what is in a batch


def _entry(batch: Any, names: Sequence[str], position: int | None = None) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[name] for name in names if name in batch), None)
    is_pair = isinstance(batch, (tuple, list)) and position is not None and len(batch) > position
    return batch[position] if is_pair else None


def _images(batch: Any) -> Any:
    images = _entry(batch, _IMAGES, 0)
    if images is None:
        raise TypeError(
            "a ready-made adapter needs a batch with 'image', or of (images, targets), got "
            f"{_described(batch)}; pass adapter= a function of (outputs, batch, module)"
        )
    return images


def _targets(batch: Any) -> Any:
    targets = _entry(batch, _TARGETS, 1)
    if targets is None:
        raise TypeError(
            "a ready-made adapter needs a batch with 'mask' or 'label', or of (images, targets), "
            f"got {_described(batch)}; pass adapter= a function of (outputs, batch, module)"
        )
    return targets


def _described(batch: Any) -> str:
    return str(sorted(map(str, batch))) if isinstance(batch, Mapping) else type(batch).__name__


def _on_device(images: Any, module: nn.Module) -> Any:
    parameter = next(module.parameters(), None)
    if parameter is None:
        return images
    if isinstance(images, Tensor):
        return images.to(parameter.device)
    return [image.to(parameter.device) for image in images]


def _scores(answer: Any) -> Tensor:
    """The logits in what a model returned: a tensor, or torchvision's and Hugging Face's forms."""
    if isinstance(answer, Mapping):
        answer = next((answer[key] for key in ("out", "logits") if key in answer), answer)
    elif isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    answer = getattr(answer, "logits", answer)
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"a ready-made adapter needs a module that returns a tensor, got {_described(answer)}; "
            "pass adapter= a function of (outputs, batch, module)"
        )
    return answer.detach()


# -- the outputs


def _segmentation(answer: Any, batch: Any) -> Mapping[str, Any]:
    logits, targets = _scores(answer), _targets(batch)
    targets = targets.to(logits.device)
    if logits.shape[-2:] != targets.shape[-2:]:
        size = targets.shape[-2:]
        logits = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    if logits.ndim == 4 and logits.shape[1] > 1 and targets.shape == logits.shape:
        return _multilabel_of(logits, targets)
    if targets.ndim == 4 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if logits.shape[1] == 1:
        preds = (logits[:, 0] > 0).long()
        return {"kind": "binary", "logits": logits, "preds": preds, "targets": targets.long()}
    preds = logits.argmax(1)
    return {"kind": "multiclass", "logits": logits, "preds": preds, "targets": targets.long()}


def _classification(answer: Any, batch: Any) -> Mapping[str, Any]:
    logits = _scores(answer)
    targets = torch.as_tensor(_targets(batch)).to(logits.device)
    if logits.ndim == 2 and logits.shape[1] > 1 and targets.shape == logits.shape:
        return _multilabel_of(logits, targets)
    targets = targets.reshape(len(targets)).long()
    logits = logits.reshape(len(targets), -1)
    preds = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return {"kind": "classification", "logits": logits, "preds": preds, "targets": targets}


def _multilabel(answer: Any, batch: Any) -> Mapping[str, Any]:
    logits = _scores(answer)
    return _multilabel_of(logits, torch.as_tensor(_targets(batch)).to(logits.device))


def _multilabel_of(logits: Tensor, targets: Tensor) -> Mapping[str, Any]:
    kind = "multilabel" if logits.ndim == 4 else "classification"
    preds = (logits > 0).long()
    return {"kind": kind, "logits": logits, "preds": preds, "targets": targets.long()}


def _regression(answer: Any, batch: Any) -> Mapping[str, Any]:
    preds = _scores(answer)
    preds = preds.reshape(len(preds), -1)
    targets = torch.as_tensor(_targets(batch)).to(preds.device).float()
    return {"kind": "regression", "preds": preds, "targets": targets.reshape(len(targets), -1)}


def _detection(answer: Any, batch: Any) -> Mapping[str, Any]:
    boxes = _entry(batch, _BOXES)
    if boxes is None:
        truth = [{key: each[key] for key in ("boxes", "labels")} for each in _targets(batch)]
    else:
        labels = _entry(batch, ("label", "labels"))
        pairs = zip(boxes, labels, strict=True)
        truth = [{"boxes": corners, "labels": names} for corners, names in pairs]
    return {
        "kind": "detection",
        "preds": [_from_zero(each) for each in answer],
        "targets": [_from_zero(each) for each in truth],
    }


def _from_zero(boxes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boxes whose labels count from 0: torchvision's detectors leave 0 to the background."""
    kept = ("boxes", "labels", "scores")
    made = {key: torch.as_tensor(boxes[key]).detach() for key in kept if key in boxes}
    if bool((made["labels"] < 1).any()):
        raise ValueError(
            "adapter='detection' needs labels from 1 on, as torchvision's detectors have them, got "
            f"{int(made['labels'].min())}; return an output from the step instead"
        )
    made["labels"] = made["labels"] - 1
    return made


ADAPTERS: dict[str, ReadyAdapter] = {
    "segmentation": ReadyAdapter(_segmentation),
    "multilabel": ReadyAdapter(_multilabel),
    "classification": ReadyAdapter(_classification),
    "detection": ReadyAdapter(_detection),
    "regression": ReadyAdapter(_regression),
}
