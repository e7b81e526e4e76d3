"""Segment brain tissue (or your own folder of images and masks) and look at it in TensorBoard."""

import shlex
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from pathlib import Path

import lightning
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_hparams import (
    BrainTissueData,
    LRRangeTest,
    MaskFolderData,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SegmentationTask,
    SpeedMonitor,
    SyntheticShapesData,
)
from lightning_hparams.checks import writable_folder

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--data", choices=["brain", "synthetic", "folder"], default="brain")
parser.add_argument("--images", help="folder of images, for --data folder")
parser.add_argument("--masks", help="folder of masks of the same names")
parser.add_argument("--classes", nargs="+", help="class names, for --data folder")
parser.add_argument("--size", type=int, default=128, help="side of an image in pixels")
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--encoder", default="tu-mobilenetv3_small_100")
parser.add_argument("--lr", type=float, help="peak of the one-cycle schedule, not by a range test")
parser.add_argument("--logdir", default="runs")
parser.add_argument("--seed", type=int, default=0)


def make_data(args: Namespace) -> lightning.LightningDataModule:
    if args.data == "brain":
        return BrainTissueData(size=args.size)
    if args.data == "synthetic":
        return SyntheticShapesData(size=args.size)
    if not (args.images and args.masks and args.classes):
        parser.error("--data folder needs --images, --masks and --classes")
    return MaskFolderData(args.images, args.masks, class_names=args.classes, size=args.size)


if __name__ == "__main__":
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs must be 1 or more, got {args.epochs}")
    writable_folder("--logdir", args.logdir)
    lightning.seed_everything(args.seed, verbose=False)
    data = make_data(args)
    task = SegmentationTask(
        encoder=args.encoder,
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        class_names=data.class_names,
        lr=args.lr or 1e-3,  # where a range test finds nothing
    )
    finder = [] if args.lr else [LRRangeTest()]
    pictures = PredictionMonitor()
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        callbacks=[*finder, OneCycle(), MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()],
        logger=TensorBoardLogger(args.logdir, name=args.data, default_hp_metric=False),
        log_every_n_steps=5,
    )
    trainer.fit(task, data)
    if not trainer.is_global_zero:
        sys.exit()  # of the processes on several GPUs, one says how it went
    table = Table("class", "IoU", title="Scores on the validation images", min_width=40)
    for name in [*(f"class/iou/{name}" for name in task.class_names), "metric/miou"]:
        table.add_row(name.split("/")[-1], f"{trainer.callback_metrics[f'{name}/val']:.3f}")
    Console().print(table)
    sheet = pictures.save_sheet(Path(trainer.logger.log_dir) / "predictions.png")
    print(f"Predictions as a picture:  {sheet}")
    tensorboard = str(Path(sys.executable).with_name("tensorboard")).removeprefix(f"{Path.cwd()}/")
    command = [tensorboard, "--logdir", args.logdir, "--samples_per_plugin", "images=1000"]
    print(f"Curves and pictures:       {shlex.join(command)}")
