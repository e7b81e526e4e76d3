"""The 1cycle policy and cyclic learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from ..checks import as_number, in_range, one_of
from ..optim import initial_param
from ..scheduler import OnResume
from ..schedules import (
    MomentumCycle,
    RateBound,
    Schedule,
    Span,
    as_rates,
    exp_range,
    one_cycle,
    triangular,
    triangular2,
)
from .param_scheduler import ParamScheduler, Rates, Steps

__all__ = ["Cyclic", "OneCycle"]

_FOOT = 0.25  # of the peak: "set base_lr to 1/3 or 1/4 of max_lr" (1506.01186, section 3.3)


class OneCycle(ParamScheduler):
    """Raise the learning rate to its peak and then lower it, once over the whole run.

    The policy of Smith & Topin (1708.07120), :func:`lightning_hparams.schedules.one_cycle`, with
    the arguments and values of torch's ``OneCycleLR``. After a range test, its suggested rate is
    the configured rate and the peak. See :class:`ParamScheduler` for resuming and step counts.

    For the curve of fastai's ``fit_one_cycle``, use ``pct_start=0.25, final_div_factor=4e3``.

    Args:
        max_lr: Peak of the group with the largest rate, scaling the others; a list with one peak
            per group, over all optimizers; None for the rates configured or found by a range test.
        total_steps: Optimizer steps in the run, or a list with one number per optimizer; None for
            the number planned by the trainer.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: Ratio of the peak to the rate of the first step.
        final_div_factor: Ratio of the rate of the first step to that of the last.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: Fall to the first rate in as many steps as it rose, then anneal further.
        cycle_momentum: Cycle the momentum inversely to the rate: ``"auto"`` in groups whose
            ``momentum`` is above 0, True in all groups, including ``betas[0]``. The configured
            momentum is restored at the end.
        base_momentum: Momentum at the peak of the rate, at least 0; or a list with one per group,
            over all optimizers.
        max_momentum: Momentum at the lowest rate, below 1; or a list as for ``base_momentum``.
        on_resume: If a resumed run differs in length from the stopped one, ``"rescale"`` stretches
            the curve, ``"continue"`` keeps it and then its last value, ``"strict"`` raises.
        override: Replace a scheduler configured by the module, instead of raising.

    Raises:
        ValueError: If an argument is out of range, the number of steps cannot be determined, or
            the momentum to cycle is 0.
        RuntimeError: If anything else would set the same values.
    """

    def __init__(
        self,
        max_lr: Rates = None,
        total_steps: Steps = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
        cycle_momentum: bool | Literal["auto"] = "auto",
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        shape: dict[str, Any] = {
            "pct_start": as_number("pct_start", pct_start),
            "div_factor": as_number("div_factor", div_factor),
            "final_div_factor": as_number("final_div_factor", final_div_factor),
            "anneal_strategy": anneal_strategy,
            "three_phase": three_phase,
        }
        super().__init__(
            one_cycle,
            total_steps=total_steps,
            schedule_args=shape,
            on_resume=on_resume,
            override=override,
        )
        self.max_lr = as_rates("max_lr", max_lr)
        self._momentum = MomentumCycle.of(cycle_momentum, base_momentum, max_momentum)
        if cycle_momentum:
            # The momentum starts and ends at its maximum, whatever the first and last rate are.
            self._shapes["momentum"] = partial(one_cycle, **{**shape, "div_factor": math.inf})

    def own_peak(self) -> Rates:
        """``max_lr``."""
        return self.max_lr

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        return {"max_lr": RateBound.among("max_lr", self.max_lr, rates)}

    def _span(
        self, group: Mapping[str, Any], index: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        return 0.0, bounds["max_lr"].at(initial_param(group, "lr"), index)

    def _listed(self) -> int:
        return len(self.max_lr) if isinstance(self.max_lr, Sequence) else 0


class Cyclic(ParamScheduler):
    """Cycle the learning rate between two bounds (Smith, 1506.01186), as torch's ``CyclicLR``.

    After a range test, its suggested bounds apply to the group with the largest rate, and the
    others are scaled in proportion. See :class:`ParamScheduler` for resuming and step counts.
    With SGD, those of a sweep alone may be too low, or there may be none; on four tasks,
    ``LRRangeTest(budget=600)`` found good ones.

    Args:
        base_lr: Lower bound of the group with the largest rate, scaling the others; a list with
            one per group, over all optimizers; None for the range test's suggestion, or a quarter
            of the upper bound (section 3.3 of the paper).
        max_lr: Upper bound, as for ``base_lr``; None for the range test's suggestion, or the
            configured rate.
        total_steps: Optimizer steps in the run, or a list with one number per optimizer; None for
            the number planned by the trainer.
        step_size_up: Steps from the lower to the upper bound, or below 1 a share of the run; None
            for four cycles in the run, which end at the lower one.
        step_size_down: Steps back to the lower bound, likewise; None for ``step_size_up``.
        mode: ``"triangular"``, ``"triangular2"`` (amplitude halved in each cycle), or
            ``"exp_range"`` (amplitude scaled by ``gamma**step``).
        gamma: For ``"exp_range"``, above 0 and at most 1.
        cycle_momentum: Cycle the momentum inversely to the rate: ``"auto"`` in groups whose
            ``momentum`` is above 0, True in all groups, including ``betas[0]``.
        base_momentum: Momentum at the upper bound of the rate, at least 0; or a list with one per
            group, over all optimizers.
        max_momentum: Momentum at the lower bound of the rate, below 1; or a list as for
            ``base_momentum``.
        on_resume: If a resumed run differs in length from the stopped one, ``"rescale"`` stretches
            the curve, ``"continue"`` keeps it and then its last value, ``"strict"`` raises.
        override: Replace a scheduler configured by the module, instead of raising.

    Raises:
        ValueError: If an argument is out of range, the lower bound is above the upper one, the
            number of steps cannot be determined, or the momentum to cycle is 0.
        RuntimeError: If anything else would set the same values.
    """

    def __init__(
        self,
        base_lr: Rates = None,
        max_lr: Rates = None,
        total_steps: Steps = None,
        step_size_up: float | None = None,
        step_size_down: float | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        cycle_momentum: bool | Literal["auto"] = "auto",
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        modes: dict[str, Schedule] = {
            "triangular": triangular,
            "triangular2": triangular2,
            "exp_range": partial(exp_range, gamma=as_number("gamma", gamma)),
        }
        one_of("mode", mode, modes)
        super().__init__(
            modes[mode],
            total_steps=total_steps,
            schedule_args={
                "base": 0.0,
                "step_size_up": _number_or_none("step_size_up", step_size_up),
                "step_size_down": _number_or_none("step_size_down", step_size_down),
            },
            on_resume=on_resume,
            override=override,
        )
        self.base_lr = as_rates("base_lr", base_lr)
        self.max_lr = as_rates("max_lr", max_lr)
        self._momentum = MomentumCycle.of(cycle_momentum, base_momentum, max_momentum)
        if cycle_momentum:
            self._shapes["momentum"] = self._shapes["lr"]

    def own_peak(self) -> Rates:
        """``max_lr``."""
        return self.max_lr

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        base, top = self.base_lr, self.max_lr
        if self._tested is not None and top is None:
            base, top = self._tested[0] if base is None else base, self._tested[1]
        return {
            "base_lr": RateBound.among("base_lr", base, rates),
            "max_lr": RateBound.among("max_lr", top, rates),
        }

    def _span(
        self, group: Mapping[str, Any], index: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        own = initial_param(group, "lr")
        top = bounds["max_lr"].at(own, index)
        if bounds["base_lr"].asked is None:
            return top * _FOOT, top
        base = bounds["base_lr"].at(own, index)
        in_range("base_lr", base, 0.0, top, remedy="it is the lower bound, max_lr the upper")
        return base, top

    def _listed(self) -> int:
        lists = [rates for rates in (self.base_lr, self.max_lr) if isinstance(rates, Sequence)]
        return len(lists[0]) if lists else 0


def _number_or_none(name: str, value: float | None) -> float | None:
    return None if value is None else as_number(name, value)
