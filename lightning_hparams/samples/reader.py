"""Turn step outputs into batches of samples, with one value range for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ..checks import described
from ..outputs import StepOutput
from ..render import ValueRange
from .adapters import ADAPTERS, ReadyAdapter, adapter_for, count_of, indices_of
from .batch import Batch
from .kind import DrawOptions

__all__ = ["Reader"]


class Reader:
    """Reads the step outputs of a run.

    Args:
        adapter: Converts what a module returned to an output; None if it returns one.
        mean: Mean by which floating point images were normalised.
        std: Standard deviation by which they were normalised.
        value_range: Lowest and highest value of the images, if known.
        warn: Function of a topic and a message, called at most once per topic.
    """

    def __init__(
        self,
        *,
        adapter: str | Callable[..., StepOutput] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        value_range: Sequence[float] | None = None,
        warn: Callable[[str, str], None],
    ) -> None:
        self._adapt = None if adapter is None else adapter_for(adapter)
        self._mean, self._std, self._given_range = mean, std, value_range
        self._warn = warn
        self.value_range: ValueRange | None = None  # set by the first batch
        self.gives_indices = False  # whether outputs have ``indices``

    @property
    def edges(self) -> list[list[float]] | None:
        """The value range in the form stored in a checkpoint."""
        known = self.value_range
        return None if known is None else [list(known.low), list(known.high)]

    @edges.setter
    def edges(self, edges: Sequence[Sequence[float]] | None) -> None:
        known = None if edges is None else ValueRange(*(tuple(edge) for edge in edges))
        self.value_range = known

    @property
    def costs(self) -> bool:
        """Whether reading is expensive, such as another forward pass."""
        return self._adapt is not None

    @property
    def runs_module(self) -> bool:
        """Whether reading calls the module."""
        return isinstance(self._adapt, ReadyAdapter)

    def peek(self, batch: object) -> tuple[int | None, list[int] | None]:
        """The number of samples in a batch and their indices, as far as known without reading."""
        return count_of(batch), indices_of(batch)

    def read(
        self,
        outputs: object,
        batch: object,
        module: nn.Module,
        options: DrawOptions,
        step: str,
        *,
        normalisation: tuple[object, object] = (None, None),
    ) -> Batch | None:
        """Read a batch; None if it is empty or the step returned no output.

        Args:
            outputs: Return value of the step.
            batch: Batch passed to the step.
            module: Module of the step.
            options: Drawing options.
            step: Name of the step, for messages.
            normalisation: Mean and standard deviation known to the datamodule.

        Raises:
            TypeError: If the adapter returned no output, or a required key is missing.
            ValueError: If the kind is unknown.
        """
        if self._adapt is not None:
            outputs = self._adapt(outputs, batch, module)
        if not isinstance(outputs, Mapping) or "kind" not in outputs:
            got = described(outputs)
            if self._adapt is not None:
                raise TypeError(
                    f"`adapter` must return a dict with 'kind', 'images', 'preds' and 'targets' "
                    f"(see lightning_hparams.outputs), got {got}"
                )
            self._warn(
                "no output",
                f"draws no pictures: {step} returns {got}; pass adapter=, one of {list(ADAPTERS)} "
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

    def _decided(self, made: Batch, mean: object, std: object) -> ValueRange:
        """The value range for the whole run; warns if it had to be guessed."""
        if self._given_range is not None:
            low, high = self._given_range
            return ValueRange((float(low),), (float(high),))
        image = made.output["images"][0]
        if not isinstance(image, Tensor) or not image.numel():
            return ValueRange((0.0,), (1.0,))  # rejected by the check
        guess = made.value_range
        if image.is_floating_point():
            if self._mean is not None and self._std is not None:
                return ValueRange.normalised(self._mean, self._std)
            if _are_numbers(mean) and _are_numbers(std) and not guess.is_unit:
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


def _are_numbers(value: object) -> TypeGuard[Sequence[float]]:
    """Whether a datamodule's attribute is a list of numbers, not something unrelated."""
    return isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
