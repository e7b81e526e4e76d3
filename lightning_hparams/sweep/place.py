"""Where a range test takes place: whose run it is, at which epoch, with which data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from ..internals import fit_data, initial_hparams
from ..isolation import copy_data, copy_module, dissolve, is_bound_to_itself, module_kept
from ..random_states import generators_kept
from .stand_ins import NoLogger

__all__ = ["Data", "Place", "datamodule_of"]


@dataclass(frozen=True)
class Data:
    """Where batches come from: loaders, a data module, or (both None) the module itself."""

    train: Any = None
    val: Any = None
    datamodule: LightningDataModule | None = None

    @classmethod
    def of_fit(cls, trainer: Trainer) -> Data:
        """What ``trainer.fit`` was given."""
        datamodule = datamodule_of(trainer)
        if datamodule is not None:
            return cls(datamodule=datamodule)
        train, val = fit_data(trainer)
        return cls(train=train, val=val)

    def val_loader(self, module: LightningModule) -> Any:
        """The validation loader, or all of them; None if there is none."""
        if self.val is not None:
            return self.val
        owner = module if self.datamodule is None else self.datamodule
        return owner.val_dataloader() if is_overridden("val_dataloader", owner) else None


@dataclass(frozen=True)
class Place:
    """The user's own run at one moment; a test reads it and works on copies.

    Args:
        trainer: The user's: settings are read from it.
        module: The user's.
        data: The user's.
        epoch: At whose start the test runs.
        launched: Whether the fit is under way, and with it the processes and the setup of module
            and data.
        has_optimizers: Whether the optimizers of the run have been made.
    """

    trainer: Trainer
    module: LightningModule
    data: Data
    epoch: int = 0
    launched: bool = True
    has_optimizers: bool = False

    def check(self) -> None:
        """Refuse a strategy whose processes each hold a part of the model.

        Raises:
            ValueError: With its name.
        """
        if not isinstance(self.trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ValueError(
                "a range test runs on one device or under DDP, got strategy "
                f"{type(self.trainer.strategy).__name__}; run it once on one device "
                "and write the rate into the module"
            )

    @property
    def owners(self) -> list[object]:
        """Whose hyperparameters a test may set."""
        datamodule = self.data.datamodule
        return [self.module] if datamodule is None else [self.module, datamodule]

    @property
    def records(self) -> list[object]:
        """The hyperparameters that loggers get, which are copies of their own."""
        return [kept for kept in map(initial_hparams, self.owners) if kept is not None]

    def optimizer_states(self) -> list[dict[str, Any]]:
        """States of all optimizers, which share their tensors; none before they were made."""
        if not self.has_optimizers:
            return []
        return [optimizer.state_dict() for optimizer in self.trainer.optimizers]

    def own_data(self) -> Data:
        """Data that a sweep may read."""
        own, uncopied = copy_data(self.data, self._replacements())
        if uncopied:
            rank_zero_warn(
                f"the range test reads from the same {' and '.join(uncopied)} as the training "
                "data, which cannot be copied: a position in it moves on; open files anew in each "
                "worker, or read at absolute positions"
            )
        return own

    def generators_kept(self) -> AbstractContextManager[None]:
        """Put back the generators that a sweep and the run share, of classes and globals."""
        callbacks: list[object] = self.trainer.callbacks  # type: ignore[attr-defined]
        skip = (self.trainer, *callbacks, *self.trainer.loggers)
        return generators_kept(self.data, self.module, skip=skip)

    @contextmanager
    def own_module(self, isolation: str) -> Iterator[LightningModule]:
        """A module that a sweep may change: a copy, or the user's, which is put back."""
        # Functions of a copy may act on the original: such a module is used in place.
        if isolation == "copy" and not is_bound_to_itself(self.module):
            made: list[nn.Module] = []
            own: LightningModule = copy_module(self.module, self._replacements(), made=made)
            try:
                yield own
            finally:
                # A module that refers to itself would live until the garbage collector finds it,
                # and the next copy be made beside it.
                dissolve(made)
        else:
            with module_kept(self.module, shared=[self.trainer, *self.trainer.loggers]):
                yield self.module

    def _replacements(self) -> dict[int, object]:
        """What a copy has in the place of things that belong to the user's run."""
        loggers = {id(logger): NoLogger(logger) for logger in self.trainer.loggers}
        return {id(self.trainer): None, **loggers}


def datamodule_of(trainer: Trainer) -> LightningDataModule | None:
    """The data module of a fit, if it has one."""
    found: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    return found
