"""Applies, logs and reports the result of a range test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer

from ..internals import log_step
from ..notices import warn_user
from ..optim import set_param
from ..range_test import ParamTestResult, RangeTestResult
from ..render import encode
from ..sinks import Sinks, open_sinks
from .measurement import Result
from .one_sweep import Found
from .peak_rates import RunLength, made_by, peak_rates, present_peak, scale_rates
from .place import Place
from .protocols import FollowsRangeTest

__all__ = [
    "announce",
    "change_in_training",
    "change_made",
    "chosen",
    "fail",
    "show",
    "warn_of_another_peak",
]

_TAG = "lr_range_test"
_TOLERANCE = 1e-6  # relative; rates closer than this count as equal


def chosen(result: Result) -> float:
    """Return the suggested value of a result that applies."""
    value = result.suggestion if isinstance(result, RangeTestResult) else result.chosen
    assert value is not None  # only called for results that apply
    return int(value) if result.param == "batch_size" else value


def change_made(made: object, result: Result, found: Found) -> None:
    """Apply a result to the optimizers and schedulers returned by ``configure_optimizers``."""
    optimizers, schedulers = made_by(made)
    if isinstance(result, RangeTestResult):
        scale_rates(optimizers, schedulers, chosen(result) / found.peak)
    else:
        _set_everywhere(optimizers, result)


def change_in_training(trainer: Trainer, result: Result, found: Found) -> None:
    """Apply a result to the optimizers and schedulers of a running fit."""
    if isinstance(result, ParamTestResult):
        _set_everywhere(trainer.optimizers, result)
        return
    factor = chosen(result) / present_peak(trainer.optimizers, found.lifts)
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    scale_rates(trainer.optimizers, schedulers, factor)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, FollowsRangeTest):
            callback.follow_range_test(trainer)


def warn_of_another_peak(
    trainer: Trainer, result: RangeTestResult, found: Found, applied: Iterable[str]
) -> None:
    """Warn if the optimizers and schedulers will not peak at the suggested rate."""
    suggestion = chosen(result)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, FollowsRangeTest) and callback.own_peak():
            warn_user(
                f"the range test suggests a peak of {suggestion:.3g}, but "
                f"{type(callback).__name__}(max_lr={callback.own_peak()}) sets another; "
                "leave out max_lr to train at the suggestion"
            )
    peaks = peak_rates(trainer.optimizers, trainer.lr_scheduler_configs, found.length)
    names = " and ".join(f"`{name}`" for name in applied) or "the optimizers"
    largest = max(map(max, peaks))
    if abs(largest / suggestion - 1) > _TOLERANCE:
        warn_user(
            f"the range test set {names} for a peak of {suggestion:.3g}, but the "
            f"optimizers are configured with {largest:.3g}; let configure_optimizers make all "
            "rates from it, or name the attribute that they are made of by `attr`"
        )
    elif left := _left_behind(peaks, found.peaks, suggestion / found.peak):
        warn_user(
            f"the range test raised all learning rates together, but only some of them depend on "
            f"{names}: {left}; let configure_optimizers compute all rates from it"
        )


def _left_behind(
    present: Sequence[Sequence[float]], tested: Sequence[Sequence[float]], factor: float
) -> str:
    """Describe the first parameter group that did not keep its ratio to the largest rate.

    >>> _left_behind([[0.001, 0.2]], [[0.001, 0.01]], 20.0)
    'group 0 of optimizer 0 has 0.001 instead of 0.02'
    """
    for number, (rates, before) in enumerate(zip(present, tested, strict=False)):
        for index, (rate, old) in enumerate(zip(rates, before, strict=False)):
            if not math.isclose(rate, old * factor, rel_tol=_TOLERANCE):
                wanted = f"{rate:.3g} instead of {old * factor:.3g}"
                return f"group {index} of optimizer {number} has {wanted}"
    return ""


def announce(result: Result, length: RunLength | None, *, verbose: bool) -> None:
    """Log the result of a test, and what it cost of a run, if there is one."""
    if verbose:
        share = "" if length is None else _share(result, length.steps)
        rank_zero_info(f"{result.summary()}{share}")


def fail(result: Result, on_fail: str, *, launched: bool, verbose: bool) -> None:
    """Raise or, if ``verbose``, warn that the test gave no suggestion, depending on ``on_fail``."""
    text = f"the range test suggests nothing ({result.status}): {result.reason}"
    if on_fail == "raise":
        raise RuntimeError(f"{text}; pass on_fail='keep' to train at the configured rate")
    if not verbose:
        return
    warn_user(
        f"{text}; " + ("training continues at" if launched else "keep to") + " the configured rate"
    )


def show(place: Place, result: Result) -> None:
    """Log picture and values of a result to every logger; errors only warn."""
    trainer = place.trainer
    tag = f"{_TAG}/epoch {place.epoch}" if place.epoch else _TAG
    try:
        sinks = open_sinks(trainer, "LRRangeTest") if trainer.loggers else Sinks()
        if not sinks:
            return
        sinks.image(f"{tag}/curve", encode(result.picture()), log_step(trainer))
        if isinstance(result, RangeTestResult):
            for step, values in enumerate(result.rows()):
                sinks.scalars({f"{tag}/{key}": v for key, v in values.items()}, step)
        if result.suggestion is not None:
            sinks.scalars({f"{tag}/suggestion": result.suggestion}, log_step(trainer))
        sinks.flush()
    except Exception as error:
        warn_user(
            f"LRRangeTest could not log its result ({type(error).__name__}: {error}); it is in "
            "`LRRangeTest.result` and in the checkpoints"
        )


def _share(result: Result, planned: float) -> str:
    """Compare the steps of the test with those of the run; empty if its length is unknown."""
    if not 0 < planned < float("inf"):
        return ""
    text = f"; {result.steps_run} optimizer steps"
    if result.steps_run > planned:
        return f"{text}, more than the {planned:.0f} of the run itself"
    return f"{text}, {result.steps_run / planned:.0%} of the run's {planned:.0f}"


def _set_everywhere(optimizers: Sequence[Optimizer], result: ParamTestResult) -> None:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        set_param(group, result.param, chosen(result))
