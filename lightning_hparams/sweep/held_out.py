"""Training samples that are kept out of a short training, to judge it by."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from lightning import LightningModule, Trainer
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from ..checks import described
from ..internals import to_device, uses_distributed_sampler
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


class _ShareWithout(DistributedSampler[Any]):
    """A rank's share of the indices that are not held out, as large as that of the other ranks."""

    def __init__(
        self, shared: DistributedSampler[Any], order: Sequence[int], held: set[Any]
    ) -> None:
        super().__init__(
            [index for index in order if index not in held],  # type: ignore[arg-type]  # has a length
            num_replicas=shared.num_replicas,
            rank=shared.rank,
            shuffle=shared.shuffle,
            seed=shared.seed,
            drop_last=shared.drop_last,
        )

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in super().__iter__())


def hold_out(trainer: Trainer, module: LightningModule, data: Data) -> list[Any]:
    """Keep some samples out of the training loader, once it is made, and return them in batches.

    Under DDP they are the same on every rank, and in the training of none.

    Args:
        trainer: The Trainer that will use the loader.
        module: A copy of the user's module.
        data: A copy of the user's data.

    Returns:
        A list, filled when the loader is made. It stays empty if the samples cannot be kept apart:
        those of an IterableDataset, of several loaders, of a batch sampler of another kind, of
        ranks whose samples are not divided by a DistributedSampler, or if there are too few.
    """
    held: list[Any] = []
    keep_out = partial(_keep_out, held=held, trainer=trainer)
    if data.train is not None:
        keep_out(data.train)
        return held
    owner: Any = module if data.datamodule is None else data.datamodule
    make = owner.train_dataloader

    def train_dataloader() -> Any:
        loader = make()
        keep_out(loader)
        return loader

    vars(owner)["train_dataloader"] = train_dataloader
    return held


def _keep_out(loader: object, *, held: list[Any], trainer: Trainer) -> None:
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        return
    if trainer.overfit_batches:  # type: ignore[attr-defined]  # Lightning replaces the sampler
        return
    batches = loader.batch_sampler
    shared = _shared(loader, trainer) if trainer.world_size > 1 else None
    if trainer.world_size > 1 and shared is None:
        return
    with random_state_kept():
        order = batches.sampler if shared is None else _of_all_ranks(shared)
        drawn = list(dict.fromkeys(itertools.islice(order, len(loader.dataset))))
        size = len(drawn) // _SHARE
        size = min(size, max(_SAMPLES, 8 * batches.batch_size)) // _BATCHES
        if size < _LEAST or held:
            return
        kept = drawn[:: len(drawn) // (size * _BATCHES)][: size * _BATCHES]
        for first in range(0, len(kept), size):
            part = [loader.dataset[index] for index in kept[first : first + size]]
            held.append(loader.collate_fn(part))
    if shared is None:
        batches.sampler = _Without(batches.sampler, set(kept))
    else:
        batches.sampler = _ShareWithout(shared, drawn, set(kept))
        # Lightning divides the samples of any other sampler itself, the held ones included.
        vars(loader)["sampler"] = batches.sampler


def _shared(loader: DataLoader[Any], trainer: Trainer) -> DistributedSampler[Any] | None:
    """The sampler that divides the samples between the ranks; None if there is none."""
    if type(loader.sampler) is DistributedSampler:
        return loader.sampler
    if not uses_distributed_sampler(trainer):
        return None
    if not isinstance(loader.sampler, (RandomSampler, SequentialSampler)):
        return None
    return DistributedSampler(  # as Lightning makes it
        loader.dataset,
        shuffle=isinstance(loader.sampler, RandomSampler),
        seed=int(os.environ.get("PL_GLOBAL_SEED", "0")),
        **(trainer.distributed_sampler_kwargs or {}),
    )


def _of_all_ranks(shared: DistributedSampler[Any]) -> Sampler[Any]:
    """The same samples undivided, hence in the same order on every rank."""
    return DistributedSampler(
        shared.dataset, num_replicas=1, rank=0, shuffle=shared.shuffle, seed=shared.seed
    )


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
