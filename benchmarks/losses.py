"""Forward and backward of a loss on 8 x 21 x 256 x 256 logits in float32: time and peak memory.

Each side runs in a process of its own, since a peak of memory is one of a process. All of them
import segmentation-models-pytorch, and MONAI's side MONAI too, so it alone starts from more. The
rounds go through the sides in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from _timing import about, print_ratios, verdict

from lightning_hparams.losses import cross_entropy_loss, dice_loss

SHAPE = (8, 21, 256, 256)
SMP, OURS = "smp DiceLoss", "dice_loss"
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def monai_dice() -> Loss:
    """MONAI's Dice on class indices."""
    import monai.losses

    loss = monai.losses.DiceLoss(softmax=True, to_onehot_y=True)
    return lambda logits, target: loss(logits, target[:, None])


SIDES: dict[str, Callable[[], Loss]] = {
    SMP: lambda: smp.losses.DiceLoss("multiclass"),
    "MONAI DiceLoss(softmax, to_onehot_y)": monai_dice,
    OURS: lambda: dice_loss,
    "dice_loss, deterministic algorithms": lambda: dice_loss,
    "torch cross_entropy": lambda: F.cross_entropy,
    "cross_entropy_loss": lambda: cross_entropy_loss,
}


def measure(name: str, steps: int) -> dict[str, float]:
    """Median time of a step in ms, and peak memory of this process in MB."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms("deterministic" in name)
    loss = SIDES[name]()
    for side in (16, SHAPE[-1]):  # a small step first loads what torch loads late
        logits = torch.randn(*SHAPE[:2], side, side, requires_grad=True)
        target = torch.randint(0, SHAPE[1], (SHAPE[0], side, side))
        if side == 16:
            loss(logits, target).backward()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(steps + 1):
        logits.grad = None
        start = time.perf_counter()
        loss(logits, target).backward()
        times.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kilobytes = 1 if sys.platform == "linux" else 1024  # macOS counts bytes
    return {
        "ms": statistics.median(times[1:]),
        "peak": peak / 1024 / kilobytes,
        "base": base / 1024 / kilobytes,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="steps a round in each process")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.steps)))
        return
    results: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for _ in range(args.rounds):
        for name in SIDES:
            command = [sys.executable, __file__, "--side", name, "--steps", str(args.steps)]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env=os.environ
            )
            results[name].append(json.loads(output.stdout.splitlines()[-1]))
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in results.items()
    }
    print(__doc__)
    print(f"  {about('segmentation-models-pytorch', 'monai')}, median of {args.rounds}")
    print_ratios({name: row["ms"] for name, row in medians.items()}, SMP)
    for name, row in medians.items():
        share = row["peak"] / medians[SMP]["peak"]
        print(
            f"  {name:<52} {row['peak']:9.0f} MB   {share:5.0%} of smp's "
            f"({row['peak'] - row['base']:.0f} MB of them in the step)"
        )
    verdict("times as fast as smp", medians[SMP]["ms"] / medians[OURS]["ms"], 2, at_most=False)
    share = medians[OURS]["peak"] / medians[SMP]["peak"]
    verdict("share of smp's peak memory", share, 0.85, at_most=True)


if __name__ == "__main__":
    main()
