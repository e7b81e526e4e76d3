"""The output of a step for one batch, checked and ready to be rated and drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral

import torch
from torch import Tensor

from ..checks import type_name
from ..outputs import StepOutput
from ..render import Picture, ValueRange, guess_range, value_extremes
from .kind import DrawOptions, Kind, Sample, Scores, shown_image
from .kinds import kind_of

__all__ = ["Batch", "draw"]


@dataclass(frozen=True)
class Batch:
    """The samples of a batch; created by :meth:`of`."""

    kind: Kind
    output: StepOutput
    options: DrawOptions

    @classmethod
    def of(cls, output: StepOutput, options: DrawOptions) -> Batch:
        """Create a batch from the output of a step.

        Args:
            output: In the form of :mod:`lightning_hparams.outputs`.
            options: Drawing options.

        Raises:
            ValueError: If its kind is unknown.
            TypeError: If a key that its kind requires is missing.
        """
        kind = kind_of(output.get("kind"))
        missing = [key for key in kind.required if key not in output]
        if missing:
            raise TypeError(
                f"an output of kind {kind.name!r} must be a dict with {', '.join(kind.required)} "
                f"(see lightning_hparams.outputs), got {sorted(output)}; add {', '.join(missing)}"
            )
        for key in kind.required:
            if key != "kind" and not _is_listed(output[key]):
                raise TypeError(
                    f"an output of kind {kind.name!r} must have {key} for each sample, got "
                    f"{type_name(output[key])}; return a tensor or a list"
                )
        return cls(kind, kind.tidy(output, options), options)

    def __len__(self) -> int:
        return len(self.output["images"])

    @cached_property
    def value_range(self) -> ValueRange:
        """The value range of the images, as given, or of all of them together."""
        options, images = self.options, self.output["images"]
        if options.value_range is not None:
            return options.value_range
        return guess_range(images, options.rgb)

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and highest value of the images."""
        return value_extremes(self.output["images"], self.options.rgb)

    def check(self, step: str) -> None:
        """Check shapes, types and values of everything that will be drawn.

        All values are read, so this is meant for one batch before training.

        Args:
            step: Name of the method that returned the output.

        Raises:
            ValueError: If shapes do not match, an image has no pixels or its channels last, a mask
                has a value that is not a class, or boxes are not xyxy in pixels.
            TypeError: If predictions, targets or indices have the wrong type.
        """
        count, losses = len(self), self.output.get("losses")
        sizes = {key: len(self.output[key]) for key in self.kind.required if key != "kind"}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{step} must return as many images as preds and targets, got {sizes}")
        if losses is not None and losses.is_complex():
            raise TypeError(f"{step}: losses must be real, got {losses.dtype}; return their abs()")
        if losses is not None and tuple(losses.shape) != (count,):
            raise ValueError(
                f"{step}: losses must be ({count},), one per sample, got {tuple(losses.shape)}"
            )
        for key in ("logits", "probs"):
            _check_scores(self.output.get(key), count, f"{step}: {key}")
        if self.output.get("indices") is not None:
            self._check_indices(self.output["indices"], step)
        for image in self.output["images"]:
            _check_image(image, step)
        self.kind.check(self.output, step, self.options)
        self._check_mask_size(step)

    def check_in_dataset(self, step: str, size: int | None) -> None:
        """Check that indices lie within the dataset, since samples are chosen by them.

        Args:
            step: Name of the method that returned them.
            size: Length of the dataset; None if unknown.

        Raises:
            ValueError: If an index lies outside the dataset.
        """
        for index in self.indices() or []:
            if size is not None and not 0 <= index < size:
                raise ValueError(
                    f"{step}: indices must be positions in the dataset, 0..{size - 1}, got "
                    f"{index}; leave them out if the loader does not shuffle"
                )

    def rehearse(self, *, rate: bool, by_class: bool) -> None:
        """Rate and draw one sample in memory, so that errors appear before training."""
        if rate:
            self.losses()
        if by_class:
            self.classes()
        draw(self.sample(0, 0), self.options, "")

    def indices(self) -> list[int] | None:
        """The dataset index of each sample; None if the output has no indices.

        Raises:
            TypeError: If they are not whole numbers.
            ValueError: If their number differs from that of the samples.
        """
        if self.output.get("indices") is None:
            return None
        self._check_indices(self.output["indices"], "the step")
        return [int(index) for index in self.output["indices"]]

    def losses(self) -> list[float]:
        """How wrong each sample is, from 0 up; ``losses`` of the output take precedence."""
        if self.output.get("losses") is not None:
            losses = self.output["losses"].detach().float()
        else:
            losses = self.kind.losses(self.output, self.options)
        # A NaN loss counts as the worst.
        values: list[float] = losses.nan_to_num(nan=torch.inf, posinf=torch.inf).tolist()
        return values

    def classes(self) -> list[list[int]]:
        """The classes that occur in each sample, except the background."""
        return self.kind.classes(self.output, self.options)

    def sample(self, position: int, index: int, loss: float = 0.0) -> Sample:
        """Copy one sample to the CPU, without holding on to the rest of the batch.

        Raises:
            ValueError: If the image lacks one of the channels to show.
        """
        image = self.output["images"][position]
        shown = shown_image(image, replace(self.options, value_range=self.value_range))
        scale = (shown.shape[-1] / image.shape[-1], shown.shape[-2] / image.shape[-2])
        kept = self.kind.pick(self.output, position, scale)
        return Sample(kind=self.kind, index=index, image=shown, loss=loss, **kept)

    def scores(self, device: torch.device) -> Scores | None:
        """Its contribution to curves; None if it has neither logits nor probabilities."""
        return self.kind.scores(self.output, self.options, device)

    def _check_indices(self, indices: Iterable[object], step: str) -> None:
        found: list[object] = indices.tolist() if hasattr(indices, "tolist") else list(indices)
        for index in found:
            if isinstance(index, bool) or not _is_whole(index):
                raise TypeError(
                    f"{step}: indices must be positions in the dataset, got {index!r}; return "
                    "whole numbers, or leave them out if the loader does not shuffle"
                )
        if len(found) != len(self):
            raise ValueError(
                f"{step}: indices must be ({len(self)},), one per sample, got {len(found)}"
            )

    def _check_mask_size(self, step: str) -> None:
        """Raise if the first two axes of an image match its mask: its channels are last."""
        image, target = self.output["images"][0], self.output["targets"][0]
        if not isinstance(target, Tensor) or target.ndim < 2:
            return
        size = tuple(target.shape[-2:])
        if tuple(image.shape[:2]) == size != tuple(image.shape[-2:]):
            raise ValueError(_channels_last(image, step))


def draw(sample: Sample, options: DrawOptions, caption: str) -> Picture:
    """Draw a sample in the way of its kind.

    Raises:
        ValueError: If there are fewer class names or colours than classes.
    """
    return sample.kind.draw(sample, options, caption)


def _is_listed(value: object) -> bool:
    """Whether a value has a length; tensors of a single number have the method, but no length."""
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def _check_scores(scores: object, count: int, what: str) -> None:
    if scores is None:
        return
    if not isinstance(scores, Tensor):
        raise TypeError(f"{what} must be a tensor, got {type_name(scores)}")
    if scores.is_complex():
        raise TypeError(f"{what} must be real, got {scores.dtype}; return their abs()")
    if scores.ndim == 0 or len(scores) != count:
        raise ValueError(
            f"{what} must be for {count} samples, one row each, got {tuple(scores.shape)}"
        )


def _is_whole(value: object) -> bool:
    if isinstance(value, (float, Tensor)):
        return float(value).is_integer()
    return isinstance(value, Integral)  # NumPy's too


def _check_image(image: object, step: str) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"{step}: an image must be a tensor or an array, got {type_name(image)}")
    if image.is_complex():
        raise TypeError(f"{step}: an image must be real, got {image.dtype}; return images.abs()")
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
        "axis appears to hold the channels; return images.permute(0, 3, 1, 2)"
    )
