"""The clocks of a fit and of the evaluations within it, and the loops' data fetching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from lightning import Trainer

from ..internals import replace_fetch_marks
from ..speed import CudaTimer, HostTimer, Speed, StepClock, Totals

__all__ = ["StageClocks"]

_Mark: TypeAlias = Callable[[], None]
_WHOLE = 10**9  # a window longer than any validation


class StageClocks:
    """One clock for the training batches of a fit, and one for each evaluation.

    Attributes:
        running: Clock of the running stage; None if none is measured.
        training: Clock of the fit; None outside of it.
        is_watching: Whether the loops' data fetching is recorded.
    """

    def __init__(self) -> None:
        self.running: StepClock[Any] | None = None
        self.training: StepClock[Any] | None = None
        self._timer: HostTimer | CudaTimer = HostTimer()
        self._undo: list[Callable[[], None]] = []  # each restores a loop

    @property
    def is_watching(self) -> bool:
        """See the class."""
        return bool(self._undo)

    def now(self) -> Any:
        """Return the current moment."""
        return self._timer.now()

    def watch(self, trainer: Trainer) -> None:
        """Record when a Trainer's loops start and end fetching data."""
        on_cuda = trainer.strategy.root_device.type == "cuda"
        self._timer = CudaTimer() if on_cuda else HostTimer()
        epochs = trainer.fit_loop.epoch_loop
        for loop in (
            epochs,
            epochs.val_loop,
            trainer.validate_loop,
            trainer.test_loop,
            trainer.predict_loop,
        ):
            self._undo.append(replace_fetch_marks(loop, self._with_marks))

    def begin_fit(self, window: int, warmup: int) -> None:
        """Start the clock of a fit; the arguments are those of :class:`StepClock`."""
        self.running = self.training = StepClock(window, warmup, self._timer)

    def end_fit(self) -> Totals | None:
        """Stop the clock of the fit and return its totals; None if there is no fit."""
        clock, self.running, self.training = self.training, None, None
        if clock is None:
            return None
        clock.stopped(self.now())
        return clock.totals()

    def begin_evaluation(self) -> None:
        """Start the clock of a validation, test or prediction."""
        if self.is_watching:
            self.running = StepClock(_WHOLE, 0, self._timer)

    def end_evaluation(self) -> Speed | None:
        """Return to the fit, if there is one; return the rates of the evaluation if measured."""
        clock, self.running = self.running, self.training
        if clock is None:
            return None
        speed = clock.speed()
        if self.training is not None:
            self.training.totals().validation_wait += clock.totals().wait
        return speed

    def release(self) -> None:
        """Restore the loops, and forget the clocks."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        self.running = self.training = None

    def _with_marks(self, ask: _Mark, answer: _Mark) -> tuple[_Mark, _Mark]:
        now = self._timer.now

        def before() -> None:
            if (clock := self.running) is not None:
                clock.fetching(now())
            ask()

        def after() -> None:
            answer()
            if (clock := self.running) is not None:
                clock.fetched(now())

        return before, after
