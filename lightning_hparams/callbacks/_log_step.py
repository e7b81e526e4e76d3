"""When monitors write, and at which step: as Lightning does, so that all curves share one axis."""

from __future__ import annotations

from lightning import Trainer

from ..internals import log_step
from ..sinks import Sinks

__all__ = [
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
    epochs = trainer.max_epochs or 0
    if epochs < 1:
        return 0
    batches, between = trainer.num_training_batches, trainer.val_check_batch or 0
    an_epoch = int(batches // between) if 0 < between < batches < float("inf") else 1
    return epochs * an_epoch // (trainer.check_val_every_n_epoch or 1)


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
