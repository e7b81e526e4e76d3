"""Prediction pictures in every logger of the Trainer: the same samples each time, and the worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from ..checks import in_range, names_in, one_of, whole_number
from ..outputs import Output
from ..render import Picture, encode, sheet
from ..samples import NEEDED, Look, Sample, badness, check_output, draw, pick, worst_of
from ..sinks import Sink, is_rehearsal, open_sinks
from ._idle_hooks import skip_idle_hooks
from ._log_step import log_step, pictures_due, resume_sinks, validations_in

__all__ = ["PredictionMonitor"]

Adapter = Callable[[Any, Any], Output]
_SLIDER = 10  # pictures that TensorBoard keeps of a tag unless told otherwise
_SHEET_WIDTH = 1100  # pixels


class PredictionMonitor(Callback):
    """Draw what a model predicts for a few samples, again and again, and for those it does worst.

    Segmentation: image, ground truth, prediction and errors side by side. Detection: true and
    predicted boxes, with what was found, false positives and misses told apart. Classification: the
    image in a frame that tells right from wrong, with the most probable classes.

    The samples are chosen by their index in the dataset at the first validation and stay the same,
    in a resumed run too. Each has a tag of its own, so that TensorBoard's slider shows one sample
    over time. TensorBoard keeps ten pictures a tag unless told otherwise, so pictures are drawn at
    the validations 0, 1, 2, 4, 8, ... and after the last one (0, 1, 4, 16, ... in a run of more
    than 256); ``tensorboard --samples_per_plugin images=1000`` keeps all of any schedule. They
    stand at the step at which Lightning writes the validation's metrics.

    | tag | meaning | unit |
    |---|---|---|
    | `val_pred/{place}_idx{index}` | a validation sample by its dataset index | picture |
    | `val_worst/{place}` | the worst samples of a validation, the worst first | picture |
    | `test_pred/{place}_idx{index}`, `test_worst/{place}` | the same of a test | picture |
    | `{val,test}_{pred,worst}/sheet` | all of them as one, with ``layout="sheet"`` | picture |

    Without a logger they are drawn once, at the end of training, for :meth:`save_sheet`.

    Nothing is computed again: the pictures show what ``validation_step`` returned, see
    :mod:`~lightning_hparams.outputs`. Only the first dataloader is shown.

    Args:
        num_samples: Number of samples, at least 1.
        select: ``"spread"`` evenly over the dataset, ``"first"``, or a list of dataset indices.
        worst_k: Number of worst samples, 0 for none: those with the highest ``losses`` where the
            output has them; else the lowest IoU, the least probable true class, or the most false
            and missed boxes.
        schedule: ``"log"`` as above, or ``"every"`` validation.
        layout: A tag for each of the ``"samples"``, or one for all on a ``"sheet"``.
        class_names: A name for each class, the background included; None to ask the module.
        ignore_index: Mask value that does not count; None to ask the module.
        background: Class that is not painted in masks: an index, None for the class called
            background or unlabelled, or -1 for none.
        rgb: The three image channels to show as red, green and blue.
        mean: Of each channel in units of 0..1, where the step returns images that were normalised;
            None to ask the datamodule.
        std: Likewise.
        min_score: Boxes with a lower score are left out, in 0..1.
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
        worst_k: int = 4,
        schedule: Literal["log", "every"] = "log",
        layout: Literal["samples", "sheet"] = "samples",
        class_names: Sequence[str] | None = None,
        ignore_index: int | None = None,
        background: int | None = None,
        rgb: Sequence[int] = (0, 1, 2),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        min_score: float = 0.3,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        whole_number("num_samples", num_samples, 1)
        whole_number("worst_k", worst_k, 0)
        in_range("min_score", min_score, 0, 1)
        if isinstance(select, str):
            one_of("select", select, ("spread", "first"))
        one_of("schedule", schedule, ("log", "every"))
        one_of("layout", layout, ("samples", "sheet"))
        if class_names is not None:
            names_in("class_names", class_names)
        if background is not None:
            whole_number("background", background, -1, remedy="-1 paints every class")
        if len(rgb) != 3:
            raise ValueError(f"`rgb` needs 3 channels, got {rgb}; name one thrice for grey")
        for channel in rgb:
            whole_number("rgb", channel, 0)
        if (mean is None) != (std is None) or len(mean or []) != len(std or []):
            raise ValueError(
                f"`mean` and `std` must be given together, one value a channel, got {mean=}, {std=}"
            )
        self.num_samples = num_samples
        self.select = select
        self.worst_k = worst_k
        self.schedule = schedule
        self.layout = layout
        self.class_names = class_names
        self.ignore_index = ignore_index
        self.background = background
        self.rgb = rgb
        self.mean, self.std = mean, std
        self.min_score = min_score
        self.adapter = adapter
        self.pictures: list[Picture] = []  # of the chosen samples as drawn last, on rank zero
        self._sinks: list[Sink] = []
        self._indices: list[int] = []
        self._samples: dict[int, Sample] = {}
        self._worst: list[Sample] = []
        self._look = Look()
        self._seen = 0
        self._shuffled = False
        self._validations = 0
        self._pending: int | None = None  # the step of a validation that is not drawn yet
        self._warned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers."""
        self._sinks = open_sinks(trainer, type(self).__name__)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint was taken."""
        resume_sinks(trainer, self._sinks)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples, once."""
        self._begin(trainer, pl_module, trainer.val_dataloaders, trainer.num_val_batches)

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
                self._rehearse(checked)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is due."""
        if trainer.sanity_checking:
            return
        fitting = trainer.state.fn == "fit"
        step = log_step(trainer)
        # Without a logger nobody sees them before the end, and save_sheet needs the last alone.
        waits = fitting and not (trainer.loggers and self._is_due(trainer))
        self._pending = step if waits else None
        self._validations += fitting
        if self._pending is None:
            self._draw(trainer, "val", step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation, whichever way training came to its end."""
        if self._pending is not None:
            self._draw(trainer, "val", self._pending)
            self._pending = None
        if self._validations > _SLIDER and self.schedule == "every":
            rank_zero_info(
                f"TensorBoard shows {_SLIDER} of {self._validations} pictures of a tag; "
                "run it with --samples_per_plugin images=1000 to see all"
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples of the test set."""
        self._indices = []
        self._begin(trainer, pl_module, trainer.test_dataloaders, trainer.num_test_batches)

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
        self._draw(trainer, "test", log_step(trainer))
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
        Image.fromarray(_sheet(self.pictures)).save(path)
        return path

    def _is_due(self, trainer: Trainer) -> bool:
        if self.schedule == "every":
            return True
        return pictures_due(self._validations, validations_in(trainer))

    def _begin(
        self,
        trainer: Trainer,
        module: LightningModule,
        loaders: Any,
        num_batches: Sequence[int | float],
    ) -> None:
        self._seen = 0
        self._samples, self._worst = {}, []
        self._look = self._made_look(trainer, module)
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
        if not isinstance(outputs, Mapping) or any(key not in outputs for key in NEEDED):
            got = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise TypeError(
                f"{type(self).__name__}: {step} must return a dict with {', '.join(NEEDED)} "
                f"(see lightning_hparams.outputs), got {got}; "
                "return one, or pass PredictionMonitor(adapter=...)"
            )
        check_output(outputs, step)
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
            indices = torch.as_tensor(indices).tolist()
        self._seen += count
        wanted = set(self._indices) - set(self._samples)
        for place, index in enumerate(indices):
            if index in wanted:
                self._samples[index] = pick(outputs, place, index)
                self._warn_if_normalised(self._samples[index].image)
        if self.worst_k and trainer.loggers:
            self._keep_worst(outputs, indices)

    def _keep_worst(self, outputs: Mapping[str, Any], indices: Sequence[int]) -> None:
        full = len(self._worst) == self.worst_k
        least = self._worst[-1].badness if full else 0.0
        # At most k of a batch can be among the worst k, so no more are copied from the device.
        scores = badness(outputs, self._look)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], indices[place]))
        candidates = [
            pick(outputs, place, indices[place], scores[place])
            for place in order[: self.worst_k]
            if scores[place] > 0 and scores[place] >= least
        ]
        self._worst = worst_of([*self._worst, *candidates], self.worst_k)

    def _warn_if_normalised(self, image: Tensor) -> None:
        look = self._look
        if self._warned or look.mean is not None or not image.is_floating_point():
            return
        low, high = float(image.min()), float(image.max())
        if low < 0:
            self._warned = True
            rank_zero_warn(
                f"{type(self).__name__}: image values are {low:.1f}..{high:.1f}, not 0..1, and are "
                "shown stretched; pass mean= and std= if they were normalised"
            )

    def _made_look(self, trainer: Trainer, module: LightningModule) -> Look:
        data: Any = getattr(trainer, "datamodule", None)
        mean, std = self.mean, self.std
        if mean is None and _numbers(getattr(data, "mean", None), getattr(data, "std", None)):
            mean, std = data.mean, data.std
        ignore = self.ignore_index
        return Look(
            class_names=self.class_names or getattr(module, "class_names", None),
            ignore_index=getattr(module, "ignore_index", None) if ignore is None else ignore,
            background=self.background,
            rgb=self.rgb,
            mean=mean,
            std=std,
            min_score=self.min_score,
        )

    def _rehearse(self, outputs: Mapping[str, Any]) -> None:
        """Draw a sample in memory, so that what cannot be drawn is told before training."""
        sample = pick(outputs, 0, 0)
        logits = outputs.get("logits")
        if sample.kind in ("multiclass", "binary") and logits is not None:
            # As if the last class had been predicted, which an untrained model may not do.
            pred = sample.pred.clone()
            pred[:1, :1] = max(logits.shape[1], 2) - 1
            sample = replace(sample, pred=pred)
        draw(sample, self._look, "")

    def _draw(self, trainer: Trainer, stage: str, step: int) -> None:
        samples, worst = self._gathered(trainer)
        if not trainer.is_global_zero:
            return
        there = [(place, i) for place, i in enumerate(self._indices) if i in samples]
        if is_rehearsal(trainer):
            there = there[:1]  # one shows whether drawing works
        chosen = {
            f"{place:02d}_idx{index:05d}": draw(samples[index], self._look, f"sample {index}")
            for place, index in there
        }
        self.pictures = list(chosen.values())
        if not self._sinks:
            return
        self._write(chosen, f"{stage}_pred", step)
        faults = {
            f"{place:02d}": draw(sample, self._look, f"worst {place + 1}: sample {sample.index}")
            for place, sample in enumerate(worst)
        }
        self._write(faults, f"{stage}_worst", step)
        for sink in self._sinks:
            sink.flush()

    def _write(self, pictures: Mapping[str, Picture], tag: str, step: int) -> None:
        if self.layout == "sheet" and pictures:
            pictures = {"sheet": _sheet(list(pictures.values()))}
        for name, picture in pictures.items():
            encoded = encode(picture)
            for sink in self._sinks:
                sink.image(f"{tag}/{name}", encoded, step)

    def _gathered(self, trainer: Trainer) -> tuple[dict[int, Sample], list[Sample]]:
        """The samples of all ranks. Every rank must come here."""
        if trainer.world_size == 1:
            return self._samples, self._worst
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, (self._samples, self._worst))
        samples = {index: sample for part, _ in parts for index, sample in part.items()}
        worst = worst_of((sample for _, part in parts for sample in part), self.worst_k)
        return samples, worst


def _sheet(pictures: Sequence[Picture]) -> Picture:
    widest = max(picture.shape[1] for picture in pictures)
    return sheet(pictures, max(_SHEET_WIDTH // widest, 1))


def _numbers(*values: Any) -> bool:
    """Whether each is a list of numbers, and not something else of that name."""
    return all(
        isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
        for value in values
    )


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
