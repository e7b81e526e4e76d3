"""Drawn shapes as data for every task."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ..checks import one_of, whole_number
from .base import Sample, VisionData

__all__ = ["ShapesDataset", "SyntheticShapesData"]

_SHAPES = ("disc", "square", "triangle")
_CLASS_NAMES = {
    "multiclass": ["background", *_SHAPES],
    "binary": ["background", "shape"],
    "multilabel": list(_SHAPES),
    "classification": list(_SHAPES),
    "multilabel_classification": list(_SHAPES),
    "regression": ["x", "y", "radius"],
    "detection": list(_SHAPES),
}
_TASKS = {
    "classification": "multiclass",
    "multilabel_classification": "multilabel",
}  # as a task calls them
_MOST = 5  # objects in an image to detect
_OVERLAP = 0.2  # largest share of a box that another may cover
_TRIES = 20

ShapesTask = Literal[
    "multiclass",
    "binary",
    "multilabel",
    "classification",
    "multilabel_classification",
    "regression",
    "detection",
]


class SyntheticShapesData(VisionData):
    """Discs, squares and triangles of any colour on a noisy background; needs no files.

    Image ``i`` is the same in every process, worker and order.

    | ``task`` | each image |
    |---|---|
    | ``"multiclass"`` | mask with the classes background, disc, square and triangle |
    | ``"binary"`` | mask that separates shapes from background |
    | ``"multilabel"`` | masks of disc, square and triangle, which may overlap |
    | ``"classification"`` | one shape, which is the class |
    | ``"multilabel_classification"`` | up to three shapes, each of which may occur |
    | ``"regression"`` | one shape, with the position of its centre and its radius in pixels |
    | ``"detection"`` | boxes of up to five shapes; one image in ten has none |

    The attribute ``task`` is what the tasks of this package call it: ``"multiclass"`` for a
    classification, and ``"multilabel"`` for one with several labels.

    Args:
        num_train: Training images, at least 1.
        num_val: Validation images, at least 1; the test set has as many, different ones.
        size: Height and width in pixels, at least 16.
        task: See above.
        batch_size: Images per batch.
        seed: Random seed of the images.
        num_workers: Number of worker processes, which draw the images.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
    """

    in_channels = 3

    def __init__(
        self,
        num_train: int = 256,
        num_val: int = 64,
        size: int = 128,
        task: ShapesTask = "multiclass",
        batch_size: int = 8,
        seed: int = 0,
        num_workers: int = 0,
        sampler: Literal["random", "balanced"] = "random",
    ) -> None:
        super().__init__(batch_size, num_workers, sampler)
        one_of("task", task, _CLASS_NAMES)
        num_train = whole_number("num_train", num_train, 1)
        num_val = whole_number("num_val", num_val, 1)
        size = whole_number("size", size, 16)
        if sampler == "balanced" and task == "regression":
            raise ValueError("`sampler='balanced'` needs classes, which task='regression' lacks")
        self.save_hyperparameters(logger=False)  # see MaskFolderData
        self.class_names = list(_CLASS_NAMES[task])
        self.num_classes = len(self.class_names)
        self.num_train, self.num_val = num_train, num_val
        self.size, self.seed = size, seed
        self.task = _TASKS.get(task, task)
        self._drawn = partial(ShapesDataset, size=size, task=task, seed=seed)

    def setup(self, stage: str) -> None:
        """Create the datasets, which draw each image when it is requested."""
        self.train_set = self._drawn(self.num_train, 0)
        self.val_set = self._drawn(self.num_val, 1)
        self.test_set = self.predict_set = self._drawn(self.num_val, 2)


class ShapesDataset(Dataset[Sample]):
    """Images of :class:`SyntheticShapesData`; those of each ``part`` (train, ...) differ."""

    def __init__(
        self, count: int, part: int, *, size: int = 128, task: str = "multiclass", seed: int = 0
    ) -> None:
        self.count, self.part, self.size, self.task, self.seed = count, part, size, task, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.part, index])
        image, goal = self._scene(rng)
        return {
            "image": torch.from_numpy(image),
            **goal,
            "index": index,
            "path": f"shapes {self.part}/{index}",
            "size": torch.tensor([self.size, self.size]),
        }

    def class_counts(self) -> Tensor:
        """The class of each image ``(N,)``, or pixels, labels or boxes of each class ``(N, C)``."""
        if self.task == "regression":
            raise TypeError("class_counts() needs classes, which task='regression' lacks")
        count = len(_CLASS_NAMES[self.task])
        return torch.stack([_count(self[index], count) for index in range(self.count)])

    def _scene(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], Sample]:
        match self.task:
            case "classification":
                kind = int(rng.integers(len(_SHAPES)))
                image, _ = _paint(rng, [_shape(rng, kind, self.size)], self.size)
                return image, {"label": kind}
            case "regression":
                shape = _shape(rng, int(rng.integers(len(_SHAPES))), self.size)
                image, _ = _paint(rng, [shape], self.size)
                return image, {"value": torch.tensor([shape.x, shape.y, shape.radius])}
            case "detection":
                shapes = _apart(rng, self.size)
                image, boxes = _paint(rng, shapes, self.size)
                labels = torch.tensor([shape.kind for shape in shapes], dtype=torch.int64)
                return image, {"target": {"boxes": boxes, "labels": labels}}
        image, layers = _draw(rng, self.size)
        if self.task == "multilabel_classification":
            return image, {"label": torch.from_numpy(layers.any((1, 2))).long()}
        if self.task == "multilabel":
            return image, {"mask": torch.from_numpy(layers)}
        # Later shapes cover earlier ones, in the mask as in the image.
        mask = torch.from_numpy(_flattened(layers))
        return image, {"mask": (mask > 0).to(torch.uint8) if self.task == "binary" else mask}


class _Shape(NamedTuple):
    kind: int
    x: float  # of the centre
    y: float
    radius: float
    inside: npt.NDArray[np.bool_]

    @property
    def box(self) -> list[float]:
        """The pixels inside, xyxy."""
        rows, columns = (np.flatnonzero(self.inside.any(axis)) for axis in (1, 0))
        return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _count(sample: Sample, num_classes: int) -> Tensor:
    match sample:
        case {"label": int(label)}:
            return torch.tensor(label)
        case {"label": Tensor() as labels}:
            return labels
        case {"target": {"labels": Tensor() as labels}}:
            return torch.bincount(labels, minlength=num_classes)
        case {"mask": Tensor() as mask} if mask.ndim == 3:
            return mask.sum((1, 2), dtype=torch.int64)
        case {"mask": Tensor() as mask}:
            return torch.bincount(mask.flatten().long(), minlength=num_classes)
    raise AssertionError(sample)


def _draw(
    rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw an image ``(3, size, size)``, and binary masks ``(3, size, size)``, one per shape."""
    image = _ground(rng, size)
    layers = np.zeros((len(_SHAPES), size, size), dtype=np.uint8)
    kinds = rng.permutation(len(_SHAPES))[: rng.integers(1, 4)]
    for kind in sorted(kinds):
        inside = _shape(rng, int(kind), size).inside
        image = np.where(inside, rng.uniform(0, 255, (3, 1, 1)), image)
        layers[kind] = inside
    return _noisy(rng, image), layers


def _paint(
    rng: np.random.Generator, shapes: list[_Shape], size: int
) -> tuple[npt.NDArray[np.uint8], Tensor]:
    """Draw an image with the shapes, and their boxes ``(K, 4)``."""
    image = _ground(rng, size)
    for shape in shapes:
        image = np.where(shape.inside, _visible(rng, image, shape.inside), image)
    boxes = torch.tensor([shape.box for shape in shapes], dtype=torch.float32).reshape(-1, 4)
    return _noisy(rng, image), boxes


def _visible(
    rng: np.random.Generator, image: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """A colour that differs from what it covers."""
    covered = image[:, inside].mean(1)
    while True:
        color = rng.uniform(0, 255, 3)
        if np.abs(color - covered).max() > 60:
            return np.asarray(color[:, None, None])


def _apart(rng: np.random.Generator, size: int) -> list[_Shape]:
    """Place shapes such that none hides another."""
    if rng.random() < 0.1:
        return []
    shapes: list[_Shape] = []
    for _ in range(rng.integers(1, _MOST + 1)):
        for _ in range(_TRIES):
            shape = _shape(rng, int(rng.integers(len(_SHAPES))), size, least=0.06)
            if all(_cover(shape.box, other.box) <= _OVERLAP for other in shapes):
                shapes.append(shape)
                break
    return shapes


def _cover(one: list[float], other: list[float]) -> float:
    """The share of the smaller box that the larger one covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(width, 0) * max(height, 0) / min(areas)


def _ground(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    coarse = torch.from_numpy(rng.uniform(40, 215, (1, 3, 5, 5)).astype(np.float32))
    ground = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    return np.asarray(ground[0].numpy())


def _noisy(rng: np.random.Generator, image: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    noisy = image + rng.normal(0, 12, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _shape(rng: np.random.Generator, kind: int, size: int, *, least: float = 0.12) -> _Shape:
    radius = rng.uniform(least, 0.25) * size
    x0, y0 = rng.uniform(radius, size - radius, 2)
    y, x = np.mgrid[:size, :size] - np.array([y0, x0])[:, None, None]
    angle = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    match kind:
        case 0:
            inside = np.hypot(u, v) < radius
        case 1:
            inside = np.maximum(abs(u), abs(v)) < radius * 0.8
        case 2:
            inside = (v > -radius / 2) & (v + np.sqrt(3) * abs(u) < radius)
        case _:
            raise AssertionError(kind)
    return _Shape(kind, float(x0), float(y0), float(radius), np.asarray(inside))


def _flattened(layers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    mask = np.zeros(layers.shape[1:], dtype=np.uint8)
    for kind, layer in enumerate(layers):
        mask[layer > 0] = kind + 1
    return mask
