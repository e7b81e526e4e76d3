"""Forward and backward of a loss on 8 x 21 x 256 x 256 logits in float32: time and peak memory.

A peak of memory is one of a process, so each side runs in a process of its own; the rounds go
through the sides in turn. Memory is the peak of all that a process holds, and before its first
step what it held then: Python, the libraries, the logits and the target.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

# Every process imports it, whichever it measures: imports are most of its memory.
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from _timing import about, peak_mb, verdict

from lightning_hparams.losses import cross_entropy_loss, dice_loss

SHAPE = (8, 21, 256, 256)
SMP, OURS = "smp DiceLoss", "dice_loss"
TIMES_AS_FAST, PERCENT_OF_MEMORY = 2, 85
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def monai_dice() -> Loss:
    """MONAI's Dice on class indices; the only process that holds MONAI too."""
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
    """Median time of a step in ms, and memory of this process in MB."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms("deterministic" in name)
    loss = SIDES[name]()
    small = torch.randn(*SHAPE[:2], 16, 16, requires_grad=True)
    loss(small, torch.zeros(SHAPE[0], 16, 16).long()).backward()  # loads what torch loads late
    logits = torch.randn(SHAPE, requires_grad=True)
    target = torch.randint(0, SHAPE[1], (SHAPE[0], *SHAPE[2:]))
    before = peak_mb()
    times = []
    for _ in range(steps + 1):
        logits.grad = None
        start = time.perf_counter()
        loss(logits, target).backward()
        times.append((time.perf_counter() - start) * 1e3)
    return {"ms": statistics.median(times[1:]), "before_mb": before, "peak_mb": peak_mb()}


def measure_in_own_process(name: str, steps: int) -> dict[str, float]:
    """As :func:`measure`."""
    command = [sys.executable, __file__, "--side", name, "--steps", str(steps)]
    # A thread that waits sleeps. A spinning one holds a core that the thread it waits for may
    # need, if anything else runs here: that took 8 ms for each of torch's operations.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return result


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
    rounds = [
        {name: measure_in_own_process(name, args.steps) for name in SIDES}
        for _ in range(args.rounds)
    ]
    medians = {
        name: {
            key: statistics.median(turn[name][key] for turn in rounds) for key in rounds[0][name]
        }
        for name in SIDES
    }
    smp_ms, smp_mb = medians[SMP]["ms"], medians[SMP]["peak_mb"]
    print(__doc__)
    print(f"{about('segmentation-models-pytorch', 'monai')}; median of {args.rounds} rounds\n")
    heads = f"{'ms':>7}{'speed':>9}{'before':>10}{'peak':>10}{'of smp':>9}{'in the step':>14}"
    print(f"  {'':<38}{heads}")
    for name, row in medians.items():
        print(
            f"  {name:<38}{row['ms']:7.1f}{smp_ms / row['ms']:8.2f}x{row['before_mb']:7.0f} MB"
            f"{row['peak_mb']:7.0f} MB{row['peak_mb'] / smp_mb:9.1%}"
            f"{row['peak_mb'] - row['before_mb']:11.0f} MB"
        )
    print()
    times = smp_ms / medians[OURS]["ms"]
    verdict("dice_loss, times as fast as smp", times, TIMES_AS_FAST, at_most=False)
    percent = 100 * medians[OURS]["peak_mb"] / smp_mb
    verdict("dice_loss, % of smp's peak memory", percent, PERCENT_OF_MEMORY, at_most=True)


if __name__ == "__main__":
    main()
