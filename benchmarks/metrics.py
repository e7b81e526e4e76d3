"""Time to add a batch of 8 x 256 x 256 pixels and 21 classes to a segmentation metric."""

from __future__ import annotations

import argparse

import segmentation_models_pytorch as smp
import torch
from _timing import about, interleaved_ms, print_ratios, verdict
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from lightning_hparams.metrics import ConfusionCounts

CLASSES = 21
PEER = "torchmetrics MulticlassJaccardIndex, validate_args=False"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)  # with two, the same side takes 1.5 to 4.5 ms from run to run
    torch.manual_seed(0)
    preds, target = torch.randint(0, CLASSES, (2, 8, 256, 256))
    small = preds.to(torch.uint8)
    ours = ConfusionCounts(CLASSES)
    ours_ignoring = ConfusionCounts(CLASSES, ignore_index=255)
    mean_iou = MeanIoU(CLASSES, input_format="index")
    jaccard = MulticlassJaccardIndex(CLASSES)
    unchecked = MulticlassJaccardIndex(CLASSES, validate_args=False)
    medians = interleaved_ms(
        {
            "torchmetrics MeanIoU": lambda: mean_iou.update(preds, target),
            "torchmetrics MulticlassJaccardIndex": lambda: jaccard.update(preds, target),
            PEER: lambda: unchecked.update(preds, target),
            "smp get_stats": lambda: smp.metrics.get_stats(
                preds, target, mode="multiclass", num_classes=CLASSES
            ),
            "ConfusionCounts": lambda: ours.update(preds, target),
            "ConfusionCounts, uint8 predictions, ignore_index": lambda: ours_ignoring.update(
                small, target
            ),
        },
        rounds,
    )
    print(__doc__)
    print(f"  {about('torchmetrics', 'segmentation-models-pytorch')}, median of {rounds}")
    print_ratios(medians, "torchmetrics MeanIoU")
    percent = 100 * medians["ConfusionCounts"] / medians[PEER]
    verdict("ConfusionCounts, % of torchmetrics unchecked", percent, 100, at_most=True)


if __name__ == "__main__":
    main()
