"""What all monitors share: sinks, notices, and hooks that never end a training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import wraps
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ..notices import Notices, kind_of
from ..sinks import Sinks, is_rehearsal
from ._idle_hooks import skip_idle_hooks
from ._log_step import align_log_step, resume_sinks

__all__ = ["Monitor", "module_value"]

# Not those that load a checkpoint: training has not begun then.
_HOOKS = {name for name in vars(Callback) if name.startswith("on_")} - {"on_load_checkpoint"}
_HOOKS |= {"setup", "teardown", "state_dict"}
_ALWAYS_SAFE = {"teardown", "state_dict", "on_exception", "on_save_checkpoint"}
_BEFORE_TRAINING = {"setup", "on_fit_start", "on_sanity_check_start", "on_sanity_check_end"}
_FIRST_BATCH = "on_train_batch_start"
_BATCH_IDX = 4  # of the arguments of a batch hook: trainer, module, outputs, batch, batch_idx


class Monitor(Callback):
    """A callback that only looks: once training has begun, no error in its hooks ends the run.

    Subclasses write hooks as for any callback, and each is guarded: an error in it becomes one
    warning for each hook and kind of error. Errors before training are raised as they are: in
    ``setup``, ``on_fit_start``, the sanity check, a rehearsal (``fast_dev_run``), and up to the
    first batch of a validation or test of its own. ``KeyboardInterrupt`` and the like always are.

    Processes that train together must stay in step. A hook in which they exchange values does so
    before anything in it can fail on one of them alone: what is local to a process and may fail is
    run under :meth:`Notices.instead_of_errors`, and what only rank zero does, such as writing,
    comes last.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _HOOKS & vars(cls).keys():
            setattr(cls, name, _guarded(name, vars(cls)[name]))

    def __init__(self) -> None:
        super().__init__()
        skip_idle_hooks(self)
        self._sinks = Sinks()
        self._notices = Notices(type(self).__name__)

    def _go_on(self, trainer: Trainer) -> None:
        """Go on after the checkpoint of an earlier process; to be called when training starts."""
        resume_sinks(trainer, self._sinks)
        if trainer.global_step and not callable(self.on_train_batch_start):
            setattr(self, _FIRST_BATCH, self._begin_first_batch)

    def _begin_first_batch(self, trainer: Trainer, *args: Any) -> None:
        """Stand in for a hook that would cost time in every batch."""
        setattr(self, _FIRST_BATCH, None)
        with self._notices.instead_of_errors("find the step that a run goes on at"):
            align_log_step(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Deliver what the checkpoint covers: a process that is killed later cannot."""
        self._sinks.flush(wait=True)


def module_value(module: LightningModule, name: str) -> Any:
    """An attribute of a module, or else its hyperparameter of that name; None if it has neither."""
    value = getattr(module, name, None)
    return getattr(module, "hparams", {}).get(name) if value is None else value


def _guarded(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of which errors are told once, where they would end a run."""

    @wraps(hook)
    def guarded(self: Monitor, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            if name not in _ALWAYS_SAFE and _may_raise(name, args):
                raise
            # With warnings as errors, the warning itself must not hide the user's error.
            with suppress(Warning) if name == "on_exception" else nullcontext():
                self._notices.failed(f"finish `{name}`", error, (name, kind_of(error)))
            return {} if name == "state_dict" else None

    return guarded


def _may_raise(name: str, args: tuple[Any, ...]) -> bool:
    """Whether no training is running that an error would end."""
    trainer: Trainer = args[0]
    if name in _BEFORE_TRAINING or trainer.sanity_checking or is_rehearsal(trainer):
        return True
    if trainer.state.fn == "fit":
        return False
    return name.endswith("_start") or (len(args) > _BATCH_IDX and args[_BATCH_IDX] == 0)
