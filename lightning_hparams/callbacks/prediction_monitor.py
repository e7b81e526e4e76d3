"""Log pictures of predictions: the same samples every time, and the worst ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..checks import as_plain, in_range, one_of, whole_number
from ..render import Picture
from ..samples import Reader
from ..sinks import is_rehearsal, open_sinks
from ._draw_options import check_channels, check_classes, draw_options
from ._log_step import pictures_due, validations_in
from ._monitor import Monitor
from ._pictures import Drawing, PictureWriter, save_page
from ._sample_pass import SamplePass, Wanted
from ._two_packages import refuse_other_lightning

__all__ = ["PredictionMonitor"]

_SELECTIONS = ("spread", "first", "per_class")
_SLIDER = 10  # pictures that TensorBoard keeps per tag by default


class PredictionMonitor(Monitor):
    """Log pictures of the predictions for a few fixed samples and for the worst ones.

    Segmentation: image, ground truth, prediction and errors side by side. Detection: true and
    predicted boxes, with matches, false positives and misses distinguished. Classification: the
    image, framed by correctness, with the most probable classes. Regression: the image above true
    and predicted values. For other tasks see :class:`~lightning_hparams.samples.Kind`.

    The samples are chosen by dataset index at the first validation and stay the same, in a resumed
    run too. Each has its own tag, so that TensorBoard's slider shows one sample over time.
    TensorBoard keeps ten pictures per tag by default, so pictures are drawn at validations 0, 1, 2,
    4, 8, ... and after the last one (0, 1, 4, 16, ... in a run of more than 256);
    ``tensorboard --samples_per_plugin images=1000`` keeps all pictures of any schedule. They are
    logged at the step at which Lightning logs the metrics of the validation.

    | tag | meaning | unit |
    |---|---|---|
    | `val_pred/{position}_idx{index}` | a validation sample by its dataset index | picture |
    | `val_worst/{position}` | the worst samples of a validation, the worst first | picture |
    | `test_pred/{position}_idx{index}`, `test_worst/{position}` | the same of a test | picture |
    | `{val,test}_{pred,worst}/sheet` | all on one sheet, with ``layout="sheet"`` | picture |

    Without a logger, pictures are drawn once at the end of training, for :meth:`save_sheet`.

    The pictures show the output of ``validation_step`` without another forward pass, see
    :mod:`~lightning_hparams.outputs`. Only the first dataloader is shown. An output that cannot be
    drawn is an error in the sanity check; later, a single warning is issued and training continues.
    A step that returns no output is never an error: one warning explains how to get pictures.

    uint8 images and images in 0..1 are shown unchanged. Any other value range is guessed from the
    first batch, kept for the whole run and reported once.

    Args:
        num_samples: Number of samples, at least 1.
        select: ``"spread"`` for samples evenly spread over the dataset, ``"first"``,
            ``"per_class"`` for the first samples of each target class in turn, or a list of dataset
            indices, of which a test shows those in its dataset.
        worst_k: Number of worst samples, 0 for none: those with the highest ``losses`` if the
            output has them, otherwise the lowest IoU, the least probable true class, the most false
            and missed boxes, or the largest absolute error.
        schedule: ``"log"`` as above, or ``"every"`` validation.
        layout: ``"samples"`` for one tag per sample, or ``"sheet"`` for one tag for all; beyond 2
            megapixels a sheet continues under ``sheet_2``.
        class_names: A name for each class, including the background; None to use the module's.
        ignore_index: Mask value to ignore; None to use the module's.
        class_colors: Red, green and blue in 0..255 for each class, in masks and boxes; None for
            :func:`~lightning_hparams.render.palette`.
        background: Index of the class not painted in masks; None for the class named background or
            unlabelled, or 0 for binary masks; -1 for none.
        rgb: The three image channels to show as red, green and blue.
        mean: Mean of each channel in units of 0..1, if the step returns normalised floating point
            images. None to use the datamodule's, if the first batch is not in 0..1.
        std: Standard deviation of each channel, likewise.
        value_range: Lowest and highest value of images that are not uint8, shown as black and
            white; None to guess it from the first batch.
        min_score: Boxes with a lower score are left out, in 0..1.
        adapter: For modules that return something else: a function of ``(outputs, batch, module)``
            or ``(outputs, batch)`` that returns the output, its dotted path, or one of
            ``"segmentation"``, ``"classification"``, ``"multilabel"``, ``"regression"`` and
            ``"detection"``, which run ``module(batch["image"])`` or ``module(batch[0])`` again.
            It is called only for batches to be drawn or rated; ``worst_k=0`` rates none.

    Raises:
        ValueError: If an argument is out of range, or an index lies outside the dataset.
        TypeError: If an output lacks a required key, or an argument has the wrong type.
    """

    def __init__(
        self,
        num_samples: int = 8,
        select: Literal["spread", "first", "per_class"] | Sequence[int] = "spread",
        *,
        worst_k: int = 4,
        schedule: Literal["log", "every"] = "log",
        layout: Literal["samples", "sheet"] = "samples",
        class_names: Sequence[str] | None = None,
        class_colors: Sequence[Sequence[int]] | None = None,
        ignore_index: int | None = None,
        background: int | None = None,
        rgb: Sequence[int] = (0, 1, 2),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        value_range: Sequence[float] | None = None,
        min_score: float = 0.3,
        adapter: str | Callable[..., Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        num_samples = whole_number("num_samples", num_samples, 1)
        worst_k = whole_number("worst_k", worst_k, 0)
        in_range("min_score", min_score, 0, 1)
        _check_select(select)
        one_of("schedule", schedule, ("log", "every"))
        one_of("layout", layout, ("samples", "sheet"))
        check_classes(class_names, class_colors, background)
        check_channels(rgb, mean, std, value_range)
        self.num_samples = num_samples
        # A checkpoint with NumPy integers cannot be loaded with weights_only=True.
        self.select = select if isinstance(select, str) else [int(index) for index in select]
        self.worst_k = worst_k
        self.schedule = schedule
        self.layout = layout
        self.class_names = class_names
        self.class_colors = class_colors
        self.ignore_index = ignore_index
        self.background = background
        self.rgb = rgb
        self.mean, self.std = mean, std
        self.value_range = value_range
        self.min_score = min_score
        self.adapter = adapter
        self.pictures: list[Picture] = []  # latest pictures of the chosen samples, on rank zero
        self._reader = Reader(
            adapter=adapter, mean=mean, std=std, value_range=value_range, warn=self._notices.warn
        )
        self._writer = PictureWriter(self._sinks, layout, worst_k, self._notices)
        self._pass: SamplePass | None = None  # the current pass over a loader
        self._indices: list[int] = []  # chosen samples of the validation set
        self._validations = 0
        self._pending: Drawing | None = None  # a validation not drawn yet

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers and reset the state; a checkpoint is loaded afterwards."""
        refuse_other_lightning(self, trainer, pl_module)
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._writer = PictureWriter(self._sinks, self.layout, self.worst_k, self._notices)
        self._notices.clear()
        if stage in ("fit", "validate"):
            self._indices, self._validations, self._pending = [], 0, None
        if stage == "fit":
            self._reader.value_range = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resume logging at the step of the checkpoint."""
        self._go_on(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples at the first validation."""
        self._begin(trainer, pl_module, trainer.num_val_batches[0], self._indices)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen samples of a batch."""
        if dataloader_idx == 0 and self._pass is not None:
            self._pass.take(outputs, batch, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw if the schedule asks for it."""
        if trainer.sanity_checking or self._pass is None:
            return
        drawing = self._pass.end()
        self._indices = drawing.gallery.chosen
        fitting = trainer.state.fn == "fit"
        # Without a logger only save_sheet shows pictures, and it needs only the last validation.
        waits = fitting and not (trainer.loggers and self._is_due(trainer))
        self._pending = drawing if waits and self._pass.may_be_drawn else None
        self._validations += fitting
        if not waits:
            self._draw(trainer, "val", drawing)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation."""
        self._finish(trainer)
        if self._validations > _SLIDER and self.schedule == "every":
            rank_zero_info(
                f"TensorBoard shows {_SLIDER} of {self._validations} pictures per tag; "
                "run it with --samples_per_plugin images=1000 to see all"
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw the last validation in single-process runs; other processes may be gone."""
        if trainer.world_size > 1:
            self._pending = None
        with self._notices.instead_of_errors("draw the last validation"):
            self._finish(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples of the test set."""
        self._begin(trainer, pl_module, trainer.num_test_batches[0], [])

    on_test_batch_end = on_validation_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the samples of the test set."""
        if self._pass is not None:
            self._draw(trainer, "test", self._pass.end())

    def state_dict(self) -> dict[str, Any]:
        """The chosen samples, the number of validations and the value range of the images."""
        edges = self._reader.edges
        return {"indices": self._indices, "validations": self._validations, "value_range": edges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the chosen samples, the schedule and the value range."""
        self._indices = list(state_dict["indices"])
        self._validations = int(state_dict["validations"])
        self._reader.edges = state_dict.get("value_range")

    def save_sheet(self, path: str | Path) -> Path:
        """Save the latest pictures as one image file; call it on rank zero.

        Raises:
            RuntimeError: If no picture has been drawn.
        """
        return save_page(self.pictures, path, "picture")

    def _begin(
        self, trainer: Trainer, module: LightningModule, num_batches: float, chosen: Sequence[int]
    ) -> None:
        self._pass = SamplePass(
            trainer,
            self._reader,
            draw_options(self, module, self._notices, min_score=self.min_score),
            Wanted(self.select, self.num_samples, self.worst_k, chosen),
            num_batches=num_batches,
            is_due=self._is_due(trainer),
            is_last=self._validations == validations_in(trainer) - 1,
            notices=self._notices,
        )

    def _is_due(self, trainer: Trainer) -> bool:
        due = pictures_due(self._validations, validations_in(trainer))
        return due or self.schedule == "every"

    def _finish(self, trainer: Trainer) -> None:
        if self._pending is not None:
            drawing, self._pending = self._pending, None
            self._draw(trainer, "val", drawing)
        self._sinks.flush()

    def _draw(self, trainer: Trainer, stage: str, drawing: Drawing) -> None:
        """Collective: must be called on every rank."""
        drawing = drawing.gathered(trainer)
        if trainer.is_global_zero:
            self.pictures = self._writer.draw(stage, drawing, only_one=is_rehearsal(trainer))


def _check_select(select: str | Sequence[int]) -> None:
    if isinstance(select, str):
        one_of("select", select, _SELECTIONS, otherwise="or a list of dataset indices")
    elif not isinstance(as_plain(select), Iterable):
        raise TypeError(
            f"`select` must be one of {list(_SELECTIONS)} or a list of dataset indices, "
            f"got {select!r}"
        )
    else:
        for index in select:
            whole_number("select", index, 0)
