"""Predict masks for a folder of images with a checkpoint from examples/segmentation.py."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

import lightning
import torch

from lightning_hparams import MaskFolderData, PredictionWriter, SegmentationTask
from lightning_hparams.checks import counted

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("checkpoint", help="a .ckpt file")
parser.add_argument("folder", help="folder of images, or of subfolders with images")
parser.add_argument("out", help="folder for the masks, created if missing")
parser.add_argument("--probabilities", action="store_true", help="also write float16 .npy files")
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--num-workers", type=int, default=2)


def load(checkpoint: str) -> tuple[SegmentationTask, list[int] | int | None]:
    """Load the task, and the size that images were resized to in training."""
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"{checkpoint} is not a file; check the path")
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        task = SegmentationTask.load_from_checkpoint(checkpoint, map_location="cpu")
        return task, content.get("datamodule_hyper_parameters", {}).get("size")
    except Exception as error:  # another file can raise almost anything when it is unpickled
        raise ValueError(
            f"{checkpoint} is not a checkpoint of a SegmentationTask ({type(error).__name__}); "
            "pass a .ckpt file that examples/segmentation.py wrote"
        ) from error


if __name__ == "__main__":
    args = parser.parse_args()
    try:
        task, size = load(args.checkpoint)
        data = MaskFolderData(
            args.folder,
            predict_images=args.folder,
            class_names=task.class_names,
            in_channels=task.hparams["in_channels"],
            size=size,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
        )
        writer = PredictionWriter(args.out, probabilities=args.probabilities)
        trainer = lightning.Trainer(callbacks=[writer], logger=False, enable_checkpointing=False)
        trainer.predict(task, data)
    except (ValueError, TypeError, OSError) as error:
        # An error of a worker process starts with its traceback.
        reason = str(error).rpartition(f"\n{type(error).__name__}: ")[2]
        parser.exit(2, f"{parser.prog}: error: {reason.strip()}\n")
    if not trainer.is_global_zero:
        sys.exit()
    print(f"{counted(len(data.predict_set), 'mask')}: {args.out}")
