"""How good the tasks are beside what users would write or copy, and what a step of them costs.

Both sides see the same data, for the same steps or the same seconds, and take turns by seed. Ours
are the defaults of the task with a range test and one cycle; the steps of the range test are on top
of the others, and its seconds count. Scores are those of the last step on the test set.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from _detectors import boxes, tiles
from _task_peers import moved, until, until_steps, until_time
from _task_sides import Scores, Side, ahead, compare, fitted, ready
from _timing import QUIET, about, device, use_device, verdict
from lightning import Callback, LightningModule, Trainer
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_hparams import (
    BrainTissueData,
    ClassificationTask,
    DetectionTask,
    DigitsData,
    SegmentationTask,
    SyntheticShapesData,
)
from lightning_hparams.metrics import ConfusionCounts, iou_score, mean_present
from lightning_hparams.schedules import cosine, warmup

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


# -- steps -----------------------------------------------------------------------------------------


class Clock(Callback):
    """Seconds of a step, from the end of one to the end of another.

    On a GPU it waits for what was started, but only at these two, so that it hides nothing.

    Args:
        first: Step to start at, so that what is only done once is left out.
        last: Step to end at.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.taken = first, last, 0
        self.times = list[tuple[float, float]]()

    def tick(self) -> None:
        """Count a step, and note the time if it is one of the two."""
        self.taken += 1
        if self.taken in (self.first, self.last):
            if device().type == "cuda":
                torch.cuda.synchronize()
            self.times.append((time.perf_counter(), time.process_time()))

    def on_train_batch_end(self, *args: object) -> None:
        """Count a step of a Trainer."""
        self.tick()

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds that passed, and those of this process on the CPU, in the mean of the steps."""
        (wall, used), (wall_then, used_then) = self.times
        steps = self.last - self.first
        return (wall_then - wall) / steps, (used_then - used) / steps


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
    on_gpu = device().type == "cuda"
    for name, (task, data) in tasks.items():
        batch = moved(next(iter(ready(data).train_dataloader())))
        loader = [batch] * (steps + skipped)
        shares: list[tuple[float, float]] = []
        for _ in range(args.rounds):
            clock, plain = (Clock(skipped, len(loader)) for _ in range(2))
            trainer = Trainer(**{**QUIET, "max_steps": len(loader)}, callbacks=[clock])
            trainer.fit(task, DataLoader(loader, batch_size=None))  # type: ignore[arg-type]
            task.to(device())
            optimizer = task.configure_optimizers()
            task.train()
            for _ in loader:
                bare(task, batch, optimizer)
                plain.tick()
            wall, used = (
                100 * (ours / theirs - 1)
                for ours, theirs in zip(clock.seconds, plain.seconds, strict=True)
            )
            shares.append((wall, used))
        walls, useds = zip(*shares, strict=True)
        print(
            f"  {name}: {1e3 * plain.seconds[0]:.1f} ms bare in the last round; more than that: "
            f"{statistics.median(walls):.1f} % of the time that passed, "
            f"{statistics.median(useds):.1f} % of the CPU's"
        )
        # What else runs on a machine takes time of a CPU that process time leaves out.
        verdict(
            f"{name}, % more than bare",
            statistics.median(walls if on_gpu else useds),
            5,
            at_most=True,
        )


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


PARTS = {"step": step, "digits": digits, "brain": brain, "boxes": boxes, "tiles": tiles}


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
    parser.add_argument("--sides", nargs="+", help="of boxes and tiles, by parts of their names")
    parser.add_argument("--seconds", type=float, help="of peers that are run without ours beside")
    parser.add_argument(
        "--num-workers", type=int, default=0, help="of the loaders of boxes and tiles"
    )
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
