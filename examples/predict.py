"""Predict masks for a folder of images with a checkpoint from examples/segmentation.py."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

import lightning
import torch

from lightning_hparams import MaskFolderData, PredictionWriter, SegmentationTask

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("checkpoint", help="a .ckpt file")
parser.add_argument("folder", help="folder of images, or of subfolders with images")
parser.add_argument("out", help="folder for the masks, created if missing")
parser.add_argument("--probabilities", action="store_true", help="also write float16 .npy files")
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--num-workers", type=int, default=2)


def size_of(checkpoint: str) -> list[int] | int | None:
    """The size that images were resized to in training."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    size: list[int] | int | None = content.get("datamodule_hyper_parameters", {}).get("size")
    return size


if __name__ == "__main__":
    args = parser.parse_args()
    try:
        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f"{args.checkpoint} is not a file; check the path")
        task = SegmentationTask.load_from_checkpoint(args.checkpoint, map_location="cpu")
        data = MaskFolderData(
            args.folder,
            predict_images=args.folder,
            class_names=task.class_names,
            in_channels=task.hparams["in_channels"],
            size=size_of(args.checkpoint),
            batch_size=args.batch_size,
            num_workers=args.num_workers,
        )
        data.setup("predict")
        writer = PredictionWriter(args.out, probabilities=args.probabilities)
    except (ValueError, TypeError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    trainer = lightning.Trainer(callbacks=[writer], logger=False, enable_checkpointing=False)
    trainer.predict(task, data)
    if not trainer.is_global_zero:
        sys.exit()
    print(f"{len(data.predict_set)} masks: {args.out}")
