"""The contract of schedules: functions of the optimizer step and the length of the run."""

from __future__ import annotations

import math
import pickle
from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.optim import SGD, Optimizer

from ..callbacks import ParamScheduler
from ..schedules import Schedule, as_schedule, check_call
from ._no_trace import no_trace

__all__ = ["ScheduleContract"]

_TOTALS = (1, 2, 3, 10, 101, 1000)


class ScheduleContract(ABC):
    """Tests of a schedule: a function ``(step, total) -> multiplier``.

    Name the subclass ``Test...`` for pytest to find it.
    """

    @abstractmethod
    def make_schedule(self) -> Schedule:
        """Return the schedule, with ``functools.partial`` around its own arguments."""

    def test_it_is_called_with_step_and_total(self) -> None:
        """And returns a finite number."""
        check_call(as_schedule(self.make_schedule()))

    def test_every_multiplier_is_finite_and_not_negative(self) -> None:
        """At each step of runs of any length, one step included."""
        schedule = self.make_schedule()
        for total in _TOTALS:
            for step in range(total):
                value = schedule(step, total)
                assert 0 <= value < math.inf, f"{value} at step {step} of {total}"

    def test_past_the_end_the_last_value_holds(self) -> None:
        """A run may take more steps than planned, and must not fail hours into it."""
        schedule = self.make_schedule()
        for total in _TOTALS:
            last = schedule(total - 1, total)
            for step in (total, total + 1, 10 * total):
                value = schedule(step, total)
                assert value == last, f"{value} at step {step} of {total}, {last} at the last step"

    def test_a_step_has_one_value_in_any_order(self) -> None:
        """No state: a run resumed at any step continues as if it had not stopped."""
        schedule = self.make_schedule()
        for total in _TOTALS:
            steps = range(0, total, max(total // 50, 1))
            forward = [schedule(step, total) for step in steps]
            backward = [schedule(step, total) for step in reversed(steps)]
            assert forward == backward[::-1], f"values depend on the calls before, total={total}"

    def test_it_draws_no_random_numbers(self) -> None:
        """Of the generators that training uses."""
        schedule = self.make_schedule()
        with no_trace("a schedule"):
            for step in range(10):
                schedule(step, 10)

    def test_it_can_be_pickled(self) -> None:
        """Callbacks are sent to the processes of a distributed run; a lambda cannot be."""
        schedule = self.make_schedule()
        copy: Schedule = pickle.loads(pickle.dumps(schedule))
        assert [copy(step, 10) for step in range(10)] == [schedule(step, 10) for step in range(10)]

    def test_an_optimizer_follows_it(self) -> None:
        """Each parameter group has its own rate times the multiplier, at every step."""
        schedule, seen = self.make_schedule(), []

        class Module(BoringModel):
            def configure_optimizers(self) -> Optimizer:  # type: ignore[override]
                weight, bias = self.layer.parameters()
                groups: list[dict[str, Any]] = [{"params": weight}, {"params": bias, "lr": 0.01}]
                return SGD(groups, lr=0.1)

            def optimizer_step(self, *args: object, **kwargs: object) -> None:
                seen.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
                super().optimizer_step(*args, **kwargs)  # type: ignore[arg-type]

        torch.manual_seed(0)
        Trainer(
            accelerator="cpu",
            max_steps=6,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[ParamScheduler(schedule)],
        ).fit(Module())
        for step, (first, second) in enumerate(seen):
            value = schedule(step, 6)
            assert math.isclose(first, 0.1 * value, abs_tol=1e-12), (step, first, value)
            assert math.isclose(second, 0.01 * value, abs_tol=1e-12), (step, second, value)
        assert len(seen) == 6, f"{len(seen)} of 6 steps ran"
