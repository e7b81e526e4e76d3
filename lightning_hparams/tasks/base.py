"""Shared by all tasks: normalisation, optimizer, named parameter groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from ..checks import in_range
from ..optim import check_optimizer, make_optimizer, named_groups

__all__ = ["VisionTask"]

_UNITS = "give it in units of 0..1"
_WILD = 20.0  # larger values mean that an image was not in 0..1: photographs stay below 3


class VisionTask(LightningModule):
    """A model with its optimizer and the normalisation of its input.

    Args:
        model: Takes normalised images; a submodule ``encoder`` gets parameter groups of its own.
        mean: Mean of each image channel, in units of 0..1.
        std: Standard deviation of each image channel, in units of 0..1, above 0.
        optimizer: Name of a class in ``torch.optim``.
        optimizer_args: Further arguments of the optimizer (``momentum``, ``betas``, ...).
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default.
        encoder_lr_mult: The encoder's learning rate as a multiple of ``lr``, above 0.
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

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images ``(N, I, H, W)``, uint8 in 0..255 or floating point in 0..1.

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
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        elif not images.is_floating_point():
            raise TypeError(f"images must be uint8 or floating point in 0..1, got {images.dtype}")
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def check_images(self, images: Tensor, paths: Sequence[str] = ()) -> None:
        """Check the values of floating point images ``(N, I, H, W)``, such as the first batch.

        Warns if they do not seem to be in 0..1, but in 0..255, say.

        Raises:
            ValueError: If an image holds NaN or infinity, which would make the weights NaN; names
                its path if ``paths`` are given.
        """
        if not images.is_floating_point():
            return
        self.check_finite(images, paths)
        largest = self.normalise(images).abs()
        if largest.max() > _WILD:
            rank_zero_warn(
                f"normalised images reach {float(largest.max()):.0f}: floating point images must "
                "lie in 0..1; divide by 255, or pass them as uint8"
            )

    def check_finite(self, images: Tensor, paths: Sequence[str] = ()) -> None:
        """Check images ``(N, I, H, W)`` for NaN and infinity.

        Raises:
            ValueError: If an image holds either; names its path if ``paths`` are given.
        """
        # One sum is enough as long as all values are finite.
        if not images.is_floating_point() or images.sum(dtype=torch.float32).isfinite():
            return
        bad = ~images.flatten(1).isfinite().all(1)
        if bad.any():  # none if the sum of large, finite values overflowed
            index = int(bad.nonzero()[0])
            where = paths[index] if paths else f"image {index} of the batch"
            raise ValueError(f"{where} holds NaN or infinity; remove or replace it")

    def configure_optimizers(self) -> Optimizer:
        """Create an optimizer with named groups: encoder and decoder, with and without decay."""
        in_encoder: dict[int, nn.Parameter] = {}
        encoder = getattr(self.model, "encoder", None)
        if isinstance(encoder, nn.Module):
            in_encoder = {id(parameter): parameter for parameter in encoder.parameters()}
        others = [p for p in self.model.parameters() if id(p) not in in_encoder]
        parts = {
            "encoder": (in_encoder.values(), self.lr * self._encoder_lr_mult),
            "decoder": (others, self.lr),
        }
        return make_optimizer(
            self._optimizer,
            named_groups(parts),
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
