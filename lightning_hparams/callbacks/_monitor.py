"""Base class of the monitors: sinks, notices, and hooks that never end training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ..checks import type_name
from ..internals import log_step
from ..notices import Notices, kind_of
from ..sinks import Sinks, is_rehearsal
from ._idle_hooks import skip_idle_hooks
from ._log_step import align_log_step, resume_sinks, resumes

__all__ = ["Monitor", "module_value"]

# A checkpoint is loaded before training begins, so errors there are raised.
_HOOKS = {name for name in vars(Callback) if name.startswith("on_")} - {"on_load_checkpoint"}
_HOOKS |= {"setup", "teardown", "state_dict", "load_state_dict"}
_ALWAYS_SAFE = _HOOKS & {"teardown", "state_dict", "load_state_dict"}
_ALWAYS_SAFE |= {"on_exception", "on_save_checkpoint"}
_BEFORE_TRAINING = {"setup", "on_fit_start", "on_sanity_check_start", "on_sanity_check_end"}
_FIRST_BATCH = "on_train_batch_start"
_BATCH_IDX = 4  # index among a batch hook's arguments: trainer, module, outputs, batch, batch_idx


class Monitor(Callback):
    """A callback that only observes: once training has begun, errors in its hooks never end it.

    Subclasses define hooks as usual, and each is guarded: errors become one warning per hook and
    kind of error. Errors before training are raised unchanged: in ``setup``, ``on_fit_start``, the
    sanity check, a ``fast_dev_run``, and up to the first batch of a standalone validation, test or
    prediction. ``KeyboardInterrupt`` and other non-``Exception`` errors are always raised. A state
    in a checkpoint that cannot be read costs a warning, and the monitor starts anew.

    Distributed processes must stay in step. A hook that exchanges values between them does so
    before anything can fail on a single rank: local work that may fail runs under
    :meth:`Notices.instead_of_errors`, and work of rank zero alone, such as writing, comes last.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in _HOOKS & vars(cls).keys():
            setattr(cls, name, _guarded(name, vars(cls)[name]))

    def __init__(self) -> None:
        super().__init__()
        skip_idle_hooks(self)
        self._sinks = Sinks()
        self._notices = Notices(type(self).__name__)

    def _go_on(self, trainer: Trainer) -> None:
        """Continue from an earlier process's checkpoint; to be called when training starts."""
        resume_sinks(trainer, self._sinks)
        if resumes(trainer) and not callable(self.on_train_batch_start):
            begin = partial(self._begin_first_batch, log_step(trainer))
            setattr(self, _FIRST_BATCH, begin)

    def _begin_first_batch(self, restored: int, trainer: Trainer, *_: object) -> None:
        """Run once, in place of a hook that would cost time in every batch."""
        setattr(self, _FIRST_BATCH, None)
        with self._notices.instead_of_errors("find the step to resume at"):
            align_log_step(trainer, restored)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Deliver all that the checkpoint covers, in case the process is killed later."""
        self._sinks.flush(wait=True)


def module_value(module: LightningModule, name: str) -> Any:
    """An attribute of a module, or else its hyperparameter of that name; None if it has neither."""
    value = getattr(module, name, None)
    value = getattr(module, "hparams", {}).get(name) if value is None else value
    if isinstance(value, Iterator):
        raise TypeError(
            f"`{name}` of the module is a {type_name(value)}, which can be read only once; make it "
            "a list"
        )
    return value


def _guarded(name: str, hook: Callable[..., object]) -> Callable[..., object]:
    """Wrap a hook so that its errors become warnings where they would end a run."""

    @wraps(hook)
    def guarded(self: Monitor, *args: Any, **kwargs: object) -> object:
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            if name not in _ALWAYS_SAFE and _may_raise(name, args):
                raise
            told = self._notices.failed_after if name == "on_exception" else self._notices.failed
            told(f"finish `{name}`", error, (name, kind_of(error)))
            return {} if name == "state_dict" else None

    return guarded


def _may_raise(name: str, args: tuple[Any, ...]) -> bool:
    """Whether raising is safe: no training is running yet."""
    trainer: Trainer = args[0]
    if name in _BEFORE_TRAINING or trainer.sanity_checking or is_rehearsal(trainer):
        return True
    if trainer.state.fn == "fit":
        return False
    return name.endswith("_start") or (len(args) > _BATCH_IDX and args[_BATCH_IDX] == 0)
