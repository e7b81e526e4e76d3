"""Time several ways to do one thing in turn, so that a drifting machine is fair to all."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

# A Trainer that does nothing but train, until it is stopped.
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
    "accelerator": "cpu",
    "max_epochs": -1,
}


def use_device(name: str) -> None:
    """Let every Trainer that is made from ``QUIET`` train on a CPU or GPU."""
    QUIET["accelerator"] = "gpu" if name == "cuda" else name


def device() -> torch.device:
    """Where they train."""
    return torch.device("cuda" if QUIET["accelerator"] == "gpu" else "cpu")


def machine() -> str:
    """The card, or the threads of the CPU."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads"


def interleaved_ms(
    sides: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, float]:
    """Median time of each side in ms, over ``rounds`` rounds in which each runs once."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux includes the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # macOS counts bytes


def about(*packages: str) -> str:
    """The machine and the versions of what is measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    return f"{machine()}, Python {platform.python_version()}, {versions}"


def record(what: str, value: float, unit: str = "x") -> None:
    """Keep a figure for the table of ``make bench``, which names the file to add it to.

    Args:
        what: Its name within the benchmark.
        value: The measured value; a ratio where machines differ.
        unit: ``"x"`` for a ratio.
    """
    if path := os.environ.get("BENCH_RECORD"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": value, "unit": unit}) + "\n")


def print_ratios(medians: Mapping[str, float], reference: str) -> None:
    """A table of medians, each with how many times as fast as the reference it is."""
    for name, median in medians.items():
        ratio = medians[reference] / median
        print(f"  {name:<52} {median:9.2f} ms   {ratio:7.1f} x")
        if name != reference:
            record(f"{name} beside {reference}", ratio)


def verdict(what: str, value: float, limit: float, *, at_most: bool) -> None:
    """A target beside what was measured."""
    met = value <= limit if at_most else value >= limit
    bound = "at most" if at_most else "at least"
    record(what.strip(), value, f"target {bound} {limit:g}: {'met' if met else 'MISSED'}")
    print(f"  {what}: {value:.2f}, target {bound} {limit:g}: {'met' if met else 'MISSED'}")
