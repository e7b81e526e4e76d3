"""Data of the 32 tasks on which the short trainings of the range test were designed.

Some need files: photographs and faces those of scikit-image's data folder, cells the annotated
blood-cell images (`Annotations/*.xml` and `JPEGImages`, as in Pascal VOC). A task whose package or
folder is not there raises ``ModuleNotFoundError`` or ``FileNotFoundError``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from _range_tasks import cancer as cancer_logits, diabetes as table_of_diabetes
from _range_training import Data
from PIL import Image
from sklearn import datasets
from torch import Tensor

Floats = npt.NDArray[np.float64]
FOLDERS: dict[str, Path | None] = {"photos": None, "cells": None}
_PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
_CELLS = ("RBC", "WBC", "Platelets")


def use_folders(photos: Path | None, cells: Path | None) -> None:
    """Read photographs and cells from these folders; None for where they are by default."""
    FOLDERS.update(photos=photos, cells=cells)


def _folder(name: str) -> Path:
    folder = FOLDERS[name]
    if folder is None and name == "photos":
        folder = Path(str(importlib.import_module("skimage").__file__)).parent / "data"
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(f"needs --{name} FOLDER, got {folder}")
    return folder


def _split(inputs: Tensor, target: Tensor, count: int) -> Data:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    first, rest = order[:count], order[count:]
    return inputs[first], target[first], inputs[rest], target[rest]


def _parts(inputs: Tensor, target: Tensor, is_val: Tensor) -> Data:
    return inputs[~is_val], target[~is_val], inputs[is_val], target[is_val]


def noisy(data: Data, share: float, classes: int, seed: int) -> Data:
    """Give some of the training samples a random label."""
    inputs, target, val_inputs, val_target = data
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(target), generator=generator) < share
    random = torch.randint(0, classes, (len(target),), generator=generator)
    return inputs, torch.where(wrong, random, target), val_inputs, val_target


# -- photographs -----------------------------------------------------------------------------------


def _photos() -> list[Image.Image]:
    folder = _folder("photos")
    images = {name: Image.open(folder / name).convert("RGB") for name in _PHOTOS}
    for name, pixels in zip(("china", "flower"), datasets.load_sample_images().images, strict=True):
        images[name] = Image.fromarray(pixels)
    cropped = []
    for _, image in sorted(images.items()):
        scale = 256 / min(image.size)
        size = max(256, round(image.width * scale)), max(256, round(image.height * scale))
        resized = image.resize(size, Image.Resampling.LANCZOS)
        cropped.append(resized.crop((0, 0, min(size[0], 448), min(size[1], 448))))
    return cropped


@functools.cache
def patches() -> Data:
    """32 x 32 patches of 18 photographs; the class is the photograph; blocks of 64 are split."""
    rng = np.random.default_rng(0)
    parts: dict[bool, tuple[list[Floats], list[int]]] = {False: ([], []), True: ([], [])}
    for label, photo in enumerate(_photos()):
        image = np.asarray(photo, dtype=np.float32) / 255
        rows, columns = image.shape[0] // 64, image.shape[1] // 64
        blocks = [(row, column) for row in range(rows) for column in range(columns)]
        rng.shuffle(blocks)
        cut = int(0.65 * len(blocks))
        for is_val, some, count in ((False, blocks[:cut], 140), (True, blocks[cut:], 50)):
            for number in range(count):
                row, column = some[number % len(some)]
                top, left = row * 64 + rng.integers(0, 33), column * 64 + rng.integers(0, 33)
                patch = image[top : top + 32, left : left + 32].transpose(2, 0, 1)
                parts[is_val][0].append(patch)
                parts[is_val][1].append(label)
    return (
        *_tensors(*parts[False]),
        *_tensors(*parts[True]),
    )


def _tensors(images: list[Floats], labels: list[int]) -> tuple[Tensor, Tensor]:
    return (torch.tensor(np.stack(images)) - 0.45) / 0.25, torch.tensor(labels)


@functools.cache
def noisy_patches() -> Data:
    """The same patches with noise, to be cleaned."""
    inputs, _, val_inputs, _ = patches()
    generator = torch.Generator().manual_seed(0)
    with_noise = [each + 0.6 * torch.randn(each.shape, generator=generator)
                  for each in (inputs, val_inputs)]  # fmt: skip
    return with_noise[0], inputs, with_noise[1], val_inputs


@functools.cache
def faces() -> Data:
    """200 patches of 25 x 25, half of them faces."""
    images = torch.from_numpy(np.load(_folder("photos") / "lfw_subset.npy")).float()[:, None]
    labels = torch.cat([torch.ones(100), torch.zeros(100)]).long()
    return _split((images - 0.5) / 0.25, labels, 130)


# -- cells -----------------------------------------------------------------------------------------


@functools.cache
def _cell_images() -> tuple[list[Image.Image], list[list[tuple[int, Floats]]]]:
    """Photographs at 320 x 240, and class and box of each cell in them."""
    folder = _folder("cells")
    images, cells = [], []
    for path in sorted((folder / "Annotations").glob("*.xml")):
        image = Image.open(folder / "JPEGImages" / f"{path.stem}.jpg").convert("RGB")
        scale = np.array([320 / image.width, 240 / image.height] * 2)
        images.append(image.resize((320, 240), Image.Resampling.LANCZOS))
        found = []
        for one in ElementTree.parse(path).getroot().iter("object"):
            sides = ("xmin", "ymin", "xmax", "ymax")
            box = np.array([float(one.findtext(f"bndbox/{side}", "0")) for side in sides])
            if box[2] > box[0] and box[3] > box[1]:
                found.append((_CELLS.index(one.findtext("name", "")), box * scale))
        cells.append(found)
    return images, cells


@functools.cache
def cells() -> Data:
    """Crops of blood cells, three classes, 32 x 32."""
    images, boxes = _cell_images()
    every = [(at, *cell) for at, some in enumerate(boxes) for cell in some]
    counts, inputs, labels, is_val = [0, 0, 0], [], [], []
    for chosen in np.random.default_rng(0).permutation(len(every)):
        at, label, (left, top, right, bottom) = every[chosen]
        if counts[label] >= 700:
            continue
        counts[label] += 1
        x, y = (left + right) / 2, (top + bottom) / 2
        reach = max(right - left, bottom - top) / 2 + 2
        inside = max(x - reach, 0), max(y - reach, 0), min(x + reach, 320), min(y + reach, 240)
        patch = images[at].resize((32, 32), Image.Resampling.BILINEAR, box=inside)
        inputs.append(np.asarray(patch, np.float32).transpose(2, 0, 1) / 255)
        labels.append(label)
        is_val.append(at % 4 == 0)
    pixels = (torch.tensor(np.stack(inputs)) - 0.7) / 0.2
    return _parts(pixels, torch.tensor(labels), torch.tensor(is_val))


@functools.cache
def few_cells() -> Data:
    """200 of them."""
    inputs, labels, *val = cells()
    return inputs[:200], labels[:200], val[0], val[1]


@functools.cache
def mislabelled_cells() -> Data:
    """The same crops, 15 % with a random label."""
    return noisy(cells(), 0.15, 3, 2)


@functools.cache
def centres() -> Data:
    """Photographs at 64 x 64; at 16 x 16 a heat map of cells, their centres and their sizes."""
    images, boxes = _cell_images()
    rows, columns = np.mgrid[:16, :16]
    inputs, maps = [], []
    for image, some in zip(images, boxes, strict=True):
        small = image.resize((64, 64), Image.Resampling.BILINEAR)
        inputs.append((np.asarray(small, np.float32).transpose(2, 0, 1) / 255 - 0.7) / 0.2)
        target = np.zeros((4, 16, 16), np.float32)
        for _, (left, top, right, bottom) in some:
            x, y = (left + right) / 40, (top + bottom) / 30
            column, row = min(int(x), 15), min(int(y), 15)
            away = (rows - row) ** 2 + (columns - column) ** 2
            target[0] = np.maximum(target[0], np.exp(-away / (2 * 0.7**2)))
            target[1, row, column] = 1
            target[2:, row, column] = (right - left) / 80, (bottom - top) / 60
        maps.append(target)
    is_val = torch.arange(len(inputs)) % 4 == 0
    return _parts(torch.tensor(np.stack(inputs)), torch.tensor(np.stack(maps)), is_val)


# -- made up ---------------------------------------------------------------------------------------


def _texture(rng: np.random.Generator, size: int, frequency: float) -> Floats:
    angle = rng.uniform(0, math.pi)
    y, x = np.mgrid[:size, :size] / size
    along = x * math.cos(angle) + y * math.sin(angle)
    return np.asarray(np.sin(2 * math.pi * frequency * along + rng.uniform(0, 6)))


def _scenes(count: int, cut: int, size: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    inputs, masks = [], []
    rows, columns = np.mgrid[:size, :size]
    for _ in range(count):
        image = 0.4 * _texture(rng, size, rng.uniform(1, 3))
        image = image + 0.3 * rng.standard_normal((size, size))
        mask = np.zeros((size, size), np.int64)
        for label in (1, 2):
            x, y = rng.uniform(6, size - 6), rng.uniform(6, size - 6)
            reach, ratio = rng.uniform(4, size / 4), rng.uniform(0.6, 1.4)
            right, down = (columns - x) / ratio, (rows - y) * ratio
            box = (abs(right) < reach * 0.85) & (abs(down) < reach * 0.85)
            inside = right**2 + down**2 < reach**2 if label == 1 else box
            mask[inside] = label
            shade = 0.5 + 0.5 * _texture(rng, size, rng.uniform(4, 7))
            image = np.where(inside, shade + 0.3 * rng.standard_normal(inside.shape), image)
        inputs.append((image[None] * rng.uniform(0.6, 1.2, (3, 1, 1))).astype(np.float32))
        masks.append(mask)
    x, y = torch.tensor(np.stack(inputs)), torch.tensor(np.stack(masks))
    return x[:cut], y[:cut], x[cut:], y[cut:]


@functools.cache
def shapes() -> Data:
    """Textured discs and boxes on a textured ground, 32 x 32, three classes of pixels."""
    return _scenes(750, 600, 32, 0)


@functools.cache
def one_box() -> Data:
    """The box around the textured box of a scene: centre, width and height in 0..1."""
    inputs, masks, val_inputs, val_masks = _scenes(1000, 800, 32, 1)
    return inputs, _boxes(masks), val_inputs, _boxes(val_masks)


def _boxes(masks: Tensor) -> Tensor:
    boxes = []
    for mask in masks.numpy():
        rows, columns = np.nonzero(mask == 2) if (mask == 2).any() else ([0, 1], [0, 1])
        top, bottom, left, right = min(rows), max(rows) + 1, min(columns), max(columns) + 1
        boxes.append(
            [(left + right) / 64, (top + bottom) / 64, (right - left) / 32, (bottom - top) / 32]
        )
    return torch.tensor(np.array(boxes, np.float32))


@functools.cache
def gabor() -> Data:
    """Small grey patches, ten classes of orientation and frequency, much noise."""
    rng = np.random.default_rng(5)
    inputs, labels = [], []
    y, x = np.mgrid[:16, :16] / 16 - 0.5
    for number in range(2000):
        label = number % 10
        angle = (label % 5) * math.pi / 5 + rng.normal(0, 0.12)
        frequency = 2.0 + 2 * (label // 5) + rng.normal(0, 0.2)
        along = x * math.cos(angle) + y * math.sin(angle)
        wave = np.sin(2 * math.pi * frequency * along + rng.uniform(0, 6)) * rng.uniform(0.5, 1.2)
        inputs.append((wave + 0.8 * rng.standard_normal((16, 16)))[None].astype(np.float32))
        labels.append(label)
    return _split(torch.tensor(np.stack(inputs)), torch.tensor(labels), 1400)


# -- tables, text ----------------------------------------------------------------------------------


@functools.cache
def friedman() -> Data:
    """Friedman's function of five of ten features, with noise."""
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(2000, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y = (y + 10 * x[:, 3] + 5 * x[:, 4] + rng.standard_normal(2000)) / 5 - 2.9
    features = torch.tensor((x - 0.5) / 0.29, dtype=torch.float32)
    return _split(features, torch.tensor(y, dtype=torch.float32)[:, None], 1300)


@functools.cache
def diabetes(scaled: bool = True) -> Data:
    """442 patients of 10 features, 300 of them for training."""
    return _again(table_of_diabetes(scaled), 300)


@functools.cache
def cancer() -> Data:
    """569 samples of 30 features, two classes, 380 for training."""
    features, target, val_features, val_target = cancer_logits()
    return _again((features, target[:, 0].long(), val_features, val_target[:, 0].long()), 380)


def _again(data: Data, count: int) -> Data:
    """The same order of samples, divided at another place."""
    inputs, target = torch.cat([data[0], data[2]]), torch.cat([data[1], data[3]])
    return inputs[:count], target[:count], inputs[count:], target[count:]


@functools.cache
def text() -> Data:
    """The source of Python's argparse, 48 characters at a time, each to predict the next."""
    source = np.frombuffer(inspect.getsource(argparse)[:90000].encode("ascii", "replace"), np.uint8)
    numbers = torch.from_numpy(np.unique(source, return_inverse=True)[1].astype(np.int64))
    count = (len(numbers) - 1) // 48 * 48
    inputs, target = numbers[:count].view(-1, 48), numbers[1 : count + 1].view(-1, 48)
    cut = int(0.8 * len(inputs))
    return inputs[:cut], target[:cut], inputs[cut:], target[cut:]
