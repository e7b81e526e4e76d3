"""What scores are worth: precision over recall, and how often a model is right when it is sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric

from ..metrics import CalibrationCounts, calibration_error
from ..render import calibration_picture, encode
from ..samples import DrawOptions, kind_of
from ..sinks import PRCounts, Sinks
from ..tags import Stage, Tag

__all__ = ["Curves"]


class Curves:
    """Counts what the steps of a validation or test return, and writes it at the end.

    Args:
        pr_curves: Whether to count precision over recall.
        calibration: Whether to count how often a model is right.
        max_classes: So many classes have a curve.
    """

    def __init__(self, *, pr_curves: bool, calibration: bool, max_classes: int) -> None:
        self.pr_curves = pr_curves
        self.calibration = calibration
        self.max_classes = max_classes
        self.wanted = pr_curves or calibration
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self._scores: Metric | None = None
        self._calibration: CalibrationCounts | None = None
        self._kind: str | None = None
        self._classes: int | None = None
        self._lost = False

    @property
    def is_whole(self) -> bool:
        """Whether something was counted, and no batch was lost."""
        counted = self._scores is not None or self._calibration is not None
        return counted and not self._lost

    @contextmanager
    def all(self) -> Iterator[None]:
        """Note that a batch is lost, if the block raises: the rest of the set is no curve of it."""
        lost, self._lost = self._lost, True
        yield
        self._lost = lost

    def count(
        self, module: LightningModule, names: Sequence[str] | None, outputs: Any, step: str
    ) -> None:
        """Take a batch in.

        Args:
            module: Its ``ignore_index`` is left out.
            names: Of the classes; boxes need them.
            outputs: What a step of the module returned.
            step: The name of that step.

        Raises:
            TypeError: If there is nothing to count.
            ValueError: If there are fewer names than classes.
        """
        if not self.wanted:
            return
        if not isinstance(outputs, Mapping) or "kind" not in outputs:
            got = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
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
        ignore = getattr(module, "ignore_index", None)
        options = DrawOptions(class_names=names, ignore_index=ignore)
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
                self._sure_of(confidence, right)

    def write(
        self, names: Sequence[str] | None, stage: Stage, step: int, sinks: Sinks
    ) -> dict[str, float]:
        """Write what was counted; every rank must come here.

        Returns:
            Scalars that are still to be written.
        """
        values: dict[str, float] = {}
        if self._scores is not None:
            counts = self._scores.compute().cpu().numpy()
            _write_precision(counts, names, stage, step, sinks, self.max_classes)
        if self._calibration is not None:
            sure = self._calibration.compute().cpu()
            if sinks and bool(sure.sum()):
                values = _write_calibration(sure, stage, step, sinks)
        return values

    @property
    def _wanted(self) -> str:
        return "pr_curves" if self.pr_curves else "calibration"

    def _sure_of(self, confidence: Tensor, right: Tensor) -> None:
        if self._calibration is None:
            self._calibration = CalibrationCounts().to(confidence.device)
        self._calibration.update(confidence, right)


def _write_precision(
    counts: Any,
    names: Sequence[str] | None,
    stage: Stage,
    step: int,
    sinks: Sinks,
    max_classes: int,
) -> None:
    names = names or [f"class {index}" for index in range(counts.shape[1])]
    if counts.shape[1] == 1 and len(names) == 2:
        names = names[1:]  # binary: the probability of the foreground
    for label in range(min(counts.shape[1], max_classes)):
        true, false, rejected, lost = counts[:, label]
        if true[0] + lost[0] == 0:
            continue  # nothing to find
        curve = PRCounts(true, false, rejected, lost)
        sinks.pr_curve(str(Tag("pr", label=names[label], stage=stage)), curve, step)


def _write_calibration(counts: Tensor, stage: Stage, step: int, sinks: Sinks) -> dict[str, float]:
    error = float(calibration_error(counts))
    picture = encode(calibration_picture(counts, error))
    edges = torch.linspace(0, 1, counts.shape[1] + 1).numpy()
    sinks.image(str(Tag("calibration", stage=stage)), picture, step)
    sinks.histogram(str(Tag("confidence", stage=stage)), counts[1].numpy(), edges, step)
    return {str(Tag("metric", "calibration_error", stage=stage)): error}
