"""Augmentation of an image together with its mask or its boxes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from ..checks import as_plain, one_of
from ..outputs import Boxes
from ..resize import resized

__all__ = [
    "STRENGTHS",
    "Augmentation",
    "CropFlipJitter",
    "augmented",
    "augmented_boxes",
    "augmented_image",
    "check_augment",
    "make_augmentation",
]

STRENGTHS = ("none", "flip", "light", "strong")

# A transform of torchvision's v2, or any function that can be pickled, of an image, or an image and
# a mask, or an image and a dict with the keys boxes and labels; it returns as many.
Augmentation: TypeAlias = Callable[..., Any]
Goal: TypeAlias = Literal["label", "mask", "boxes"]
_LEAST_PIXELS = 1.0  # width and height of a box below which nothing of its object is left


def augmented(
    image: Tensor, mask: Tensor, augmentation: Augmentation | None
) -> tuple[Tensor, Tensor]:
    """Apply one augmentation to an image ``(I, H, W)`` and its mask ``(..., H, W)``.

    Transforms of torchvision's v2 recognise masks by their type and do not interpolate them.
    """
    if augmentation is None:
        return image, mask
    image, mask = augmentation(tv_tensors.Image(image), tv_tensors.Mask(mask))
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def augmented_image(image: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Apply an augmentation to an image ``(I, H, W)`` alone."""
    if augmentation is None:
        return image
    moved: Tensor = augmentation(tv_tensors.Image(image))
    return moved.as_subclass(Tensor)


def augmented_boxes(
    image: Tensor, target: Boxes, augmentation: Augmentation | None
) -> tuple[Tensor, Boxes]:
    """Apply one augmentation to an image ``(I, H, W)`` and the boxes in it.

    Boxes are cut at the border of the new image, and left out if less than a pixel remains. A
    transform may leave out boxes too, as v2.SanitizeBoundingBoxes does.
    """
    if augmentation is None:
        return image, target
    size = (int(image.shape[-2]), int(image.shape[-1]))
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
    # As labels the positions of the boxes: what holds for each box can be found again by them.
    given = {"boxes": boxes, "labels": torch.arange(len(boxes))}
    image, moved = augmentation(tv_tensors.Image(image), given)
    height, width = image.shape[-2:]
    limits = torch.tensor([width, height, width, height])
    placed = torch.minimum(moved["boxes"].as_subclass(Tensor).clamp(min=0), limits)
    left = (placed[:, 2:] - placed[:, :2] >= _LEAST_PIXELS).all(1)
    kept = moved["labels"][left]
    rest: Boxes = {"boxes": placed[left], "labels": target["labels"][kept]}
    if "crowd" in target:
        rest["crowd"] = target["crowd"][kept]
    return image.as_subclass(Tensor), rest


def check_augment(
    augment: bool | str | Augmentation | None, goal: Goal = "mask"
) -> str | Augmentation:
    """Check the argument ``augment`` of a data module, and resolve True, False and None.

    Args:
        augment: The argument.
        goal: What belongs to an image, and is passed to the transform unless it is a label.

    >>> check_augment(True), check_augment(False), check_augment("light")
    ('flip', 'none', 'light')

    Raises:
        ValueError: For an unknown strength.
        TypeError: If it cannot be called with an image and what belongs to it.
    """
    if not callable(augment) and isinstance(plain := as_plain(augment), bool):
        augment = plain
    if augment is None or augment is False:
        return "none"
    if augment is True:
        return "flip"
    if isinstance(augment, str):
        one_of("augment", augment, STRENGTHS, otherwise="or a transform")
        return augment
    taken = {
        "label": "an image that returns it",
        "mask": "an image and a mask that returns both",
        "boxes": "an image and a dict of boxes and labels that returns both",
    }[goal]
    rule = (
        f"`augment` must be True, False, one of {[*STRENGTHS]}, or a function of {taken}, such as "
        f"a transform of torchvision.transforms.v2; got {augment!r}"
    )
    if isinstance(augment, type):
        raise TypeError(f"{rule}; pass an instance of it")
    if not callable(augment):
        raise TypeError(f"{rule}; combine several with v2.Compose([...])")
    if type(augment).__module__.partition(".")[0] in ("albumentations", "albucore"):
        raise TypeError(f"{rule}; wrap it in a function that takes and returns tensors")
    called = augment.forward if isinstance(augment, nn.Module) else augment
    try:
        inspect.signature(called).bind(*[None] * (1 if goal == "label" else 2))
    except TypeError as error:
        raise TypeError(f"{rule}; this one cannot be called like that: {error}") from error
    except ValueError:  # a C function without a signature
        pass
    return augment


def make_augmentation(
    augment: str | Augmentation, size: tuple[int, int] | None
) -> Augmentation | None:
    """Create the transform for a strength; see :class:`~lightning_hparams.MaskFolderData`."""
    if not isinstance(augment, str):
        return augment
    match augment:
        case "none":
            return None
        case "flip":
            flip: Augmentation = v2.RandomHorizontalFlip()
            return flip
        case "light":
            return CropFlipJitter(size, least=0.75, jitter=0.1)
        case _:
            return CropFlipJitter(size)


class CropFlipJitter:
    """Random resized crop, horizontal flip, and change of brightness and contrast.

    None of these creates new pixels, whose class would be unknown.

    Args:
        size: Height and width of the result; None for no crop.
        least: Minimum share of the image to keep, above 0 and at most 1.
        jitter: Maximum relative change of brightness and contrast.
        least_box: Minimum share of a box within the crop; boxes with less are left out.
    """

    def __init__(
        self,
        size: tuple[int, int] | None,
        *,
        least: float = 0.5,
        jitter: float = 0.2,
        least_box: float = 0.25,
    ) -> None:
        self.size, self.least, self.least_box = size, least, least_box
        self.rest = v2.Compose([v2.RandomHorizontalFlip(), _Jitter(jitter, jitter)])

    def __call__(self, image: Tensor, *others: Any) -> Any:
        """Transform a ``tv_tensors.Image``, with a ``tv_tensors.Mask`` or a dict of boxes."""
        if self.size is not None:
            # Aspect ratios around the image's own, so that objects are stretched as in validation.
            shape = image.shape[-1] / image.shape[-2]
            box = RandomResizedCrop.get_params(
                image, [self.least, 1.0], [3 / 4 * shape, 4 / 3 * shape]
            )
            others = tuple(self._cropped(other, box, self.size) for other in others)
            image = tv_tensors.Image(resized(v2.functional.crop(image, *box), self.size))
        return self.rest(image, *others)

    def _cropped(self, other: Any, box: tuple[int, int, int, int], size: tuple[int, int]) -> Any:
        """Crop a mask or a dict of boxes to (top, left, height, width), and resize it."""
        if not isinstance(other, dict):
            return tv_tensors.Mask(resized(v2.functional.crop(other, *box), size, mask=True))
        top, left, height, width = box
        boxes = other["boxes"].as_subclass(Tensor)
        moved = boxes - torch.tensor([left, top, left, top])
        inside = torch.minimum(moved.clamp(min=0), torch.tensor([width, height, width, height]))
        kept = _areas(inside) >= self.least_box * _areas(boxes)
        scaled = inside[kept] * torch.tensor([size[1] / width, size[0] / height] * 2)
        placed = tv_tensors.BoundingBoxes(scaled, format="XYXY", canvas_size=size)
        return {"boxes": placed, "labels": other["labels"][kept]}


class _Jitter(v2.ColorJitter):  # type: ignore[misc]  # torchvision has no types
    """Change of brightness and contrast, for any number of channels."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Treat channels other than RGB as grey images, with the same change for all."""
        if not isinstance(inpt, tv_tensors.Image):
            return super().transform(inpt, params)
        pixels = inpt.as_subclass(Tensor)
        if pixels.is_floating_point() and (pixels.amin() < 0 or pixels.amax() > 1):
            return tv_tensors.Image(_jittered(pixels, params))
        if pixels.shape[-3] in (1, 3):
            return super().transform(inpt, params)
        moved = super().transform(tv_tensors.Image(pixels[:, None]), params)
        return tv_tensors.Image(moved.as_subclass(Tensor)[:, 0])


def _jittered(pixels: Tensor, params: Mapping[str, Any]) -> Tensor:
    """Change brightness and contrast of any values; torchvision would clamp them to 0..1.

    Args:
        pixels: float ``(I, H, W)``, such as elevations.
        params: As drawn by ``v2.ColorJitter``.
    """
    for index in params["fn_idx"]:
        if index == 0:
            pixels = pixels * params["brightness_factor"]
        elif index == 1:
            middle = pixels.mean((1, 2), keepdim=True)
            pixels = middle + params["contrast_factor"] * (pixels - middle)
    return pixels


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
