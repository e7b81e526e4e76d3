"""When monitors write and at which step: as Lightning does, so that curves share one axis."""

from __future__ import annotations

import math

from lightning import Trainer

from ..internals import log_step, set_log_step, validates_next
from ..sinks import Sinks

__all__ = [
    "align_log_step",
    "is_due",
    "lightning_writes",
    "pictures_due",
    "resume_sinks",
    "resumes",
    "validations_in",
]


def is_due(trainer: Trainer, written: int) -> bool:
    """Whether to write values for the current step.

    True for the first step, where most failing runs fail, and then, as in Lightning, for the last
    of every ``log_every_n_steps``. Under manual optimization, if that batch ends without an
    optimizer step, the next batch with one is used.

    Args:
        trainer: In a training batch that ends in an optimizer step.
        written: Step last written, -1 if none.
    """
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set on construction
    if every < 1:
        return False
    return written < 0 or (log_step(trainer) + 1) // every > (written + 1) // every


def lightning_writes(trainer: Trainer) -> bool:
    """Whether Lightning itself writes at the step of the current batch."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set on construction
    return every > 0 and (log_step(trainer) + 1) % every == 0


def resumes(trainer: Trainer) -> bool:
    """Whether training continues from a checkpoint, perhaps one from before the first step."""
    return bool(trainer.global_step or trainer.ckpt_path)


def resume_sinks(trainer: Trainer, sinks: Sinks) -> None:
    """Discard what an earlier process wrote after the checkpoint that this one resumes from."""
    if resumes(trainer):
        # A validation in the middle of an accumulation is logged at the step to come.
        sinks.resume(_batches_that_stepped(trainer) - (not _validated_between_steps(trainer)))


def align_log_step(trainer: Trainer, restored: int) -> None:
    """Set Lightning's logging step to the step of the checkpoint.

    After several mid-epoch resumes its counter stays one behind, so a step would be written twice,
    by Lightning too. From a checkpoint that was saved before a batch or within one, as on an
    exception, it starts one ahead and would leave a step out. To be called when the first batch
    begins.

    Args:
        trainer: The Trainer that resumes.
        restored: The counter when training started. It is larger than the step if the loader
            yields None as a batch, and is then left alone.
    """
    if trainer.lightning_module.automatic_optimization and restored <= trainer.global_step:
        set_log_step(trainer, trainer.global_step)


def _batches_that_stepped(trainer: Trainer) -> int:
    """Batches so far that ended in an optimizer step.

    When a run resumes from a mid-epoch checkpoint, Lightning's own counter is one behind until the
    first batch (Lightning #12274).
    """
    if trainer.lightning_module.automatic_optimization:
        counted: int = trainer.global_step
    else:
        counted = trainer.fit_loop.total_batch_idx + 1
    return max(log_step(trainer), counted)


def _validated_between_steps(trainer: Trainer) -> bool:
    progress = trainer.fit_loop.epoch_loop.batch_progress
    between = progress.current.ready % trainer.accumulate_grad_batches
    return bool(between) and not progress.is_last_batch and validates_next(trainer)


def validations_in(trainer: Trainer) -> int:
    """Number of validations in the whole run; 0 if unknown."""
    every: float = trainer.check_val_every_n_epoch or 0  # 0: batches count across epochs
    return _validations(
        epochs=trainer.max_epochs or 0,
        steps=trainer.max_steps,
        batches_an_epoch=trainer.num_training_batches,
        batches_a_step=trainer.accumulate_grad_batches,
        # Lightning 2.5 sets it with the training data, which may be after a sanity check.
        batches_between=getattr(trainer, "val_check_batch", None) or 0,
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
    """Number of validations in a run that ends after ``epochs`` or ``steps``, whichever is first.

    Args:
        epochs: Most epochs; below 1 for no limit.
        steps: Most optimizer steps; below 0 for no limit.
        batches_an_epoch: Batches per epoch; infinity if unknown.
        batches_a_step: Batches accumulated per step.
        batches_between: Batches between validations, if fewer than an epoch has.
        epochs_between: Epochs between validations; 0 if ``batches_between`` counts across epochs.
    """
    batches = math.inf if epochs < 1 else epochs * batches_an_epoch
    if steps >= 0:
        full, rest = 0, steps
        if 0 < batches_an_epoch < math.inf:
            # An epoch ends with a step, even if its accumulation is incomplete.
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
    """Whether a validation's index is 0, 1, 2, 4, 8, ..., few enough for TensorBoard's slider.

    Args:
        validation: Index of the validation, from 0.
        total: Validations in the whole run; 0 or less if unknown. Above 256, the indices are
            0, 1, 4, 16, ... so that with the last validation there are still at most ten.

    >>> [n for n in range(100) if pictures_due(n, 100)]
    [0, 1, 2, 4, 8, 16, 32, 64]
    """
    if validation & (validation - 1):
        return False  # not a power of two, nor 0
    return total <= 256 or validation.bit_length() % 2 == 1 or validation == 0
