"""The run in which a range test takes place: its Trainer, module, data and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from ..internals import fit_data, initial_hparams
from ..isolation import copy_data, copy_module, dissolve, is_bound_to_itself, module_kept
from ..notices import warn_user
from ..random_states import generators_kept
from .stand_ins import NoLogger

__all__ = ["Data", "Place", "datamodule_of"]


@dataclass(frozen=True)
class Data:
    """Source of batches: loaders, a data module, or, if all are None, the module itself."""

    train: Any = None
    val: Any = None
    datamodule: LightningDataModule | None = None

    @classmethod
    def of_fit(cls, trainer: Trainer) -> Data:
        """Return the data passed to ``trainer.fit``."""
        datamodule = datamodule_of(trainer)
        if datamodule is not None:
            return cls(datamodule=datamodule)
        train, val = fit_data(trainer)
        return cls(train=train, val=val)

    def val_loader(self, module: LightningModule) -> Any:
        """Return the validation loader or loaders; None if not defined."""
        if self.val is not None:
            return self.val
        owner = module if self.datamodule is None else self.datamodule
        return owner.val_dataloader() if is_overridden("val_dataloader", owner) else None


@dataclass(frozen=True)
class Place:
    """The user's run when a test starts; the test reads it and works on copies.

    Args:
        trainer: The user's Trainer, which supplies the settings.
        module: The user's module.
        data: The user's data.
        epoch: Epoch at whose start the test runs.
        launched: Whether the fit is running, so processes are launched, and module and data set up.
        has_optimizers: Whether the optimizers of the run have been made.
    """

    trainer: Trainer
    module: LightningModule
    data: Data
    epoch: int = 0
    launched: bool = True
    has_optimizers: bool = False

    def check(self) -> None:
        """Refuse strategies that shard the model across processes.

        Raises:
            ValueError: If the strategy is not single-device or DDP.
        """
        if not isinstance(self.trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ValueError(
                "a range test runs on one device or under DDP, got strategy "
                f"{type(self.trainer.strategy).__name__}; run it once on one device "
                "and write the rate into the module"
            )

    @property
    def owners(self) -> list[object]:
        """Objects whose hyperparameters a test may set."""
        datamodule = self.data.datamodule
        return [self.module] if datamodule is None else [self.module, datamodule]

    @property
    def records(self) -> list[object]:
        """The separate copies of the hyperparameters that loggers record."""
        return [kept for kept in map(initial_hparams, self.owners) if kept is not None]

    def optimizer_states(self) -> list[dict[str, Any]]:
        """States of all optimizers, sharing their tensors; empty before they are created."""
        if not self.has_optimizers:
            return []
        return [optimizer.state_dict() for optimizer in self.trainer.optimizers]

    def own_data(self) -> Data:
        """Copy the data for a sweep; warn about sources that cannot be copied."""
        own, uncopied = copy_data(self.data, self._replacements())
        if uncopied:
            warn_user(
                f"the range test reads from the same {' and '.join(uncopied)} as the training "
                "data, which cannot be copied: a position in it moves on; open files anew in each "
                "worker, or read at absolute positions"
            )
        return own

    def generators_kept(self) -> AbstractContextManager[None]:
        """Restore, on exit, generators of classes and globals that a sweep shares with the run."""
        callbacks: list[object] = self.trainer.callbacks  # type: ignore[attr-defined]
        skip = (self.trainer, *callbacks, *self.trainer.loggers)
        return generators_kept(self.data, self.module, skip=skip)

    @contextmanager
    def own_module(self, isolation: str) -> Iterator[LightningModule]:
        """Yield a module that a sweep may change: a copy, or the user's, restored on exit."""
        # Functions of a copy may act on the original; such a module is used in place.
        if isolation == "copy" and not is_bound_to_itself(self.module):
            made: list[nn.Module] = []
            own: LightningModule = copy_module(self.module, self._replacements(), made=made)
            try:
                yield own
            finally:
                # A module that refers to itself would live until the garbage collector runs, and
                # the next copy would need memory on top of it.
                dissolve(made)
        else:
            with module_kept(self.module, shared=[self.trainer, *self.trainer.loggers]):
                yield self.module

    def _replacements(self) -> dict[int, object]:
        """Replacements, by id, for objects of the user's run that must not be copied."""
        loggers = {id(logger): NoLogger(logger) for logger in self.trainer.loggers}
        return {id(self.trainer): None, **loggers}


def datamodule_of(trainer: Trainer) -> LightningDataModule | None:
    """Return the data module of a fit, if any."""
    found: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    return found
