"""Forward and backward of a loss on 8 x 21 x 256 x 256 logits in float32: time and peak memory.

Each side runs in a process of its own, since a peak of memory is one of a process; every process
imports the same packages, so that all start from the same. The rounds go through the sides in turn.
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

import monai
import monai.losses
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from _timing import about, print_ratios, verdict

from lightning_hparams.losses import cross_entropy_loss, dice_loss

SHAPE = (8, 21, 256, 256)
SMP = "smp DiceLoss"
OURS = "dice_loss"
SIDES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    SMP: smp.losses.DiceLoss("multiclass"),
    "MONAI DiceLoss(softmax, to_onehot_y)": lambda logits, target: monai.losses.DiceLoss(
        softmax=True, to_onehot_y=True
    )(logits, target[:, None]),
    OURS: dice_loss,
    "dice_loss, deterministic algorithms": dice_loss,
    "torch cross_entropy": F.cross_entropy,
    "cross_entropy_loss": cross_entropy_loss,
}


def measure(name: str, steps: int) -> dict[str, float]:
    """Median time of a step in ms, and peak memory of this process in MB."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms("deterministic" in name)
    logits = torch.randn(SHAPE, requires_grad=True)
    target = torch.randint(0, SHAPE[1], (SHAPE[0], *SHAPE[2:]))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(steps + 1):
        logits.grad = None
        start = time.perf_counter()
        SIDES[name](logits, target).backward()
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
            f"  {name:<52} {row['peak']:9.0f} MB  {share:7.0%} of smp  "
            f"({row['base']:.0f} MB before the first step)"
        )
    verdict("times as fast as smp", medians[SMP]["ms"] / medians[OURS]["ms"], 2, at_most=False)
    share = medians[OURS]["peak"] / medians[SMP]["peak"]
    verdict("share of smp's peak memory", share, 0.85, at_most=True)


if __name__ == "__main__":
    main()
