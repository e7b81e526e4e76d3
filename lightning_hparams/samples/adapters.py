"""Build outputs for modules that return something else, by the shapes of their batches."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import described, one_of
from ..isolation import evaluation_mode, random_state_kept
from ..outputs import Boxes, StepOutput
from .contents import BOXES, IMAGES, TARGETS, entry_of

__all__ = ["ADAPTERS", "Adapter", "ReadyAdapter", "adapter_for", "count_of", "indices_of"]

Adapter: TypeAlias = Callable[[object, object, nn.Module], StepOutput]
_Images: TypeAlias = Tensor | Sequence[Tensor]


class ReadyAdapter:
    """Runs ``module(images)`` in evaluation mode without gradients and builds an output from it.

    Images are ``batch["image"]`` or ``batch[0]``, targets ``batch["mask"]``, ``batch["label"]`` or
    ``batch[1]``; other common names are recognized too. An output that the step returned itself is
    used unchanged.

    Args:
        make: Builds the output from what the module returned and the batch.
    """

    def __init__(self, make: Callable[[Any, object], StepOutput]) -> None:
        self._make = make

    def __call__(self, outputs: object, batch: object, module: nn.Module) -> StepOutput:
        """Return the output of a batch in the form of :mod:`lightning_hparams.outputs`."""
        if isinstance(outputs, Mapping) and "kind" in outputs:
            return outputs
        images = _images(batch)
        with torch.no_grad(), evaluation_mode(module), random_state_kept(module):
            returned = module(_on_device(images, module))
        made = dict(self._make(returned, batch))
        made["indices"] = indices_of(batch)
        return {"images": images, **made}


def adapter_for(adapter: str | Callable[..., Any]) -> Adapter:
    """Resolve an adapter to a function of three arguments.

    Args:
        adapter: One of :data:`ADAPTERS`, the dotted path of a function, or a function of
            ``(outputs, batch, module)`` or ``(outputs, batch)``.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If the function takes a different number of arguments.
    """
    if isinstance(adapter, str) and adapter in ADAPTERS:
        return ADAPTERS[adapter]
    function = _imported(adapter) if isinstance(adapter, str) else adapter
    if not callable(function):
        raise TypeError(
            f"`adapter` must be one of {list(ADAPTERS)} or a function, got {function!r}"
        )
    if _takes(function, 3):
        return function
    if not _takes(function, 2):
        raise TypeError(
            "`adapter` must take (outputs, batch, module) or (outputs, batch), got "
            f"{getattr(function, '__name__', function)}{inspect.signature(function)}"
        )
    return lambda outputs, batch, module: function(outputs, batch)


def count_of(batch: object) -> int | None:
    """The number of images in a batch; None if it cannot be determined."""
    try:
        return len(_images(batch))
    except TypeError:
        return None


def indices_of(batch: object) -> list[int] | None:
    """The dataset indices under the key ``index`` of a batch; None if it has no such key."""
    indices = entry_of(batch, ("index", "indices"))
    whole = isinstance(indices, Tensor) and indices.ndim == 1 and not indices.is_floating_point()
    return indices.tolist() if whole else None


def _imported(path: str) -> object:
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
    except ValueError:  # a C function without a signature
        return count == 3
    return True


# -- contents of a batch


def _images(batch: object) -> _Images:
    images: _Images | None = entry_of(batch, IMAGES, 0)
    if images is None:
        raise TypeError(
            "a built-in adapter needs a batch with 'image', or of (images, targets), got "
            f"{described(batch)}; pass adapter=, a function of (outputs, batch, module)"
        )
    return images


def _targets(batch: object) -> Any:
    targets = entry_of(batch, TARGETS, 1)
    if targets is None:
        raise TypeError(
            "a built-in adapter needs a batch with 'mask' or 'label', or of (images, targets), "
            f"got {described(batch)}; pass adapter=, a function of (outputs, batch, module)"
        )
    return targets


def _on_device(images: _Images, module: nn.Module) -> _Images:
    parameter = next(module.parameters(), None)
    if parameter is None:
        return images
    if isinstance(images, Tensor):
        return images.to(parameter.device)
    return [image.to(parameter.device) for image in images]


def _scores(returned: object) -> Tensor:
    """The logits in a tensor, or in the forms that torchvision and Hugging Face return."""
    logits = returned
    if isinstance(logits, Mapping):
        logits = next((logits[key] for key in ("out", "logits") if key in logits), logits)
    elif isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    logits = getattr(logits, "logits", logits)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"a built-in adapter needs a module that returns a tensor, got {described(logits)}; "
            "pass adapter=, a function of (outputs, batch, module)"
        )
    return logits.detach()


def _require(holds: bool, name: str, rule: str, returned: object, targets: object) -> None:
    if not holds:
        raise ValueError(
            f"adapter={name!r} needs {rule}, but the module returned {_form(returned)} for targets "
            f"of {_form(targets)}; pass another of {list(ADAPTERS)}, or a function of (outputs, "
            "batch, module)"
        )


def _form(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else described(value)


# -- outputs


def _segmentation(returned: object, batch: object) -> StepOutput:
    logits = _scores(returned)
    targets = torch.as_tensor(_targets(batch)).to(logits.device)
    fits = logits.ndim == 4 and targets.ndim in (3, 4)
    _require(fits, "segmentation", "images of logits and masks as targets", logits, targets)
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


def _classification(returned: object, batch: object) -> StepOutput:
    logits = _scores(returned)
    targets = torch.as_tensor(_targets(batch)).to(logits.device)
    if logits.ndim == 2 and logits.shape[1] > 1 and targets.shape == logits.shape:
        return _multilabel_of(logits, targets)
    fits = bool(targets.ndim) and len(logits) == len(targets) == targets.numel()
    _require(fits, "classification", "one label per image", logits, targets)
    targets = targets.reshape(-1).long()
    logits = logits.reshape(len(targets), -1)
    preds = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return {"kind": "classification", "logits": logits, "preds": preds, "targets": targets}


def _multilabel(returned: object, batch: object) -> StepOutput:
    logits = _scores(returned)
    return _multilabel_of(logits, torch.as_tensor(_targets(batch)).to(logits.device))


def _multilabel_of(logits: Tensor, targets: Tensor) -> StepOutput:
    kind = "multilabel" if logits.ndim == 4 else "classification"
    preds = (logits > 0).long()
    return {"kind": kind, "logits": logits, "preds": preds, "targets": targets.long()}


def _regression(returned: object, batch: object) -> StepOutput:
    preds = _scores(returned)
    preds = preds.reshape(len(preds), -1)
    targets = torch.as_tensor(_targets(batch)).to(preds.device).float()
    return {"kind": "regression", "preds": preds, "targets": targets.reshape(len(targets), -1)}


def _detection(returned: Sequence[Boxes], batch: object) -> StepOutput:
    boxes = entry_of(batch, BOXES)
    if boxes is None:
        targets = _targets(batch)
        fits = _have_boxes(returned) and _have_boxes(targets)
        _require(fits, "detection", "a dict of boxes and labels per image", returned, targets)
        truth = [{key: each[key] for key in ("boxes", "labels")} for each in targets]
    else:
        labels = entry_of(batch, ("label", "labels"))
        pairs = zip(boxes, labels, strict=True)
        truth = [{"boxes": corners, "labels": names} for corners, names in pairs]
    return {
        "kind": "detection",
        "preds": [_from_zero(each) for each in returned],
        "targets": [_from_zero(each) for each in truth],
    }


def _have_boxes(values: object) -> bool:
    return isinstance(values, Iterable) and all(
        isinstance(each, Mapping) and {"boxes", "labels"} <= set(each) for each in values
    )


def _from_zero(boxes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Boxes with labels counted from 0; torchvision's detectors reserve 0 for the background."""
    kept = ("boxes", "labels", "scores")
    made = {key: torch.as_tensor(boxes[key]).detach() for key in kept if key in boxes}
    if bool((made["labels"] < 1).any()):
        raise ValueError(
            "adapter='detection' needs labels >= 1, as torchvision's detectors use them, got "
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
