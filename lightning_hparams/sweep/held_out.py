"""Training samples that are kept out of a short training, to judge it by."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from lightning import LightningModule, Trainer
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from ..checks import described
from ..internals import to_device
from ..isolation import random_state_kept
from .measuring import called, loss_in, measuring
from .place import Data

__all__ = ["HeldOut", "hold_out"]

_BATCHES = 16  # enough to see how much they differ
_SHARE = 5  # at most a fifth of the samples
_SAMPLES = 256  # at least, unless that is more than the share
_LEAST = 2  # samples of a batch


class _Without(Sampler[Any]):
    """The indices of another sampler, without those held out."""

    def __init__(self, sampler: Any, held: set[Any]) -> None:
        self._sampler, self._held = sampler, held

    def __iter__(self) -> Iterator[Any]:
        return (index for index in self._sampler if index not in self._held)

    def __len__(self) -> int:
        return max(len(self._sampler) - len(self._held), 1)


def hold_out(module: LightningModule, data: Data) -> list[Any]:
    """Keep some samples out of the training loader, once it is made, and return them in batches.

    Args:
        module: A copy of the user's module.
        data: A copy of the user's data.

    Returns:
        A list, filled when the loader is made. It stays empty if the samples cannot be kept apart:
        those of an IterableDataset, of several loaders, of a batch sampler of another kind, or if
        there are too few.
    """
    held: list[Any] = []
    if data.train is not None:
        _keep_out(data.train, held)
        return held
    owner: Any = module if data.datamodule is None else data.datamodule
    make = owner.train_dataloader

    def train_dataloader() -> Any:
        loader = make()
        _keep_out(loader, held)
        return loader

    vars(owner)["train_dataloader"] = train_dataloader
    return held


def _keep_out(loader: object, held: list[Any]) -> None:
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        return
    batches = loader.batch_sampler
    with random_state_kept():
        drawn = list(dict.fromkeys(itertools.islice(batches.sampler, len(loader.dataset))))
        size = len(drawn) // _SHARE
        size = min(size, max(_SAMPLES, 8 * batches.batch_size)) // _BATCHES
        if size < _LEAST or held:
            return
        kept = drawn[:: len(drawn) // (size * _BATCHES)][: size * _BATCHES]
        for first in range(0, len(kept), size):
            part = [loader.dataset[index] for index in kept[first : first + size]]
            held.append(loader.collate_fn(part))
    batches.sampler = _Without(batches.sampler, set(kept))


class HeldOut:
    """Losses of batches that were held out, before and after training."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.before: list[float] = []
        self.after: list[float] = []
        self._evaluates = True

    def measure_before(self, trainer: Trainer, module: LightningModule) -> None:
        """Measure the losses in evaluation mode, or if the step does not allow that, in training.

        torchvision's detectors, for one, return their losses in training mode only.
        """
        if not self.batches:
            return
        try:
            self.before = self._losses(trainer, module)
        except Exception:
            self._evaluates = False
            self.before = self._losses(trainer, module)

    def measure_after(self, trainer: Trainer, module: LightningModule) -> None:
        """Measure the losses in the same mode."""
        if self.batches:
            self.after = self._losses(trainer, module)

    def _losses(self, trainer: Trainer, module: LightningModule) -> list[float]:
        measured = measuring(trainer, module, evaluates=self._evaluates)
        stepping = trainer.precision_plugin.train_step_context()
        losses = []
        with measured, stepping, random_state_kept(module):
            for index, batch in enumerate(self.batches):
                moved = to_device(module, batch)
                losses.append(_mean_loss(called(module.training_step, moved, index)))
        return losses


def _mean_loss(output: object) -> float:
    loss = loss_in(output)
    if loss is None:
        raise TypeError(f"expected a loss, got {described(output)}")
    return loss.detach().float().mean().item()
