"""The bottleneck of a training run, and how to remove it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .clock import Totals

__all__ = ["Loading", "bottleneck", "validations_within"]


def validations_within(
    batches: float, per_epoch: float, check_batch: float, every_epochs: int | None
) -> int:
    """Count the validations of a Trainer within its first batches.

    Args:
        batches: Number of batches from the start of the run.
        per_epoch: Batches per epoch, infinite if the loader has no length.
        check_batch: ``trainer.val_check_batch``: batches between validations, infinite for the end
            of the epoch.
        every_epochs: ``trainer.check_val_every_n_epoch``; None counts batches across epochs.

    >>> validations_within(100, per_epoch=10, check_batch=5, every_epochs=2)
    10
    """
    if every_epochs is None:
        return int(batches // check_batch)
    if math.isinf(per_epoch):
        return 0 if every_epochs > 1 else int(batches // check_batch)
    epochs, rest = divmod(batches, per_epoch)
    each = per_epoch // check_batch if math.isfinite(check_batch) else 1
    last = rest // check_batch if (epochs + 1) % every_epochs == 0 else 0
    return int(epochs // every_epochs * each + last)


@dataclass(frozen=True)
class Loading:
    """How data are loaded.

    Args:
        workers: ``num_workers`` of the DataLoader; None for other loaders.
        persistent: ``persistent_workers`` of the DataLoader.
        cores: CPU cores that this process and its workers may use.
    """

    workers: int | None
    persistent: bool
    cores: int


_FEW = 10  # fewer batches say nothing about a bottleneck
_WAIT = 0.10  # share of the time from which waiting is worth a remark
_PAUSED = 0.25  # the same for validation and the rest, which serve a purpose


def bottleneck(totals: Totals, train: Loading, val: Loading) -> str:
    """Name the bottleneck of a training run and its remedy in one sentence.

    Candidates are waiting for data (in validation too), the rest of validation, and all other time
    between batches. The longest is named, with a remedy if it took long enough. The suggested
    number of workers follows from the times: as many as loading needs to keep up with the model,
    limited by the cores.

    >>> loading = Loading(workers=0, persistent=False, cores=4)
    >>> bottleneck(Totals(batches=100, seconds=60, wait=30), loading, loading)
    'waiting for data 50 % of the time: try num_workers=1 in the training DataLoader (now 0)'
    """
    if totals.batches < _FEW:
        return f"too few batches were measured ({totals.batches}) to name a bottleneck"
    parts = {
        "waiting for data": (totals.wait + totals.validation_wait, _WAIT),
        "validation": (totals.validation - totals.validation_wait, _PAUSED),
        "checkpoints and the work between epochs": (totals.other, _PAUSED),
    }
    worst = max(parts, key=lambda name: parts[name][0])
    share = parts[worst][0] / totals.all_seconds
    text = f"{worst} {100 * share:.0f} % of the time"
    if share < parts[worst][1]:
        return f"{text}; the bottleneck is the training step itself"
    match worst:
        case "validation":
            return f"{text}: try a larger check_val_every_n_epoch, or limit_val_batches"
        case "waiting for data" if totals.wait >= totals.validation_wait:
            if train.workers and not train.persistent and totals.restart_wait > totals.wait / 2:
                return f"{text}, most of it as epochs start: try persistent_workers=True"
            return f"{text}: {_more_workers('training', totals.wait / totals.seconds, train)}"
        case "waiting for data":
            share = totals.validation_wait / totals.validation
            return f"{text}, most of it in validation: {_more_workers('validation', share, val)}"
        case _:
            return f"{text}: try saving less often (every_n_epochs of ModelCheckpoint)"


def _more_workers(stage: str, share: float, loading: Loading) -> str:
    """Suggest a remedy for the share of the time that is spent waiting.

    Without workers, loading a batch takes as long as the wait for it. With n workers that are too
    slow, each of them loads one batch in the time of n steps, waiting included.
    """
    workers, cores = loading.workers, loading.cores
    if workers is None:
        return f"make the {stage} loader faster"
    where = f"in the {stage} DataLoader (now {workers})"
    cheaper = "make loading cheaper (decode once, smaller files, lighter transforms)"
    if workers >= cores:
        return f"num_workers={workers} already uses all cores; {cheaper}"
    time_to_load = share if workers == 0 else workers
    needed = max(math.ceil(time_to_load / max(1 - share, 1e-3) - 1e-9), workers + 1)
    if needed <= cores:
        return f"try num_workers={needed} {where}"
    return f"try num_workers={cores} {where}, which is all cores; beyond that, {cheaper}"
