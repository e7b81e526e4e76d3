"""Images of one class each, or with several labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..render import Picture, classification_picture
from .kind import DrawOptions, Kind, Sample, Scores, copied, names_for
from .scores import check_tensors, check_whole_numbers, class_scores, num_classes, squeezed

__all__ = ["Classification"]


class Classification(Kind):
    """A class an image ``(N,)``, or 0 and 1 for each label ``(N, C)``."""

    name = "classification"

    def tidy(self, output: Mapping[str, Any], options: DrawOptions) -> Mapping[str, Any]:
        """The output without an axis of one class.

        One label with one name says whether it is there; with two, which of two classes it is.
        """
        output = super().tidy(output, options)
        one_label = len(options.class_names or ("", "")) == 1
        return output if one_label else squeezed(output, ndim=2)

    def check(self, output: Mapping[str, Any], step: str, options: DrawOptions) -> None:
        """Check that predictions are classes, in the shape of the targets."""
        check_tensors(output, step)
        check_whole_numbers(output, step)
        shape = tuple(output["preds"].shape)
        if len(shape) > 2:
            raise ValueError(
                f"{step}: preds of a classification must be (N,) class indices, or (N, C) of 0 and "
                f"1, got {shape}"
            )

    def losses(self, output: Mapping[str, Any], options: DrawOptions) -> Tensor:
        """Cross entropy of each sample; without probabilities, whether it is wrong.

        A sample without a label is not wrong.
        """
        preds, targets = output["preds"], output["targets"]
        probs = self.probabilities(output)
        if probs is None:
            known, losses = targets >= 0, (preds != targets).float()
        else:
            if targets.ndim == 1:
                known = (targets >= 0) & (targets < probs.shape[1])
                right = probs.gather(1, targets.long().where(known, 0)[:, None])[:, 0]
            else:
                known = (targets == 0) | (targets == 1)
                right = probs.where(targets == 1, 1 - probs)
            losses = -right.clamp_min(1e-12).log()
        total = losses.where(known, 0).reshape(len(preds), -1).sum(1)
        mean: Tensor = total / known.reshape(len(preds), -1).sum(1).clamp_min(1)
        return mean

    def classes(self, output: Mapping[str, Any], options: DrawOptions) -> list[list[int]]:
        """The true labels of each sample."""
        targets = output["targets"]
        if targets.ndim == 2:
            return [(target == 1).nonzero()[:, 0].tolist() for target in targets]
        return [
            [label] if label >= 0 and label != options.ignore_index else []
            for label in targets.tolist()
        ]

    def pick(
        self, output: Mapping[str, Any], position: int, scale: tuple[float, float]
    ) -> Mapping[str, Any]:
        """With the probabilities of the sample."""
        probs = self.probabilities(output, slice(position, position + 1))
        return {
            **super().pick(output, position, scale),
            "probs": None if probs is None else copied(probs[0]),
            "num_classes": num_classes(output, by_label=output["targets"].ndim == 2),
        }

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """The image in a frame, above its most probable classes."""
        pred, target = sample.pred, sample.target
        names = options.class_names
        if pred.ndim == 1:
            highest = len(pred) - 1
        elif names is None and sample.num_classes is None:
            highest = max(int(pred), int(target))
        else:
            highest = max(int(pred), (sample.num_classes or 1) - 1)
        names = names_for(highest, options)
        return classification_picture(
            sample.image, pred, target, names, probs=sample.probs, caption=caption
        )

    def scores(
        self, output: Mapping[str, Any], options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Of each class, or of each label."""
        probs = self.probabilities(output)
        return None if probs is None else class_scores(probs, output["targets"], options)

    @staticmethod
    def probabilities(output: Mapping[str, Any], rows: slice = slice(None)) -> Tensor | None:
        """Probabilities ``(n, C)`` of samples of a batch; None if the output has none.

        One value for two classes is the probability, or the logit, of the second.
        """
        one_class = output["targets"].ndim == 1
        if output.get("probs") is not None:
            probs: Tensor = output["probs"][rows].detach().float()
        elif output.get("logits") is not None:
            logits: Tensor = output["logits"][rows].detach().float()
            if one_class and logits[:1].numel() > 1:
                return logits.softmax(1)
            probs = logits.sigmoid()
        else:
            return None
        if one_class and probs[:1].numel() == 1:
            probs = torch.stack([1 - probs.flatten(), probs.flatten()], dim=1)
        return probs
