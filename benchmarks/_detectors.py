"""Our detectors beside those of torchvision and libreyolo, for the same seconds."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _pretrained import is_installed, weights_file
from _task_peers import moved, until, until_time
from _task_sides import Scores, Side, ahead, compare, fitted, ready
from _timing import device, verdict
from _tree_tiles import TILE, write_tiles
from _yolo_peers import YOLOS, train_yolo, why_no_yolo
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models import detection

from lightning_hparams import DetectionTask, VocData
from lightning_hparams.schedules import one_cycle

__all__ = ["boxes", "tiles"]

TUNED = "fine-tuned EfficientNet-Lite0"


def boxes(args: argparse.Namespace) -> None:
    """Blood cells, or another folder in Pascal VOC's format, beside other detectors."""
    if args.voc is None:
        print("\nboxes: left out; pass --voc FOLDER")
        return
    found = detectors("boxes", args.voc, args.size, args.steps or 1121, args)
    for name, target in (("ours", 0.53), (TUNED, 0.57)):
        if name in found:
            verdict(f"mAP, {name}", statistics.mean(found[name]), target, at_most=False)


def tiles(args: argparse.Namespace) -> None:
    """Tree crowns in tiles of aerial photographs, of the package deepforest."""
    with tempfile.TemporaryDirectory() as folder:
        if not write_tiles(Path(folder)):
            print("\ntiles: left out; pip install --no-deps deepforest")
            return
        detectors("tiles", folder, TILE, args.steps or 400, args)


def detectors(
    title: str, folder: str, size: int, steps: int, args: argparse.Namespace
) -> dict[str, list[float]]:
    """Detectors on a folder in Pascal VOC's format; returns their mAP by name and seed."""
    seconds = dict[int, float]()

    def make(**options: Any) -> VocData:
        given = {"val_fraction": 0.2, "boxes": "drop", "num_workers": args.num_workers}
        return ready(VocData(folder, size=size, **{**given, **options}))

    def limit(seed: int) -> float:
        return args.seconds or seconds[seed]

    def ours(seed: int) -> Scores:
        data = make()
        task = DetectionTask(num_classes=data.num_classes, class_names=data.class_names)
        trainer, seconds[seed] = fitted(task, data, steps, clip=5.0)
        scores = trainer.test(task, data, verbose=False)[0]
        return {**maps(scores), "lr": task.lr, "seconds": seconds[seed]}

    def tuned(seed: int) -> Scores:
        data = make()
        task = DetectionTask(
            encoder="tu-tf_efficientnet_lite0",
            weights=weights_file(),
            num_classes=data.num_classes,
            class_names=data.class_names,
        )
        trainer, taken = fitted(task, data, steps, clip=5.0)
        scores = trainer.test(task, data, verbose=False)[0]
        return {**maps(scores), "lr": task.lr, "seconds": taken}

    def plain(build: Callable[[int], nn.Module], lr: float, seed: int) -> Scores:
        data = make()
        net = build(data.num_classes + 1)  # with the background, as torchvision counts
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
        most = limit(seed)

        def loss(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
            images, targets = torchvisions(batch)
            return sum(net(images, targets).values(), torch.zeros((), device=device()))

        taken, _ = until(
            until_time(most),
            net,
            loss,
            data.train_dataloader(),
            optimizer,
            rate=lambda _, passed: one_cycle(round(1000 * min(1, passed / most)), 1001),
            clip=5.0,
        )
        return {**precision(net, data), "steps": taken}

    def yolo(name: str, seed: int) -> Scores:
        data = make(augment="none")  # it has its own
        splits = {"train": data.train_set, "val": data.test_set}
        found = train_yolo(
            name,
            splits,
            data.class_names,
            limit(seed),
            size=size,
            seed=seed,
            device=device().type,
            num_workers=data.num_workers,
        )
        return {
            **precision(found.predict, data),
            "steps": found.steps,
            "epochs": found.epochs,
            "seconds": found.seconds,
        }

    def ssdlite(classes: int) -> nn.Module:
        return detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes
        )

    def fcos(classes: int) -> nn.Module:
        return detection.fcos_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=classes,
            min_size=size,
            max_size=size,
            trainable_backbone_layers=5,
        )

    peers: dict[str, Side] = {
        "torchvision ssdlite320_mobilenet_v3_large": partial(plain, ssdlite, 1e-3),
        "torchvision fcos_resnet50_fpn": partial(plain, fcos, 5e-4),
    }
    if (why := why_no_yolo()) is None:
        peers |= {name: partial(yolo, name) for name in YOLOS}
    else:
        print(f"\n{title}: libreyolo is left out: {why}")
    sides = {"ours": ours, **peers}
    if is_installed():
        sides[TUNED] = tuned
    if args.sides:
        sides = {n: side for n, side in sides.items() if any(part in n for part in args.sides)}
    found = compare(f"{title}, {steps} steps, then equal seconds", sides, args.seeds, "map")
    for name in peers:
        if "ours" in found and name in found:
            verdict(f"mAP ahead of {name}", ahead(found["ours"], found[name]), 0, at_most=False)
    return found


def precision(predict: Callable[[list[Tensor]], Any], data: VocData) -> Scores:
    """Mean average precisions of predictions in torchvision's form, on the test set."""
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    with torch.inference_mode():
        for batch in map(moved, data.test_dataloader()):
            images, targets = torchvisions(batch)
            metric.update(*move_data_to_device((predict(images), targets), torch.device("cpu")))
    result = metric.compute()
    return {"map50": float(result["map_50"]), "map": float(result["map"])}


def maps(scores: Mapping[str, float]) -> Scores:
    """Mean average precisions of a test."""
    return {name: scores[f"metric/{name}/test"] for name in ("map50", "map")}


def torchvisions(batch: Mapping[str, Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images in 0..1, and targets with labels from 1."""
    images = [image.float() / 255 for image in batch["image"]]
    targets = [
        {"boxes": one["boxes"], "labels": one["labels"].long() + 1} for one in batch["target"]
    ]
    return images, targets
