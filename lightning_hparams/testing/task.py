"""The contract of tasks: LightningModules whose steps return what monitors draw."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from ..callbacks import (
    ExactResume,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
)
from ..hparam_slots import find_slots
from ..samples import Batch, DrawOptions

__all__ = ["TaskContract"]


class TaskContract(ABC):
    """Tests of a LightningModule that works with every callback of this package.

    Name the subclass ``Test...`` for pytest to find it. Runs take at most eight optimizer steps,
    so return a small model and data of a few small images. Tests receive pytest's ``tmp_path``.
    """

    @abstractmethod
    def make_task(self) -> LightningModule:
        """Return a new module with random weights."""

    @abstractmethod
    def make_data(self) -> LightningDataModule:
        """Return new data with training and validation loaders of two to four batches each."""

    def test_validation_returns_what_monitors_draw(self, tmp_path: Path) -> None:
        """In one of the forms of :mod:`lightning_hparams.outputs`."""
        seen = _Outputs()
        self._trainer(tmp_path, callbacks=[seen]).validate(
            self._task(), self.make_data(), verbose=False
        )
        assert seen.outputs, "the data have no validation batches"
        for output in seen.outputs:
            assert isinstance(output, Mapping), f"validation_step returned {type(output).__name__}"
            Batch.of(output, DrawOptions()).check("validation_step")

    def test_validation_logs_a_number(self, tmp_path: Path) -> None:
        """By which checkpoints and searches compare runs."""
        trainer = self._trainer(tmp_path)
        trainer.validate(self._task(), self.make_data(), verbose=False)
        assert trainer.callback_metrics, "validation logs nothing; call self.log in validation_step"

    def test_monitors_do_not_change_training(self, tmp_path: Path) -> None:
        """Weights with all of them equal those without, bit for bit."""
        plain = self._fitted(tmp_path / "plain")
        monitors = [MetricMonitor(), PredictionMonitor(2), SpeedMonitor(), RunRecorder()]
        logger = CSVLogger(tmp_path / "watched")
        watched = self._fitted(tmp_path / "watched", callbacks=monitors, logger=logger)
        _assert_equal(watched, plain, "with monitors")
        assert list(Path(logger.log_dir).rglob("images/**/step_*")), "no picture was drawn"

    def test_a_range_test_leaves_no_trace(self, tmp_path: Path) -> None:
        """Training after it equals training without it, if its rate is not applied."""
        plain = self._fitted(tmp_path / "plain")
        test = LRRangeTest(num_steps=10, apply=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few images may well give no suggestion
            tested = self._fitted(tmp_path / "tested", callbacks=[test])
        _assert_equal(tested, plain, "after a range test")

    def test_every_rate_follows_the_attribute_that_a_range_test_sets(self, tmp_path: Path) -> None:
        """Build optimizers from ``self.lr``, in ratios of your choice."""
        once, twice = (self._rates(tmp_path, factor) for factor in (1.0, 2.0))
        assert once, "no optimizer step was taken"
        for before, after in zip(once, twice, strict=True):
            ratios = [new / old for old, new in zip(before, after, strict=True) if old > 0]
            assert all(abs(ratio - 2) < 1e-6 for ratio in ratios), (
                f"with twice the `lr`, the rates of the parameter groups are {after} instead of "
                f"{before}; build the optimizers from self.lr"
            )

    def test_a_resumed_run_equals_one_that_never_stopped(self, tmp_path: Path) -> None:
        """From a checkpoint in the middle of the run."""

        def callbacks() -> list[Callback]:
            kept = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
            return [ExactResume(), OneCycle(max_lr=0.01, total_steps=8), kept]

        whole = self._fitted(tmp_path, callbacks=callbacks())
        middle = str(tmp_path / "epoch=0.ckpt")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* is not empty")
            resumed = self._fitted(tmp_path, callbacks=callbacks(), ckpt_path=middle)
        _assert_equal(resumed, whole, "after a resume")

    def test_it_is_loaded_from_its_checkpoint(self, tmp_path: Path) -> None:
        """By ``load_from_checkpoint`` alone, if it saves its hyperparameters."""
        task, path = self._task(), tmp_path / "task.ckpt"
        trainer = self._trainer(tmp_path)
        trainer.fit(task, self.make_data())
        trainer.save_checkpoint(path)
        loaded = (
            type(task).load_from_checkpoint(path, map_location="cpu", weights_only=False)
            if task.hparams
            else self._task()
        )
        if not task.hparams:
            loaded.load_state_dict(torch.load(path, weights_only=False)["state_dict"])
        _assert_equal(loaded.state_dict(), task.state_dict(), "after loading")

    def _rates(self, folder: Path, factor: float) -> list[list[float]]:
        """The rates of all parameter groups at each step, with ``lr`` times a factor."""
        task, rates = self._task(), _Rates()
        slots = [slot for name in ("lr", "learning_rate") for slot in find_slots([task], name)]
        assert slots, "the task has no attribute `lr` or `learning_rate` for the range test to set"
        for slot in slots:
            slot.write(factor * slot.read())
        self._trainer(folder, callbacks=[rates], limit_train_batches=1).fit(task, self.make_data())
        return rates.seen

    def _task(self) -> LightningModule:
        torch.manual_seed(0)
        return self.make_task()

    def _fitted(
        self, folder: Path, *, ckpt_path: str | None = None, **options: Any
    ) -> dict[str, Tensor]:
        task, data = self._task(), self.make_data()
        torch.manual_seed(1)
        trainer = self._trainer(folder, **options)
        trusted: dict[str, Any] = {}
        if "weights_only" in signature(trainer.fit).parameters:  # not in Lightning 2.5
            trusted["weights_only"] = False
        trainer.fit(task, data, ckpt_path=ckpt_path, **trusted)
        assert trainer.global_step > 0, "no optimizer step was taken"
        return task.state_dict()

    def _trainer(self, folder: Path, **options: Any) -> Trainer:
        options = {"logger": False, "callbacks": [], "limit_train_batches": 4, **options}
        saves = any(isinstance(each, ModelCheckpoint) for each in options["callbacks"])
        return Trainer(
            accelerator="cpu",
            max_epochs=2,
            limit_val_batches=4,
            log_every_n_steps=1,
            default_root_dir=folder,
            enable_checkpointing=saves,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )


class _Outputs(Callback):
    """Keeps what ``validation_step`` returned."""

    def __init__(self) -> None:
        self.outputs: list[object] = []

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.outputs.append(args[2] if len(args) > 2 else kwargs["outputs"])


class _Rates(Callback):
    """Notes the learning rate of each parameter group at each step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        optimizer = args[2] if len(args) > 2 else kwargs["optimizer"]
        self.seen.append([float(group["lr"]) for group in optimizer.param_groups])


def _assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], when: str) -> None:
    unlike = [key for key in expected if not torch.equal(found[key], expected[key])]
    assert not unlike, f"{when}, {len(unlike)} of {len(expected)} tensors differ, as {unlike[0]!r}"
