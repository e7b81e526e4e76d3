"""Weights & Biases: numbers, pictures and hyperparameters through Lightning's logger."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from PIL import Image

from ..checks import require
from ..render import Encoded
from .base import Scalar
from .logged import LoggedScalars

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

__all__ = ["WandbSink"]

_STEP = "trainer/global_step"  # the step that Lightning's logger logs beside each value


class WandbSink(LoggedScalars):
    """Writes to the run of a ``WandbLogger``, online or offline.

    A run of Weights & Biases cannot be rewound, so a resumed run repeats the steps after its
    checkpoint.

    Args:
        logger: Lightning's logger.
    """

    _logger: WandbLogger

    def __init__(self, logger: WandbLogger) -> None:
        super().__init__(logger)

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        wandb = require("wandb", extra="wandb")
        with Image.open(io.BytesIO(picture.data)) as image:
            shown = wandb.Image(image.convert("RGB"))
        self._logger.experiment.log({tag: shown, _STEP: step})

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._logger.experiment.config.update(dict(values), allow_val_change=True)
