"""Precision-recall curves, and calibration: accuracy by confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from ..checks import described, truth
from ..metrics import CalibrationCounts, calibration_error
from ..render import calibration_picture, encode
from ..samples import DrawOptions, kind_of
from ..sinks import PRCounts, Sinks
from ..tags import Stage, tag
from ._monitor import module_value

__all__ = ["Curves"]


class Curves:
    """Accumulates the outputs of a validation or test, and writes the curves at the end.

    Args:
        pr_curves: Whether to write precision-recall curves.
        calibration: Whether to write calibration.
        max_classes: Maximum number of classes with a curve.
    """

    def __init__(self, *, pr_curves: bool, calibration: bool, max_classes: int) -> None:
        self.pr_curves = truth("pr_curves", pr_curves)
        self.calibration = truth("calibration", calibration)
        self.max_classes = max_classes
        self.wanted = self.pr_curves or self.calibration
        self.reset()

    def reset(self) -> None:
        """Discard all counts."""
        self._scores: Metric | None = None
        self._calibration: CalibrationCounts | None = None
        self._kind: str | None = None
        self._classes: int | None = None
        self._lost = False

    @property
    def is_whole(self) -> bool:
        """Whether there are counts, and no batch was lost."""
        counted = self._scores is not None or self._calibration is not None
        return counted and not self._lost

    @contextmanager
    def all(self) -> Iterator[None]:
        """If the block raises, mark a batch as lost: curves need the whole set."""
        lost, self._lost = self._lost, True
        yield
        self._lost = lost

    def count(
        self,
        module: LightningModule,
        names: Sequence[str] | None,
        outputs: object,
        step: str,
        on_missing_names: Callable[[str], None] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            module: The module, whose ``ignore_index`` is excluded.
            names: Class names; required for boxes.
            outputs: Return value of a step of the module.
            step: Name of that step.
            on_missing_names: Receives a message if there are too few names; None raises instead.

        Raises:
            TypeError: If the output lacks scores.
            ValueError: If it has more classes than names, or does not match the earlier batches.
        """
        if not self.wanted:
            return
        if not isinstance(outputs, Mapping) or "kind" not in outputs:
            got = described(outputs)
            raise TypeError(
                f"MetricMonitor: with {self._wanted}=True, {step} must return a dict with "
                "'kind', 'targets' and 'logits' or 'probs' (see lightning_hparams.outputs), "
                f"got {got}"
            )
        kind = kind_of(outputs["kind"])
        if self._kind not in (None, kind.name):
            raise ValueError(
                f"MetricMonitor: {step} must return one kind of output, got {kind.name!r} "
                f"after {self._kind!r}"
            )
        self._kind = kind.name
        ignore = module_value(module, "ignore_index")
        options = DrawOptions(
            class_names=names, ignore_index=ignore, on_missing_names=on_missing_names
        )
        scores = kind.scores(kind.tidy(outputs, options), options, module.device)
        if scores is None:
            raise TypeError(
                f"MetricMonitor: with {self._wanted}=True, {step} must return 'logits' or "
                f"'probs', got {sorted(outputs)}"
            )
        counter = scores.make_counter()
        classes = getattr(counter, "num_classes", None)
        if self._classes not in (None, classes):
            raise ValueError(
                f"MetricMonitor: {step} must predict the same classes in each batch, got {classes} "
                f"after {self._classes}"
            )
        self._classes = classes
        if self.pr_curves:
            if self._scores is None:
                self._scores = counter
            for update in scores.updates():
                self._scores.update(*update)
        if self.calibration:
            for confidence, right in scores.confidences():
                self._add_confidence(confidence, right)

    def write(
        self, names: Sequence[str] | None, stage: Stage, step: int, sinks: Sinks
    ) -> dict[str, float]:
        """Write the curves. Call on every rank.

        Returns:
            Scalars for the caller to write.
        """
        values: dict[str, float] = {}
        if self._scores is not None:
            counts = self._scores.compute().cpu().numpy()
            _write_precision(counts, names, stage, step, sinks, self.max_classes)
        if self._calibration is not None:
            confident = self._calibration.compute().cpu()
            if sinks and bool(confident.sum()):
                values = _write_calibration(confident, stage, step, sinks)
        return values

    @property
    def _wanted(self) -> str:
        return "pr_curves" if self.pr_curves else "calibration"

    def _add_confidence(self, confidence: Tensor, right: Tensor) -> None:
        if self._calibration is None:
            self._calibration = CalibrationCounts().to(confidence.device)
        self._calibration.update(confidence, right)


def _write_precision(
    counts: NDArray[np.int64],
    names: Sequence[str] | None,
    stage: Stage,
    step: int,
    sinks: Sinks,
    max_classes: int,
) -> None:
    names = list(names or ())
    names += [f"class {index}" for index in range(len(names), counts.shape[1])]
    if counts.shape[1] == 1 and len(names) == 2:
        names = names[1:]  # binary: the probability of the foreground
    for label in range(min(counts.shape[1], max_classes)):
        true, false, rejected, lost = counts[:, label]
        if true[0] + lost[0] == 0:
            continue  # the class does not occur
        curve = PRCounts(true, false, rejected, lost)
        sinks.pr_curve(tag("pr", label=names[label], stage=stage), curve, step)


def _write_calibration(counts: Tensor, stage: Stage, step: int, sinks: Sinks) -> dict[str, float]:
    error = float(calibration_error(counts))
    picture = encode(calibration_picture(counts, error))
    edges = torch.linspace(0, 1, counts.shape[1] + 1).numpy()
    sinks.image(tag("calibration", stage=stage), picture, step)
    sinks.histogram(tag("confidence", stage=stage), counts[1].numpy(), edges, step)
    return {tag("metric", "calibration_error", stage=stage): error}
