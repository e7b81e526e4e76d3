"""From what a step returned to a batch of samples, with one range of values for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..render import ValueRange
from .adapters import ADAPTERS, ReadyAdapter, adapter_for, count_of, indices_of
from .batch import Batch
from .kind import DrawOptions

__all__ = ["Reader"]


class Reader:
    """Reads the outputs of the steps of a run.

    Args:
        adapter: Makes an output of what a module returned; None if it returns one.
        mean: Of floating point images that were normalised.
        std: Likewise.
        value_range: Lowest and highest value of the images, if that is known.
        warn: Takes a topic, of which it warns once, and a message.
    """

    def __init__(
        self,
        *,
        adapter: str | Callable[..., Mapping[str, Any]] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        value_range: Sequence[float] | None = None,
        warn: Callable[[str, str], None],
    ) -> None:
        self._adapt = None if adapter is None else adapter_for(adapter)
        self._mean, self._std, self._given_range = mean, std, value_range
        self._warn = warn
        self.value_range: ValueRange | None = None  # once it is decided
        self.gives_indices = False  # whether outputs say the index of each sample

    @property
    def edges(self) -> list[list[float]] | None:
        """The decided range as a checkpoint holds it."""
        known = self.value_range
        return None if known is None else [list(known.low), list(known.high)]

    @edges.setter
    def edges(self, edges: Sequence[Sequence[float]] | None) -> None:
        known = None if edges is None else ValueRange(*(tuple(edge) for edge in edges))
        self.value_range = known

    @property
    def costs(self) -> bool:
        """Whether reading costs something, such as another forward pass."""
        return self._adapt is not None

    @property
    def runs_module(self) -> bool:
        """Whether reading calls the module."""
        return isinstance(self._adapt, ReadyAdapter)

    def peek(self, batch: Any) -> tuple[int | None, list[int] | None]:
        """The number of samples of a batch and their indices, as far as it says without reading."""
        return count_of(batch), indices_of(batch)

    def read(
        self,
        outputs: Any,
        batch: Any,
        module: nn.Module,
        options: DrawOptions,
        step: str,
        *,
        normalisation: tuple[Any, Any] = (None, None),
    ) -> Batch | None:
        """The samples of a batch; None if there are none, or if the step returned no output.

        Args:
            outputs: What the step returned.
            batch: What it was given.
            module: Whose step it is.
            options: How samples are drawn.
            step: Its name, for messages.
            normalisation: Mean and deviation that the data know.

        Raises:
            TypeError: If the adapter returned no output, or a key is missing that its kind needs.
            ValueError: If its kind is not known.
        """
        if self._adapt is not None:
            outputs = self._adapt(outputs, batch, module)
        if not isinstance(outputs, Mapping) or "kind" not in outputs:
            got = (
                sorted(map(str, outputs))
                if isinstance(outputs, Mapping)
                else type(outputs).__name__
            )
            if self._adapt is not None:
                raise TypeError(
                    f"`adapter` must return a dict with 'kind', 'images', 'preds' and 'targets' "
                    f"(see lightning_hparams.outputs), got {got}"
                )
            self._warn(
                "no output",
                f"draws no pictures: {step} returns {got}; pass adapter= one of {list(ADAPTERS)} "
                "or a function, or return a dict as in lightning_hparams.outputs",
            )
            return None
        made = Batch.of(outputs, replace(options, value_range=self.value_range))
        if not len(made):
            return None
        self.gives_indices = outputs.get("indices") is not None
        if self.value_range is None:
            self.value_range = self._decided(made, *normalisation)
            options = replace(made.options, value_range=self.value_range)
            made = Batch(made.kind, made.output, options)
        return made

    def _decided(self, made: Batch, mean: Any, std: Any) -> ValueRange:
        """The range of the images for the whole run; a guess is told."""
        if self._given_range is not None:
            low, high = self._given_range
            return ValueRange((float(low),), (float(high),))
        guess, image = made.value_range, made.output["images"][0]
        if not isinstance(image, Tensor):
            return guess  # which the check will refuse
        if image.is_floating_point():
            if self._mean is not None and self._std is not None:
                return ValueRange.normalised(self._mean, self._std)
            if _are_numbers(mean, std) and not guess.is_unit:
                return ValueRange.normalised(mean, std)
        if image.dtype not in (torch.uint8, torch.bool) and not guess.is_unit:
            low, high = made.extremes
            self._warn(
                "range",
                f"image values are {low:.1f}..{high:.1f}, not 0..1, and are shown with "
                f"{guess.low[0]:.4g} as black and {guess.high[0]:.4g} as white; pass mean= and "
                "std= if they were normalised, or value_range=",
            )
        return guess


def _are_numbers(*values: Any) -> bool:
    """Whether each is a list of numbers, and not something else of that name."""
    return all(
        isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
        for value in values
    )
