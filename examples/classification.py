"""Classify handwritten digits, or your own images, and view the results in TensorBoard."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import (
    ClassificationTask,
    DigitsData,
    ExactResume,
    ImageFolderData,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
)

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--data", metavar="FOLDER", help="folder with a folder of images per class")
parser.add_argument("--labels", metavar="CSV", help="table of files and labels instead of folders")
parser.add_argument("--size", type=int, default=32, help="height and width of images in pixels")
parser.add_argument("--model", default="resnet10t", help="a model of timm")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--lr", type=float, help="peak learning rate, instead of a range test")
parser.add_argument("--logdir", default="runs")
parser.add_argument("--seed", type=int, default=0)


def make_data(args: Namespace) -> DigitsData | ImageFolderData:
    if args.labels and not args.data:
        raise ValueError("--labels needs --data, the folder of the images")
    options = {"size": args.size, "batch_size": args.batch_size}
    if args.data is None:
        return DigitsData(**options)
    return ImageFolderData(args.data, labels=args.labels, **options)


if __name__ == "__main__":
    args = parser.parse_args()
    lightning.seed_everything(args.seed, verbose=False)
    try:
        data = make_data(args)
        data.setup("fit")
        task = ClassificationTask(
            args.model,
            in_channels=data.in_channels,
            num_classes=data.num_classes,
            class_names=data.class_names,
            lr=args.lr or 1e-3,  # used if the range test is inconclusive
        )
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    pictures, finder = PredictionMonitor(), [] if args.lr else [LRRangeTest()]
    monitors = [MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()]
    best = ModelCheckpoint(monitor="metric/accuracy/val", mode="max", filename="best")
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        callbacks=[ExactResume(), *finder, OneCycle(), *monitors, best],
        logger=TensorBoardLogger(args.logdir, name="classification", default_hp_metric=False),
        log_every_n_steps=5,
    )
    trainer.fit(task, data)
    trainer.test(task, data, ckpt_path=best.best_model_path or None)
    if not trainer.is_global_zero:
        sys.exit()  # on several GPUs, only one process prints the results
    sheet = pictures.save_sheet(Path(trainer.logger.log_dir) / "predictions.png")
    print(f"Best checkpoint:          {best.best_model_path}")
    print(f"Predictions as a picture: {sheet}")
    print(f"Curves and pictures:      tensorboard --logdir {args.logdir}")
