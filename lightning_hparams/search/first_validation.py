"""Whether a run is long enough for a validation."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["DECIDING", "no_validation"]

# Arguments of the Trainer that decide it.
DECIDING = (
    *("max_epochs", "max_steps", "limit_train_batches", "limit_val_batches"),
    *("check_val_every_n_epoch", "val_check_interval", "accumulate_grad_batches"),
)


def no_validation(trainer: Mapping[str, object], batches: int | None) -> str:
    """Return why a run ends without a validation, or "" if it does not, or that is unknown.

    Args:
        trainer: Arguments of the Trainer.
        batches: Batches for training; None if their number is unknown.

    >>> no_validation({"max_epochs": 2, "check_val_every_n_epoch": 5}, None)
    'max_epochs=2 is less than check_val_every_n_epoch=5'
    >>> no_validation({"max_steps": 3}, 4)
    'max_steps=3 ends before the first validation, which is after 4 batches'
    >>> no_validation({"max_steps": 3, "val_check_interval": 0.5}, 4)
    ''
    """
    given = {name: value for name, value in trainer.items() if value is not None}
    if given.get("limit_val_batches") == 0:
        return "limit_val_batches=0 leaves out all validations"
    for name in ("max_epochs", "max_steps"):
        if given.get(name) == 0:
            return f"{name}=0 trains nothing"
    every = trainer.get("check_val_every_n_epoch", 1)
    epochs = given.get("max_epochs", -1)
    if isinstance(every, int) and isinstance(epochs, int) and 0 < epochs < every:
        return f"max_epochs={epochs} is less than check_val_every_n_epoch={every}"
    return _too_few_steps(given, every, batches)


def _too_few_steps(given: Mapping[str, object], every: object, batches: int | None) -> str:
    steps, together = given.get("max_steps", -1), given.get("accumulate_grad_batches", 1)
    interval = given.get("val_check_interval", 1.0)
    if not isinstance(steps, int) or not isinstance(together, int) or steps <= 0:
        return ""
    if not isinstance(interval, (int, float)):  # a duration
        return ""
    epoch = _batches(batches, given.get("limit_train_batches", 1.0))
    first = interval if isinstance(interval, int) else epoch * interval // 1
    if isinstance(every, int):
        first += (every - 1) * epoch
    if steps * together >= first or not math.isfinite(first):
        return ""
    return f"max_steps={steps} ends before the first validation, which is after {first:g} batches"


def _batches(all_batches: int | None, limit: object) -> float:
    """Batches of an epoch; NaN if their number is unknown."""
    if all_batches is None or not isinstance(limit, (int, float)):
        return math.nan
    return min(all_batches, limit) if isinstance(limit, int) else math.floor(all_batches * limit)
