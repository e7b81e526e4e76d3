"""The 32 tasks on which the short trainings of the range test were designed.

Every other one was looked at while the rules were made, beginning with the first. Their records
were made on a GPU, with images compressed once more and layers of their own for the transformers,
so that figures here differ a little from those in `docs/concepts/learning_rate.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from _range_tasks import brain, denoiser, digits, mlp, noisy_digits
from _range_training import GRID, Task
from _study_data import (
    cancer,
    centres,
    diabetes,
    faces,
    few_cells,
    friedman,
    gabor,
    mislabelled_cells,
    noisy_patches,
    one_box,
    patches,
    shapes,
    text,
)
from _study_nets import (
    Tuned,
    TunedUNet,
    UNet,
    cnn,
    gpt,
    heat_map,
    resnet,
    vit,
)
from torch import Tensor

# -- losses and errors -----------------------------------------------------------------------------


def _dice(shares: Tensor, target: Tensor) -> Tensor:
    """Mean Dice of the classes but the first."""
    true = F.one_hot(target, shares.shape[1]).movedim(-1, 1)
    both, either = (shares * true).sum((0, 2, 3)), (shares + true).sum((0, 2, 3))
    return ((2 * both + 1) / (either + 1))[1:].mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of the shares."""
    return 1 - _dice(logits.softmax(1), target)


def mixed_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy and Dice."""
    return F.cross_entropy(logits, target) + dice_loss(logits, target)


def dice_error(logits: Tensor, target: Tensor) -> float:
    """1 - Dice of the most likely classes."""
    chosen = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()
    return 1 - _dice(chosen, target).item()


def centre_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Focal loss of the heat map (CenterNet, arXiv:1904.07850), and the sizes at the centres."""
    found = torch.sigmoid(outputs[:, 0]).clamp(1e-4, 1 - 1e-4)
    near, centre = target[:, 0], target[:, 1]
    wrong = (1 - centre) * (1 - near) ** 4 * found**2 * (1 - found).log()
    focal = -(centre * (1 - found) ** 2 * found.log() + wrong)
    size = F.smooth_l1_loss(outputs[:, 1:], target[:, 2:], reduction="none").sum(1) * centre
    return (focal.sum() + size.sum()) / centre.sum().clamp(min=1)


def centre_error(outputs: Tensor, target: Tensor) -> float:
    """1 - average precision of the peaks; one is right within a cell of a centre."""
    found = torch.sigmoid(outputs[:, :1])
    is_peak = (F.max_pool2d(found, 3, 1, 1) == found)[:, 0]
    near = F.max_pool2d(target[:, 1:2], 3, 1, 1)[:, 0] > 0
    hits = near[is_peak][found[:, 0][is_peak].argsort(descending=True)].float().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    recall = (hits / target[:, 1].sum()).clamp(max=1)
    best = precision.flip(0).cummax(0).values.flip(0)
    return 1 - (best * recall.diff(prepend=torch.zeros(1))).sum().item()


def box_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 of centre and size."""
    return F.smooth_l1_loss(outputs, target, beta=0.1) * 10


def box_error(outputs: Tensor, target: Tensor) -> float:
    """1 - mean IoU."""
    (low, high), (true_low, true_high) = map(_corners, (outputs, target))
    inside = torch.minimum(high, true_high) - torch.maximum(low, true_low)
    both = inside.clamp(min=0).prod(1)
    either = (high - low).prod(1) + (true_high - true_low).prod(1) - both
    return 1 - (both / either.clamp(min=1e-6)).mean().item()


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    half = boxes[:, 2:].clamp(min=0) / 2
    return boxes[:, :2] - half, boxes[:, :2] + half


def class_error(logits: Tensor, target: Tensor) -> float:
    """Share of wrong classes."""
    return (logits.argmax(1) != target).float().mean().item()


def rms_error(outputs: Tensor, target: Tensor) -> float:
    """RMSE in deviations of the target, at most 2."""
    return min(((outputs - target).square().mean().sqrt() / target.std()).item(), 2.0)


# -- the tasks -------------------------------------------------------------------------------------

_sgd, _momentum = torch.optim.SGD, functools.partial(torch.optim.SGD, momentum=0.9)
_adam, _adamw, _rms = torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
_GRIDS = {_sgd: (1e-3, 10), _momentum: (3e-4, 3), _adam: (3e-5, 0.3), _adamw: (3e-5, 0.3),
          _rms: (1e-5, 0.1)}  # fmt: skip
_ce, _wide = F.cross_entropy, (16, 32, 64)


def _grid(low: float, high: float) -> Sequence[float]:
    return [float(lr) for lr in np.geomspace(low, high, 13)]


def _encoder_at(factor: float) -> Callable[[str], float]:
    return lambda name: factor if name.startswith("encoder") else 1.0


def _letters() -> torch.nn.Module:
    return gpt(int(text()[0].max()) + 1)


_ = functools.partial
_ALL = [
    Task("digits-mlp-adamw", _(mlp, 64, 10), digits, _ce, _adamw),
    Task("digits-mlp-sgd-b16", _(mlp, 64, 10, 64, 2), digits, _ce, _sgd, 16),
    Task("digits-cnn-mom", _(cnn, 1, 10), digits, _ce, _momentum),
    Task("digits-cnn-bn-adam", _(cnn, 1, 10, "batch"), digits, _ce, _adam),
    Task("digits-cnn-noise-adamw", _(cnn, 1, 10), noisy_digits, _ce, _adamw),
    Task("digits-vit-adamw", _(vit, 1, 10, 8, 2), digits, _ce, _adamw),
    Task("digits-cnn-bn-mom-b512", _(cnn, 1, 10, "batch"), digits, _ce, _momentum, 512),
    Task("gabor-cnn-adam-b4", _(cnn, 1, 10), gabor, _ce, _adam, 4),
    Task("gabor-cnn-gn-drop-mom", _(cnn, 1, 10, "group", dropout=0.3), gabor, _ce, _momentum, 32),
    Task("gabor-cnn-bn-sgd", _(cnn, 1, 10, "batch"), gabor, _ce, _sgd, 32),
    Task("patches-resnet-mom", _(resnet, 3, 18), patches, _ce, _momentum),
    Task("patches-cnn-rms", _(cnn, 3, 18, None, _wide), patches, _ce, _rms),
    Task("patches-vit-adamw", _(vit, 3, 18, 32, 8, 0.1), patches, _ce, _adamw),
    Task("patches-denoise-adam", _(denoiser, 24), noisy_patches, F.l1_loss, _adam, 32),
    Task("cells-cnn-bn-adamw", _(cnn, 3, 3, "batch", _wide), mislabelled_cells, _ce, _adamw),
    Task("cells-few-cnn-mom", _(cnn, 3, 3, None, _wide), few_cells, _ce, _momentum, 32),
    Task("cells-heat-bn-adamw", _(heat_map, "batch"), centres, centre_loss, _adamw, 32),
    Task("cells-heat-gn-mom", _(heat_map, "group"), centres, centre_loss, _momentum, 16),
    Task("shapes-unet-bn-adamw", _(UNet, 3, 3, "batch"), shapes, mixed_loss, _adamw, 32),
    Task("shapes-unet-adam-dice", _(UNet, 3, 3, None), shapes, dice_loss, _adam, 32),
    Task("brain-unet-bn-mom", _(UNet, 1, 3, "batch", 8), _(brain, 48), mixed_loss, _momentum, 16),
    Task("shapes-box-rms", _(cnn, 3, 4, "group", _wide), one_box, box_loss, _rms),
    Task("faces-cnn-gn-adam", _(cnn, 1, 2, "group"), faces, _ce, _adam, 32),
    Task("friedman-mlp-mom", _(mlp, 10, 1, 64, 2), friedman, F.mse_loss, _momentum),
    Task("diabetes-mlp-adamw", _(mlp, 10, 1, 32, 2), diabetes, F.smooth_l1_loss, _adamw, 32),
    Task(
        "diabetes-raw-mlp-adam", _(mlp, 10, 1, 32, 2), _(diabetes, False), F.mse_loss, _adam, 32,
        grid=_grid(3e-4, 3),
    ),
    Task("cancer-mlp-rms", _(mlp, 30, 2, 32, 2), cancer, _ce, _rms, 16),
    Task("text-gpt-adamw", _letters, text, _ce, _adamw, 32),
    Task(
        "tune-cells-free-adamw", _(Tuned, 3), few_cells, _ce, _adamw, 32, grid=_grid(1e-5, 0.1)
    ),
    Task(
        "tune-patches-frozen-adamw", _(Tuned, 18, True), patches, _ce, _adamw,
        factor=_encoder_at(0.0),
    ),
    Task("tune-patches-free-mom", _(Tuned, 18), patches, _ce, _momentum, 32),
    Task(
        "tune-shapes-unet-groups-adamw", _(TunedUNet, 3), shapes, mixed_loss, _adamw, 32,
        factor=_encoder_at(0.1),
    ),
]  # fmt: skip
_ERRORS = {
    _ce: class_error, dice_loss: dice_error, mixed_loss: dice_error, centre_loss: centre_error,
    box_loss: box_error, F.l1_loss: rms_error, F.mse_loss: rms_error, F.smooth_l1_loss: rms_error,
}  # fmt: skip


def _complete(task: Task, held_out: bool) -> Task:
    grid = _grid(*_GRIDS[task.optimizer]) if task.grid is GRID else task.grid  # type: ignore[index]
    return replace(task, grid=grid, error=_ERRORS[task.loss], held_out=held_out)


STUDY = {task.name: _complete(task, held_out=bool(number % 2)) for number, task in enumerate(_ALL)}
