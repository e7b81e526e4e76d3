"""From logits to TensorBoard's event file: a sheet of 16 pictures of 256 x 256, 8 classes.

The usual way: torchvision's draw_segmentation_masks, make_grid, SummaryWriter.add_image. Ours:
overlay by table look-up, JPEG bytes. Both sides find the classes by ``max``, which is faster than
the usual ``argmax``, and both are flushed: the time ends when the file is written. Both draw the
same sheet; the last row is what PredictionMonitor writes, 16 pictures of four panels with titles
and legend.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from _timing import about, interleaved_ms, print_ratios, verdict
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import draw_segmentation_masks, make_grid

from lightning_hparams.render import encode, overlay, palette, segmentation_pictures, to_rgb
from lightning_hparams.sinks import TensorBoardSink

CLASSES = 8


def smooth(channels: int) -> torch.Tensor:
    """Blobs, as an image and its classes have them, rather than noise."""
    return F.interpolate(torch.randn(16, channels, 12, 12), (256, 256), mode="bicubic")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    images = (smooth(3).sigmoid() + 0.03 * torch.randn(16, 3, 256, 256)).clamp(0, 1)
    images = (images * 255).to(torch.uint8)
    logits, targets = smooth(CLASSES), smooth(CLASSES).argmax(1)
    colors = [tuple(color) for color in palette(CLASSES).tolist()]
    names = [f"class {index}" for index in range(CLASSES)]

    with tempfile.TemporaryDirectory() as folder:
        usual_writer = SummaryWriter(Path(folder) / "usual")
        logger = TensorBoardLogger(folder, name="ours")
        sink = TensorBoardSink(logger)

        def usual() -> None:
            masks = F.one_hot(logits.max(1).indices, CLASSES).permute(0, 3, 1, 2).bool()
            drawn = [
                draw_segmentation_masks(image, mask, alpha=0.45, colors=colors)
                for image, mask in zip(images, masks, strict=True)
            ]
            usual_writer.add_image("sheet", make_grid(drawn, nrow=4), 0)
            usual_writer.flush()

        def ours() -> None:
            preds = logits.max(1).indices.to(torch.uint8)
            drawn = overlay(to_rgb(images), preds.numpy(), palette(CLASSES))
            sheet = make_grid(torch.from_numpy(drawn).permute(0, 3, 1, 2), nrow=4)
            sink.image("sheet", encode(sheet.permute(1, 2, 0).contiguous().numpy()), 0)
            sink.flush()

        def four_panels() -> None:
            preds = logits.max(1).indices.to(torch.uint8)
            for picture in segmentation_pictures(images, preds, targets, names, background=0):
                sink.image("pictures", encode(picture), 0)
            sink.flush()

        medians = interleaved_ms(
            {
                "draw_segmentation_masks + add_image": usual,
                "overlay + TensorBoardSink": ours,
                "16 pictures of four panels (more work)": four_panels,
            },
            rounds,
        )
    print(__doc__)
    print(f"  {about('torchvision', 'tensorboard', 'pillow')}, median of {rounds}")
    reference = "draw_segmentation_masks + add_image"
    print_ratios(medians, reference)
    ratio = medians[reference] / medians["overlay + TensorBoardSink"]
    verdict("times as fast", ratio, 8, at_most=False)


if __name__ == "__main__":
    main()
