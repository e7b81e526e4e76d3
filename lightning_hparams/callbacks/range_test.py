"""LR range test (Smith, arXiv:1506.01186): what the learning rate should be, without a trace."""

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
    Found,
    Measurement,
    Place,
    Result,
    WrittenSlots,
    change_in_training,
    change_made,
    chosen,
    datamodule_of,
    fail,
    quiet,
    restore,
    share,
    show,
    warn_of_another_peak,
)
from ._idle_hooks import skip_idle_hooks
from ._kept_results import as_state, from_state
from ._two_packages import refuse_other_lightning

__all__ = ["LRRangeTest", "lr_range_test"]

Param = Literal["lr", "weight_decay", "momentum", "batch_size"]


class LRRangeTest(Callback):
    """Find the learning rate before training, and train with it.

    On a copy of the module and of the data, the rate rises from ``min_lr`` to ``max_lr`` over
    ``num_steps`` optimizer steps, with the module's own optimizers, precision, accumulation and
    clipping, until the loss diverges. The rate that the curve suggests is written to the module's
    ``lr`` (or ``learning_rate``) before ``configure_optimizers`` runs, so it is the peak of any
    schedule that is made of it; parameter groups keep their ratio. But for that rate, training is
    the same to the bit as if the test had not been: nothing else of the module, the data or the
    random generators changes, also after an error or Ctrl-C.

    Under manual optimization the loss of a point is what was passed to ``manual_backward``, summed
    over the optimizers; their rates rise together. The module's hooks for the end of an epoch or of
    a run do not run in the test. A module with functions that reach back into it (hooks around
    ``self``, ``torch.compile(module)``) is used in place, and put back. Not put back are arrays of
    more than a megabyte that a dataset changes in place, state of classes and globals
    other than random generators, and what the module's own code writes to disk.

    | tag | meaning | unit |
    |---|---|---|
    | `lr_range_test/curve` | the curve with suggestion, range and status | picture |
    | `lr_range_test/{lr,loss,smoothed}` | each step of the test | |
    | `lr_range_test/suggestion` | the peak it suggests, if any | |
    | `lr_range_test/epoch {epoch}/{...}` | the same for a test in mid-training | |

    Args:
        min_lr: Rate of the first step, above 0.
        max_lr: Rate of the last step, above ``min_lr``.
        num_steps: Optimizer steps, at least 10; the training loader restarts as often as needed.
        mode: ``"exp"`` or ``"linear"``.
        param: ``"lr"``; or ``"weight_decay"``, ``"momentum"`` or ``"batch_size"`` for a sweep of
            the rate at each of ``values``, on the same weights and batches (Smith,
            arXiv:1803.09820). The chosen value is then written to the attribute of that name.
        stage: ``"train"`` for the training loss, ``"val"`` for the loss that ``validation_step``
            returns, over the same ``val_batches`` batches before each step.
        rule: What is suggested: ``edge``, ``min``, ``steep``, ``valley``, ``slide`` (see
            :data:`lightning_hparams.range_test.RULES`), or a function of the curve.
        repeats: Sweeps; with several the result tells how far apart their suggestions are.
        apply: Whether the suggestion is written to the module.
        attr: The attribute it is written to, of the module, its hyperparameters or the data
            module, dotted inside another (``"optimizer.lr"``); None for ``lr`` or
            ``learning_rate``, or to scale the optimizers where there is neither.
        on_fail: When the curve gives no suggestion: ``"keep"`` the configured rate and warn, or
            ``"raise"``.
        values: For ``param`` other than ``"lr"``; None for usual ones. Batch sizes are whole
            numbers of samples.
        val_batches: Batches behind each point for ``stage="val"``, at least 1.
        probe_steps: With more than 0, short one-cycle trainings of so many steps (50 is usual) at
            the suggestion and below it, two or three mostly, lower it for as long as that trains
            better: for unscaled targets, whose divergence a sweep is too short to see, and for
            networks that are trained already, which show no fall in it.
        at_epochs: Epochs at whose start the test runs; those after 0 go on from the weights and the
            optimizer as they are by then, and scale the rates in the optimizers and schedules: the
            peak of the schedule becomes the suggestion, and its shape stays.
        callbacks: Callbacks that also run in the test, as copies: those that freeze layers, say.
        isolation: ``"copy"``; or ``"snapshot"`` for a module that cannot be copied or has no room
            beside itself: it is used in place and put back from a copy in main memory.

    Attributes:
        result: The last :class:`~lightning_hparams.range_test.RangeTestResult`; None before it.
        results: All of them by epoch. They are in the checkpoint; a resumed run does not test
            again, and trains with the rate that was found.

    Raises:
        ValueError: If an argument is out of its range; when fitting, if the strategy, the module
            or its optimizers do not allow the test.
        AttributeError: When fitting, if there is no attribute ``attr``.
        TypeError: When fitting, if the module cannot be copied, or the attribute not written to.
        RuntimeError: When fitting, if there is no loss; with ``on_fail="raise"``, no suggestion.
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
        at_epochs: Sequence[int] = (0,),
        callbacks: Sequence[Callback] = (),
        isolation: Literal["copy", "snapshot"] = "copy",
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        check_range_test(min_lr, max_lr, num_steps, mode, param=param, rule=rule, repeats=repeats)
        check_plan(param, stage, probe_steps, at_epochs, values=values, val_batches=val_batches)
        one_of("on_fail", on_fail, ("keep", "raise"))
        one_of("isolation", isolation, ("copy", "snapshot"))
        if not isinstance(callbacks, Sequence):
            raise TypeError(f"`callbacks` must be a list of callbacks, got {callbacks!r}")
        self.min_lr, self.max_lr, self.num_steps, self.mode = min_lr, max_lr, num_steps, mode
        self.param, self.stage, self.rule, self.repeats = param, stage, rule, repeats
        self.apply, self.attr, self.on_fail = apply, attr, on_fail
        self.values, self.val_batches, self.probe_steps = values, val_batches, probe_steps
        self.at_epochs = tuple(at_epochs)
        self.callbacks = list(callbacks)
        self.isolation = isolation
        self.result: Result | None = None
        self.results: dict[int, Result] = {}
        self._applied: dict[str, float] = {}
        self._resumed = False
        self._hook: BeforeOptimizers | None = None
        self._pending: tuple[Result, Found] | None = None  # for optimizers to come

    @property
    def state_key(self) -> str:
        """One for each parameter, so that several may be tested."""
        return (
            super().state_key if self.param == "lr" else self._generate_state_key(param=self.param)
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Arrange for the test to run before the optimizers are made."""
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
        """Give the module the rate that was found, before the optimizers are made."""
        self._resumed = True
        state = (checkpoint.get("callbacks") or {}).get(self.state_key) or {}
        if self.apply:
            place = Place(trainer, pl_module, Data(datamodule=datamodule_of(trainer)))
            restore(place, state.get("applied", {}), self.param, self.attr)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See whether the optimizers took the rate."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        result, found = pending
        if isinstance(result, RangeTestResult):
            warn_of_another_peak(trainer, result, found, self._applied)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test again, if this epoch is one of ``at_epochs``."""
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
        """Restore the module's method if the fit ended before it was called."""
        with Notices(type(self).__name__).after_error("restore `configure_optimizers`"):
            self._unhook()

    def state_dict(self) -> dict[str, Any]:
        """The results, and what was written to the module."""
        return as_state(self.results, self._applied)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the results.

        Raises:
            ValueError: If this is not what :meth:`state_dict` returned.
        """
        self.results, self._applied = from_state(state_dict, self.param)
        self.result = next(reversed(self.results.values()), None)

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.undo()

    def _before(self, trainer: Trainer, module: LightningModule) -> None:
        """Test, when the optimizers of a fit are about to be made."""
        self._hook = None
        if self._resumed:
            rank_zero_info("LRRangeTest does not run again: the fit goes on from a checkpoint")
        elif not _skips(trainer):
            self._run(Place(trainer, module, Data.of_fit(trainer)))

    def _after(self, made: object) -> None:
        """Change the optimizers of a module that has no attribute for the value."""
        if self._pending is None or self._applied:
            return
        change_made(made, *self._pending)

    def _run(self, place: Place) -> Result:
        """Measure, show and apply."""
        place.check()
        slots = None
        if self.apply and not (place.epoch and self.param == "lr"):
            slots = WrittenSlots.of(place, self.param, self.attr)
        result, found = self._measurement().run(place)
        self.result = self.results[place.epoch] = result
        rank_zero_info(f"{result.summary()}{share(result, found)}")
        if place.launched:
            show(place, result)
        if not result.applies:
            fail(result, self.on_fail, launched=place.launched)
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
            callbacks=self.callbacks,
            isolation=self.isolation,
        )

    def _use(self, place: Place, slots: WrittenSlots | None, result: Result, found: Found) -> None:
        """Have the run train with what was found."""
        value = chosen(result)
        if slots is not None:
            # The attribute may be a multiple of the largest rate, by the module's choice.
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
    **options: Any,
) -> Result:
    """Run :class:`LRRangeTest` without training afterwards.

    Args:
        module: With ``apply=True`` the suggestion is written to it, nothing else changes.
        data: A loader, a LightningDataModule, or None for the module's own ``train_dataloader``.
        trainer: Its devices, precision, accumulation and clipping are used; it is not changed.
        val_data: A loader, for ``stage="val"`` with a loader as ``data``.
        options: The arguments of :class:`LRRangeTest`.

    Returns:
        The result; ``result.plot("lr.png")`` draws it.
    """
    test = LRRangeTest(**options)
    if trainer is None:
        with quiet():
            trainer = Trainer(logger=False, enable_checkpointing=False, enable_model_summary=False)
    if isinstance(data, LightningDataModule):
        source = Data(datamodule=data)
    else:
        source = Data(train=data, val=val_data)
    return test._run(Place(trainer, module, source, launched=False))


def _skips(trainer: Trainer) -> bool:
    if is_rehearsal(trainer):
        rank_zero_info("LRRangeTest does nothing in a fast_dev_run")
    return is_rehearsal(trainer)


def _waits(trainer: Trainer) -> bool:
    """Whether another callback is yet to find the batch size, when the optimizers are made."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set on construction
    return any(isinstance(callback, BatchSizeFinder) for callback in callbacks)
