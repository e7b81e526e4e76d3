"""A few batches through the module before the first trial, to see that it logs the metric."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, IterableDataset

from ..checks import nearest
from ..configuration import Built, Configuration
from .first_validation import DECIDING, no_validation
from .process_state import as_in_a_new_process
from .range_tests import without_test
from .winner import metric_in_test

if TYPE_CHECKING:
    from .settings import SearchSettings

__all__ = ["check_metric", "logged_metrics"]

_ONE_BATCH = {
    "trainer.fast_dev_run": True,
    "trainer.devices": 1,
    "trainer.strategy": "auto",
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
_EPOCHS = 10  # of a batch, for metrics that are not logged in each epoch


def check_metric(configuration: Configuration, settings: SearchSettings) -> None:
    """Train and validate for a batch, and check that the metric is logged.

    If it is not, some more epochs are run, since it may be logged in only some of them.

    Args:
        configuration: The configuration that the search varies.
        settings: What the search does.

    Raises:
        ValueError: If it is not, with the nearest names, or only in a validation although the
            trials are to have none.
    """
    seeded = configuration.with_values({"seed_everything": settings.seed})
    found, tested, batches = logged_metrics(seeded, test=settings.repeat_best is not None)
    trainer = configuration.data["trainer"]
    if settings.metric not in found:
        found = _logged_in(seeded, epochs=_epochs(trainer.get("max_epochs")))
    if settings.metric not in found:
        raise ValueError(
            f"`metric` must be logged by the module, got {settings.metric!r}"
            f"{nearest(settings.metric, found) or f'; it logs {sorted(found)}'}"
        )
    reason = _no_validation(trainer, settings, batches)
    if reason and settings.metric not in _logged_in(seeded, validate=False):
        raise ValueError(
            f"`metric` must be logged in each trial, but {settings.metric!r} is logged in a "
            f"validation, and {reason}; change that, or take a metric of training"
        )
    if settings.repeat_best is not None and metric_in_test(settings.metric, tested) is None:
        raise ValueError(
            f"`repeat_best` needs {settings.metric!r} of the test split, but the test logs "
            f"{sorted(tested)}; log it in `test_step`, or leave `repeat_best` out"
        )


def logged_metrics(
    configuration: Configuration, *, test: bool = False
) -> tuple[list[str], list[str], int | None]:
    """Return the names of all metrics that one batch logs in a fit, and in a test if asked for.

    The third value is the number of batches for training, None if it is unknown.
    """
    with _one_batch(configuration) as built:
        built.trainer.fit(built.module, datamodule=built.data)
        found = list(built.trainer.callback_metrics)
        batches = _batches(built)
        if not test:
            return found, [], batches
        built.trainer.test(built.module, datamodule=built.data, verbose=False)
        return found, list(built.trainer.callback_metrics), batches


def _logged_in(
    configuration: Configuration, *, epochs: int = 1, validate: bool = True
) -> list[str]:
    """Names of all metrics that are logged in some epochs of a batch."""
    with _one_batch(configuration) as built:
        trainer = built.trainer
        trainer.fit_loop.max_epochs = trainer.fit_loop.epoch_loop.max_steps = epochs
        if not validate:
            trainer.limit_val_batches = 0
        trainer.fit(built.module, datamodule=built.data)
        return list(trainer.callback_metrics)


def _no_validation(
    trainer: Mapping[str, object], settings: SearchSettings, batches: int | None
) -> str:
    if any(f"trainer.{name}" in settings.space for name in DECIDING):
        return ""
    several = trainer.get("devices") not in (1, "1", "auto", None) or torch.cuda.device_count() > 1
    if several or any(key.startswith("data") for key in settings.space):
        batches = None
    return no_validation(trainer, batches)


@contextmanager
def _one_batch(configuration: Configuration) -> Iterator[Built]:
    probe = without_test(configuration).with_values(_ONE_BATCH)
    with tempfile.TemporaryDirectory() as folder, as_in_a_new_process():
        yield probe.build(root=Path(folder), logger=False)


def _epochs(largest: object) -> int:
    return min(_EPOCHS, largest) if isinstance(largest, int) and largest > 0 else _EPOCHS


def _batches(built: Built) -> int | None:
    """Batches for training in all processes."""
    loader = built.trainer.train_dataloader
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    return len(loader)
