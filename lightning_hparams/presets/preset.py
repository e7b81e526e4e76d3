"""A preset: starting values for a task, each with its source in the literature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..checks import whole_number
from ..schedules import Schedule

__all__ = ["Chosen", "Preset"]

_ADAPTIVE = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop"}


class Chosen(NamedTuple):
    """A value, and why it is that one."""

    value: object
    reason: str  # section or table of the paper, or the rule with the numbers that it was given


@dataclass(frozen=True)
class Preset:
    """Starting values of one publication.

    The values are plain arguments: ``SegmentationTask(**preset.task)``,
    ``MaskFolderData(folder, **preset.data)``, ``Trainer(**preset.trainer)`` and
    ``ParamScheduler(preset.schedule)``. ``augment`` is the nearest of this package's strengths to
    the augmentation of the paper. ``print(preset)`` shows where each value comes from.

    Args:
        name: Task and model, such as ``"classification/resnet-imagenet"``.
        paper: Authors, year, title and where to find it.
        values: Values by ``task.``, ``data.`` or ``trainer.`` and the name of the argument.
        schedule: Multiplier of the learning rate at a step of the run.
        schedule_reason: Where the paper gives the schedule.
        note: What to know before using the values on other data.
    """

    name: str
    paper: str
    values: Mapping[str, Chosen]
    schedule: Schedule
    schedule_reason: str
    note: str = ""

    @property
    def task(self) -> dict[str, object]:
        """Arguments of the task."""
        return self._part("task")

    @property
    def data(self) -> dict[str, object]:
        """Arguments of the data module."""
        return self._part("data")

    @property
    def trainer(self) -> dict[str, object]:
        """Arguments of the Trainer."""
        return self._part("trainer")

    def at_batch_size(self, batch_size: int) -> Preset:
        """Return the preset for another batch size, with the learning rate scaled to it.

        In proportion to the batch size for SGD (Goyal et al. 2017, arXiv:1706.02677, section 2.1),
        and to its square root for Adam and its relatives (Malladi et al. 2022, arXiv:2205.10287).
        Both hold for the batches of a long run; a learning rate range test measures instead.

        Args:
            batch_size: Images per optimizer step over all devices, at least 1.

        >>> from lightning_hparams import presets
        >>> round(presets.get("classification/resnet-imagenet").at_batch_size(64).task["lr"], 4)
        0.025
        """
        whole_number("batch_size", batch_size, 1)
        published, lr = self.values["data.batch_size"].value, self.values["task.lr"]
        assert isinstance(published, int)
        assert isinstance(lr.value, float)
        share = batch_size / published
        adaptive = self.values["task.optimizer"].value in _ADAPTIVE
        rule = "its square root (arXiv:2205.10287)" if adaptive else "it (arXiv:1706.02677, 2.1)"
        scaled = lr.value * (math.sqrt(share) if adaptive else share)
        changed = {
            "data.batch_size": Chosen(batch_size, "as requested"),
            "task.lr": Chosen(
                scaled, f"{lr.reason}: {lr.value:g} at {published} images, in proportion to {rule}"
            ),
        }
        return replace(self, values={**self.values, **changed})

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.name}: {self.paper}"
        width = max(len(key) for key in self.values)
        for key, (value, reason) in self.values.items():
            yield f"  {key:<{width}}  {value}  ({reason})"
        yield f"  {'schedule':<{width}}  {self.schedule_reason}"
        if self.note:
            yield f"  {self.note}"

    def _part(self, part: str) -> dict[str, object]:
        prefix = f"{part}."
        return {
            key.removeprefix(prefix): chosen.value
            for key, chosen in self.values.items()
            if key.startswith(prefix)
        }
