"""Detectors of libreyolo, trained from scratch by its own training call for a number of seconds.

Needs ``libreyolo`` (1.6 was tried), which is no requirement of this project. Its training counts
epochs and its schedule needs to know how many, so a rehearsal measures what an epoch takes.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import write_png
from torchvision.ops import box_convert
from torchvision.transforms.functional import to_pil_image

__all__ = [
    "YOLOS",
    "Trained",
    "epochs_within",
    "train_yolo",
    "why_no_yolo",
    "write_yolo",
]

Predict = Callable[[Sequence[Tensor]], list[dict[str, Tensor]]]

_STRIDE = 32
YOLOS = {  # class and size of the smallest variants
    "libreyolo PicoDet-S": ("LibrePICODET", "s"),
    "libreyolo YOLOX-nano": ("LibreYOLOX", "n"),
}


class Trained(NamedTuple):
    """A trained detector.

    Args:
        predict: Boxes of images in 0..1, with labels from 1 as torchvision counts.
        steps: Optimizer steps taken.
        epochs: Epochs trained.
        seconds: Seconds of the training call.
    """

    predict: Predict
    steps: int
    epochs: int
    seconds: float


def why_no_yolo() -> str | None:
    """The reason that libreyolo cannot be imported, or None."""
    try:
        for name, _ in YOLOS.values():
            getattr(importlib.import_module("libreyolo"), name)
        importlib.import_module("libreyolo.cli")  # its training looks up the options' names there
    except ImportError as error:
        return str(error)
    return None


# -- data ------------------------------------------------------------------------------------------


def write_yolo(
    folder: Path, splits: Mapping[str, Dataset[Any]], class_names: Sequence[str]
) -> Path:
    """Write images and boxes in YOLO's layout, and return the file that describes them.

    Args:
        folder: Where to.
        splits: Samples with ``image`` and ``target`` by ``"train"`` and ``"val"``. They must not be
            augmented. Boxes of crowds are left out, since the layout has no mark for them.
        class_names: Names of the classes.
    """
    for split, samples in splits.items():
        images, labels = (folder / kind / split for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(len(samples)):  # type: ignore[arg-type]  # all of ours have a length
            image, target = samples[index]["image"], samples[index]["target"]
            write_png(image, str(images / f"{index:05}.png"))
            (labels / f"{index:05}.txt").write_text("\n".join(_lines(image, target)))
    description = folder / "data.yaml"
    names = "".join(f"  {index}: {name!r}\n" for index, name in enumerate(class_names))
    description.write_text(
        f"path: {folder}\n"
        + "".join(f"{split}: images/{split}\n" for split in splits)
        + f"nc: {len(class_names)}\nnames:\n{names}"
    )
    return description


def _lines(image: Tensor, target: Mapping[str, Tensor]) -> Iterator[str]:
    height, width = image.shape[-2:]
    kept = ~target["crowd"]
    shares = box_convert(target["boxes"][kept], "xyxy", "cxcywh")
    shares = shares / torch.tensor([width, height, width, height])
    for label, box in zip(target["labels"][kept].tolist(), shares.tolist(), strict=True):
        yield " ".join([str(label), *(f"{number:.7f}" for number in box)])


# -- training --------------------------------------------------------------------------------------


def epochs_within(seconds: float, usual: float, last: float, num_last: int) -> tuple[int, int]:
    """How many epochs fit, and how many of them are the last ones.

    Args:
        seconds: The time there is.
        usual: Seconds of an epoch.
        last: Seconds of one of the last epochs, which are without mosaics.
        num_last: The most of these; no more than a quarter of all epochs are.
    """

    def lasting(epochs: int) -> float:
        few = min(num_last, epochs // 4)
        return (epochs - few) * usual + few * last

    epochs = 1
    while lasting(epochs + 1) <= seconds:
        epochs += 1
    return epochs, min(num_last, epochs // 4)


class _Clock:
    """Seconds of each epoch, with the checkpoint that it writes."""

    def __init__(self) -> None:
        self.times = list[float]()

    def on_train_start(self, event: object) -> None:
        self.times.append(time.perf_counter())

    def on_train_epoch_end(self, event: object) -> None:
        self.times.append(time.perf_counter())

    def seconds(self, epoch: int) -> float:
        return self.times[epoch + 1] - self.times[epoch]


@contextmanager
def _quietly() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # building a model sets the level of libreyolo's own logger
    try:
        yield
    finally:
        logging.disable(before)


def train_yolo(
    name: str,
    splits: Mapping[str, Dataset[Any]],
    class_names: Sequence[str],
    seconds: float,
    *,
    size: int,
    seed: int = 0,
    device: str = "cpu",
    num_workers: int = 0,
) -> Trained:
    """Train a detector of libreyolo from scratch, with the settings of its own training call.

    Only what must follow from a short training differs from them: the number of epochs, no more
    than a tenth of it for the warm-up, and no more than a quarter for the epochs without mosaics.
    Validation is off, as it is for ours, and the images are kept in memory.

    Args:
        name: One of ``YOLOS``.
        splits: See :func:`write_yolo`.
        class_names: Names of the classes.
        seconds: How long to train. The rehearsal of three epochs is not counted.
        size: Height and width of the images, rounded up to what the strides divide.
        seed: Of weights and order.
        device: ``"cpu"`` or ``"cuda"``.
        num_workers: Processes that load images.
    """
    class_name, variant = YOLOS[name]
    build = getattr(importlib.import_module("libreyolo"), class_name)
    usual = build.TRAIN_CONFIG()
    size = -(-size // _STRIDE) * _STRIDE  # YOLOX fails with others

    def trained(folder: str, epochs: int, num_last: int) -> tuple[Any, dict[str, Any], _Clock]:
        model = build(size=variant, nb_classes=len(class_names), device=device)
        clock = _Clock()
        results = model.train(
            data=str(data),
            epochs=epochs,
            imgsz=size,
            device=device,
            workers=num_workers,
            seed=seed,
            project=str(data.parent / "runs"),
            name=folder,
            pretrained=False,
            patience=0,
            callbacks=clock,
            warmup_epochs=min(usual.warmup_epochs, max(1, epochs // 10)),
            no_aug_epochs=num_last,
            save_period=0,
            val=False,
            cache="ram",
        )
        return model, results, clock

    with tempfile.TemporaryDirectory() as folder, _quietly():
        data = write_yolo(Path(folder), splits, class_names)
        few = min(1, usual.no_aug_epochs)
        _, _, clock = trained("rehearsal", 3, few)
        epochs, num_last = epochs_within(
            seconds, clock.seconds(1), clock.seconds(2), usual.no_aug_epochs
        )
        start = time.perf_counter()
        _, results, _ = trained("training", epochs, num_last)
        spent = time.perf_counter() - start
        # The last checkpoint holds the averaged weights, which are what it validates and ships.
        model = build(results["last_checkpoint"], size=variant, device=device)
    steps = epochs * -(-len(splits["train"]) // usual.batch)  # type: ignore[arg-type]
    return Trained(_predictor(model, size), steps, epochs, spent)


def _predictor(model: Any, size: int) -> Predict:
    """Predictions with the thresholds that libreyolo validates with."""

    def predict(images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        with _quietly():
            found = model.predict(
                [to_pil_image(image.cpu()) for image in images],
                conf=0.001,
                iou=0.6,
                max_det=100,
                imgsz=size,
                batch=len(images),
            )
        return [
            {
                "boxes": torch.as_tensor(one.boxes.xyxy).float().cpu(),
                "scores": torch.as_tensor(one.boxes.conf).float().cpu(),
                "labels": torch.as_tensor(one.boxes.cls).long().cpu() + 1,
            }
            for one in found
        ]

    return predict
