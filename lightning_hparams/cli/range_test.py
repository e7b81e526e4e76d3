"""The command lr-range-test."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning import Callback, LightningDataModule, LightningModule, Trainer

from ..callbacks import LRRangeTest, lr_range_test
from ..configuration import Built, Configuration, without_deprecations
from ..range_test import ParamTestResult, RangeTestResult
from .files import free_folder, reported
from .one_command import OneCommand

__all__ = ["SKIPPED", "RangeTestTrainer", "run"]

CODES = {
    "ok": 0,
    "no_divergence": 3,
    "no_descent": 4,
    "too_few_points": 5,
    "non_finite": 6,
    "not_trained": 7,
}
_OF_RUNS = {"apply", "at_epochs", "on_fail", "callbacks"}  # arguments that only a run has
SKIPPED = {"model", "datamodule", *_OF_RUNS}
_FOLDER = "LIGHTNING_HPARAMS_RANGE_TEST"


def run(command: str, args: Sequence[str]) -> int:
    """Run the range test of a configuration, and report the range and where its files are."""
    with without_deprecations():
        done = _RangeTest(command, args, trainer_class=RangeTestTrainer)
    return done.code


class RangeTestTrainer(Trainer):
    """Where LightningCLI looks for the arguments of the command."""

    def lr_range_test(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        output: str = "lr-range-test",
        **options: Any,
    ) -> None:
        """Find the range of the learning rate, and write its curve as PNG and JSON.

        Arguments that are not given are those of the LRRangeTest in the configuration, if it has
        one. Exit codes: 0 for a range (ok), 3 if the loss had not risen at the end
        (no_divergence), 4 if it never fell (no_descent), 5 for too few points, 6 if it was not
        finite before it fell (non_finite), 7 if short trainings failed (not_trained); 2 for a
        mistake in the arguments.

        Args:
            model: The module.
            datamodule: The data.
            output: Folder for ``lr-range-test.png`` and ``lr-range-test.json``; if it is not empty,
                a number is added.
            options: Arguments of LRRangeTest.
        """
        LRRangeTest(**options)


# As the command is written.
setattr(RangeTestTrainer, "lr-range-test", RangeTestTrainer.lr_range_test)


class _RangeTest(OneCommand):
    """Runs a range test instead of a method of the Trainer."""

    skipped: ClassVar[set[str]] = SKIPPED

    def built(self, configuration: Configuration, callbacks: Sequence[Callback] = ()) -> Built:
        """Make module, data and Trainer, without a logger."""
        quiet = {"trainer.logger": False, "trainer.enable_model_summary": False}
        built = super().built(configuration.with_values(quiet), callbacks)
        setattr(built.trainer, self.command, self.lr_range_test)  # where LightningCLI looks for it
        return built

    def lr_range_test(
        self, model: LightningModule, output: str, datamodule: Any = None, **options: Any
    ) -> None:
        """Run the test, and report."""
        given = {name: options[name] for name in options if name in vars(self.given)}
        folder = free_folder(Path(output), _FOLDER)
        options = {**_configured(self.trainer), **given}
        result = lr_range_test(model, datamodule, self.trainer, verbose=False, **options)
        if not self.trainer.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        curve, numbers = folder / "lr-range-test.png", folder / "lr-range-test.json"
        result.plot(curve)
        numbers.write_text(result.to_json() + "\n", encoding="utf-8")
        print(result)
        self.code = reported([("curve", curve), ("numbers", numbers)]) or CODES[_status(result)]


def _configured(trainer: Trainer) -> dict[str, Any]:
    """Take the range test out of the callbacks of a Trainer, and return its arguments."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in list(callbacks):
        if isinstance(callback, LRRangeTest):
            callbacks.remove(callback)
            names = set(inspect.signature(LRRangeTest).parameters) - _OF_RUNS
            return {name: getattr(callback, name) for name in names}
    return {}


def _status(result: RangeTestResult | ParamTestResult) -> str:
    """The status; for other parameters than the rate, whether one of the values suits."""
    if isinstance(result, RangeTestResult):
        return result.status
    return "ok" if result.applies else result.results[0].status
