"""The interface that each kind of task implements for the monitors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from ..outputs import StepOutput
from ..render import Picture, ValueRange, panel_size, to_rgb

__all__ = [
    "DrawOptions",
    "Kind",
    "Sample",
    "Scores",
    "completed_names",
    "copied",
    "names_for",
    "shown_image",
]

Copyable: TypeAlias = Tensor | npt.NDArray[np.generic] | Sequence[float] | float


@dataclass(frozen=True)
class DrawOptions:
    """Options for drawing samples."""

    class_names: Sequence[str] | None = None
    ignore_index: int | None = None
    background: int | None = None  # -1: none; None: the class so named, 0 for binary masks
    rgb: Sequence[int] = (0, 1, 2)
    value_range: ValueRange | None = None  # of the images; None: guessed for each batch
    min_score: float = 0.3  # of a box to be drawn
    colors: Picture | None = None  # (C, 3)
    # Receives a message if there are too few names, which are then completed; None raises instead.
    on_missing_names: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset on the CPU, no larger than its picture needs."""

    kind: Kind
    index: int  # in the dataset
    image: Tensor  # (3, H, W) uint8, ready to be shown
    pred: Any  # a mask, class, boxes or numbers, depending on the kind
    target: Any
    probs: Tensor | None = None  # (C,), classification only
    num_classes: int | None = None  # if known from the output
    loss: float = 0.0  # how wrong the prediction is


@dataclass(frozen=True)
class Scores:
    """The contribution of a batch to precision-recall curves and calibration."""

    make_counter: Callable[[], Metric]  # returns an empty counter of precision and recall
    updates: Callable[[], Iterator[tuple[Tensor, ...]]]  # arguments of its updates
    confidences: Callable[[], Iterator[tuple[Tensor, Tensor]]]  # and whether each is correct


class Kind(ABC):
    """A kind of task, such as segmentation: how its outputs are checked, rated and drawn.

    ``output["kind"]`` is the name of a built-in kind or an instance of a subclass, so a custom kind
    needs no registration. Define the subclass at the top level of a module, so that its samples can
    be pickled and sent between processes.

    Methods with an ``output`` argument receive what :meth:`tidy` returned.
    """

    name: str = ""
    required: tuple[str, ...] = ("kind", "images", "preds", "targets")

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Convert the output to the form the other methods expect, e.g. arrays to tensors."""
        arrays = {key: _as_tensors(value) for key, value in output.items()}
        return {**output, **arrays}

    @abstractmethod
    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check predictions and targets before training; images have already been checked.

        Args:
            output: Output of a batch with at least one sample.
            step: Name of the method that returned it, for messages.
            options: Drawing options.

        Raises:
            ValueError: If they cannot be drawn.
            TypeError: If they have the wrong type.
        """

    @abstractmethod
    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """How wrong each sample is, ``(N,)`` from 0 up, for outputs without ``losses``."""

    def classes(self, output: StepOutput, options: DrawOptions) -> list[list[int]]:
        """The classes that occur in each sample, except the background."""
        return [[] for _ in output["images"]]

    @abstractmethod
    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw a sample as a picture ``(H, W, 3)``.

        Raises:
            ValueError: If there are fewer class names or colours than classes.
        """

    def draw_truth(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the target of a sample without a prediction, small enough for a sheet of many.

        Raises:
            ValueError: If there are fewer class names or colours than classes.
        """
        return self.draw(replace(sample, pred=sample.target), options, caption)

    def pick(self, output: StepOutput, position: int, scale: tuple[float, float]) -> StepOutput:
        """Copy the fields of a :class:`Sample` from a batch to the CPU.

        Args:
            output: Output of a batch.
            position: Index of the sample in the batch.
            scale: Width and height of the shown image relative to the original.

        Returns:
            The fields ``pred``, ``target`` and, if the kind has them, ``probs`` and
            ``num_classes``.
        """
        return {key: copied(output[f"{key}s"][position]) for key in ("pred", "target")}

    def scores(
        self, output: StepOutput, options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Its contribution to curves; None if it has neither logits nor probabilities.

        Args:
            output: Output of a batch.
            options: Class names and ``ignore_index``.
            device: Device of the counters.

        Raises:
            ValueError: If there are fewer names than classes.
        """
        return None


def shown_image(image: Tensor, options: DrawOptions) -> Tensor:
    """The three channels to show, reduced if the image is larger than its panel.

    Raises:
        ValueError: If the image lacks one of the channels to show.
    """
    size = panel_size(*image.shape[-2:])
    is_large = max(size) < max(image.shape[-2:])
    (picture,) = to_rgb(image[None], options.rgb, size if is_large else None, options.value_range)
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def copied(value: Copyable) -> Tensor:
    """A copy on the CPU, with integers in the smallest type that holds them.

    A view would keep the whole batch alive.
    """
    copy = torch.as_tensor(value).detach().to("cpu", copy=True)
    if not copy.is_floating_point() and copy.numel() > 1 and copy.dtype != torch.bool:
        low, high = int(copy.min()), int(copy.max())
        for dtype in (torch.uint8, torch.int16):
            if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
                return copy.to(dtype)
    return copy


def names_for(highest: int, options: DrawOptions) -> Sequence[str]:
    """A name for each class 0..highest.

    Raises:
        ValueError: If there are fewer class names or colours than classes.
    """
    names = completed_names(
        options.class_names or (), highest + 1, options, f"there are {highest + 1} classes"
    )
    if options.colors is not None and len(options.colors) < len(names):
        raise ValueError(
            f"class_colors has {len(options.colors)} entries, but there are {len(names)} classes; "
            "give one per class"
        )
    return names


def completed_names(
    names: Sequence[str], count: int, options: DrawOptions, reason: str
) -> Sequence[str]:
    """``names``, with numbered ones for further classes up to ``count``.

    Raises:
        ValueError: If there are names, but too few, and the options have no receiver for that.
    """
    if len(names) >= count:
        return names
    if names:
        text = f"class_names has {len(names)} entries, but {reason}; name every class, in order"
        if options.on_missing_names is None:
            raise ValueError(text)
        options.on_missing_names(text)
    return [*names, *(f"class {index}" for index in range(len(names), count))]


def _as_tensors(value: object) -> object:
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if isinstance(value, Tensor) and value.is_nested:
        return list(value.unbind())
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return value.to_dense()
    if isinstance(value, (list, tuple)) and any(isinstance(each, np.ndarray) for each in value):
        return [_as_tensors(each) for each in value]
    if isinstance(value, Tensor) and value.dtype in (torch.uint32, torch.uint64):
        return value.long()
    return value
