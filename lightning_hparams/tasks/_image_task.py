"""Shared by the tasks that predict classes or values of whole images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import mapping_in
from ._arguments import input_scale, weights_file
from ._batches import image_of
from ._evaluation import EvaluatedTask
from ._labels import ImageBatch
from ._parts import two_parts, without
from .classifiers import Classifier, build_classifier
from .weights import Statistics, load_weights

__all__ = ["ImageTask", "assembled"]


def assembled(
    model: str,
    weights: str | os.PathLike[str] | None,
    *,
    in_channels: int,
    outputs: int,
    args: Mapping[str, object] | None,
    mean: list[float] | None,
    std: list[float] | None,
) -> tuple[Classifier, Statistics]:
    """Build a model, load its weights, and return the mean and deviation of its images too.

    See :func:`build_classifier` for the arguments; ``weights`` may also be a file.
    """
    file = weights_file(weights)
    built = build_classifier(
        model,
        None if weights is None or file is not None else str(weights),
        in_channels=in_channels,
        outputs=outputs,
        args=mapping_in("model_args", args),
    )
    expected = built.statistics if weights is not None else None
    if file is not None:
        expected = _loaded(built, file)
    return built, input_scale(mean, std, expected, in_channels)


def _loaded(built: Classifier, file: Path) -> Statistics | None:
    _, statistics = load_weights(built.model, file)
    return built.statistics if statistics is None else statistics


class ImageTask(EvaluatedTask):
    """A task with one vector of outputs for each image.

    A subclass builds its model by :func:`assembled`, and gives it to :meth:`use` after
    ``super().__init__``.
    """

    goal: str  # key of a batch
    exports_any_size: bool

    def use(self, built: Classifier, image_size: int | None) -> None:
        """Keep what there is to know about the model besides its weights.

        Args:
            built: The model with its properties.
            image_size: As in the task.
        """
        self._heads = list(built.heads)
        self._side = built.side if image_size is None else image_size
        self._exact = built.fixed or image_size is not None
        self.exports_any_size = not built.fixed

    @property
    def backbone(self) -> nn.Module:
        """All of the model but the last layer, where Lightning's callbacks look for it."""
        return without(self.model, self._heads)

    def model_parts(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Return the parameters of the pretrained part, ``encoder``, and of the last layer."""
        parts = two_parts(self.model, self._heads, ("head", "encoder"))
        return {name: parts[name] for name in ("encoder", "head")}

    def forward(self, images: Tensor) -> Tensor:
        """Compute outputs ``(N, outputs)`` of images ``(N, I, H, W)``."""
        return self.outputs_of(self.resized(self.normalise(images)))

    def outputs_of(self, images: Tensor) -> Tensor:
        """Call the model with normalised, resized images."""
        try:
            outputs: Tensor = self.model(images)
        except ValueError as error:  # from torch's batch normalisation
            if "more than 1 value per channel" in str(error):
                raise self.one_image_error() from error
            raise
        except (AssertionError, RuntimeError) as error:  # from timm and torch: sizes that are wrong
            if isinstance(error, RuntimeError) and not _is_about_size(str(error)):
                raise
            height, width = images.shape[-2:]
            raise ValueError(
                f"the model does not take images of {height} x {width} pixels ({error}); "
                f"{'pass image_size= to resize' if height == width else 'crop'} them"
                f"{'' if height == width else ' to squares in the data'}, or pass "
                "model_args={'img_size': ...} or {'dynamic_img_size': True} if the timm model "
                "supports it"
            ) from error
        return outputs

    def resized(self, images: Tensor) -> Tensor:
        """Resize images whose shorter side is not what the model needs."""
        height, width = images.shape[-2:]
        shorter = min(height, width)
        if shorter == self._side or (shorter > self._side and not self._exact):
            return images
        size = [_rounded(side * self._side, shorter) for side in (height, width)]
        if shorter < self._side:
            return F.interpolate(images, size=size, mode="bilinear")
        # In float32, since the CPU has no antialiasing in lower precision.
        found = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
        return found.to(images)

    def exported_output(self, images: Tensor) -> Tensor:
        """Compute probabilities or values ``(N, outputs)``, without a branch for any size."""
        height, width = images.shape[-2:]
        shorter = torch.sym_min(height, width)
        goal = self._side if self._exact else torch.sym_max(shorter, self._side)
        size = [_rounded(side * goal, shorter) for side in (height, width)]
        # Where an image grows, antialiasing changes nothing.
        resized = F.interpolate(
            self.normalise(images), size=size, mode="bilinear", antialias=self._exact
        )
        return self.final(self.outputs_of(resized))

    def final(self, outputs: Tensor) -> Tensor:
        """Convert outputs of the model to what is predicted, in float32 at least."""
        raise NotImplementedError

    def checked_images(self, batch: ImageBatch) -> Tensor:
        """Return the images of a batch."""
        return image_of(batch, self.goal)

    def as_floats(self, images: Tensor) -> Tensor:
        """Convert uint8 images to floating point ones in 0..1."""
        if images.is_floating_point():
            return images
        self.normalise(images[:1])  # which refuses other integers
        floats: Tensor = images.to(self.mean.dtype) / 255
        return floats


def _rounded(part: int | torch.SymInt, whole: int | torch.SymInt) -> int:
    """Return the quotient, rounded; also for the sizes of a traced image."""
    return cast(int, (2 * part + whole) // (2 * whole))


def _is_about_size(message: str) -> bool:
    return any(part in message for part in ("Kernel size", "output size is too small"))
