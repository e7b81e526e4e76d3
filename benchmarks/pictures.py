"""From a model's outputs to TensorBoard's event file: 16 pictures of 256 x 256, 8 classes.

The usual way: torchvision's drawing functions and make_grid, or matplotlib, then
SummaryWriter.add_image or add_figure. Ours: table look-up, array slices and Pillow, JPEG bytes.
Both sides of a pair draw the same sheet, find the classes of a mask by ``max``, which is faster
than the usual ``argmax``, and are flushed: the time ends when the file is written. Our boxes have
the true ones beside the predicted, twice as many pixels, on two sheets; and of many boxes in a
picture only those wider than their label have one. Megabytes are those of the larger sheet. Scores
and probabilities are new in each round.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from _timing import about, interleaved_ms, print_ratios, verdict
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

from lightning_hparams.render import (
    classification_picture,
    confusion_picture,
    detection_picture,
    encode,
    overlay,
    palette,
    segmentation_pictures,
    sheet,
    sheets,
    to_rgb,
)
from lightning_hparams.sinks import TensorBoardSink

CLASSES, COUNT, BOXES = 8, 16, 20
NAMES = [f"class {index}" for index in range(CLASSES)]
COLORS = [tuple(color) for color in palette(CLASSES).tolist()]


def smooth(channels: int) -> torch.Tensor:
    """Blobs, as an image and its classes have them, rather than noise."""
    return F.interpolate(torch.randn(COUNT, channels, 12, 12), (256, 256), mode="bicubic")


def guessed(truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As many boxes as there are, of which a fifth is somewhere else."""
    guess = random_boxes(len(truth["boxes"]))
    near = torch.rand(len(truth["boxes"])) < 0.8
    guess["boxes"][near] = truth["boxes"][near] + 2 * torch.randn(int(near.sum()), 4)
    guess["labels"][near] = truth["labels"][near]
    return guess


def random_boxes(count: int = BOXES) -> dict[str, torch.Tensor]:
    """Boxes of 20 to 70 pixels, with labels and scores."""
    start = torch.rand(count, 2) * 180
    boxes = torch.cat([start, start + 20 + torch.rand(count, 2) * 50], 1)
    labels = torch.randint(0, CLASSES, (count,))
    return {"boxes": boxes, "labels": labels, "scores": 0.3 + 0.7 * torch.rand(count)}


class Pictures:
    """The inputs of all sides, and where they write."""

    def __init__(self, folder: str) -> None:
        images = (smooth(3).sigmoid() + 0.03 * torch.randn(COUNT, 3, 256, 256)).clamp(0, 1)
        self.images = (images * 255).to(torch.uint8)
        self.logits, self.targets = smooth(CLASSES), smooth(CLASSES).argmax(1)
        self.truth = [random_boxes() for _ in range(COUNT)]
        self.counts = torch.randint(0, 40, (10, 10)) + 300 * torch.eye(10).long()
        self.writer = SummaryWriter(Path(folder) / "usual")
        self.sink = TensorBoardSink(TensorBoardLogger(folder, name="ours"))
        self.written: dict[str, list[int]] = {}  # bytes of each of our pictures

    def write(self, tag: str, *pictures: object) -> None:
        """Ours: to the event file."""
        encoded = [encode(picture) for picture in pictures]  # type: ignore[arg-type]
        self.written[tag] = [len(one.data) for one in encoded]
        for one in encoded:
            self.sink.image(tag, one, 0)
        self.sink.flush()

    def usual_masks(self) -> None:
        """Torchvision's masks."""
        masks = F.one_hot(self.logits.max(1).indices, CLASSES).permute(0, 3, 1, 2).bool()
        drawn = [
            draw_segmentation_masks(image, mask, alpha=0.45, colors=COLORS)
            for image, mask in zip(self.images, masks, strict=True)
        ]
        self.writer.add_image("sheet", make_grid(drawn, nrow=4), 0)
        self.writer.flush()

    def masks(self) -> None:
        """Our masks."""
        preds = self.logits.max(1).indices.to(torch.uint8)
        drawn = overlay(to_rgb(self.images), preds.numpy(), palette(CLASSES))
        self.write("masks", sheet(list(drawn), 4))

    def four_panels(self) -> None:
        """What PredictionMonitor writes of masks."""
        preds = self.logits.max(1).indices.to(torch.uint8)
        self.write(
            "panels",
            *segmentation_pictures(self.images, preds, self.targets, NAMES, background=0),
        )

    def usual_boxes(self) -> None:
        """Torchvision's boxes."""
        drawn = []
        for image, truth in zip(self.images, self.truth, strict=True):
            boxes = guessed(truth)
            labels = [
                f"{NAMES[label]} {score:.2f}"
                for label, score in zip(boxes["labels"], boxes["scores"], strict=True)
            ]
            colors = [COLORS[label] for label in boxes["labels"]]
            drawn.append(draw_bounding_boxes(image, boxes["boxes"], labels, colors, width=2))
        self.writer.add_image("boxes", make_grid(drawn, nrow=4), 0)
        self.writer.flush()

    def boxes(self) -> None:
        """Our boxes, the true ones beside the predicted."""
        pairs = zip(self.images, self.truth, strict=True)
        drawn = [detection_picture(image, guessed(true), true, NAMES) for image, true in pairs]
        self.write("boxes", *sheets(drawn, 2))

    def usual_classes(self) -> None:
        """Pictures under titles by matplotlib."""
        figure = Figure(figsize=(10.24, 10.24), dpi=100)
        probs = torch.rand(COUNT, CLASSES).softmax(1)
        for place, axes in enumerate(figure.subplots(4, 4).flat):
            axes.imshow(self.images[place].permute(1, 2, 0).numpy())
            best = int(probs[place].argmax())
            axes.set_title(f"true {NAMES[0]} | {NAMES[best]} {probs[place, best]:.2f}", fontsize=8)
            axes.axis("off")
        self.writer.add_figure("classes", figure, 0)
        self.writer.flush()

    def classes(self) -> None:
        """Our pictures, with bars of the three highest probabilities."""
        probs = torch.rand(COUNT, CLASSES).softmax(1)
        drawn = [
            classification_picture(image, row.argmax(), torch.tensor(0), NAMES, probs=row)
            for image, row in zip(self.images, probs, strict=True)
        ]
        self.write("classes", sheet(drawn, 4))

    def usual_confusion(self) -> None:
        """A matrix by matplotlib."""
        figure = Figure(figsize=(6, 6), dpi=100)
        axes = figure.subplots()
        shares = self.counts / self.counts.sum(1, keepdim=True)
        axes.imshow(shares.numpy(), cmap="Blues")
        for row in range(10):
            for column in range(10):
                axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center")
        axes.set_xticks(range(10), [f"class {n}" for n in range(10)], rotation=90)
        axes.set_yticks(range(10), [f"class {n}" for n in range(10)])
        self.writer.add_figure("confusion", figure, 0)
        self.writer.flush()

    def confusion(self) -> None:
        """Our matrix."""
        self.counts += 1
        names = [f"class {n}" for n in range(10)]
        self.write("confusion", confusion_picture(self.counts, names))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    rows = [
        ("masks: draw_segmentation_masks + add_image", "masks: ours", 80, "masks"),
        (
            "boxes: draw_bounding_boxes + add_image",
            "boxes: ours, beside the true ones",
            90,
            "boxes",
        ),
        ("classes: matplotlib + add_figure", "classes: ours", 70, "classes"),
        ("confusion matrix: matplotlib + add_figure", "confusion matrix: ours", 10, "confusion"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(folder)
        sides: dict[str, Callable[[], object]] = {}
        for usual, ours, _, name in rows:
            sides[usual] = getattr(pictures, f"usual_{name}")
            sides[ours] = getattr(pictures, name)
        sides["masks: ours, 16 pictures of four panels (more work)"] = pictures.four_panels
        medians = interleaved_ms(sides, rounds)
    print(__doc__)
    print(f"  {about('torchvision', 'tensorboard', 'pillow', 'matplotlib')}, median of {rounds}")
    for usual, ours, target, name in rows:
        print_ratios({usual: medians[usual], ours: medians[ours]}, usual)
        verdict("ms", medians[ours], target, at_most=True)
        verdict("MB", max(pictures.written[name]) / 1e6, 0.45, at_most=True)
    panels = "masks: ours, 16 pictures of four panels (more work)"
    print_ratios({panels: medians[panels]}, panels)
    verdict("ms", medians[panels], 200, at_most=True)
    print(f"  MB: {sum(pictures.written['panels']) / 1e6:.2f}")
    ratio = medians[rows[0][0]] / medians[rows[0][1]]
    verdict("masks, times as fast", ratio, 8, at_most=False)


if __name__ == "__main__":
    main()
