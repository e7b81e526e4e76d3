"""Learning rates that rise and fall: the 1cycle policy, and cyclic learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from ..checks import as_number, in_range, one_of
from ..optim import initial_param
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
from ._scheduled_run import OnResume
from .param_scheduler import ParamScheduler, Rates, Steps

__all__ = ["Cyclic", "OneCycle"]

_FOOT = 0.25  # of the peak: "set base_lr to 1/3 or 1/4 of max_lr" (1506.01186, section 3.3)


class OneCycle(ParamScheduler):
    """Let the learning rate rise to its peak and then fall, once over the whole run.

    The policy of Smith & Topin (1708.07120), :func:`lightning_hparams.schedules.one_cycle`, with
    the arguments and the values of torch's ``OneCycleLR``. After a range test the configured rate
    is the one it suggests, and so is the peak. What holds for :class:`ParamScheduler` holds here.

    The curve of fastai's ``fit_one_cycle`` is that of ``pct_start=0.25, final_div_factor=4e3``.

    Args:
        max_lr: Peak of the group with the largest rate, the others in ratio; a list of one peak a
            group, over all optimizers; None for the rates as configured or found by a range test.
        total_steps: As for :class:`ParamScheduler`.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first step has the peak divided by this.
        final_div_factor: The last step has the first's rate divided by this.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: Fall as long as it rose, to the first rate, and on from there.
        cycle_momentum: Let the momentum mirror the rate: ``"auto"`` in groups whose ``momentum``
            is above 0, True in all, where ``betas[0]`` counts, too. In the end it is put back.
        base_momentum: Momentum at the peak of the rate, at least 0; or a list of one a group, over
            all optimizers.
        max_momentum: Momentum where the rate is low, below 1; or a list likewise.
        on_resume: As for :class:`ParamScheduler`.
        override: As for :class:`ParamScheduler`.

    Raises:
        ValueError: If an argument is out of its range, the number of steps cannot be known, or
            the momentum that is to cycle is 0.
        RuntimeError: If something else would set the same values.
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
            # Whatever part of its peak the rate begins and ends with, the momentum is at its top.
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
    """Let the learning rate swing between two bounds (Smith, 1506.01186), as torch's ``CyclicLR``.

    After a range test it swings between the bounds that this suggests, for the group with the
    largest rate, and the others in ratio. What holds for :class:`ParamScheduler` holds here.

    Args:
        base_lr: Lower bound of the group with the largest rate, the others in ratio; a list of
            one a group, over all optimizers; None for what a range test suggests, or a quarter of
            the upper one (section 3.3 of the paper).
        max_lr: Upper bound, likewise; None for what a range test suggests, or the configured rate.
        total_steps: As for :class:`ParamScheduler`.
        step_size_up: Steps from the lower to the upper bound; None for four cycles in the run,
            which end at the lower one.
        step_size_down: Steps back; None for as many.
        mode: ``"triangular"``, ``"triangular2"`` (each cycle half as high as the one before), or
            ``"exp_range"`` (the height times ``gamma**step``).
        gamma: For ``"exp_range"``, above 0 and at most 1.
        cycle_momentum: As for :class:`OneCycle`.
        base_momentum: Momentum at the upper bound of the rate, at least 0; or a list of one a
            group, over all optimizers.
        max_momentum: Momentum at the lower bound of the rate, below 1; or a list likewise.
        on_resume: As for :class:`ParamScheduler`.
        override: As for :class:`ParamScheduler`.

    Raises:
        ValueError: If an argument is out of its range, the lower bound is above the upper one, the
            number of steps cannot be known, or the momentum that is to cycle is 0.
        RuntimeError: If something else would set the same values.
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
