"""LR range test (Smith, arXiv:1506.01186): finds the learning rate, leaves training unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities import rank_zero_info

from ..checks import one_of
from ..notices import Notices
from ..range_test import (
    RangeTestResult,
    Rule,
    check_plan,
    check_range_test,
    lr_values,
)
from ..sinks import is_rehearsal
from ..sweep import (
    BeforeOptimizers,
    Data,
    Early,
    Found,
    Measurement,
    Place,
    Result,
    WrittenSlots,
    announce,
    change_in_training,
    change_made,
    chosen,
    datamodule_of,
    fail,
    made_early,
    quiet,
    restore,
    show,
    unaffected,
    warn_of_another_peak,
)
from ._idle_hooks import skip_idle_hooks
from ._kept_results import as_state, from_state
from ._two_packages import refuse_other_lightning, refuse_other_parts

__all__ = ["LRRangeTest", "lr_range_test"]

Param = Literal["lr", "weight_decay", "momentum", "batch_size"]


class LRRangeTest(Callback):
    """Find the learning rate before training, and train with it.

    On a copy of the module and of the data, the rate rises from ``min_lr`` to ``max_lr`` over
    ``num_steps`` optimizer steps, with the module's own optimizers, precision, accumulation and
    clipping, until the loss diverges. The suggested rate is written to the module's ``lr`` (or
    ``learning_rate``) before ``configure_optimizers`` runs, so any schedule built from it peaks
    there; parameter groups keep their ratios. Apart from that rate, training is bit-identical to a
    run without the test: the module, the data and the random generators are otherwise unchanged,
    even after an error or Ctrl-C.

    Under manual optimization, the loss of a step is the sum of the losses passed to
    ``manual_backward`` by all optimizers, whose rates rise together. End-of-epoch and end-of-run
    hooks of the module are skipped. A module with functions that refer back to it (hooks around
    ``self``, ``torch.compile(module)``) is used in place and then restored. The test does not
    restore arrays of more than a megabyte that a dataset changes in place, the state of classes and
    globals other than random generators, or files written by the module's own code.

    | tag | meaning | unit |
    |---|---|---|
    | `lr_range_test/curve` | the curve with suggestion, range and status | picture |
    | `lr_range_test/{lr,loss,smoothed}` | each step of the test | |
    | `lr_range_test/suggestion` | the suggested peak, if any | |
    | `lr_range_test/epoch {epoch}/{...}` | the same for a test during training | |

    Args:
        min_lr: Rate of the first step, above 0.
        max_lr: Rate of the last step, above ``min_lr``.
        num_steps: Optimizer steps, at least 10; the training loader restarts as often as needed.
        mode: ``"exp"`` or ``"linear"``.
        param: ``"lr"``; or ``"weight_decay"``, ``"momentum"`` or ``"batch_size"`` to sweep the
            rate at each of ``values``, on the same weights and batches (Smith, arXiv:1803.09820),
            and write the choice to that attribute: no better than the default on four tasks.
        stage: ``"train"`` for the training loss, ``"val"`` for the loss that ``validation_step``
            returns, over the same ``val_batches`` batches before each step.
        rule: ``edge``, ``min``, ``steep``, ``valley``, ``slide``, or a function of the curve.
        repeats: Number of sweeps; with several, the result includes the spread of suggestions.
        apply: Whether to write the suggestion to the module.
        attr: The attribute to write, in the module, its hyperparameters or the data module; a
            dotted name for a nested one (``"optimizer.lr"``). None for ``lr`` or
            ``learning_rate``; if neither exists, the optimizers are scaled.
        on_fail: If the curve yields no suggestion, ``"keep"`` the configured rate and warn, or
            ``"raise"``.
        values: Values to compare if ``param`` is not ``"lr"``; None for common ones. Batch sizes
            are whole numbers of samples.
        val_batches: Validation batches per step for ``stage="val"``, at least 1.
        budget: Optimizer steps for the whole test; up to 1, a share of those of the run. If they
            allow it, about four short trainings on both sides of the sweep's suggestion find the
            rate, judged by samples kept out of them. By default 600, in runs of under 2400 only if
            the sweep suggests nothing, and a tenth of runs of over 6000. 0 for the sweep alone.
        probe_steps: An older check instead of these trainings: if above 0, one-cycles of this many
            steps at the suggestion and below lower it while that improves the loss, and then
            trainings of six times as many steps at a constant rate, until one keeps half the fall.
        at_epochs: Epochs at whose start the test runs. After epoch 0 it starts from the current
            weights and optimizer state and scales the rates in the optimizers and schedules: the
            schedule keeps its shape and peaks at the suggestion.
        callbacks: Callbacks to run in the test too, as copies, such as ones that freeze layers.
        isolation: ``"copy"``; or ``"snapshot"`` for a module that cannot be copied or is too large
            for a second copy: it is used in place and restored from a copy in main memory.

    Attributes:
        result: The last :class:`~lightning_hparams.range_test.RangeTestResult`, or None.
        results: All results by epoch. They are saved in the checkpoint; a resumed run does not
            repeat the test and trains with the rate already found.

    Raises:
        ValueError: If an argument is out of range; when fitting, if the strategy, the module
            or its optimizers do not allow the test.
        AttributeError: When fitting, if the attribute ``attr`` does not exist.
        TypeError: When fitting, if the module cannot be copied or the attribute cannot be written.
        RuntimeError: When fitting, if training returns no loss, or if the curve yields no
            suggestion and ``on_fail="raise"``.
    """

    def __init__(
        self,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        num_steps: int = 100,
        mode: Literal["exp", "linear"] = "exp",
        param: Param = "lr",
        stage: Literal["train", "val"] = "train",
        rule: str | Rule = "edge",
        repeats: int = 1,
        apply: bool = True,
        attr: str | None = None,
        on_fail: Literal["keep", "raise"] = "keep",
        *,
        values: Sequence[float] | None = None,
        val_batches: int = 8,
        probe_steps: int = 0,
        budget: float | None = None,
        at_epochs: Sequence[int] = (0,),
        callbacks: Sequence[Callback] = (),
        isolation: Literal["copy", "snapshot"] = "copy",
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        check_range_test(min_lr, max_lr, num_steps, mode, param=param, rule=rule, repeats=repeats)
        check_plan(
            param, stage, probe_steps, at_epochs, budget, values=values, val_batches=val_batches
        )
        _check_options(on_fail, isolation, callbacks)
        self.min_lr, self.max_lr, self.num_steps, self.mode = min_lr, max_lr, num_steps, mode
        self.param, self.stage, self.rule, self.repeats = param, stage, rule, repeats
        self.apply, self.attr, self.on_fail = apply, attr, on_fail
        self.values, self.val_batches, self.probe_steps = values, val_batches, probe_steps
        self.at_epochs, self.budget = tuple(at_epochs), budget
        self.callbacks = list(callbacks)
        self.isolation = isolation
        self.result: Result | None = None
        self.results: dict[int, Result] = {}
        self._applied: dict[str, float] = {}
        self._resumed = False
        self._hook: BeforeOptimizers | None = None
        self._pending: tuple[Result, Found] | None = None  # for optimizers not made yet
        self._early: Early = []

    @property
    def state_key(self) -> str:
        """A separate key per ``param``, so that one Trainer can test several."""
        own = self._generate_state_key(param=self.param)
        return super().state_key if self.param == "lr" else own

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Schedule the test to run just before the optimizers are created."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage != "fit":
            return
        self._pending, self._resumed = None, False
        self.results, self._applied = {}, {}
        Place(trainer, pl_module, Data()).check()
        if 0 in self.at_epochs and not _waits(trainer):
            self._hook = BeforeOptimizers.call(
                pl_module, partial(self._before, trainer, pl_module), self._after
            )

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the rate found earlier, before the optimizers are created."""
        self._resumed = True
        state = (checkpoint.get("callbacks") or {}).get(self.state_key) or {}
        if self.apply:
            place = Place(trainer, pl_module, Data(datamodule=datamodule_of(trainer)))
            restore(place, state.get("applied", {}), self.param, self.attr)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if the optimizers did not pick up the rate."""
        pending, self._pending, self._early = self._pending, None, []
        if pending is None:
            return
        result, found = pending
        if isinstance(result, RangeTestResult):
            warn_of_another_peak(trainer, result, found, self._applied)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test if this epoch is in ``at_epochs``."""
        epoch = trainer.current_epoch
        if epoch not in self.at_epochs or epoch in self.results:
            return
        if not epoch and (trainer.global_step or not _waits(trainer)):
            return
        if not _skips(trainer):
            place = Place(trainer, pl_module, Data.of_fit(trainer), epoch, has_optimizers=True)
            self._run(place)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Restore the module's ``configure_optimizers`` if the fit failed before calling it."""
        with Notices(type(self).__name__).after_error("restore `configure_optimizers`"):
            self._unhook()

    def state_dict(self) -> dict[str, Any]:
        """Return the results and the values written to the module."""
        return as_state(self.results, self._applied)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the results.

        Raises:
            ValueError: If the state was not returned by :meth:`state_dict`.
        """
        self.results, self._applied = from_state(state_dict, self.param)
        self.result = next(reversed(self.results.values()), None)

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.undo()

    def _before(self, trainer: Trainer, module: LightningModule) -> None:
        """Run the test; called just before ``configure_optimizers``."""
        self._hook = None
        if self._resumed:
            rank_zero_info("LRRangeTest does not run again: the fit resumes from a checkpoint")
        elif not _skips(trainer):
            self._run(Place(trainer, module, Data.of_fit(trainer)))
            self._early = made_early(module)

    def _after(self, made: object) -> None:
        """Change optimizers directly that were made early, or if no attribute has the value."""
        if self._pending is not None:
            change_made(unaffected(made, self._early) if self._applied else made, *self._pending)

    def _run(self, place: Place, *, verbose: bool = True, in_run: bool = True) -> Result:
        """Run the test, log its result, and its cost if ``in_run``, and apply it."""
        place.check()
        slots = None
        if self.apply and not (place.epoch and self.param == "lr"):
            slots = WrittenSlots.of(place, self.param, self.attr)
        result, found = self._measurement().run(place)
        self.result = self.results[place.epoch] = result
        announce(result, found.length if in_run else None, verbose=verbose)
        if place.launched:
            show(place, result)
        if not result.applies:
            fail(result, self.on_fail, launched=place.launched, verbose=verbose)
        elif self.apply:
            self._use(place, slots, result, found)
        return result

    def _measurement(self) -> Measurement:
        return Measurement(
            rates=lr_values(self.min_lr, self.max_lr, self.num_steps, self.mode),
            param=self.param,
            name=self.attr or self.param,
            values=self.values,
            repeats=self.repeats,
            val_batches=self.val_batches if self.stage == "val" else 0,
            rule=self.rule,
            probe_steps=self.probe_steps,
            budget=self.budget,
            callbacks=self.callbacks,
            isolation=self.isolation,
        )

    def _use(self, place: Place, slots: WrittenSlots | None, result: Result, found: Found) -> None:
        """Apply the result to the module and its optimizers."""
        value = chosen(result)
        if slots is not None:
            # The module may compute its rates from the attribute, so scale it rather than set it.
            is_rate = isinstance(result, RangeTestResult)
            self._applied = slots.write(
                lambda present: present * value / found.peak if is_rate else value
            )
        if not place.has_optimizers:
            self._pending = result, found
        else:
            change_in_training(place.trainer, result, found)


def lr_range_test(
    module: LightningModule,
    data: Any = None,
    trainer: Trainer | None = None,
    *,
    val_data: Any = None,
    verbose: bool = True,
    **options: Any,
) -> Result:
    """Run :class:`LRRangeTest` without training afterwards.

    Args:
        module: The module to test. With ``apply=True``, only the suggestion is written to it.
        data: A loader, a LightningDataModule, or None for the module's own ``train_dataloader``.
        trainer: Supplies devices, precision, accumulation and clipping; it is not changed.
        val_data: The validation loader for ``stage="val"`` if ``data`` is a loader.
        verbose: Whether to log the result, and to warn if there is no suggestion.
        options: Arguments of :class:`LRRangeTest`.

    Returns:
        The result; ``result.plot("lr.png")`` draws it.
    """
    test = LRRangeTest(**options)
    refuse_other_parts("lr_range_test is", (module, data, trainer, *test.callbacks))
    in_run = trainer is not None
    if trainer is None:
        if test.budget is None or test.budget <= 1:
            test.budget = 0  # there is no run to take a share of
        with quiet():
            trainer = Trainer(logger=False, enable_checkpointing=False, enable_model_summary=False)
    if isinstance(data, LightningDataModule):
        source = Data(datamodule=data)
    else:
        source = Data(train=data, val=val_data)
    return test._run(Place(trainer, module, source, launched=False), verbose=verbose, in_run=in_run)


def _check_options(on_fail: str, isolation: str, callbacks: object) -> None:
    one_of("on_fail", on_fail, ("keep", "raise"))
    one_of("isolation", isolation, ("copy", "snapshot"))
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"`callbacks` must be a list of callbacks, got {callbacks!r}")


def _skips(trainer: Trainer) -> bool:
    """Whether there is nothing to find a rate for; says so."""
    if is_rehearsal(trainer):
        rank_zero_info("LRRangeTest does nothing in a fast_dev_run")
        return True
    if ended := _limit_reached(trainer):
        rank_zero_info(f"LRRangeTest does nothing: {ended} was reached by an earlier fit")
    return bool(ended)


def _limit_reached(trainer: Trainer) -> str:
    """The limit that leaves nothing to train, as when a notebook calls ``fit`` again."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs is not None and 0 < epochs <= trainer.current_epoch:
        return f"max_epochs={epochs}"
    return f"max_steps={steps}" if 0 < steps <= trainer.global_step else ""


def _waits(trainer: Trainer) -> bool:
    """Whether a callback will still look for the batch size after the optimizers are created."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set on construction
    return any(isinstance(callback, BatchSizeFinder) for callback in callbacks)
