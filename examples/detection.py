"""Detect shapes, or objects in your own images, and view the results in TensorBoard."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import (
    CocoData,
    DetectionTask,
    ExactResume,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
    SyntheticShapesData,
    VocData,
)

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--voc", metavar="FOLDER", help="folder of images and Pascal VOC XML files")
parser.add_argument("--coco", metavar="FILE", help="COCO JSON file; needs --images")
parser.add_argument("--images", metavar="FOLDER", help="folder of the images of --coco")
parser.add_argument("--boxes", choices=["raise", "clip", "drop"], default="raise", help="if bad")
parser.add_argument("--size", type=int, default=128, help="height and width of images in pixels")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--lr", type=float, help="peak learning rate, instead of a range test")
parser.add_argument("--logdir", default="runs")
parser.add_argument("--seed", type=int, default=0)


def make_data(args: Namespace) -> VocData | CocoData | SyntheticShapesData:
    if bool(args.coco) != bool(args.images) or (args.coco and args.voc):
        raise ValueError("pass --voc FOLDER, or --coco FILE with --images FOLDER, or none of them")
    options = {"size": args.size, "batch_size": args.batch_size}
    if not args.voc and not args.coco:
        return SyntheticShapesData(task="detection", **options)
    options |= {"boxes": args.boxes}
    return VocData(args.voc, **options) if args.voc else CocoData(args.images, args.coco, **options)


if __name__ == "__main__":
    args = parser.parse_args()
    lightning.seed_everything(args.seed, verbose=False)
    try:
        data = make_data(args)
        data.setup("fit")
        task = DetectionTask(
            num_classes=data.num_classes,
            class_names=data.class_names,
            lr=args.lr or 1e-3,  # used if the range test is inconclusive
        )
    except (ValueError, TypeError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    # TensorBoard shows the scores of the highest F1 as class/threshold/...: here about 0.5.
    pictures, finder = PredictionMonitor(min_score=0.5), [] if args.lr else [LRRangeTest()]
    monitors = [MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()]
    best = ModelCheckpoint(monitor="metric/map/val", mode="max", filename="best")
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        gradient_clip_val=5.0,  # the first steps of a detector have large gradients
        callbacks=[ExactResume(), *finder, OneCycle(), *monitors, best],
        logger=TensorBoardLogger(args.logdir, name="detection", default_hp_metric=False),
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
