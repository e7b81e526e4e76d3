"""What the code on the pages of the documentation counts on: files, a module, data."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule
from PIL import Image
from torch.utils.data import DataLoader

# What would take long, or a network, on the left; what a test runs instead.
SHORTER = {
    'weights="imagenet"': "weights=None",
    'encoder="resnet34"': 'encoder="tu-test_byobnet"',
    "size=256": "size=32",
    "num_workers=4": "num_workers=0",
    "max_epochs=20": "max_epochs=3",
    'MaskFolderData("photos", "masks"': 'MaskFolderData("photos", "masks", num_workers=0',
    'MaskFolderData("new"': 'MaskFolderData("new", num_workers=0',
}


def blocks(path, language):
    """The fenced blocks of a language on a page, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, Path(path).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shortened(code):
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    return code


class Net(LightningModule):
    """A user's classifier of no special form."""

    def __init__(self):
        super().__init__()
        self.lr = 1e-3
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        self.backbone = torch.nn.Linear(1, 1)
        self.loss = torch.nn.CrossEntropyLoss()

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        images, targets = batch
        return self.loss(self(images), targets)

    def validation_step(self, batch, batch_idx):
        images, targets = batch
        self.log("val_loss", self.loss(self(images), targets))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.lr)


class Data(LightningDataModule):
    def loader(self, shuffle):
        images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(16) % 2
        images = images + targets[:, None, None, None]
        return DataLoader(list(zip(images, targets, strict=True)), batch_size=4, shuffle=shuffle)

    def train_dataloader(self):
        return self.loader(shuffle=True)

    def val_dataloader(self):
        return self.loader(shuffle=False)


class Plain(Data):
    """Two classes that differ in brightness, so that any network learns them in a few steps."""

    def loader(self, shuffle):
        noise = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(64) % 2
        images = targets[:, None, None, None] + 0.1 * noise
        return DataLoader(list(zip(images, targets, strict=True)), batch_size=16, shuffle=shuffle)


def names_on_page():
    return {"module": Net(), "data": Data(), "__name__": "page"}


def make_files(folder):
    """Images with masks, classes, labels, numbers and boxes."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks", "new", "classes/cat", "classes/dog"):
        (folder / name).mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        mask[5:20, 5:30], mask[25:35, 10:20] = 1, 2
        for name in ("photos", *(["new"] if number < 2 else ())):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        Image.fromarray(pixels).save(
            folder / "classes" / ("cat", "dog")[number % 2] / f"{number}.png"
        )
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = [[f"{number}.png", ("cat", "dog")[number % 2]] for number in range(12)]
        csv.writer(file).writerows([["file", "label"], *rows])
    boxes = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 20, 15], "area": 300,
         "iscrowd": 0}
        for number in range(12)
    ]  # fmt: skip
    coco = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 48, "height": 40}
            for number in range(12)
        ],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "car"}],
    }
    (folder / "instances.json").write_text(json.dumps(coco))
