"""What a step returned for a batch, checked and ready to be rated and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..render import Picture, ValueRange, guess_range, value_extremes
from .kind import DrawOptions, Kind, Sample, Scores, shown_image
from .kinds import kind_of

__all__ = ["Batch", "draw"]


@dataclass(frozen=True)
class Batch:
    """The samples of a batch; made by :meth:`of`."""

    kind: Kind
    output: Mapping[str, Any]
    options: DrawOptions

    @classmethod
    def of(cls, output: Mapping[str, Any], options: DrawOptions) -> Batch:
        """Tidy the output of a step.

        Args:
            output: As :mod:`lightning_hparams.outputs` describes it.
            options: How it will be drawn.

        Raises:
            ValueError: If its kind is not known.
            TypeError: If a key is missing that its kind needs.
        """
        kind = kind_of(output.get("kind"))
        missing = [key for key in kind.required if key not in output]
        if missing:
            raise TypeError(
                f"an output of kind {kind.name!r} must be a dict with {', '.join(kind.required)} "
                f"(see lightning_hparams.outputs), got {sorted(output)}; add {', '.join(missing)}"
            )
        return cls(kind, kind.tidy(output, options), options)

    def __len__(self) -> int:
        return len(self.output["images"])

    @cached_property
    def value_range(self) -> ValueRange:
        """The range of the images: the one that was given, or what all of them together show."""
        options, images = self.options, self.output["images"]
        if options.value_range is not None:
            return options.value_range
        return guess_range(images, options.rgb)

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest value of the images."""
        return value_extremes(self.output["images"], self.options.rgb)

    def check(self, step: str) -> None:
        """Check what is drawn, as far as shapes, types and values tell.

        It looks at all values, so it is for a batch before training.

        Args:
            step: Name of the method that returned it.

        Raises:
            ValueError: If its shapes do not fit together, an image has no pixels or its channels
                last, a mask has a value that is not a class, or boxes are not xyxy in pixels.
            TypeError: If predictions, targets or indices are of the wrong type.
        """
        count, losses = len(self), self.output.get("losses")
        sizes = {key: len(self.output[key]) for key in self.kind.required if key != "kind"}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{step} must return as many images as preds and targets, got {sizes}")
        if losses is not None and tuple(losses.shape) != (count,):
            raise ValueError(
                f"{step}: losses must be ({count},), one a sample, got {tuple(losses.shape)}"
            )
        if self.output.get("indices") is not None:
            self._check_indices(self.output["indices"], step)
        for image in self.output["images"]:
            _check_image(image, step)
        self.kind.check(self.output, step, self.options)
        self._check_mask_size(step)

    def check_in_dataset(self, step: str, size: int | None) -> None:
        """Check that indices are positions in a dataset, by which samples are chosen.

        Args:
            step: Name of the method that returned them.
            size: Of the dataset; None if it is not known.

        Raises:
            ValueError: If one is not.
        """
        for index in self.indices() or []:
            if size is not None and not 0 <= index < size:
                raise ValueError(
                    f"{step}: indices must be positions in the dataset, 0..{size - 1}, got "
                    f"{index}; leave them out where the loader does not shuffle"
                )

    def rehearse(self, *, rate: bool, by_class: bool) -> None:
        """Do in memory what will be done, so that it fails before training if it fails."""
        if rate:
            self.losses()
        if by_class:
            self.classes()
        draw(self.sample(0, 0), self.options, "")

    def indices(self) -> list[int] | None:
        """The dataset index of each sample, where the output has them.

        Raises:
            TypeError: If they are not numbers.
            ValueError: If there are more or fewer of them than samples.
        """
        if self.output.get("indices") is None:
            return None
        self._check_indices(self.output["indices"], "the step")
        return [int(index) for index in self.output["indices"]]

    def losses(self) -> list[float]:
        """How wrong each sample is, from 0: its loss, where the output has ``losses``."""
        if self.output.get("losses") is not None:
            losses = self.output["losses"].detach().float()
        else:
            losses = self.kind.losses(self.output, self.options)
        # A loss that is not a number is as bad as can be.
        values: list[float] = losses.nan_to_num(nan=torch.inf, posinf=torch.inf).tolist()
        return values

    def classes(self) -> list[list[int]]:
        """The classes that each sample has, without the background."""
        return self.kind.classes(self.output, self.options)

    def sample(self, position: int, index: int, loss: float = 0.0) -> Sample:
        """One sample, brought to the CPU and nothing else with it.

        Raises:
            ValueError: If the image does not have the channels that are to be shown.
        """
        image = self.output["images"][position]
        shown = shown_image(image, replace(self.options, value_range=self.value_range))
        scale = (shown.shape[-1] / image.shape[-1], shown.shape[-2] / image.shape[-2])
        kept = self.kind.pick(self.output, position, scale)
        return Sample(kind=self.kind, index=index, image=shown, loss=loss, **kept)

    def scores(self, device: torch.device) -> Scores | None:
        """What it adds to curves; None if it has neither logits nor probabilities."""
        return self.kind.scores(self.output, self.options, device)

    def _check_indices(self, indices: Any, step: str) -> None:
        found = indices.tolist() if hasattr(indices, "tolist") else list(indices)
        for index in found:
            if isinstance(index, bool) or (not isinstance(index, int) and not _is_whole(index)):
                raise TypeError(
                    f"{step}: indices must be positions in the dataset, got {index!r}; return "
                    "whole numbers, or leave them out where the loader does not shuffle"
                )
        if len(found) != len(self):
            raise ValueError(
                f"{step}: indices must be ({len(self)},), one a sample, got {len(found)}"
            )

    def _check_mask_size(self, step: str) -> None:
        """An image whose first two axes are those of its mask has its channels last."""
        image, target = self.output["images"][0], self.output["targets"][0]
        if not isinstance(target, Tensor) or target.ndim < 2:
            return
        size = tuple(target.shape[-2:])
        if tuple(image.shape[:2]) == size != tuple(image.shape[-2:]):
            raise ValueError(_channels_last(image, step))


def draw(sample: Sample, options: DrawOptions, caption: str) -> Picture:
    """The picture of a sample, as its kind asks for.

    Raises:
        ValueError: If there are fewer class names or colours than classes.
    """
    return sample.kind.draw(sample, options, caption)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (float, Tensor)) and float(value).is_integer()


def _check_image(image: Any, step: str) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(
            f"{step}: an image must be a tensor or an array, got {type(image).__name__}"
        )
    if image.ndim != 3:
        raise ValueError(
            f"{step}: an image must be (channels, height, width), got {tuple(image.shape)}"
        )
    if 0 in image.shape:
        raise ValueError(
            f"{step}: an image must have pixels, got {tuple(image.shape)}; leave it out"
        )
    if image.shape[2] <= 4 < min(image.shape[:2]):
        raise ValueError(_channels_last(image, step))


def _channels_last(image: Tensor, step: str) -> str:
    return (
        f"{step}: an image must be (channels, height, width), got {tuple(image.shape)}, whose last "
        "axis seems to hold the channels; return images.permute(0, 3, 1, 2)"
    )
