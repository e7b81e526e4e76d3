"""Sides of a comparison of tasks: what is trained, scored and shown for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning
from _timing import QUIET
from lightning import LightningDataModule, LightningModule, Trainer

from lightning_hparams import LRRangeTest, OneCycle

__all__ = ["Scores", "Side", "ahead", "compare", "fitted", "ready"]

Scores = dict[str, float]
Side = Callable[[int], Scores]  # seed -> scores


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
