"""Prediction pictures in every logger of the Trainer: the same samples each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from ..checks import names_in, one_of, whole_number
from ..outputs import SegmentationOutput
from ..render import Picture, encode, segmentation_pictures, stack
from ..sinks import Sink, is_rehearsal, open_sinks

__all__ = ["PredictionMonitor", "pictures_due"]

Adapter = Callable[[Any, Any], SegmentationOutput]
_NEEDED = ("kind", "images", "preds", "targets")
_SLIDER = 10  # pictures that TensorBoard keeps of a tag unless told otherwise


class _Sample(TypedDict):
    """One sample of the validation set, on the CPU."""

    image: Tensor  # (I, H, W)
    pred: Tensor  # (H, W) or (C, H, W)
    target: Tensor


class PredictionMonitor(Callback):
    """Draw image, ground truth, prediction and errors of a few samples, again and again.

    The samples are chosen by their index in the dataset at the first validation and stay the same,
    in a resumed run too. Each has a tag of its own, so that TensorBoard's slider shows one sample
    over time. TensorBoard keeps ten pictures a tag unless told otherwise, so pictures are drawn at
    the validations 0, 1, 2, 4, 8, ... and after the last one (0, 1, 4, 16, ... in a run of more
    than 256); ``tensorboard --samples_per_plugin images=1000`` keeps all of any schedule.

    | tag | meaning | unit |
    |---|---|---|
    | `val_pred/{place}_idx{index}` | a validation sample by its dataset index | picture |
    | `test_pred/{place}_idx{index}` | a test sample | picture |

    Without a logger they are drawn once, at the end of training, for :meth:`save_sheet`.

    Nothing is computed again: the pictures show what ``validation_step`` returned, see
    :class:`~lightning_hparams.outputs.SegmentationOutput`. Only the first dataloader is shown.

    Args:
        num_samples: Number of samples, at least 1.
        select: ``"spread"`` evenly over the dataset, ``"first"``, or a list of dataset indices.
        schedule: ``"log"`` as above, or ``"every"`` validation.
        class_names: For the legend; None to ask the module.
        ignore_index: Mask value that does not count; None to ask the module.
        background: Class that is not painted: an index, None for the class called background or
            unlabelled, or -1 for none.
        rgb: The three image channels to show as red, green and blue.
        adapter: For a module that returns something else: makes the output of ``(outputs, batch)``.

    Raises:
        ValueError: If an argument is out of its range, or an index lies outside the dataset.
        TypeError: If ``validation_step`` does not return what is drawn.
    """

    def __init__(
        self,
        num_samples: int = 8,
        select: Literal["spread", "first"] | Sequence[int] = "spread",
        *,
        schedule: Literal["log", "every"] = "log",
        class_names: Sequence[str] | None = None,
        ignore_index: int | None = None,
        background: int | None = None,
        rgb: Sequence[int] = (0, 1, 2),
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        whole_number("num_samples", num_samples, 1)
        if isinstance(select, str):
            one_of("select", select, ("spread", "first"))
        one_of("schedule", schedule, ("log", "every"))
        if class_names is not None:
            names_in("class_names", class_names)
        if background is not None:
            whole_number("background", background, -1, remedy="-1 paints every class")
        if len(rgb) != 3:
            raise ValueError(f"`rgb` needs 3 channels, got {rgb}; name one thrice for grey")
        for channel in rgb:
            whole_number("rgb", channel, 0)
        self.num_samples = num_samples
        self.select = select
        self.schedule = schedule
        self.class_names = class_names
        self.ignore_index = ignore_index
        self.background = background
        self.rgb = rgb
        self.adapter = adapter
        self.pictures: list[Picture] = []  # as drawn last, on rank zero
        self._sinks: list[Sink] = []
        self._indices: list[int] = []
        self._samples: dict[int, _Sample] = {}
        self._seen = 0
        self._shuffled = False
        self._validations = 0
        self._pending = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers."""
        self._sinks = open_sinks(trainer, type(self).__name__)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples, once."""
        self._begin(trainer, trainer.val_dataloaders, trainer.num_val_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen samples of a batch."""
        if dataloader_idx == 0:
            checked = self._checked(outputs, batch, "validation_step")
            if not trainer.sanity_checking:
                self._keep(trainer, checked)
            elif batch_idx == 0:
                self._rehearse(pl_module, checked)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is due."""
        if trainer.sanity_checking:
            return
        fitting = trainer.state.fn == "fit"
        # Without a logger nobody sees them before the end, and save_sheet needs the last alone.
        self._pending = fitting and not (trainer.loggers and self._is_due(trainer))
        self._validations += fitting
        if not self._pending:
            self._draw(trainer, pl_module, "val_pred")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation, whichever way training came to its end."""
        if self._pending:
            self._pending = False
            self._draw(trainer, pl_module, "val_pred")
        if self._validations > _SLIDER and self.schedule == "every":
            rank_zero_info(
                f"TensorBoard shows {_SLIDER} of {self._validations} pictures of a tag; "
                "run it with --samples_per_plugin images=1000 to see all"
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples of the test set."""
        self._indices = []
        self._begin(trainer, trainer.test_dataloaders, trainer.num_test_batches)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen samples of a batch."""
        if dataloader_idx == 0:
            self._keep(trainer, self._checked(outputs, batch, "test_step"))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw(trainer, pl_module, "test_pred")
        self._indices = []

    def state_dict(self) -> dict[str, Any]:
        """Which samples are shown, and how often they were."""
        return {"indices": self._indices, "validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Show the same samples again."""
        self._indices = list(state_dict["indices"])
        self._validations = int(state_dict["validations"])

    def save_sheet(self, path: str | Path) -> Path:
        """Write the pictures drawn last as one picture file, on rank zero.

        Raises:
            RuntimeError: If nothing has been drawn.
        """
        if not self.pictures:
            raise RuntimeError("no picture has been drawn yet; call save_sheet after training")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stack(self.pictures)).save(path)
        return path

    def _is_due(self, trainer: Trainer) -> bool:
        if self.schedule == "every":
            return True
        epochs = trainer.max_epochs or 0
        return pictures_due(self._validations, epochs // (trainer.check_val_every_n_epoch or 1))

    def _begin(self, trainer: Trainer, loaders: Any, num_batches: Sequence[int | float]) -> None:
        self._seen = 0
        self._samples = {}
        if self._indices:
            return
        loader = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
        batches = float("inf") if trainer.sanity_checking else num_batches[0]
        chosen = self._chosen(_reachable(loader, batches, trainer.world_size))
        if trainer.sanity_checking:
            return  # it was to find out whether they can be chosen
        self._indices = chosen
        self._shuffled = not _keeps_order(loader)

    def _chosen(self, size: int | None) -> list[int]:
        if not isinstance(self.select, str):
            outside = [index for index in self.select if size is not None and index >= size]
            if outside or min(self.select, default=0) < 0:
                raise ValueError(
                    f"`select` has indices outside the validation set: {outside or self.select}, "
                    f"which shows {size} samples (see limit_val_batches)"
                )
            return list(self.select)
        if self.select == "first" or size is None:
            return list(range(min(self.num_samples, size or self.num_samples)))
        count = min(self.num_samples, size)
        return [(2 * place + 1) * size // (2 * count) for place in range(count)]

    def _checked(self, outputs: Any, batch: Any, step: str) -> Mapping[str, Any]:
        if self.adapter is not None:
            outputs = self.adapter(outputs, batch)
        if not isinstance(outputs, Mapping) or any(key not in outputs for key in _NEEDED):
            got = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise TypeError(
                f"{type(self).__name__}: {step} must return a dict with {', '.join(_NEEDED)} "
                f"(see lightning_hparams.outputs.SegmentationOutput), got {got}; "
                "return one, or pass PredictionMonitor(adapter=...)"
            )
        return outputs

    def _keep(self, trainer: Trainer, outputs: Mapping[str, Any]) -> None:
        count = len(outputs["images"])
        indices = outputs.get("indices")
        if indices is None and self._shuffled:
            self._shuffled = False  # once is enough
            rank_zero_warn(
                f"{type(self).__name__} cannot show the same samples each time: the validation "
                "loader shuffles, and its batches carry no 'index'; turn shuffling off"
            )
        if indices is None:
            # Without a dataset index: the position, as a distributed sampler deals them out.
            places = range(self._seen, self._seen + count)
            indices = [p * trainer.world_size + trainer.global_rank for p in places]
        else:
            indices = indices.tolist()
        self._seen += count
        wanted = set(self._indices)
        for place, index in enumerate(indices):
            if index in wanted and index not in self._samples:
                self._samples[index] = _sample(outputs, place)

    def _rehearse(self, module: LightningModule, outputs: Mapping[str, Any]) -> None:
        """Draw a sample in memory, so that what cannot be drawn is told before training."""
        sample = _sample(outputs, 0)
        if outputs["kind"] != "multilabel" and "logits" in outputs:
            # As if the last class had been predicted, which an untrained model may not do.
            sample["pred"] = sample["pred"].clone()
            sample["pred"][:1, :1] = max(outputs["logits"].shape[1], 2) - 1
        self._picture(sample, module, "")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, tag: str) -> None:
        samples = self._gathered(trainer)
        if not trainer.is_global_zero:
            return
        self.pictures = []
        for place, index in enumerate(self._indices):
            if index not in samples:
                continue
            picture = self._picture(samples[index], pl_module, f"sample {index}")
            self.pictures.append(picture)
            if self._sinks:
                encoded = encode(picture)
                for sink in self._sinks:
                    sink.image(f"{tag}/{place:02d}_idx{index:05d}", encoded, trainer.global_step)
            if is_rehearsal(trainer):
                return  # one picture shows whether drawing works
        for sink in self._sinks:
            sink.flush()

    def _gathered(self, trainer: Trainer) -> dict[int, _Sample]:
        if trainer.world_size == 1:
            return self._samples
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, self._samples)
        return {index: sample for part in parts for index, sample in part.items()}

    def _picture(self, sample: _Sample, module: LightningModule, caption: str) -> Picture:
        pred, target = sample["pred"], sample["target"]
        names = self.class_names or getattr(module, "class_names", None)
        highest = len(pred) if pred.ndim == 3 else int(pred.max()) + 1
        if names is None:
            names = [f"class {index}" for index in range(highest)]
        elif len(names) < highest:
            raise ValueError(
                f"class_names has {len(names)} entries, but a prediction class {highest - 1}; "
                "name every class, in order"
            )
        ignore = self.ignore_index
        if ignore is None:
            ignore = getattr(module, "ignore_index", None)
        (picture,) = segmentation_pictures(
            sample["image"][None],
            pred[None],
            target[None],
            names,
            background=self._background(names, pred),
            ignore_index=ignore,
            captions=[caption],
            rgb=self.rgb,
        )
        return picture

    def _background(self, names: Sequence[str], pred: Tensor) -> int | None:
        if self.background is not None:
            whole_number("background", self.background, -1, len(names) - 1)
            return None if self.background < 0 else self.background
        if pred.ndim == 3:
            return None
        nothing = ("background", "unlabelled", "unlabeled")
        return next((i for i, name in enumerate(names) if name.lower() in nothing), None)


def _sample(outputs: Mapping[str, Any], place: int) -> _Sample:
    return {
        "image": outputs["images"][place].cpu(),
        "pred": outputs["preds"][place].cpu(),
        "target": outputs["targets"][place].cpu(),
    }


def pictures_due(validation: int, total: int) -> bool:
    """Whether a validation is one of 0, 1, 2, 4, 8, ..., few enough for TensorBoard's slider.

    Args:
        validation: Validations before this one.
        total: Validations in the whole run; 0 or less if not known. A run of more than 256 has
            0, 1, 4, 16, ... so that with its last one there are still at most ten.

    >>> [n for n in range(100) if pictures_due(n, 100)]
    [0, 1, 2, 4, 8, 16, 32, 64]
    """
    if validation & (validation - 1):
        return False  # not a power of two, nor 0
    return total <= 256 or validation.bit_length() % 2 == 1 or validation == 0


def _reachable(loader: Any, num_batches: int | float, world_size: int) -> int | None:
    """How many samples of the dataset a validation sees; None if nobody knows."""
    dataset = getattr(loader, "dataset", None)
    if not isinstance(dataset, Sized):
        return None
    size = len(dataset)
    batch_size: int | None = getattr(loader, "batch_size", None)
    if batch_size is None or num_batches == float("inf"):
        return size
    return min(size, int(num_batches) * batch_size * world_size)


def _keeps_order(loader: Any) -> bool:
    if not isinstance(loader, DataLoader):
        return True  # not known
    sampler = loader.sampler
    if isinstance(sampler, DistributedSampler):
        return not sampler.shuffle
    return isinstance(sampler, SequentialSampler)
