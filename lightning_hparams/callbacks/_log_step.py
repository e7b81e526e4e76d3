"""When monitors write, and at which step: as Lightning does, so that all curves share one axis."""

from __future__ import annotations

import math

from lightning import Trainer

from ..internals import log_step, set_log_step
from ..sinks import Sinks

__all__ = [
    "align_log_step",
    "is_due",
    "lightning_writes",
    "pictures_due",
    "resume_sinks",
    "validations_in",
]


def is_due(trainer: Trainer, written: int) -> bool:
    """Whether the step that is being taken is one to write about.

    The first one is, since a run that goes wrong mostly does so there, and then, as with
    Lightning, the last of every ``log_every_n_steps``. Where a module steps by itself and did not
    in that batch, the next in which it does.

    Args:
        trainer: In a training batch that ends in an optimizer step.
        written: Step that was written about last, -1 if none was.
    """
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set on construction
    if every < 1:
        return False
    return written < 0 or (log_step(trainer) + 1) // every > (written + 1) // every


def lightning_writes(trainer: Trainer) -> bool:
    """Whether Lightning itself writes about the step that the current batch is part of."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set on construction
    return every > 0 and (log_step(trainer) + 1) % every == 0


def resume_sinks(trainer: Trainer, sinks: Sinks) -> None:
    """Forget what an earlier process wrote beyond the checkpoint that this one goes on from."""
    if trainer.global_step:
        sinks.resume(_batches_that_stepped(trainer) - 1)


def align_log_step(trainer: Trainer) -> None:
    """Have Lightning count on from the step that a checkpoint was taken at.

    After several resumes within epochs its counter stays one behind, and a step would be written
    twice, by Lightning too. To be called when the first batch begins.
    """
    if trainer.lightning_module.automatic_optimization and log_step(trainer) < trainer.global_step:
        set_log_step(trainer, trainer.global_step)


def _batches_that_stepped(trainer: Trainer) -> int:
    """Batches so far that ended in an optimizer step.

    When a run goes on from a checkpoint that was taken within an epoch, Lightning's own counter is
    one behind until the first batch (Lightning #12274).
    """
    if trainer.lightning_module.automatic_optimization:
        counted: int = trainer.global_step
    else:
        counted = trainer.fit_loop.total_batch_idx + 1
    return max(log_step(trainer), counted)


def validations_in(trainer: Trainer) -> int:
    """How many validations the whole run has; 0 if nobody knows."""
    every: float = trainer.check_val_every_n_epoch or 0  # 0: batches count through all epochs
    return _validations(
        epochs=trainer.max_epochs or 0,
        steps=trainer.max_steps,
        batches_an_epoch=trainer.num_training_batches,
        batches_a_step=trainer.accumulate_grad_batches,
        batches_between=trainer.val_check_batch or 0,
        epochs_between=int(every),
    )


def _validations(
    *,
    epochs: int,
    steps: int,
    batches_an_epoch: float,
    batches_a_step: int,
    batches_between: float,
    epochs_between: int,
) -> int:
    """Validations in a run that ends after so many epochs or steps, whichever comes first.

    Args:
        epochs: Below 1 for no bound.
        steps: Of the optimizer; below 0 for no bound.
        batches_an_epoch: Infinity if nobody knows.
        batches_a_step: Accumulated.
        batches_between: Two validations within an epoch, if fewer than it has.
        epochs_between: Two epochs with validations; 0 if ``batches_between`` counts through all.
    """
    batches = math.inf if epochs < 1 else epochs * batches_an_epoch
    if steps >= 0:
        full, rest = 0, steps
        if 0 < batches_an_epoch < math.inf:
            # An epoch ends in a step, whether or not that has all its batches.
            full, rest = divmod(steps, math.ceil(batches_an_epoch / batches_a_step))
        batches = min(batches, (full * batches_an_epoch if full else 0) + rest * batches_a_step)
    if batches == math.inf:
        known = epochs >= 1 and epochs_between > 0 and batches_an_epoch == math.inf
        return epochs // epochs_between if known else 0
    if not epochs_between:
        return int(batches // batches_between) if batches_between else 0
    within = 0 < batches_between < batches_an_epoch
    if not 0 < batches_an_epoch < math.inf:
        return int(batches // batches_between) if 0 < batches_between < math.inf else 0
    whole, left = divmod(batches, batches_an_epoch)
    an_epoch = int(batches_an_epoch // batches_between) if within else 1
    count = whole // epochs_between * an_epoch
    if within and (whole + 1) % epochs_between == 0:
        count += left // batches_between
    return int(count)


def pictures_due(validation: int, total: int) -> bool:
    """Whether a validation is one of 0, 1, 2, 4, 8, ..., few enough for TensorBoard's slider.

    Args:
        validation: Validations before this one.
        total: Validations in the whole run; 0 or less if not known. A run of more than 256 has
            0, 1, 4, 16, ... so that with its last one there are still at most ten.

    >>> [n for n in range(100) if pictures_due(n, 100)]
    [0, 1, 2, 4, 8, 16, 32, 64]
    """
    if validation & (validation - 1):
        return False  # not a power of two, nor 0
    return total <= 256 or validation.bit_length() % 2 == 1 or validation == 0
