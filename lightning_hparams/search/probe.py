"""One batch through the module before the first trial, to see that it logs the metric."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import nearest
from ..configuration import Configuration
from .process_state import as_in_a_new_process
from .range_tests import without_test

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


def check_metric(configuration: Configuration, settings: SearchSettings) -> None:
    """Train and validate for a batch, and check that the metric is logged.

    Args:
        configuration: The configuration that the search varies.
        settings: What the search does.

    Raises:
        ValueError: If it is not, with the nearest names.
    """
    found = logged_metrics(configuration.with_values({"seed_everything": settings.seed}))
    if settings.metric not in found:
        raise ValueError(
            f"`metric` must be logged by the module, got {settings.metric!r}"
            f"{nearest(settings.metric, found) or f'; it logs {sorted(found)}'}"
        )


def logged_metrics(configuration: Configuration) -> list[str]:
    """Return the names of all metrics that one batch of training and validation logs."""
    probe = without_test(configuration).with_values(_ONE_BATCH)
    with tempfile.TemporaryDirectory() as folder, as_in_a_new_process():
        built = probe.build(root=Path(folder), logger=False)
        built.trainer.fit(built.module, datamodule=built.data)
        return list(built.trainer.callback_metrics)
