"""LR range test (Smith, arXiv:1506.01186): what the learning rate should be, without a trace."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Real
from statistics import fmean
from typing import Any, Literal, TypeAlias

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from tqdm.auto import tqdm

from ..checks import in_range, one_of, whole_number
from ..internals import log_step
from ..isolation import (
    copy_data,
    copy_module,
    is_bound_to_itself,
    module_kept,
    random_state_kept,
)
from ..optim import set_param
from ..range_test import (
    ParamTestResult,
    RangeTestResult,
    Rule,
    Sweep,
    analyse,
    check_range_test,
    compare_values,
    lr_values,
    probe,
)
from ..render import encode
from ..schedules import one_cycle
from ..sinks import Sinks, is_rehearsal, open_sinks
from ._idle_hooks import skip_idle_hooks
from ._inner_trainer import (
    Data,
    NoLogger,
    Plan,
    check_trainer,
    data_of,
    datamodule_of,
    optimizer_states,
    peak_rates,
    quiet,
    resumes,
    run_sweep,
    scale_rates,
)
from ._two_packages import refuse_other_lightning

__all__ = ["LRRangeTest", "lr_range_test"]

Result: TypeAlias = RangeTestResult | ParamTestResult
Param = Literal["lr", "weight_decay", "momentum", "batch_size"]

_TAG = "lr_range_test"
_TOLERANCE = 1e-6  # relative; rates that differ by more are different
# Smith (arXiv:1803.09820, section 4) looks for the weight decay on a grid of decades and zero, and
# for the momentum between 0.8 and 0.99. The batch size is tried as configured, doubled, and so on.
_VALUES: dict[str, tuple[float, ...]] = {
    "weight_decay": (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    "momentum": (0.8, 0.85, 0.9, 0.95, 0.99),
    "batch_size": (1, 2, 4),
}


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
    more than a megabyte that a dataset changes in place, a global ``numpy.random.Generator`` of the
    user's, and what the module's own code writes to disk.

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
            module; None for ``lr`` or ``learning_rate``.
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
        AttributeError: When fitting, if the module has no attribute to write to.
        TypeError: When fitting, if the module cannot be copied.
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
        one_of("stage", stage, ("train", "val"))
        one_of("on_fail", on_fail, ("keep", "raise"))
        one_of("isolation", isolation, ("copy", "snapshot"))
        in_range("val_batches", val_batches, 1)
        if probe_steps:
            whole_number("probe_steps", probe_steps, 10, remedy="50 is usual, 0 is none")
        if probe_steps and param != "lr":
            raise ValueError(f"`probe_steps` goes with param='lr', got param={param!r}")
        if not isinstance(at_epochs, Sequence):
            raise TypeError(f"`at_epochs` must be a list of epochs, got {at_epochs!r}")
        if not isinstance(callbacks, Sequence):
            raise TypeError(f"`callbacks` must be a list of callbacks, got {callbacks!r}")
        for epoch in at_epochs:
            in_range("at_epochs", epoch, 0)
        if values is not None:
            _check_values(param, values)
        if param == "batch_size" and any(at_epochs):
            raise ValueError(
                "param='batch_size' goes with at_epochs=[0] alone, since loaders are made once; "
                f"got at_epochs={list(at_epochs)}"
            )
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
        self._expected: float | None = None  # largest configured rate after the suggestion

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Run the test before the optimizers are made."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage != "fit":
            return
        self._expected = None
        if resumes(trainer):
            rank_zero_info("LRRangeTest does not run again: the fit goes on from a checkpoint")
            return
        self.results = {}
        if 0 in self.at_epochs and not self._skips(trainer):
            self._run(trainer, pl_module, data_of(trainer), epoch=0)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Give the module the rate that was found, before the optimizers are made."""
        state = (checkpoint.get("callbacks") or {}).get(self.state_key) or {}
        for name, value in state.get("applied", {}).items():
            for holder in _holders(pl_module, datamodule_of(trainer), name) if self.apply else ():
                setattr(holder, name, value)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See whether the optimizers took the rate."""
        if self._expected is None:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
            if hasattr(callback, "follow_range_test") and getattr(callback, "max_lr", None):
                rank_zero_warn(
                    f"the range test suggests a peak of {self._expected:.3g}, but "
                    f"{type(callback).__name__}(max_lr={callback.max_lr}) sets another; "
                    "leave out max_lr to train at the suggestion"
                )
        largest = max(max(rates) for rates in peak_rates(trainer))
        if abs(largest / self._expected - 1) > _TOLERANCE:
            names = " and ".join(f"`{name}`" for name in self._applied)
            rank_zero_warn(
                f"the range test set {names} for a peak of {self._expected:.3g}, but the "
                f"optimizers are configured with {largest:.3g}; let configure_optimizers make all "
                "rates from it, or name the attribute that they are made of by `attr`"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the test again, if this epoch is one of ``at_epochs``."""
        epoch = trainer.current_epoch
        if not epoch or epoch not in self.at_epochs or epoch in self.results:
            return
        if not self._skips(trainer):
            self._run(trainer, pl_module, data_of(trainer), epoch=epoch)

    def state_dict(self) -> dict[str, Any]:
        """The results, and what was written to the module."""
        return {
            "results": {epoch: result.to_json() for epoch, result in self.results.items()},
            "applied": dict(self._applied),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the results again."""
        kind = RangeTestResult if self.param == "lr" else ParamTestResult
        self.results = {
            int(epoch): kind.from_json(text) for epoch, text in state_dict["results"].items()
        }
        self._applied = dict(state_dict["applied"])
        self.result = next(reversed(self.results.values()), None)

    def _skips(self, trainer: Trainer) -> bool:
        if is_rehearsal(trainer):
            rank_zero_info("LRRangeTest does nothing in a fast_dev_run")
        return is_rehearsal(trainer)

    def _run(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: Data,
        *,
        epoch: int = 0,
        launched: bool = True,
    ) -> Result:
        """Measure, show and apply."""
        check_trainer(trainer)
        values = self._tried(module, data)
        names = self._attributes(module, data) if self.apply else []
        start = time.perf_counter()
        sweeps, peak = self._swept(trainer, module, data, values, epoch, launched)
        seconds = time.perf_counter() - start
        result: Result
        if self.param == "lr":
            (same,) = sweeps.values()
            result = analyse(same, self.rule, seconds=seconds)
            if self.probe_steps:
                train = partial(self._probed, trainer, module, data, epoch, launched)
                result = replace(probe(result, train), seconds=time.perf_counter() - start)
        else:
            result = compare_values(self.param, sweeps, rule=self.rule, seconds=seconds)
        self.result = self.results[epoch] = result = _of_rank_zero(result)
        rank_zero_info(result.summary())
        if launched:
            self._show(trainer, result, epoch)
        if not result.applies:
            self._fail(result, launched)
        elif self.apply and (not epoch or self.param != "lr"):
            self._write(module, data, names, result, peak)
        if result.applies and self.apply and epoch:
            self._change(trainer, result)
        return result

    def _swept(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: Data,
        values: Sequence[float],
        epoch: int,
        launched: bool,
    ) -> tuple[dict[float, list[Sweep]], float]:
        """The sweeps at each value of the parameter, and the largest rate that was configured."""
        sweeps: dict[float, list[Sweep]] = {value: [] for value in values}
        with _bar(trainer, len(values) * self.repeats * self.num_steps) as bar:
            plan = Plan(
                lr_values(self.min_lr, self.max_lr, self.num_steps, self.mode),
                val_batches=self.val_batches if self.stage == "val" else 0,
                optimizer_states=optimizer_states(trainer) if epoch else (),
                on_point=bar.update,
            )
            for value in values:
                # The same random states for each value, and so the same batches; repeats differ.
                with random_state_kept():
                    own_data = _own_data(trainer, data)
                    for _ in range(self.repeats):
                        sweep = self._once(trainer, module, own_data, plan, value, launched)
                        sweeps[value].append(sweep)
        return sweeps, plan.peak

    def _probed(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: Data,
        epoch: int,
        launched: bool,
        peak: float,
    ) -> float:
        """Loss at the end of a short one-cycle; infinite if it diverged."""
        steps = self.probe_steps
        plan = Plan(
            [peak * one_cycle(step, steps) for step in range(steps)],
            val_batches=self.val_batches if self.stage == "val" else 0,
            optimizer_states=optimizer_states(trainer) if epoch else (),
        )
        with random_state_kept():
            own_data = _own_data(trainer, data)
            losses = self._once(trainer, module, own_data, plan, 0.0, launched).losses
        return fmean(losses[-(steps // 5) :]) if len(losses) == steps else math.inf

    def _once(
        self,
        trainer: Trainer,
        module: LightningModule,
        own_data: Data,
        plan: Plan,
        value: float,
        launched: bool,
    ) -> Sweep:
        """One sweep, with the parameter under test at a value."""
        with _own_module(trainer, module, self.isolation) as own_module:
            self._hold(plan, own_module, own_data, value)
            plan.callbacks = [copy.deepcopy(callback) for callback in self.callbacks]
            return run_sweep(own_module, own_data, trainer, plan, launched)

    def _tried(self, module: LightningModule, data: Data) -> Sequence[float]:
        """Values of ``param``; a single one if it is the rate itself."""
        if self.param == "lr":
            return [0.0]
        if self.param != "batch_size":
            return self.values or _VALUES[self.param]
        name = self.attr or self.param
        holders = _holders(module, data.datamodule, name)
        if not holders or data.train is not None:
            raise AttributeError(
                f"param='batch_size' needs a module or data module with `{name}` and a "
                "train_dataloader made of it; a loader that is made already keeps its size"
            )
        configured = getattr(holders[0], name)
        return self.values or [configured * times for times in _VALUES["batch_size"]]

    def _hold(self, plan: Plan, module: LightningModule, data: Data, value: float) -> None:
        """Set the parameter under test in the copies."""
        if self.param == "batch_size":
            name = self.attr or self.param
            for holder in _holders(module, data.datamodule, name):
                setattr(holder, name, int(value))
        elif self.param != "lr":
            plan.held = {self.param: value}

    def _attributes(self, module: LightningModule, data: Data) -> list[str]:
        """Names of the attributes that the result is written to."""
        usual = ("lr", "learning_rate") if self.param == "lr" else (self.param,)
        wanted = usual if self.attr is None else (self.attr,)
        values = {
            name: getattr(holders[0], name)
            for name in wanted
            if (holders := _holders(module, data.datamodule, name))
        }
        if not values:
            raise AttributeError(
                f"{type(module).__name__} has no attribute {' or '.join(map(repr, wanted))} to "
                f"write the suggestion to{_alike(module)}; name one by `attr`, or pass apply=False"
            )
        found = " and ".join(f"{name}={value!r}" for name, value in values.items())
        first = next(iter(values.values()))
        if any(value != first for value in values.values()):
            raise ValueError(
                f"{type(module).__name__} has {found}; "
                "say by `attr` which of them the optimizers are made of"
            )
        if self.param == "lr" and not (_is_number(first) and first > 0):
            raise ValueError(
                f"`{next(iter(values))}` must be a number above 0 for the suggestion to scale, "
                f"got {first!r}; name another attribute by `attr`, or pass apply=False"
            )
        return list(values)

    def _write(
        self,
        module: LightningModule,
        data: Data,
        names: Sequence[str],
        result: Result,
        peak: float,
    ) -> None:
        for name in names:
            for holder in _holders(module, data.datamodule, name):
                if isinstance(result, RangeTestResult):
                    # The attribute may be a multiple of the largest rate, by the module's choice.
                    value = float(getattr(holder, name)) * _suggestion(result) / peak
                else:
                    value = _chosen(result)
                setattr(holder, name, value)
                self._applied[name] = value
        if isinstance(result, RangeTestResult):
            self._expected = _suggestion(result)

    def _change(self, trainer: Trainer, result: Result) -> None:
        """Change the value in optimizers and schedules in mid-training."""
        if isinstance(result, ParamTestResult):
            for group in (group for one in trainer.optimizers for group in one.param_groups):
                set_param(group, result.param, _chosen(result))
            return
        largest = max(max(rates) for rates in peak_rates(trainer))
        scale_rates(trainer, _suggestion(result) / largest)

    def _fail(self, result: Result, launched: bool) -> None:
        text = f"the range test suggests nothing ({result.status}): {result.reason}"
        if self.on_fail == "raise":
            raise RuntimeError(f"{text}; pass on_fail='keep' to train at the configured rate")
        rank_zero_warn(
            f"{text}; "
            + ("training goes on at" if launched else "keep to")
            + " the configured rate"
        )

    def _show(self, trainer: Trainer, result: Result, epoch: int) -> None:
        """Picture and numbers in every logger."""
        sinks = open_sinks(trainer, type(self).__name__) if trainer.loggers else Sinks()
        tag = f"{_TAG}/epoch {epoch}" if epoch else _TAG
        if not sinks:
            return
        sinks.image(f"{tag}/curve", encode(result.picture()), log_step(trainer))
        if isinstance(result, RangeTestResult):
            for step, values in enumerate(result.rows()):
                sinks.scalars({f"{tag}/{key}": v for key, v in values.items()}, step)
        if result.suggestion is not None:
            sinks.scalars({f"{tag}/suggestion": result.suggestion}, log_step(trainer))
        sinks.flush()


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
    return test._run(trainer, module, source, launched=False)


def _suggestion(result: Result) -> float:
    assert result.suggestion is not None  # asked only of results that apply
    return result.suggestion


def _chosen(result: ParamTestResult) -> float:
    assert result.chosen is not None  # asked only of results that apply
    return int(result.chosen) if result.param == "batch_size" else result.chosen


def _of_rank_zero(result: Result) -> Result:
    """The same object on every rank: the seconds are each rank's own."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return result
    results = [result]
    torch.distributed.broadcast_object_list(results)
    return results[0]


def _replacements(trainer: Trainer) -> dict[int, object]:
    """What a copy has in the place of things that belong to the user's run."""
    return {id(trainer): None, **{id(logger): NoLogger(logger) for logger in trainer.loggers}}


@contextmanager
def _own_module(
    trainer: Trainer, module: LightningModule, isolation: str
) -> Iterator[LightningModule]:
    """A module that a sweep may change."""
    # Functions of a copy would act on the original: such a module is used in place.
    if isolation == "copy" and not is_bound_to_itself(module):
        yield copy_module(module, _replacements(trainer))
    else:
        with module_kept(module, shared=[trainer, *trainer.loggers]):
            yield module


def _own_data(trainer: Trainer, data: Data) -> Data:
    """Data that a sweep may read."""
    own, uncopied = copy_data(data, _replacements(trainer))
    if uncopied:
        rank_zero_warn(
            f"the range test reads from the same {' and '.join(uncopied)} as the training data, "
            "which cannot be copied: a position in it moves on; open files anew in each worker, "
            "or read at absolute positions"
        )
    return own


def _holders(
    module: LightningModule, datamodule: LightningDataModule | None, name: str
) -> list[Any]:
    """All objects that hold an attribute: module, data module and their hyperparameters."""
    owners = [module] if datamodule is None else [module, datamodule]
    holders = [holder for owner in owners for holder in (owner, owner.hparams)]
    return [holder for holder in holders if _holds(holder, name)]


def _holds(holder: Any, name: str) -> bool:
    if isinstance(holder, Mapping):
        return name in holder
    made = getattr(type(holder), name, None)
    is_read_only = isinstance(made, property) and made.fset is None  # made of something else
    return hasattr(holder, name) and not is_read_only


def _is_number(value: Any) -> bool:
    is_scalar = isinstance(value, torch.Tensor) and value.ndim == 0
    return is_scalar or (isinstance(value, Real) and not isinstance(value, bool))


def _alike(module: LightningModule) -> str:
    """The end of a sentence that names attributes which look like rates."""
    names = {*vars(module), *module.hparams}
    alike = sorted(n for n in names if "lr" in n.lower().split("_") or "rate" in n.lower())
    return f" (it has {', '.join(alike)})" if alike else ""


def _check_values(param: str, values: Sequence[float]) -> None:
    if param == "lr":
        raise ValueError(
            "`values` goes with another `param` than 'lr'; for that set min_lr, max_lr"
        )
    if len(set(values)) < 2:
        raise ValueError(f"`values` needs at least two different values, got {list(values)}")
    for value in values:
        in_range("values", value, 1 if param == "batch_size" else 0)


def _bar(trainer: Trainer, total: int) -> Any:
    shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
    return tqdm(total=total, desc="LR range test", disable=not shown, leave=False)
