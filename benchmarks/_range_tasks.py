"""Small real tasks on which learning rates are judged."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from _range_training import Data, Task, set_lr, start, step
from PIL import Image
from sklearn import datasets
from torch import Tensor, nn

from lightning_hparams.data import brain_slices, brain_split
from lightning_hparams.losses import dice_loss
from lightning_hparams.schedules import one_cycle

# -- data ------------------------------------------------------------------------------------------


def _split(inputs: Tensor, target: Tensor, share: float = 0.7) -> Data:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    cut = int(share * len(inputs))
    train_part, val_part = order[:cut], order[cut:]
    return inputs[train_part], target[train_part], inputs[val_part], target[val_part]


@functools.cache
def digits() -> Data:
    """1797 digits of 8 x 8 pixels."""
    bunch = datasets.load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    return _split((images - 0.3) / 0.38, torch.tensor(bunch.target))


@functools.cache
def noisy_digits() -> Data:
    """Digits of which 40 % have a random training label."""
    inputs, target, *val = digits()
    generator = torch.Generator().manual_seed(1)
    wrong = torch.rand(len(target), generator=generator) < 0.4
    random = torch.randint(0, 10, (len(target),), generator=generator)
    return (inputs, torch.where(wrong, random, target), *val)  # type: ignore[return-value]


@functools.cache
def scaled_digits() -> Data:
    """Digits whose target is a one-hot vector of height 10."""
    inputs, target, val_inputs, val_target = digits()
    return inputs, 10 * F.one_hot(target).float(), val_inputs, 10 * F.one_hot(val_target).float()


@functools.cache
def digit_values() -> Data:
    """Digits whose target is ten times the number they show, 0..90."""
    inputs, target, val_inputs, val_target = digits()
    return inputs, 10.0 * target[:, None], val_inputs, 10.0 * val_target[:, None]


@functools.cache
def self_digits() -> Data:
    """Digits as their own target, in 0..1."""
    inputs, _, val_inputs, _ = digits()
    return inputs, inputs * 0.38 + 0.3, val_inputs, val_inputs * 0.38 + 0.3


@functools.cache
def inverted_digits() -> Data:
    """Digits with black and white exchanged and dimmed: a shift to fine-tune for."""
    inputs, target, val_inputs, val_target = digits()
    return 0.3 - 0.7 * inputs, target, 0.3 - 0.7 * val_inputs, val_target


def _table(name: str) -> tuple[Tensor, Tensor]:
    bunch = getattr(datasets, f"load_{name}")()
    features = torch.tensor(bunch.data, dtype=torch.float32)
    return (features - features.mean(0)) / features.std(0), torch.tensor(bunch.target)


@functools.cache
def cancer() -> Data:
    """569 breast-cancer samples of 30 features, two classes."""
    features, target = _table("breast_cancer")
    return _split(features, target.float()[:, None])


@functools.cache
def wine() -> Data:
    """178 wines of 13 features, three classes."""
    return _split(*_table("wine"))


@functools.cache
def diabetes(scaled: bool = True) -> Data:
    """442 patients of 10 features; the target is 25..346 unless scaled."""
    features, target = _table("diabetes")
    values = target.float()[:, None]
    return _split(features, (values - values.mean()) / values.std() if scaled else values)


@functools.cache
def brain(size: int = 32) -> Data:
    """Square axial slices of the MNI152 template, background, grey and white matter."""
    images, masks = brain_slices(size)
    train_part, val_part = brain_split(len(images), 2)
    images, masks = (images.float() / 255 - 0.24) / 0.34, masks.long()
    return images[train_part], masks[train_part], images[val_part], masks[val_part]


@functools.cache
def photo() -> Data:
    """Patches of two photographs with noise, to be cleaned."""
    patches = []
    for image in datasets.load_sample_images().images:
        small = np.asarray(Image.fromarray(image).resize((320, 212)), dtype=np.float32) / 255
        tensor = torch.from_numpy(small).permute(2, 0, 1)
        tiles = tensor.unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4)
        patches.append(tiles.reshape(-1, 3, 16, 16))
    clean = torch.cat(patches)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return _split((clean + 0.2 * noise - 0.5) / 0.3, clean)


# -- models ----------------------------------------------------------------------------------------


def mlp(inputs: int, outputs: int, width: int = 64, depth: int = 1) -> nn.Module:
    """Fully connected, ReLU."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(inputs, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def tanh_mlp() -> nn.Module:
    """Four hidden layers of tanh."""
    sizes = [64, 48, 48, 48, 48]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(48, 10))


def cnn(norm: Callable[[int], nn.Module] | None = None, dropout: float = 0.0) -> nn.Module:
    """Two convolutions, pooled, then a linear layer."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        normed = [norm(outputs)] if norm else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *normed, nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Flatten(), nn.Dropout(dropout), nn.Linear(32 * 4, 10)]
    return nn.Sequential(*block(1, 16), *block(16, 32), *head)


def residual() -> nn.Module:
    """A small residual network with BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        _Residual(16),
        nn.MaxPool2d(2),
        _Residual(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(inputs + self.inner(inputs))


class Transformer(nn.Module):
    """Two encoder layers over the 16 patches of 2 x 2 pixels."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 32)
        self.place = nn.Parameter(torch.randn(16, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(
            32, 2, 64, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        patches = F.unfold(inputs, 2, stride=2).transpose(1, 2)
        return self.head(self.encoder(self.embed(patches) + self.place).mean(1))


class UNet(nn.Module):
    """One level down and up, with BatchNorm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.down, self.middle, self.up = block(inputs, 8), block(8, 16), block(24, 8)
        self.head = nn.Conv2d(8, outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        fine = self.down(inputs)
        coarse = F.interpolate(self.middle(F.max_pool2d(fine, 2)), scale_factor=2)
        return self.head(self.up(torch.cat([fine, coarse], 1)))


def denoiser(width: int = 16) -> nn.Module:
    """Three convolutions without a norm."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 3, 3, padding=1),
    )


def autoencoder() -> nn.Module:
    """64 -> 32 -> 8 -> 32 -> 64."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 8),
        nn.Linear(8, 32),
        nn.ReLU(),
        nn.Linear(32, 64),
        nn.Unflatten(1, (1, 8, 8)),
    )


def tuned(
    model: Callable[[], nn.Module], task: str, peak: float, steps: int
) -> Callable[[], nn.Module]:
    """A model that has been trained for some steps on a task already."""

    @functools.cache
    def state() -> dict[str, Tensor]:
        before = TASKS[task]
        net, optimizer, batches = start(before, 99)
        for number, (inputs, target) in zip(range(steps), batches, strict=False):
            set_lr(optimizer, peak * one_cycle(number, steps))
            step(before, net, optimizer, inputs, target)
        return copy.deepcopy(net.state_dict())

    def build() -> nn.Module:
        seed = torch.initial_seed()
        weights = state()
        torch.manual_seed(seed)
        net = model()
        net.load_state_dict(weights)
        return net

    return build


def trained(task: Task) -> Task:
    """The same task, begun with a network that has nothing left to learn in it."""
    peak = 0.1 if task.optimizer is _sgd else 0.01
    return replace(task, model=tuned(task.model, task.name, peak, 1500))


# -- the tasks -------------------------------------------------------------------------------------

_sgd = functools.partial(torch.optim.SGD, momentum=0.9)
_adam, _adamw = torch.optim.Adam, torch.optim.AdamW
_digit_mlp = functools.partial(mlp, 64, 10)
_bn_cnn = functools.partial(cnn, nn.BatchNorm2d)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


def _segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target) + dice_loss(logits, target)


def _negative_dice(logits: Tensor, target: Tensor) -> Tensor:
    return dice_loss(logits, target) - 1


_ALL = [
    # Those that the rules were made on.
    Task("MLP, SGD", _digit_mlp, digits, F.cross_entropy, _sgd),
    Task("MLP, AdamW", _digit_mlp, digits, F.cross_entropy, _adamw),
    Task("CNN, SGD", cnn, digits, F.cross_entropy, _sgd),
    Task("CNN + BatchNorm, SGD", _bn_cnn, digits, F.cross_entropy, _sgd),
    Task("CNN + BatchNorm, AdamW", _bn_cnn, digits, F.cross_entropy, _adamw),
    Task("transformer, AdamW", Transformer, digits, F.cross_entropy, _adamw),
    Task("MLP, AdamW, batch 4", _digit_mlp, digits, F.cross_entropy, _adamw, 4),
    Task("CNN, AdamW, 40 % label noise", cnn, noisy_digits, F.cross_entropy, _adamw),
    Task("MLP, SGD, MSE of height 10", _digit_mlp, scaled_digits, F.mse_loss, _sgd),
    Task(
        "MLP, SGD, MSE unscaled",
        functools.partial(mlp, 64, 1, 64, 2),
        digit_values,
        F.mse_loss,
        _sgd,
        hard=True,
    ),
    Task(
        "MLP, SGD, continued",
        tuned(_digit_mlp, "MLP, SGD", 0.03, 100),
        digits,
        F.cross_entropy,
        _sgd,
        hard=True,
    ),
    # Those kept apart.
    Task("deep tanh MLP, SGD", tanh_mlp, digits, F.cross_entropy, _sgd, held_out=True),
    Task("residual net, SGD", residual, digits, F.cross_entropy, _sgd, held_out=True),
    Task(
        "CNN + GroupNorm, RMSprop",
        functools.partial(cnn, _group_norm),
        digits,
        F.cross_entropy,
        torch.optim.RMSprop,
        held_out=True,
    ),
    Task(
        "CNN + BatchNorm + dropout, SGD, batch 8",
        functools.partial(cnn, nn.BatchNorm2d, 0.5),
        digits,
        F.cross_entropy,
        _sgd,
        8,
        held_out=True,
    ),
    Task(
        "transformer, pre-norm, SGD",
        functools.partial(Transformer, norm_first=True),
        digits,
        F.cross_entropy,
        _sgd,
        held_out=True,
    ),
    Task(
        "autoencoder, Adam, L2",
        autoencoder,
        self_digits,
        F.mse_loss,
        torch.optim.Adam,
        held_out=True,
    ),
    Task(
        "breast cancer, MLP, AdamW",
        functools.partial(mlp, 30, 1, 32, 2),
        cancer,
        F.binary_cross_entropy_with_logits,
        _adamw,
        16,
        held_out=True,
    ),
    Task(
        "wine, MLP, SGD",
        functools.partial(mlp, 13, 3, 32),
        wine,
        F.cross_entropy,
        _sgd,
        16,
        held_out=True,
    ),
    Task(
        "diabetes, MLP, AdamW, Huber",
        functools.partial(mlp, 10, 1, 32, 2),
        diabetes,
        F.smooth_l1_loss,
        _adamw,
        32,
        held_out=True,
    ),
    Task(
        "brain slices, UNet, AdamW, CE + Dice",
        functools.partial(UNet, 1, 3),
        brain,
        _segmentation_loss,
        _adamw,
        8,
        held_out=True,
    ),
    Task(
        "brain slices, UNet, SGD, Dice - 1",
        functools.partial(UNet, 1, 3),
        brain,
        _negative_dice,
        _sgd,
        8,
        held_out=True,
        least=-1.0,
    ),
    Task("photographs, denoiser, AdamW, L1", denoiser, photo, F.l1_loss, _adamw, 32, held_out=True),
    Task(
        "diabetes, MLP, SGD, MSE unscaled",
        functools.partial(mlp, 10, 1, 32, 2),
        functools.partial(diabetes, False),
        F.mse_loss,
        _sgd,
        32,
        held_out=True,
        hard=True,
    ),
    Task(
        "CNN + BatchNorm, AdamW, continued",
        tuned(_bn_cnn, "CNN + BatchNorm, AdamW", 3e-3, 60),
        digits,
        F.cross_entropy,
        _adamw,
        held_out=True,
        hard=True,
    ),
    Task(
        "CNN, SGD, fine-tuning on inverted digits",
        tuned(cnn, "CNN, SGD", 0.1, 600),
        inverted_digits,
        F.cross_entropy,
        _sgd,
        held_out=True,
        hard=True,
    ),
]
TASKS = {task.name: task for task in _ALL}
