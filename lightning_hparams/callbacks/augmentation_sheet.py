"""Log a sheet of training samples as the model receives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer

from ..checks import described, whole_number
from ..internals import log_step
from ..outputs import StepOutput
from ..render import Picture, encode
from ..samples import Batch, Reader, paths_of, training_output
from ..sinks import is_rehearsal, open_sinks
from ._draw_options import check_channels, check_classes, draw_options
from ._monitor import Monitor, module_value
from ._pictures import page, save_page
from ._two_packages import refuse_other_lightning

__all__ = ["AugmentationSheet"]

_TAG = "train_samples/sheet"


class AugmentationSheet(Monitor):
    """Log one sheet of training samples as the model receives them, with their true values.

    Shows whether masks and boxes still fit their images after augmentation, whether labels are
    those of the images, and what the augmentation leaves of them. Segmentation: masks painted over
    the images, ignored pixels hatched. Detection: boxes, crowd regions dashed. Classification and
    regression: the images above their labels or values.

    | tag | meaning | unit |
    |---|---|---|
    | `train_samples/sheet` | the first training samples | picture |

    The samples are those of the first training batches, taken where the training loop hands them to
    the module: on its device and after ``on_after_batch_transfer``. No other batch is loaded, and
    training is the same as without the callback. In distributed training they are those of rank
    zero. What happens within ``training_step`` is not shown, such as the MixUp and CutMix of
    :class:`~lightning_hparams.ClassificationTask`; images mixed in a ``collate_fn`` are shown with
    the share of each class.

    The sheet is written once per run, neither again in a resumed one nor in a ``fast_dev_run``. If
    the first epoch is too short, it has fewer samples. Batches are those of
    :mod:`~lightning_hparams.outputs`, or pairs of images and targets; for any other, one warning
    explains how to get a sheet.

    Args:
        num_samples: Number of samples, at least 1.
        class_names: A name for each class, including the background, or for each value; None to use
            the module's.
        class_colors: Red, green and blue in 0..255 for each class; None for
            :func:`~lightning_hparams.render.palette`.
        ignore_index: Mask value to ignore; None to use the module's.
        background: Index of the class not painted in masks; None for the class named background or
            unlabelled, or 0 for binary masks; -1 for none.
        rgb: The three image channels to show as red, green and blue.
        mean: Mean of each channel in units of 0..1, if a batch has normalised floating point
            images. None to use the datamodule's, if the first batch is not in 0..1.
        std: Standard deviation of each channel, with the same default.
        value_range: Lowest and highest value of images that are not uint8, shown as black and
            white; None to guess it from the first batch.
        adapter: For other batches: a function of a batch that returns a dict with ``kind``,
            ``images`` and ``targets`` as in :mod:`~lightning_hparams.outputs`.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        num_samples: int = 16,
        *,
        class_names: Sequence[str] | None = None,
        class_colors: Sequence[Sequence[int]] | None = None,
        ignore_index: int | None = None,
        background: int | None = None,
        rgb: Sequence[int] = (0, 1, 2),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        value_range: Sequence[float] | None = None,
        adapter: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        whole_number("num_samples", num_samples, 1)
        check_classes(class_names, class_colors, background)
        check_channels(rgb, mean, std, value_range)
        if adapter is not None and not callable(adapter):
            raise TypeError(f"`adapter` must be a function of a batch, got {described(adapter)}")
        self.num_samples = num_samples
        self.class_names = class_names
        self.class_colors = class_colors
        self.ignore_index = ignore_index
        self.background = background
        self.rgb = rgb
        self.mean, self.std = mean, std
        self.value_range = value_range
        self.adapter = adapter
        self.pictures: list[Picture] = []  # of the samples, on rank zero
        self._reader = Reader(mean=mean, std=std, value_range=value_range, warn=self._notices.warn)
        self._step = 0  # of the latest batch drawn
        self._done = False  # in this run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers; a checkpoint is loaded afterwards."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage != "fit":
            return
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._notices.clear()
        if not trainer.global_step:  # otherwise an earlier fit goes on
            self._done, self.pictures = False, []
            self._reader.value_range = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the first batch, on rank zero."""
        vars(self).pop("on_train_batch_start", None)
        if self._done or is_rehearsal(trainer) or not trainer.is_global_zero:
            self._skip_batches()
        self._go_on(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Draw the samples of a batch, and write the sheet when there are enough."""
        complete = True
        with self._notices.instead_of_errors("draw training samples"):
            complete = not self._take(trainer, pl_module, batch, batch_idx)
        if complete:
            self._skip_batches()
            self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sheet with the samples of a short epoch."""
        self._write()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the samples so far, which may show the cause."""
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """Whether the sheet has been written."""
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether the sheet has been written."""
        self._done = bool(state_dict["done"])

    def save_sheet(self, path: str | Path) -> Path:
        """Save the sheet as an image file; call it on rank zero.

        Raises:
            RuntimeError: If no sample has been drawn.
        """
        return save_page(self.pictures, path, "sample")

    def _take(
        self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int
    ) -> bool:
        """Draw the samples of a batch; return whether more batches are needed."""
        output = self._output(batch, module)
        if output is None:
            return False
        data: object = getattr(trainer, "datamodule", None)
        options = draw_options(self, module, self._notices)
        made = self._reader.read(
            {"preds": output["targets"], **output},
            batch,
            module,
            options,
            "a training batch",
            normalisation=(getattr(data, "mean", None), getattr(data, "std", None)),
        )
        if made is None:
            return True
        self._step = log_step(trainer)
        captions = _captions(made, paths_of(batch), batch_idx)
        for position in range(min(len(made), self.num_samples - len(self.pictures))):
            sample = made.sample(position, position)
            self.pictures.append(sample.kind.draw_truth(sample, options, captions[position]))
        return len(self.pictures) < self.num_samples

    def _output(self, batch: object, module: LightningModule) -> StepOutput | None:
        if self.adapter is not None:
            output = self.adapter(batch)
            needed = {"kind", "images", "targets"}
            if not isinstance(output, Mapping) or not needed <= output.keys():
                raise TypeError(
                    "`adapter` must return a dict with 'kind', 'images' and 'targets' (see "
                    f"lightning_hparams.outputs), got {described(output)}"
                )
            return output
        found = training_output(batch, module_value(module, "task"))
        if found is None:
            self._notices.warn(
                "batch",
                "draws no sheet: a training batch is neither a dict of images with masks, labels, "
                f"values or boxes nor a pair of images and these, got {described(batch)}; pass "
                "adapter=, a function of a batch that returns a dict as in "
                "lightning_hparams.outputs",
            )
        return found

    def _write(self) -> None:
        """Write the sheet, once."""
        if self._done or not self.pictures:
            return
        self._done = True
        self._skip_batches()
        if self._sinks:
            self._sinks.image(_TAG, encode(page(self.pictures)), self._step)
            self._sinks.flush()

    def _skip_batches(self) -> None:
        """Make Lightning skip the hook of each batch."""
        vars(self)["on_train_batch_start"] = None


def _captions(batch: Batch, paths: Sequence[str], batch_idx: int) -> list[str]:
    """The dataset index of each sample if it is known, and the name of its file."""
    captions = [f"batch {batch_idx}, image {position}" for position in range(len(batch))]
    indices = batch.indices()
    if indices is not None:
        captions = [f"sample {index}" for index in indices]
    if len(paths) != len(captions):
        return captions
    return [f"{caption}: {Path(path).name}" for caption, path in zip(captions, paths, strict=True)]
