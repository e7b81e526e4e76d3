"""A third party's package: one point per image, with its kind, task, data, schedule and rule."""

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader

from lightning_hparams.samples import Kind


class Keypoint(Kind):
    name = "keypoint"

    def check(self, output, step, options):
        for key in ("preds", "targets"):
            shape = tuple(output[key].shape[1:])
            if shape != (2,):
                raise ValueError(f"{step}: {key} must be (N, 2), got {tuple(output[key].shape)}")

    def losses(self, output, options):
        return (output["preds"] - output["targets"]).norm(dim=1)

    def draw(self, sample, options, caption):
        picture = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        height, width = picture.shape[:2]
        for point, color in ((sample.target, (0, 255, 0)), (sample.pred, (255, 0, 0))):
            x, y = point.tolist()
            picture[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)] = color
        return picture

    def pick(self, output, position, scale):
        factor = torch.tensor(scale)
        return {key: output[f"{key}s"][position].cpu() * factor for key in ("pred", "target")}


class KeypointTask(LightningModule):
    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Dropout(0.2),
            torch.nn.Linear(16, 2),
        )  # fmt: skip

    def training_step(self, batch, batch_idx):
        images, points = batch
        return (self.net(images) * 16 - points).square().mean()

    def validation_step(self, batch, batch_idx):
        images, points = batch
        preds = self.net(images) * 16
        self.log("metric/distance/val", (preds - points).norm(dim=1).mean())
        return {"kind": Keypoint(), "images": images, "preds": preds, "targets": points}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)


class KeypointData(LightningDataModule):
    def loader(self, shuffle):
        numbers = np.random.default_rng(0)
        points = torch.as_tensor(numbers.integers(0, 16, (12, 2)), dtype=torch.float32)
        images = torch.zeros(12, 3, 16, 16)
        for image, (x, y) in zip(images, points.long(), strict=True):
            image[:, y, x] = 1
        return DataLoader(list(zip(images, points, strict=True)), batch_size=4, shuffle=shuffle)

    def train_dataloader(self):
        return self.loader(shuffle=True)

    def val_dataloader(self):
        return self.loader(shuffle=False)


def sawtooth(step, total, *, teeth=3):
    """Falls from 1 to 0.1, several times."""
    step, length = min(step, total - 1), max(total / teeth, 1)
    return 1 - 0.9 * (step % length) / length


def cautious(curve):
    """A tenth of the rate with the lowest loss."""
    return float(curve.lrs[curve.low]) / 10
