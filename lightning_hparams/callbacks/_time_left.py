"""Estimate how long the rest of a fit takes."""

from __future__ import annotations

import math

from lightning import Trainer

from ..scheduler import time_limit
from ..speed import Totals, validations_within

__all__ = ["seconds_left"]


def seconds_left(trainer: Trainer, seconds_per_batch: float, totals: Totals) -> float:
    """Estimate the seconds until the last batch, including validations and checkpoints.

    Until a validation has been measured, its batches are assumed to take as long as training
    batches; until its loader has been created, their number is unknown and they count as none.

    Args:
        trainer: At the end of a training batch.
        seconds_per_batch: Recent average.
        totals: Totals of the fit so far.

    Returns:
        Seconds; infinity if the length of the run is unknown.
    """
    limit = time_limit(trainer)
    remaining = math.inf if limit is None else limit.time_remaining("train") or 0.0
    per_epoch = _batches_per_epoch(trainer)
    done = _batches_done(trainer)
    left = math.inf
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        left = trainer.max_epochs * per_epoch - done
    if trainer.max_steps >= 0:
        steps = trainer.global_step
        batches_per_step = (trainer.fit_loop.total_batch_idx + 1) / max(steps, 1)
        left = min(left, (trainer.max_steps - steps) * batches_per_step)
    if math.isinf(left):
        return remaining
    left = max(left, 0.0)
    each = seconds_per_batch + totals.other / max(totals.batches, 1)
    validations = _validations_left(trainer, done, left, per_epoch, totals)
    seconds = left * each + validations * _validation_seconds(trainer, seconds_per_batch, totals)
    return min(seconds, remaining)


def _batches_done(trainer: Trainer) -> int:
    """Batches of the run so far, counting every finished epoch as complete."""
    if math.isinf(trainer.num_training_batches):
        return trainer.fit_loop.total_batch_idx + 1
    before = trainer.current_epoch * int(trainer.num_training_batches)
    return before + trainer.fit_loop.batch_idx + 1


def _batches_per_epoch(trainer: Trainer) -> float:
    """The loader's length, or else the mean so far; infinity in a first epoch of unknown length."""
    length = float(trainer.num_training_batches)
    if math.isfinite(length) or not trainer.current_epoch:
        return length
    return (trainer.fit_loop.total_batch_idx - trainer.fit_loop.batch_idx) / trainer.current_epoch


def _validations_left(
    trainer: Trainer, done: int, left: float, per_epoch: float, totals: Totals
) -> float:
    if not trainer.enable_validation:
        return 0.0
    check: float | None = trainer.val_check_batch
    if check is None:  # an interval in minutes
        return left * totals.validations / max(totals.batches, 1)
    every: int | None = trainer.check_val_every_n_epoch
    now, end = (
        validations_within(batches, per_epoch, check, every) for batches in (done, done + left)
    )
    # A validation right after the batch that is ending is still to come.
    return end - now + (now - validations_within(done - 1, per_epoch, check, every))


def _validation_seconds(trainer: Trainer, seconds_per_batch: float, totals: Totals) -> float:
    if totals.validations:
        return totals.validation / totals.validations
    batches = sum(trainer.num_val_batches)
    return batches * seconds_per_batch if math.isfinite(batches) else 0.0
