"""Runs one sweep of a range test on copies of the user's module and data."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..hparam_slots import find_slots
from ..range_test import Sweep
from .inner_trainer import InnerTrainer, nothing
from .peak_rates import RunLength
from .place import Data, Place
from .recorder import Plan, Recorder, SweepDone

__all__ = ["Found", "quiet", "run_sweep"]

_AT_A_RUNS_START = ("prepare_data", "setup", "configure_model", "configure_sharded_model")


@dataclass(frozen=True)
class Found:
    """Measurements of a sweep, and the learning rates that the module configures.

    Args:
        sweep: Rates and losses.
        peaks: The configured peak rate of each parameter group, per optimizer.
        lifts: Ratio of each group's peak rate to its initial rate, per optimizer.
        length: Length of the user's run.
        before: Losses of batches that were held out, before training.
        after: The same after it.
    """

    sweep: Sweep
    peaks: tuple[tuple[float, ...], ...]
    lifts: tuple[tuple[float, ...], ...]
    length: RunLength
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()

    @property
    def peak(self) -> float:
        """The largest configured rate of any parameter group."""
        return max(itertools.chain.from_iterable(self.peaks))


def run_sweep(place: Place, data: Data, plan: Plan, isolation: str) -> Found:
    """Train a copy of the user's module with a rising rate, without affecting the user's run.

    Args:
        place: The user's run.
        data: A copy of the user's data, consumed by the sweep.
        plan: Settings of the sweep.
        isolation: How the user's module is protected: ``"copy"`` or ``"snapshot"``.

    Raises:
        ValueError: If the training data are empty.
        RuntimeError: If no batch gives a loss.
    """
    with place.own_module(isolation) as module:
        for name, value in plan.written.items():
            owners = [module] if data.datamodule is None else [module, data.datamodule]
            for slot in find_slots(owners, name):
                slot.write(value)
        own = replace(plan, callbacks=[copy.deepcopy(callback) for callback in plan.callbacks])
        return _swept(module, data, place, own)


def _swept(module: LightningModule, data: Data, place: Place, plan: Plan) -> Found:
    _mute(module, data.datamodule, place.launched)
    recorder = Recorder(plan, data, place)
    with quiet(), _process_kept(place.launched):
        inner = InnerTrainer.like(place, data, [recorder, *plan.callbacks])
        try:
            inner.fit(module, train_dataloaders=data.train, datamodule=data.datamodule)
        except SweepDone:
            pass
        except SystemExit:
            # Lightning turns Ctrl-C into an exit; the outer Trainer needs the original.
            if recorder.interrupt is not None:
                raise recorder.interrupt from None
            raise
        except Exception as error:
            _say_where(error)
            raise
        finally:
            inner.let_go()
    if not recorder.losses:
        raise ValueError(
            "the range test got no batch: the training loader is empty or limit_train_batches=0"
        )
    lifts = tuple(tuple(each) for each in recorder.lifts)
    sweep = Sweep(recorder.lrs, recorder.losses)
    before, after = map(tuple, (recorder.held.before, recorder.held.after))
    peaks = tuple(tuple(each) for each in recorder.peaks)
    return Found(sweep, peaks, lifts, recorder.length, before, after)


def _mute(module: LightningModule, datamodule: LightningDataModule | None, launched: bool) -> None:
    """Disable hooks meant for a whole run or for the end of an epoch."""
    # The module's callbacks would stop, save or log.
    vars(module)["configure_callbacks"] = list
    for hook in ("on_train_epoch_end", "lr_scheduler_step"):
        vars(module)[hook] = nothing
    # Start-of-run hooks have already run and would create the layers again.
    for hook in _AT_A_RUNS_START if launched else ():
        if is_overridden(hook, module):
            vars(module)[hook] = nothing
    if datamodule is not None:
        vars(datamodule)["on_exception"] = vars(datamodule)["teardown"] = nothing
    if datamodule is not None and launched:
        vars(datamodule)["prepare_data"] = vars(datamodule)["setup"] = nothing


def _say_where(error: Exception) -> None:
    """Add a note to an error from user code that it was raised in the range test."""
    if "range test" in str(error) or "stage=" in str(error):
        return
    note = (
        "This happened in the range test, on a copy of the module and with a Trainer made for it. "
        "If training alone works, pass isolation='snapshot' to LRRangeTest to test the module "
        "itself, run lr_range_test on a simpler training_step, or leave the range test out."
    )
    if hasattr(error, "add_note"):
        error.add_note(note)
    elif error.args and isinstance(error.args[0], str):  # Python 3.10
        error.args = (f"{error.args[0]}\n{note}", *error.args[1:])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages about the inner Trainer, which repeat those of the outer one."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _process_kept(launched: bool) -> Iterator[None]:
    """Restore process state that a Trainer changes at its end."""
    world_size = os.environ.get("WORLD_SIZE") if launched else None
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if world_size is not None:
            os.environ["WORLD_SIZE"] = world_size
        if is_main:
            signal.signal(signal.SIGINT, handler)
