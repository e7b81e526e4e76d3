"""Segment brain tissue, or your own images and masks, and view the results in TensorBoard."""

import re
import shlex
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace
from ast import literal_eval
from pathlib import Path
from zipfile import is_zipfile

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_hparams import (
    BrainTissueData,
    ExactResume,
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
from lightning_hparams.tasks import check_resumable

BUILT_IN = {"brain": BrainTissueData, "synthetic": SyntheticShapesData}


def list_or_dict(text: str) -> object:
    try:
        return literal_eval(text)
    except (SyntaxError, ValueError, TypeError):
        examples = "'[[0, 0, 0], [255, 0, 0]]' or '{0: 0, 255: 1}'"
        raise ArgumentTypeError(f"{text!r} cannot be parsed; write it as {examples}") from None


parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--data", default="brain", help="brain, synthetic, or your folder")
parser.add_argument("--size", type=int, default=128, help="height and width of images in pixels")
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--arch", default="unet")
parser.add_argument("--encoder", default="tu-mobilenetv3_small_100")
parser.add_argument("--weights", help="encoder weights: imagenet (downloaded), or a file")
parser.add_argument("--lr", type=float, help="peak learning rate, instead of a range test")
parser.add_argument("--logdir", default="runs")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--resume", nargs="?", const="", help="checkpoint; alone: the last in --logdir")
own = parser.add_argument_group("your own folder, where names and files are not enough")
own.add_argument("--images", help="folder of images")
own.add_argument("--masks", help="folder of masks with the same names")
own.add_argument("--classes", nargs="+", dest="class_names", help="names, including the background")
own.add_argument("--task", choices=["multiclass", "binary"])
own.add_argument("--num-classes", type=int)
own.add_argument("--ignore-index", type=int, help="mask value of pixels to ignore")
own.add_argument("--palette", type=list_or_dict, help="colours, as '[[0, 0, 0], [255, 0, 0]]'")
own.add_argument("--class-values", type=list_or_dict, help="{value: class}, as '{0: 0, 255: 1}'")
own.add_argument("--mask-suffix", help="_mask for 1.jpg and 1_mask.png")
own.add_argument("--image-pattern", help="as '*/*_leftImg8bit.png'")
own.add_argument("--mask-pattern", help="as '*/*_gtFine_labelIds.png'")
own.add_argument("--train-split", help="text file with one name per line; needs --val-split")
own.add_argument("--val-split")
own.add_argument("--test-split")
own.add_argument("--val-fraction", type=float)
own.add_argument("--in-channels", type=int)
own.add_argument("--augment", choices=["none", "flip", "light", "strong"])
own.add_argument("--num-workers", type=int)
OPTIONS = {action.dest: action.option_strings[0] for action in own._group_actions}


def make_data(args: Namespace) -> lightning.LightningDataModule:
    given = {name: getattr(args, name) for name in OPTIONS}
    names = [OPTIONS[name] for name, value in given.items() if value is not None]
    if args.images and args.data != parser.get_default("data"):
        raise ValueError(f"--images and --data {args.data} both name the images; leave out one")
    if args.data in BUILT_IN and not args.images:
        if names:
            raise ValueError(f"{names[0]} does not apply to --data {args.data}; pass --data FOLDER")
        return BUILT_IN[args.data](size=args.size, batch_size=args.batch_size)
    folders = given.pop("images") or args.data, given.pop("masks")
    return MaskFolderData.guessed(*folders, size=args.size, batch_size=args.batch_size, **given)


def make_task(args: Namespace, data: lightning.LightningDataModule) -> SegmentationTask:
    return SegmentationTask(
        arch=args.arch,
        encoder=args.encoder,
        weights=args.weights,
        task=getattr(data, "task", "multiclass"),
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        class_names=data.class_names,
        ignore_index=data.ignore_index,
        lr=args.lr or 1e-3,  # used if the range test is inconclusive
    )


def checkpoint(args: Namespace, task: SegmentationTask) -> Path | None:
    if args.resume is None:
        return None
    found = [Path(args.resume)] if args.resume else Path(args.logdir).rglob("last*.ckpt")
    files = [path for path in found if is_zipfile(path)]
    if not files:
        raise FileNotFoundError(f"--resume: no checkpoint at {args.resume or args.logdir}")
    newest = max(files, key=lambda path: path.stat().st_mtime)
    check_resumable(newest, task)
    return newest


def explained(error: Exception) -> str:
    """Return an error's message with arguments replaced by this script's options."""
    names = "|".join(OPTIONS)
    text = re.sub(rf"\b({names})=('[^']*'|\{{[^}}]*\}}|\S*\w)?", option, str(error))
    return re.sub(rf"`({names})`", lambda match: OPTIONS[match[1]], text)


def option(match: re.Match[str]) -> str:
    shown = "" if match[2] is None else shlex.quote(match[2].strip("'"))
    return f"{OPTIONS[match[1]]} {shown}".strip()


if __name__ == "__main__":
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs must be 1 or more, got {args.epochs}")
    try:
        writable_folder("--logdir", args.logdir)
        lightning.seed_everything(args.seed, verbose=False)
        data = make_data(args)
        task = make_task(args, data)
        resumed = checkpoint(args, task)
        data.setup("fit")
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        parser.exit(2, f"{parser.prog}: error: {explained(error)}\n")
    pictures, finder = PredictionMonitor(), [] if args.lr else [LRRangeTest()]
    best = ModelCheckpoint(monitor="metric/miou/val", mode="max", filename="best")
    last = ModelCheckpoint(filename="last")
    name = args.data if isinstance(data, tuple(BUILT_IN.values())) else "folder"
    monitors = [MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()]
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        callbacks=[ExactResume(), *finder, OneCycle(), *monitors, best, last],
        logger=TensorBoardLogger(args.logdir, name=name, default_hp_metric=False),
        log_every_n_steps=5,
    )
    trainer.fit(task, data, ckpt_path=resumed)
    kept = best.best_model_path or last.best_model_path  # no best: all pixels were ignored
    checkpoints = {"Tested (best metric/miou/val):": kept, "End of training:": last.best_model_path}
    trainer.test(task, data, ckpt_path=kept, verbose=False)
    if not trainer.is_global_zero:
        sys.exit()  # on several GPUs, only one process prints the results
    images = "validation" if data.test_set is data.val_set else "test"
    table = Table("class", "IoU", title=f"Scores on the {images} images", min_width=40)
    for name in [*(f"class/iou/{name}" for name in task.class_names), "metric/miou"]:
        score = trainer.callback_metrics.get(f"{name}/test", float("nan"))
        table.add_row(name.split("/")[-1], "does not occur" if score != score else f"{score:.3f}")
    Console().print(table)
    sheet = pictures.save_sheet(Path(trainer.logger.log_dir) / "predictions.png")
    for title, path in {**checkpoints, "Predictions as a picture:": str(sheet)}.items():
        print(f"{title:<30} {path.removeprefix(f'{Path.cwd()}/')}")
    python, script = Path(sys.executable), Path(__file__).resolve().with_name("predict.py")
    board = [python.with_name("tensorboard"), "--logdir", args.logdir]
    commands = {
        "Curves and pictures:": [*board, "--samples_per_plugin", "images=1000"],
        "Masks of other images:": [python, script, kept, "FOLDER", "OUT"],
    }
    for title, command in commands.items():
        words = [str(word).removeprefix(f"{Path.cwd()}/") for word in command]
        print(f"{title:<30} {shlex.join(words)}")
