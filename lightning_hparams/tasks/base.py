"""Shared by all tasks: normalisation, optimizer, named parameter groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checks import in_range
from ..optim import check_optimizer, make_optimizer, named_groups
from ._loaders import norms_of_one_pixel, smallest_batch

__all__ = ["VisionTask", "two_parts"]

_NAMES = ("arch", "model", "encoder")  # arguments of tasks that name the model
_UNITS = "give it in units of 0..1"
_WILD = 20.0  # larger values mean that an image was not in 0..1: photographs stay below 3


class VisionTask(LightningModule):
    """A model with its optimizer and the normalisation of its input.

    Args:
        model: Takes normalised images. A submodule ``encoder`` gets parameter groups of its own;
            a task for models without one overrides :meth:`model_parts`.
        mean: Mean of each image channel, in units of 0..1.
        std: Standard deviation of each image channel, in units of 0..1, above 0.
        optimizer: Name of a class in ``torch.optim``.
        optimizer_args: Further arguments of the optimizer (``momentum``, ``betas``, ...).
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default.
        encoder_lr_mult: The learning rate of the pretrained part as a multiple of ``lr``, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: list[float],
        std: list[float],
        optimizer: str = "AdamW",
        optimizer_args: Mapping[str, object] | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        encoder_lr_mult: float = 1.0,
    ) -> None:
        super().__init__()
        check_optimizer(optimizer, lr, weight_decay, optimizer_args or {})
        in_range("encoder_lr_mult", encoder_lr_mult, above=0.0, below=math.inf)
        for value in mean:
            in_range("mean", value, above=-math.inf, below=math.inf, remedy=_UNITS)
        for value in std:
            in_range("std", value, above=0.0, below=math.inf, remedy=_UNITS)
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self._optimizer = optimizer
        self._optimizer_args = dict(optimizer_args or {})
        self._weight_decay = weight_decay
        self._encoder_lr_mult = encoder_lr_mult
        self.lr = lr  # a plain attribute, as Lightning's tuner and the range test expect it

    def model_parts(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Return the parameters of each part of the model, by the name of its parameter groups.

        The first part is the one that pretrained weights are for, the last one is the rest.
        """
        encoder = getattr(self.model, "encoder", None)
        return two_parts(self.model, [encoder] if isinstance(encoder, nn.Module) else [])

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images ``(N, I, H, W)``, uint8 in 0..255 or floating point in 0..1.

        For images of different sizes see :meth:`normalise_each`.

        Raises:
            ValueError: If the number of channels differs from the task's.
            TypeError: If the images have an integer type other than uint8.
        """
        channels = self.mean.shape[0]
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"images must be (N, {channels}, H, W), got {tuple(images.shape)}; "
                "pass in_channels= to the task if the images are right"
            )
        return self._scaled(images)

    def normalise_each(self, images: Iterable[Tensor]) -> list[Tensor]:
        """Normalise images ``(I, H, W)`` of different sizes; see :meth:`normalise`."""
        return [self.normalise(image[None] if image.ndim == 3 else image)[0] for image in images]

    def _scaled(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        elif not images.is_floating_point():
            raise TypeError(f"images must be uint8 or floating point in 0..1, got {images.dtype}")
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def check_images(self, images: Tensor | Sequence[Tensor], paths: Sequence[str] = ()) -> None:
        """Check the values of floating point images ``(N, I, H, W)``, such as the first batch.

        Warns if they do not seem to be in 0..1, but in 0..255, say.

        Args:
            images: A tensor, or one tensor ``(I, H, W)`` for each image.
            paths: Their files, for the message.

        Raises:
            ValueError: If an image holds NaN or infinity, which would make the weights NaN.
        """
        self.check_finite(images, paths)
        batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        floats = [batch for batch in batches if batch.is_floating_point()]
        largest = max((float(self.normalise(batch).abs().max()) for batch in floats), default=0.0)
        if largest > _WILD:
            rank_zero_warn(
                f"normalised images reach {largest:.0f}: floating point images must "
                "lie in 0..1; divide by 255, or pass them as uint8"
            )

    def check_finite(self, images: Tensor | Sequence[Tensor], paths: Sequence[str] = ()) -> None:
        """Check images for NaN and infinity; see :meth:`check_images`.

        Raises:
            ValueError: If an image holds either; names its path if ``paths`` are given.
        """
        if isinstance(images, Tensor) and _all_finite(images):
            return
        for index, image in enumerate(images):
            # The sum of large values may overflow, so a second look decides.
            if not _all_finite(image) and not bool(image.isfinite().all()):
                where = paths[index] if paths else f"image {index} of the batch"
                raise ValueError(f"{where} holds NaN or infinity; remove or replace it")

    def first_pass(self, *inputs: Any) -> Any:
        """Call the task with the first batch of a run.

        Raises:
            ValueError: If batch normalisation over single pixels makes batches of one image
                impossible, and a later batch will be one.
        """
        with norms_of_one_pixel(self.model) as norms:
            output = self(*inputs)
        try:
            trainer = self.trainer
        except RuntimeError:  # the step was called without a Trainer
            return output
        if norms and smallest_batch(trainer.train_dataloader, trainer.num_training_batches) == 1:
            raise self.one_image_error()
        return output

    def one_image_error(self) -> ValueError:
        """Return the error for a training batch of one image."""
        named = [f"{key} {self.hparams[key]!r}" for key in _NAMES if key in self.hparams]
        return ValueError(
            "a training batch must hold 2 images or more, got 1: "
            f"{' with '.join(named) or 'the model'} has batch normalisation over a single pixel "
            "per image; pass drop_last=True if only the last batch of an epoch holds one image, "
            "otherwise a larger batch_size"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep a checkpoint from downloading pretrained weights that it replaces when loaded."""
        if "weights" in checkpoint.get("hyper_parameters", {}):
            kept = {**checkpoint["hyper_parameters"], "weights": None}
            checkpoint["hyper_parameters"] = kept

    def configure_optimizers(self) -> Optimizer:
        """Create an optimizer with named groups: each part of the model, with and without decay."""
        parts = {name: list(parameters) for name, parameters in self.model_parts().items()}
        rates = dict.fromkeys(parts, self.lr)
        rates[next(iter(parts))] *= self._encoder_lr_mult
        groups = named_groups({name: (parts[name], rates[name]) for name in parts})
        return make_optimizer(
            self._optimizer,
            groups,
            lr=self.lr,
            weight_decay=self._weight_decay,
            args=self._optimizer_args,
        )

    def on_train_start(self) -> None:
        """Warn about an optimizer that does not work with mini-batches."""
        batches = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        if self._optimizer == "Rprop" and batches > 1:
            rank_zero_warn(
                "Rprop compares the signs of successive gradients, which differ between "
                f"mini-batches (Riedmiller & Braun 1993); this epoch has {batches:.0f} of them: "
                "use RMSprop, or one batch per epoch"
            )


def two_parts(
    model: nn.Module,
    pretrained: Sequence[nn.Module],
    names: tuple[str, str] = ("encoder", "decoder"),
) -> dict[str, list[nn.Parameter]]:
    """Divide the parameters of a model into those of some of its modules, and the others."""
    first = {id(p): p for module in pretrained for p in module.parameters()}
    others = [p for p in model.parameters() if id(p) not in first]
    return {names[0]: list(first.values()), names[1]: others}


def _all_finite(images: Tensor) -> bool:
    """Whether all values are finite, by one sum; large, finite ones may overflow, and look bad."""
    return not images.is_floating_point() or bool(images.sum(dtype=torch.float32).isfinite())
