"""Time that a schedule adds to a step: rate and momentum of 2 and of 100 parameter groups."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _timing import about, interleaved_ms, print_ratios, verdict
from lightning import LightningModule, Trainer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from lightning_hparams import Cyclic, OneCycle, ParamScheduler

STEPS = 1000  # a round, so that its ms are the us of one step


def groups(count: int) -> torch.optim.Optimizer:
    """SGD with momentum and a parameter in each group."""
    parts = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(count)]
    return torch.optim.SGD(parts, lr=0.1, momentum=0.9)


def repeated(step: Callable[[], object]) -> Callable[[], None]:
    """A round of steps."""

    def run() -> None:
        for _ in range(STEPS):
            step()

    return run


def nothing() -> None:
    """A closure, which in training has the forward and the backward pass."""


def ours(callback: ParamScheduler, count: int) -> Callable[[], None]:
    """What the callback does in a step: at the start of the batch, and around the closure."""
    optimizer = groups(count)
    module = LightningModule()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1)
    trainer.strategy.connect(module)
    trainer.optimizers = [optimizer]
    callback.on_fit_start(trainer, module)
    callback.on_train_start(trainer, module)
    (hooks,) = callback._run._hooked._hooks

    def step() -> None:
        callback.on_train_batch_start(trainer, module, None, 0)
        _, given = hooks._before(optimizer, (optimizer,), {"closure": nothing})
        given["closure"]()
        hooks._after(optimizer, (optimizer,), {})

    return repeated(step)


def torchs(make: Callable[[torch.optim.Optimizer], Any], count: int) -> Callable[[], None]:
    """A scheduler's step."""
    optimizer = groups(count)
    scheduler = make(optimizer)
    optimizer.step()
    return repeated(scheduler.step)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    total = STEPS * (rounds + 2)
    print(__doc__)
    print(f"  {about('lightning')}, median of {rounds}; ms of {STEPS} steps are us of one")
    for count in (2, 100):
        medians = interleaved_ms(
            {
                "torch OneCycleLR": torchs(lambda o: OneCycleLR(o, 0.1, total), count),
                "OneCycle": ours(OneCycle(total_steps=total), count),
                "torch CyclicLR": torchs(lambda o: CyclicLR(o, 0.02, 0.1), count),
                "Cyclic": ours(Cyclic(0.02, step_size_up=2000, total_steps=total), count),
            },
            rounds,
        )
        print(f"  {count} groups")
        print_ratios(medians, "torch OneCycleLR")
        for mine, theirs in (("OneCycle", "torch OneCycleLR"), ("Cyclic", "torch CyclicLR")):
            ratio = medians[mine] / medians[theirs]
            verdict(f"{mine} of {count} groups, times {theirs}", ratio, 1, at_most=True)


if __name__ == "__main__":
    main()
