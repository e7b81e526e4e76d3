"""What the monitors need to know of a kind of task: the interface that each kind implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ..render import Picture, ValueRange, panel_size, to_rgb

__all__ = ["DrawOptions", "Kind", "Sample", "Scores", "copied", "names_for", "shown_image"]


@dataclass(frozen=True)
class DrawOptions:
    """How samples are drawn."""

    class_names: Sequence[str] | None = None
    ignore_index: int | None = None
    background: int | None = None  # -1: none; None: the class of that name, 0 of binary masks
    rgb: Sequence[int] = (0, 1, 2)
    value_range: ValueRange | None = None  # of the images; None: that of each batch
    min_score: float = 0.3  # of a box
    colors: Picture | None = None  # (C, 3)


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset, on the CPU and as small as its picture allows."""

    kind: Kind
    index: int  # in the dataset
    image: Tensor  # (3, H, W), uint8, as it is shown and no larger than that
    pred: Any  # a mask, a class, boxes or numbers, as in the output of its kind
    target: Any
    probs: Tensor | None = None  # (C,), classification only
    num_classes: int | None = None  # where the output says
    loss: float = 0.0  # how wrong the prediction is


@dataclass(frozen=True)
class Scores:
    """What a batch adds to precision-recall curves and to calibration."""

    make_counter: Callable[[], Metric]  # of precision and recall: an empty one
    updates: Callable[[], Iterator[tuple[Tensor, ...]]]  # what that counter is updated with
    confidences: Callable[[], Iterator[tuple[Tensor, Tensor]]]  # and whether they are right


class Kind(ABC):
    """A kind of task, such as segmentation: how its outputs are checked, rated and drawn.

    An output names its kind in ``output["kind"]``: one of the package's by its name, or an instance
    of a subclass. So a kind of your own needs nothing but that subclass; let it stand at the top
    level of a module, so that samples can travel between processes.

    Methods that take an ``output`` get one that :meth:`tidy` returned.
    """

    name: str = ""
    required: tuple[str, ...] = ("kind", "images", "preds", "targets")

    def tidy(self, output: Mapping[str, Any], options: DrawOptions) -> Mapping[str, Any]:
        """The output in the form that the other methods expect, such as tensors of arrays."""
        arrays = {key: _as_tensors(value) for key, value in output.items()}
        return {**output, **arrays}

    @abstractmethod
    def check(self, output: Mapping[str, Any], step: str, options: DrawOptions) -> None:
        """Check predictions and targets before training; images were checked already.

        Args:
            output: Of a batch with at least one sample.
            step: Name of the method that returned it, for messages.
            options: How it will be drawn.

        Raises:
            ValueError: If they cannot be drawn.
            TypeError: If they are of the wrong type.
        """

    @abstractmethod
    def losses(self, output: Mapping[str, Any], options: DrawOptions) -> Tensor:
        """How wrong each sample is, ``(N,)`` from 0: used where the output has no ``losses``."""

    def classes(self, output: Mapping[str, Any], options: DrawOptions) -> list[list[int]]:
        """The classes that each sample has, without the background."""
        return [[] for _ in output["images"]]

    @abstractmethod
    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """The picture of a sample, ``(H, W, 3)``.

        Raises:
            ValueError: If there are fewer class names or colours than classes.
        """

    def pick(
        self, output: Mapping[str, Any], position: int, scale: tuple[float, float]
    ) -> Mapping[str, Any]:
        """What a :class:`Sample` keeps of the sample at a position of the batch, on the CPU.

        Args:
            output: Of a batch.
            position: In the batch.
            scale: Width and height of the image as it is shown, in those it has.

        Returns:
            The fields ``pred``, ``target`` and, where the kind has them, ``probs`` and
            ``num_classes``.
        """
        return {key: copied(output[f"{key}s"][position]) for key in ("pred", "target")}

    def scores(
        self, output: Mapping[str, Any], options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """What the batch adds to curves; None if it has neither logits nor probabilities.

        Args:
            output: Of a batch.
            options: Names of the classes, and which values do not count.
            device: Where the counts are kept.

        Raises:
            ValueError: If there are fewer names than classes.
        """
        return None


def shown_image(image: Tensor, options: DrawOptions) -> Tensor:
    """The three channels of an image that are shown, reduced where it is larger than that.

    Raises:
        ValueError: If the image does not have the channels that are to be shown.
    """
    size = panel_size(*image.shape[-2:])
    is_large = max(size) < max(image.shape[-2:])
    (picture,) = to_rgb(image[None], options.rgb, size if is_large else None, options.value_range)
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def copied(value: Any) -> Tensor:
    """A copy on the CPU, of whole numbers in as few bytes as they need.

    A view would hold its whole batch.
    """
    copy = torch.as_tensor(value).detach().to("cpu", copy=True)
    if not copy.is_floating_point() and copy.numel() > 1 and copy.dtype != torch.bool:
        low, high = int(copy.min()), int(copy.max())
        for dtype in (torch.uint8, torch.int16):
            if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
                return copy.to(dtype)
    return copy


def names_for(highest: int, options: DrawOptions) -> Sequence[str]:
    """A name for each of the classes 0..highest.

    Raises:
        ValueError: If there are fewer class names or colours than that.
    """
    names = options.class_names
    if names is None:
        names = [f"class {index}" for index in range(highest + 1)]
    if len(names) <= highest:
        raise ValueError(
            f"class_names has {len(names)} entries, but a prediction class {highest}; "
            "name every class, in order"
        )
    if options.colors is not None and len(options.colors) < len(names):
        raise ValueError(
            f"class_colors has {len(options.colors)} entries, but there are {len(names)} classes; "
            "give one to each"
        )
    return names


def _as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if isinstance(value, (list, tuple)) and any(isinstance(each, np.ndarray) for each in value):
        return [_as_tensors(each) for each in value]
    if isinstance(value, Tensor) and value.dtype in (torch.uint32, torch.uint64):
        return value.long()
    return value
