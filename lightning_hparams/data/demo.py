"""Data without a download: brain slices of the MNI152 template, and drawn shapes."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..checks import one_of, require, whole_number
from .augment import Augmentation
from .base import MaskDataset, SegmentationData

__all__ = [
    "BrainTissueData",
    "ShapesDataset",
    "SyntheticShapesData",
    "brain_slices",
    "brain_split",
]

_FIRST, _LAST = 6, 151  # axial slices that contain brain, 1 mm apart
_SIDE = 192  # side in mm of a centred square that contains the whole brain
_CENTRE = (98, 117)  # of the template, from the left and from the back
_SHAPES = ("disc", "square", "triangle")


class BrainTissueData(SegmentationData):
    """Grey and white matter in axial slices of the MNI152 template, from the nilearn package.

    Real and offline: the T1-weighted average of 152 heads (Fonov et al., 2011), its grey- and
    white-matter probability maps, 1 mm per voxel. **All slices come from that one averaged head**,
    so the scores show that training works, and nothing about new patients.

    Three blocks of ten of the 146 slices, spread from bottom to top, are both the validation and
    the test set; ``gap`` slices on each side of them are left out, since neighbouring slices are
    almost equal.

    Args:
        batch_size: Images in a batch.
        size: Height and width in pixels of the 192 mm that are shown, 32..192.
        gap: Number of slices left out between train and validation, 0..10.
        augment: Mirror training images left to right at random.
        num_workers: Number of worker processes, which only augment: the slices are in memory.

    Raises:
        ModuleNotFoundError: From ``setup``, without nilearn, which the extra ``examples`` installs.
    """

    in_channels = 1
    num_classes = 3

    def __init__(
        self,
        batch_size: int = 8,
        size: int = 128,
        gap: int = 2,
        augment: bool = True,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        whole_number("size", size, 32, _SIDE)
        whole_number("gap", gap, 0, 10)
        if not isinstance(augment, bool):
            raise TypeError(f"`augment` must be True or False, got {augment!r}")
        self.save_hyperparameters(logger=False)  # see MaskFolderData
        self.class_names = ["background", "grey matter", "white matter"]
        self.mean, self.std = [0.24], [0.34]  # of the training slices
        self.size, self.gap, self.augment = size, gap, augment

    def setup(self, stage: str) -> None:
        """Read the template and slice it."""
        if self.train_set is not None:
            return
        images, masks = brain_slices(self.size)
        train, val = brain_split(len(images), self.gap)
        # Nothing stronger: in 182 steps, changes of brightness lost 0.03 of mIoU.
        mirrored = v2.RandomHorizontalFlip() if self.augment else None
        self.train_set = _part(images, masks, train, mirrored)
        self.val_set = self.test_set = self.predict_set = _part(images, masks, val)


def brain_slices(size: int) -> tuple[Tensor, Tensor]:
    """Return axial slices from bottom to top, anterior up and left on the left.

    Returns:
        Images uint8 ``(146, 1, size, size)``, and masks uint8 ``(146, size, size)`` with 0 for
        background, 1 for grey and 2 for white matter, whichever is most probable.
    """
    nilearn = require("nilearn.datasets", extra="examples")
    nibabel = require("nibabel", extra="examples")
    paths = (nilearn.MNI152_FILE_PATH, nilearn.GM_MNI152_FILE_PATH, nilearn.WM_MNI152_FILE_PATH)
    volumes = torch.stack([_slices(np.asarray(nibabel.load(path).dataobj)) for path in paths], 1)
    resized = F.interpolate(volumes.float(), (size, size), mode="bilinear", antialias=True)
    head, grey, white = resized.unbind(1)
    masks = torch.stack([255 - grey - white, grey, white]).argmax(0)
    return head.round().to(torch.uint8)[:, None], masks.to(torch.uint8)


def brain_split(count: int, gap: int) -> tuple[list[int], list[int]]:
    """Split slices into train and validation (three blocks of ten), ``gap`` slices apart.

    >>> train, val = brain_split(146, 2)
    >>> len(train), len(val), min(abs(a - b) for a in train for b in val)
    (104, 30, 3)
    """
    starts = [count * sixths // 6 - 5 for sixths in (1, 3, 5)]
    val = [start + offset for start in starts for offset in range(10)]
    near = {index + offset for index in val for offset in range(-gap, gap + 1)}
    return [index for index in range(count) if index not in near], val


def _slices(volume: npt.NDArray[np.uint8]) -> Tensor:
    """Cut ``(x, y, z)``, growing to the right, front and top, into pictures ``(N, 192, 192)``."""
    left, back = (middle - _SIDE // 2 for middle in _CENTRE)
    box = volume[left : left + _SIDE, back : back + _SIDE, _FIRST : _LAST + 1]
    return torch.from_numpy(np.ascontiguousarray(box.transpose(2, 1, 0)[:, ::-1]))


def _part(
    images: Tensor, masks: Tensor, which: list[int], augmentation: Augmentation | None = None
) -> MaskDataset:
    names = [f"MNI152 axial slice {_FIRST + index}" for index in which]
    return MaskDataset(images[which], masks[which], names, augmentation)


class SyntheticShapesData(SegmentationData):
    """Discs, squares and triangles of any colour on a noisy background; needs no files.

    Image ``i`` is the same in every process, worker and order.

    Args:
        num_train: Training images, at least 1.
        num_val: Validation images, at least 1; the test set has as many, different ones.
        size: Height and width in pixels, at least 16.
        task: ``"multiclass"`` has the classes background, disc, square and triangle; ``"binary"``
            separates shapes from background; ``"multilabel"`` has disc, square and triangle, which
            may overlap.
        batch_size: Images per batch.
        seed: Random seed of the images.
        num_workers: Number of worker processes, which draw the images.
    """

    in_channels = 3

    def __init__(
        self,
        num_train: int = 256,
        num_val: int = 64,
        size: int = 128,
        task: Literal["multiclass", "binary", "multilabel"] = "multiclass",
        batch_size: int = 8,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        one_of("task", task, ("multiclass", "binary", "multilabel"))
        whole_number("num_train", num_train, 1)
        whole_number("num_val", num_val, 1)
        whole_number("size", size, 16)
        self.save_hyperparameters(logger=False)  # see MaskFolderData
        names = {
            "multiclass": ["background", *_SHAPES],
            "binary": ["background", "shape"],
            "multilabel": list(_SHAPES),
        }
        self.class_names = names[task]
        self.num_classes = len(self.class_names)
        self.num_train, self.num_val = num_train, num_val
        self.size, self.task, self.seed = size, task, seed

    def setup(self, stage: str) -> None:
        """Create the datasets, which draw each image when it is requested."""
        drawn = partial(ShapesDataset, size=self.size, task=self.task, seed=self.seed)
        self.train_set = drawn(self.num_train, 0)
        self.val_set = drawn(self.num_val, 1)
        self.test_set = self.predict_set = drawn(self.num_val, 2)


class ShapesDataset(Dataset[dict[str, object]]):
    """Images of :class:`SyntheticShapesData`; those of each ``part`` (train, ...) differ."""

    def __init__(
        self, count: int, part: int, *, size: int = 128, task: str = "multiclass", seed: int = 0
    ) -> None:
        self.count, self.part, self.size, self.task, self.seed = count, part, size, task, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, object]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.part, index])
        image, layers = _draw(rng, self.size)
        if self.task == "multilabel":
            mask = torch.from_numpy(layers)
        else:
            # Later shapes cover earlier ones, in the mask as in the image.
            mask = torch.from_numpy(_flattened(layers))
            if self.task == "binary":
                mask = (mask > 0).to(torch.uint8)
        return {
            "image": torch.from_numpy(image),
            "mask": mask,
            "index": index,
            "path": f"shapes {self.part}/{index}",
            "size": torch.tensor([self.size, self.size]),
        }


def _draw(
    rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw an image ``(3, size, size)``, and binary masks ``(3, size, size)``, one per shape."""
    coarse = torch.from_numpy(rng.uniform(40, 215, (1, 3, 5, 5)).astype(np.float32))
    ground = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    image = ground[0].numpy()
    layers = np.zeros((len(_SHAPES), size, size), dtype=np.uint8)
    kinds = rng.permutation(len(_SHAPES))[: rng.integers(1, 4)]
    for kind in sorted(kinds):
        inside = _shape(rng, int(kind), size)
        image = np.where(inside, rng.uniform(0, 255, (3, 1, 1)), image)
        layers[kind] = inside
    noisy = image + rng.normal(0, 12, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), layers


def _shape(rng: np.random.Generator, kind: int, size: int) -> npt.NDArray[np.bool_]:
    radius = rng.uniform(0.12, 0.25) * size
    x0, y0 = rng.uniform(radius, size - radius, 2)
    y, x = np.mgrid[:size, :size] - np.array([y0, x0])[:, None, None]
    angle = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    match kind:
        case 0:
            return np.asarray(np.hypot(u, v) < radius)
        case 1:
            return np.asarray(np.maximum(abs(u), abs(v)) < radius * 0.8)
        case 2:
            return np.asarray((v > -radius / 2) & (v + np.sqrt(3) * abs(u) < radius))
        case _:
            raise AssertionError(kind)


def _flattened(layers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    mask = np.zeros(layers.shape[1:], dtype=np.uint8)
    for kind, layer in enumerate(layers):
        mask[layer > 0] = kind + 1
    return mask
