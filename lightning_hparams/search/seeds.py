"""Seeds of trainings and samplers, each from the study's seed and the number of a trial."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["derived_seed", "root_number", "sampler_seed", "training_seed"]

# Kept by Optuna's own callbacks for trials that run again, under 4.2 and 5 alike.
FAILED, HISTORY = "failed_trial", "retry_history"


def training_seed(study_seed: int, root_number: int) -> int:
    """Return the seed that a trial trains with, the same for each of its retries.

    Args:
        study_seed: Seed of the study.
        root_number: Number of the trial, or of the first one that it is a retry of.

    >>> training_seed(0, 1) == training_seed(0, 1) != training_seed(0, 2)
    True
    """
    return derived_seed("training", study_seed, root_number)


def sampler_seed(study_seed: int, worker: int, existing_trials: int) -> int:
    """Return the seed that a sampler draws with, another one for each number of trials.

    Optuna's samplers repeat their draws if a study is resumed with the same seed.

    Args:
        study_seed: Seed of the study.
        worker: Number of the worker, or 0 if a single one creates trials at a time.
        existing_trials: How many trials the study has.
    """
    return derived_seed("sampler", study_seed, worker, existing_trials)


def derived_seed(purpose: str, *numbers: int) -> int:
    """Return a number below 2**31 that depends on all arguments."""
    text = ":".join([purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def root_number(trial: FrozenTrial) -> int:
    """Return the number of the trial that this one is a retry of, or its own."""
    attrs = trial.system_attrs
    history = attrs.get(HISTORY) or [attrs.get(FAILED, trial.number)]
    return int(history[0])
