"""Prediction pictures in every logger of the Trainer: the same samples each time, and the worst."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image
from torch import Tensor

from ..checks import in_range, names_in, one_of, whole_number
from ..internals import log_step
from ..outputs import Output
from ..render import Picture, encode, is_unit_range, sheet
from ..samples import (
    NEEDED,
    Look,
    Sample,
    badness,
    check_output,
    classes_of,
    draw,
    first_of_each,
    pick,
    tidied,
    worst_of,
)
from ..sinks import Sink, is_rehearsal, open_sinks
from ._idle_hooks import skip_idle_hooks
from ._loader_order import first_loader, keeps_order, order_of, reachable
from ._log_step import pictures_due, resume_sinks, validations_in

__all__ = ["PredictionMonitor"]

_FAILURE = "a failure"  # which is told of once, whatever failed
_SELECTIONS = ("spread", "first", "per_class")
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
    :mod:`~lightning_hparams.outputs`. Only the first dataloader is shown. What cannot be drawn is
    an error in the sanity check; later, it is one warning, and training goes on.

    Args:
        num_samples: Number of samples, at least 1.
        select: ``"spread"`` evenly over the dataset, ``"first"``, ``"per_class"``: the first
            samples of each class in turn, by the targets; or a list of dataset indices, of which a
            test shows those that it has.
        worst_k: Number of worst samples, 0 for none: those with the highest ``losses`` where the
            output has them; else the lowest IoU, the least probable true class, or the most false
            and missed boxes.
        schedule: ``"log"`` as above, or ``"every"`` validation.
        layout: A tag for each of the ``"samples"``, or one for all on a ``"sheet"``.
        class_names: A name for each class, the background included; None to ask the module.
        ignore_index: Mask value that does not count; None to ask the module.
        class_colors: Red, green and blue in 0..255 for each class, in masks and boxes; None for
            :func:`~lightning_hparams.render.palette`.
        background: Class that is not painted in masks: an index, None for the class called
            background or unlabelled and for 0 of binary masks, or -1 for none.
        rgb: The three image channels to show as red, green and blue.
        mean: Of each channel in units of 0..1, where the step returns images that were normalised:
            those with values outside 0..1. None to ask the datamodule.
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
        min_score: float = 0.3,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        whole_number("num_samples", num_samples, 1)
        whole_number("worst_k", worst_k, 0)
        in_range("min_score", min_score, 0, 1)
        if isinstance(select, str):
            one_of("select", select, _SELECTIONS, otherwise="or a list of dataset indices")
        elif not isinstance(select, Iterable):
            raise TypeError(
                f"`select` must be one of {list(_SELECTIONS)} or a list of dataset indices, "
                f"got {select!r}"
            )
        else:
            for index in select:
                whole_number("select", index, 0)
        one_of("schedule", schedule, ("log", "every"))
        one_of("layout", layout, ("samples", "sheet"))
        if class_names is not None:
            names_in("class_names", class_names)
        if class_colors is not None:
            for color in class_colors:
                if len(color) != 3:
                    raise ValueError(f"`class_colors` needs (red, green, blue), got {color}")
                for part in color:
                    whole_number("class_colors", part, 0, 255)
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
        # NumPy's numbers would make a checkpoint that cannot be loaded with weights_only=True.
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
        self.min_score = min_score
        self.adapter = adapter
        self.pictures: list[Picture] = []  # of the chosen samples as drawn last, on rank zero
        self._sinks: list[Sink] = []
        self._indices: list[int] = []  # of the validation set
        self._shown: list[int] = []  # of the set that is gone through
        self._classes: dict[int, list[int]] | None = None  # of each, while they are being chosen
        self._samples: dict[int, Sample] = {}
        self._worst: list[Sample] = []
        self._look = Look()
        self._seen = 0
        self._size: int | None = None  # samples that the loader goes through, if it says
        self._order: Sequence[int] | None = None  # in which a sampler takes the dataset, if it says
        self._shuffled = False
        self._validations = 0
        self._pending: _Drawing | None = None  # a validation that is not drawn yet
        self._told: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, and begin anew: a checkpoint's values come after this."""
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._told = set()
        if stage in ("fit", "validate"):
            self._indices, self._validations, self._pending = [], 0, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint was taken."""
        resume_sinks(trainer, self._sinks)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples, once."""
        self._begin(trainer, pl_module, "val", trainer.num_val_batches[0])

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
        if dataloader_idx:
            return
        if batch_idx == 0 and _may_fail(trainer):
            self._rehearse(outputs, batch, "validation_step")
        if not trainer.sanity_checking:
            self._keep(trainer, outputs, batch, "validation_step")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is due."""
        if trainer.sanity_checking:
            return
        drawing = self._end(trainer)
        self._indices = self._shown
        fitting = trainer.state.fn == "fit"
        # Without a logger nobody sees them before the end, and save_sheet needs the last alone.
        waits = fitting and not (trainer.loggers and self._is_due(trainer))
        self._pending = drawing if waits else None
        self._validations += fitting
        if not waits:
            self._draw(trainer, "val", drawing)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation."""
        self._finish(trainer)
        if self._validations > _SLIDER and self.schedule == "every":
            rank_zero_info(
                f"TensorBoard shows {_SLIDER} of {self._validations} pictures of a tag; "
                "run it with --samples_per_plugin images=1000 to see all"
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw the last validation, where that needs no other process: they may be gone."""
        if trainer.world_size > 1:
            self._pending = None
        with self._forgiving("draw the last validation"):
            self._finish(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the samples of the test set."""
        self._begin(trainer, pl_module, "test", trainer.num_test_batches[0])

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
        if dataloader_idx:
            return
        if batch_idx == 0:
            self._rehearse(outputs, batch, "test_step")
        self._keep(trainer, outputs, batch, "test_step")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw(trainer, "test", self._end(trainer))

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
        self, trainer: Trainer, module: LightningModule, stage: str, num_batches: int | float
    ) -> None:
        self._seen = 0
        self._samples, self._worst = {}, []
        self._classes = None
        self._look = self._made_look(trainer, module)
        loader = first_loader(trainer)
        self._order = order_of(loader)
        self._shuffled = not keeps_order(loader)
        self._size = reachable(loader, float("inf"), trainer.world_size)
        if stage == "val" and self._indices:
            self._shown = self._indices
            return
        size = reachable(loader, num_batches, trainer.world_size)
        try:
            self._shown = self._chosen(size, stage, is_rehearsal(trainer))
        except ValueError as error:
            if stage == "val" and not _may_fail(trainer):
                self._warn_of_failure("choose samples", error)
                self._shown = []
            else:
                raise
        if self.select == "per_class":
            self._classes = {}

    def _chosen(self, size: int | None, stage: str, rehearsal: bool) -> list[int]:
        """The indices to show, of the ``size`` samples that are seen."""
        order = self._order
        if size is not None and order is not None:
            size = min(size, len(order))
        if isinstance(self.select, list) and not rehearsal:
            seen: Container[int] = range(size) if size is not None else self.select
            if size is not None and order is not None:
                seen = {int(index) for index in order[:size]}
            outside = [index for index in self.select if index not in seen]
            if outside and stage == "val":
                raise ValueError(
                    f"`select` has indices outside the validation set: {outside}, "
                    f"which shows {size} samples (see limit_val_batches)"
                )
            return [index for index in self.select if index not in outside]
        if self.select == "per_class":
            return []
        count = self.num_samples if size is None else min(self.num_samples, size)
        if self.select == "first" or rehearsal or size is None:
            places = list(range(count))
        else:
            places = [(2 * place + 1) * size // (2 * count) for place in range(count)]
        return places if order is None else [int(order[place]) for place in places]

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
        return tidied(outputs, self._look)

    def _rehearse(self, outputs: Any, batch: Any, step: str) -> None:
        """Rate and draw in memory, so that what cannot be drawn is told before training."""
        checked = self._checked(outputs, batch, step)
        check_output(checked, step, self._look)
        if self.worst_k:
            badness(checked, self._look)
        if self.select == "per_class":
            classes_of(checked, self._look)
        draw(pick(checked, 0, 0, self._look), self._look, "")

    def _keep(self, trainer: Trainer, outputs: Any, batch: Any, step: str) -> None:
        with self._forgiving("keep samples"):
            checked = self._checked(outputs, batch, step)
            indices = self._dataset_indices(trainer, checked)
            if self._classes is not None:
                self._choose_by_class(checked, indices)
            wanted = set(self._shown) - set(self._samples)
            for place, index in enumerate(indices):
                if index in wanted:
                    self._warn_if_normalised(checked["images"][place])
                    self._samples[index] = pick(checked, place, index, self._look)
            if self.worst_k and trainer.loggers:
                self._keep_worst(checked, indices)

    def _dataset_indices(self, trainer: Trainer, outputs: Mapping[str, Any]) -> list[int]:
        count = len(outputs["images"])
        start, self._seen = self._seen, self._seen + count
        if outputs.get("indices") is not None:
            indices: list[int] = torch.as_tensor(outputs["indices"]).tolist()
            return indices
        if self._shuffled:
            self._warn_once(
                "cannot show the same samples each time: the validation loader shuffles, and its "
                "batches carry no 'index'; turn shuffling off"
            )
        # Without a dataset index: the position, as a distributed sampler deals them out.
        ranks, rank = trainer.world_size, trainer.global_rank
        places = [place * ranks + rank for place in range(start, start + count)]
        if self._size:
            places = [place % self._size for place in places]  # it begins anew to fill the last
        order = self._order
        if order is None:
            return places
        return [int(order[place]) if place < len(order) else place for place in places]

    def _choose_by_class(self, outputs: Mapping[str, Any], indices: Sequence[int]) -> None:
        """Drop what can be among the chosen no more: a new class takes the place of others."""
        found = classes_of(outputs, self._look)
        there = {**(self._classes or {}), **dict(zip(indices, found, strict=True))}
        self._shown = first_of_each(there, self.num_samples)
        self._classes = {index: there[index] for index in self._shown}
        self._samples = {i: one for i, one in self._samples.items() if i in self._classes}

    def _keep_worst(self, outputs: Mapping[str, Any], indices: Sequence[int]) -> None:
        full = len(self._worst) == self.worst_k
        least = self._worst[-1].badness if full else 0.0
        # At most k of a batch can be among the worst k, so no more are copied from the device.
        scores = badness(outputs, self._look)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], indices[place]))
        candidates = [
            pick(outputs, place, indices[place], self._look, scores[place])
            for place in order[: self.worst_k]
            if scores[place] > 0 and scores[place] >= least
        ]
        self._worst = worst_of([*self._worst, *candidates], self.worst_k)

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
            colors=None if self.class_colors is None else np.array(self.class_colors, np.uint8),
        )

    def _end(self, trainer: Trainer) -> _Drawing:
        """What was kept, and nothing of it here any more. Every rank must come here."""
        if self._classes is not None:
            there = {
                i: kinds for part in _gathered(trainer, self._classes) for i, kinds in part.items()
            }
            self._shown = first_of_each(there, self.num_samples)
            self._classes = None
        drawing = _Drawing(log_step(trainer), self._shown, self._samples, self._worst, self._look)
        self._samples, self._worst = {}, []
        return drawing

    def _finish(self, trainer: Trainer) -> None:
        if self._pending is not None:
            drawing, self._pending = self._pending, None
            self._draw(trainer, "val", drawing)
        for sink in self._sinks:
            sink.flush()

    def _draw(self, trainer: Trainer, stage: str, drawing: _Drawing) -> None:
        """Every rank must come here."""
        parts = _gathered(trainer, (drawing.samples, drawing.worst))
        if not trainer.is_global_zero:
            return
        samples = {index: sample for part, _ in parts for index, sample in part.items()}
        there = [(place, i) for place, i in enumerate(drawing.shown) if i in samples]
        if drawing.shown and not there and _FAILURE not in self._told:
            self._warn_once(
                f"shows no picture: none of the samples {drawing.shown} was seen; pass "
                "select='first', or indices that the loader gives"
            )
        if is_rehearsal(trainer):
            there = there[:1]  # one shows whether drawing works
        chosen = self._pictures(
            drawing, {f"{p:02d}_idx{i:05d}": (f"sample {i}", samples[i]) for p, i in there}
        )
        self.pictures = list(chosen.values())
        if not self._sinks:
            return
        self._write(chosen, f"{stage}_pred", drawing.step)
        worst = worst_of((sample for _, part in parts for sample in part), self.worst_k)
        faults = {
            f"{place:02d}": (f"worst {place + 1}: sample {sample.index}", sample)
            for place, sample in enumerate(worst)
        }
        self._write(self._pictures(drawing, faults), f"{stage}_worst", drawing.step)
        for sink in self._sinks:
            sink.flush()

    def _pictures(
        self, drawing: _Drawing, samples: Mapping[str, tuple[str, Sample]]
    ) -> dict[str, Picture]:
        """By name, from caption and sample."""
        pictures = {}
        for name, (caption, sample) in samples.items():
            with self._forgiving(f"draw sample {sample.index}"):
                pictures[name] = draw(sample, drawing.look, caption)
        return pictures

    def _write(self, pictures: Mapping[str, Picture], tag: str, step: int) -> None:
        if self.layout == "sheet" and pictures:
            pictures = {"sheet": _sheet(list(pictures.values()))}
        for name, picture in pictures.items():
            encoded = encode(picture)
            for sink in self._sinks:
                sink.image(f"{tag}/{name}", encoded, step)

    @contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        """No picture is worth a training: what fails is told of, once."""
        try:
            yield
        except Exception as error:
            self._warn_of_failure(what, error)

    def _warn_of_failure(self, what: str, error: Exception) -> None:
        told = f"could not {what}, training goes on: {type(error).__name__}: {error}"
        self._warn_once(told, about=_FAILURE)

    def _warn_if_normalised(self, image: Tensor) -> None:
        if self._look.mean is None and image.is_floating_point() and not is_unit_range(image):
            low, high = float(image.min()), float(image.max())
            if low < 0:
                self._warn_once(
                    f"image values are {low:.1f}..{high:.1f}, not 0..1, and are shown stretched; "
                    "pass mean= and std= if they were normalised",
                    about="the range",
                )

    def _warn_once(self, message: str, about: str | None = None) -> None:
        about = about or message
        if about not in self._told:
            self._told.add(about)
            rank_zero_warn(f"{type(self).__name__}: {message}")


@dataclass(frozen=True)
class _Drawing:
    """What a validation has to show."""

    step: int
    shown: Sequence[int]  # the indices of the chosen samples, in their order
    samples: Mapping[int, Sample]
    worst: Sequence[Sample]
    look: Look


def _may_fail(trainer: Trainer) -> bool:
    """Whether an error ends no training: it comes before, or there is none."""
    return bool(trainer.sanity_checking) or trainer.state.fn != "fit" or is_rehearsal(trainer)


def _gathered(trainer: Trainer, part: Any) -> list[Any]:
    """The parts of all ranks. Every rank must come here."""
    parts: list[Any] = [part] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(parts, part)
    return parts


def _sheet(pictures: Sequence[Picture]) -> Picture:
    widest = max(picture.shape[1] for picture in pictures)
    return sheet(pictures, max(_SHEET_WIDTH // widest, 1))


def _numbers(*values: Any) -> bool:
    """Whether each is a list of numbers, and not something else of that name."""
    return all(
        isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
        for value in values
    )
