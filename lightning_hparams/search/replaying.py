"""Repeat a trial from its manifest, and compare the results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..checks import counted
from ..configuration import Configuration
from .folders import reading, trial_folder, trial_record
from .saving import Interrupted
from .stopping import Stop
from .training import train

__all__ = ["Comparison", "replay"]

_NEEDED = ("configuration", "metric", "mode", "reports", "outcome", "timed_out_at", "threads")


@dataclass(frozen=True)
class Comparison:
    """A trial and its repetition.

    Args:
        number: Number of the trial.
        metric: Name of the metric.
        before: Values of the metric by step in the trial.
        now: Values of the metric by step in the repetition.
        same_weights: Whether all weights are equal, bit for bit.
    """

    number: int
    metric: str
    before: dict[int, float]
    now: dict[int, float]
    same_weights: bool

    @property
    def equal(self) -> bool:
        """Whether the repetition equals the trial, bit for bit."""
        return self.same_weights and self.before == self.now

    @property
    def largest_difference(self) -> float:
        """The largest difference of a value of the metric."""
        steps = self.before.keys() & self.now.keys()
        return max((abs(self.before[one] - self.now[one]) for one in steps), default=0.0)

    def summary(self) -> str:
        """Return one sentence."""
        if self.equal:
            values = counted(len(self.now), "value")
            return f"trial {self.number} repeated exactly: {values} of {self.metric}"
        missing = sorted(self.before.keys() ^ self.now.keys())
        steps = f", and steps {missing} are in one of them only" if missing else ""
        weights = "the same" if self.same_weights else "other"
        return (
            f"trial {self.number} differs: {self.metric} by up to {self.largest_difference:.3g}"
            f"{steps}; it ended with {weights} weights"
        )


def replay(
    study_folder: str | Path, number: int, *, folder: str | Path | None = None
) -> Comparison:
    """Train a trial again as it was, in this process, and compare.

    Args:
        study_folder: Folder of the study.
        number: Number of the trial.
        folder: Where the repetition keeps its checkpoints; None for none.

    Raises:
        FileNotFoundError: If there is no such trial.
        ValueError: If it has not finished training.
        KeyboardInterrupt: After Ctrl-C. Other signals to stop raise Lightning's
            ``SIGTERMException``.
    """
    record = trial_record(Path(study_folder), number)
    if record.get("weights") and (missing := sorted({*_NEEDED} - record.keys())):
        raise ValueError(f"trial {number} cannot be repeated: its trial.json has no {missing[0]}")
    if not record.get("weights"):
        raise ValueError(
            f"trial {number} must have finished training to be repeated, got the state "
            f"{record.get('state')}"
        )
    with reading(trial_folder(Path(study_folder), number) / "trial.json"):
        record |= {
            "reports": {int(step): float(value) for step, value in record["reports"].items()},
            "threads": int(record["threads"]),
            "configuration": dict(record["configuration"]),
        }
    if folder is not None:
        return _repeat(number, record, Path(folder))
    with tempfile.TemporaryDirectory() as temporary:
        return _repeat(number, record, Path(temporary))


def _repeat(number: int, record: dict[str, Any], folder: Path) -> Comparison:
    before: dict[int, float] = record["reports"]
    pruned_at = max(before, default=None) if record["outcome"] == "pruned" else None
    stop = Stop()
    try:
        result = train(
            Configuration.load(record["configuration"]),
            folder,
            metric=record["metric"],
            mode=record["mode"],
            report=lambda step, value: step == pruned_at,
            stop=stop,
            until_step=record["timed_out_at"],
            threads=record["threads"],
        )
    except Interrupted:  # unlike a trial, a repetition does not go on later
        raise (KeyboardInterrupt if stop.signal == SIGINT else SIGTERMException) from None
    now = {int(step): value for step, value in result["reports"].items()}
    same = result["weights"] == record["weights"]
    return Comparison(number, record["metric"], before, now, same)
