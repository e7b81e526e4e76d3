"""Classification of images, with one class or several labels each."""

from __future__ import annotations

import torch
from torch import Tensor

from ..outputs import StepOutput
from ..render import Picture, classification_picture, classification_truth
from .kind import DrawOptions, Kind, Sample, Scores, copied, names_for
from .scores import check_tensors, check_whole_numbers, class_scores, num_classes, squeezed

__all__ = ["Classification"]


class Classification(Kind):
    """One class index per image ``(N,)``, or 0 and 1 for each label ``(N, C)``."""

    name = "classification"

    def tidy(self, output: StepOutput, options: DrawOptions) -> StepOutput:
        """Drop the axis of a single class.

        A single label stays a label if it has one name; with two names it means two classes.
        """
        output = super().tidy(output, options)
        one_label = len(options.class_names or ("", "")) == 1
        return output if one_label else squeezed(output, ndim=2)

    def check(self, output: StepOutput, step: str, options: DrawOptions) -> None:
        """Check that predictions are class indices, shaped like the targets."""
        check_tensors(output, step)
        check_whole_numbers(output, step)
        shape = tuple(output["preds"].shape)
        if len(shape) > 2:
            raise ValueError(
                f"{step}: classification preds must be (N,) class indices, or (N, C) of 0 and "
                f"1, got {shape}"
            )

    def losses(self, output: StepOutput, options: DrawOptions) -> Tensor:
        """Cross entropy of each sample; without probabilities, 1 if it is wrong.

        An unlabelled sample has loss 0.
        """
        preds, targets = output["preds"], output["targets"]
        probs = self.probabilities(output)
        if probs is None:
            known, losses = targets >= 0, (preds != targets).float()
        else:
            if targets.ndim == 1:
                targets = targets.long()  # to uint8, 300 classes would be 44
                known = (targets >= 0) & (targets < probs.shape[1])
                right = probs.gather(1, targets.where(known, 0)[:, None])[:, 0]
            else:
                known = (targets == 0) | (targets == 1)
                right = probs.where(targets == 1, 1 - probs)
            losses = -right.clamp_min(1e-12).log()
        total = losses.where(known, 0).reshape(len(preds), -1).sum(1)
        mean: Tensor = total / known.reshape(len(preds), -1).sum(1).clamp_min(1)
        return mean

    def classes(self, output: StepOutput, options: DrawOptions) -> list[list[int]]:
        """The true labels of each sample."""
        targets = output["targets"]
        if targets.ndim == 2:
            return [(target == 1).nonzero()[:, 0].tolist() for target in targets]
        return [
            [label] if label >= 0 and label != options.ignore_index else []
            for label in targets.tolist()
        ]

    def pick(self, output: StepOutput, position: int, scale: tuple[float, float]) -> StepOutput:
        """Add the probabilities of the sample and the number of classes."""
        probs = self.probabilities(output, slice(position, position + 1))
        return {
            **super().pick(output, position, scale),
            "probs": None if probs is None else copied(probs[0]),
            "num_classes": num_classes(output, by_label=output["targets"].ndim == 2),
        }

    def draw(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the image in a frame, above its most probable classes."""
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

    def draw_truth(self, sample: Sample, options: DrawOptions, caption: str) -> Picture:
        """Draw the image above its true classes."""
        target = sample.target
        names = names_for(len(target) - 1 if target.ndim else max(int(target), 0), options)
        return classification_truth(
            sample.image, target, names, caption=caption, colors=options.colors
        )

    def scores(
        self, output: StepOutput, options: DrawOptions, device: torch.device
    ) -> Scores | None:
        """Scores of each class or label."""
        probs = self.probabilities(output)
        return None if probs is None else class_scores(probs, output["targets"], options)

    @staticmethod
    def probabilities(output: StepOutput, rows: slice = slice(None)) -> Tensor | None:
        """Probabilities ``(n, C)`` of samples of a batch; None if the output has none.

        A single value for two classes is the probability, or logit, of the second.
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
