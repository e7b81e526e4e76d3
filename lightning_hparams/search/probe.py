"""One batch through the module before the first trial, to see that it logs the metric."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import nearest
from ..configuration import Configuration
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


def check_metric(configuration: Configuration, settings: SearchSettings) -> None:
    """Train and validate for a batch, and check that the metric is logged.

    Args:
        configuration: The configuration that the search varies.
        settings: What the search does.

    Raises:
        ValueError: If it is not, with the nearest names.
    """
    seeded = configuration.with_values({"seed_everything": settings.seed})
    found, tested = logged_metrics(seeded, test=settings.repeat_best is not None)
    if settings.metric not in found:
        raise ValueError(
            f"`metric` must be logged by the module, got {settings.metric!r}"
            f"{nearest(settings.metric, found) or f'; it logs {sorted(found)}'}"
        )
    if settings.repeat_best is not None and metric_in_test(settings.metric, tested) is None:
        raise ValueError(
            f"`repeat_best` needs {settings.metric!r} of the test split, but the test logs "
            f"{sorted(tested)}; log it in `test_step`, or leave `repeat_best` out"
        )


def logged_metrics(
    configuration: Configuration, *, test: bool = False
) -> tuple[list[str], list[str]]:
    """Return the names of all metrics that one batch logs in a fit, and in a test if asked for."""
    probe = without_test(configuration).with_values(_ONE_BATCH)
    with tempfile.TemporaryDirectory() as folder, as_in_a_new_process():
        built = probe.build(root=Path(folder), logger=False)
        built.trainer.fit(built.module, datamodule=built.data)
        found = list(built.trainer.callback_metrics)
        if not test:
            return found, []
        built.trainer.test(built.module, datamodule=built.data, verbose=False)
        return found, list(built.trainer.callback_metrics)
