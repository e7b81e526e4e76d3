"""MixUp and CutMix of a batch, for any loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2

from ..checks import as_number, in_range

__all__ = ["Mixed", "Mixing"]


class Mixed(NamedTuple):
    """A batch in which each image holds a part of a second one."""

    images: Tensor
    partner: Tensor  # (N,) index of the second image in the batch
    share: Tensor  # of the first image in the labels, scalar

    def terms(
        self, losses: Callable[[Tensor], Mapping[str, Tensor]], label: Tensor
    ) -> dict[str, Tensor]:
        """Mix the losses for the labels of both images.

        For losses that are linear in the target, such as cross entropy, this equals the loss for
        the mixed, soft target (Zhang et al., arXiv:1710.09412), and it is defined for all others.

        Args:
            losses: Computes losses by name for the labels of all images.
            label: ``(N, ...)``.
        """
        first, second = losses(label), losses(label[self.partner])
        return {
            name: self.share * term + (1 - self.share) * second[name]
            for name, term in first.items()
        }


class Mixing:
    """Mixes training batches by torchvision's MixUp, CutMix, or one of both at random.

    It draws from torch's random numbers on the CPU, so a seed repeats it.

    Args:
        mixup: Parameter of MixUp's beta distribution, at least 0; 0 for none, 0.2 is usual.
        cutmix: The same for CutMix; 1.0 is usual.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        mixup, cutmix = as_number("mixup", mixup), as_number("cutmix", cutmix)
        in_range("mixup", mixup, 0.0, remedy="0.2 is usual, 0 for none")
        in_range("cutmix", cutmix, 0.0, remedy="1.0 is usual, 0 for none")
        kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self._transforms = [kind(alpha=alpha) for kind, alpha in kinds if alpha > 0]

    def __bool__(self) -> bool:
        return bool(self._transforms)

    def __call__(self, images: Tensor) -> Mixed:
        """Mix floating point images ``(N, I, H, W)``."""
        choice = 0
        if len(self._transforms) > 1:
            choice = int(torch.randint(len(self._transforms), ()))
        # The identity as soft labels: row i becomes the shares of all images in image i.
        one_each = torch.eye(len(images), device=images.device)
        mixed, shares = self._transforms[choice](images, one_each)
        own = shares.diagonal()
        partner = (shares - own.diag()).argmax(1)
        return Mixed(mixed, partner, own[0])
