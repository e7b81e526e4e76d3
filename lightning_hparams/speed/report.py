"""The speed of a whole training run in one line."""

from __future__ import annotations

import dataclasses

from .advice import Loading, bottleneck
from .clock import Speed, Totals

__all__ = ["mean_speed", "summary"]


def mean_speed(totals: Totals) -> Speed:
    """Return the rates over all measured batches of a process, without percentiles."""
    seconds = max(totals.seconds, 1e-12)
    return Speed(
        batches_per_sec=totals.batches / seconds,
        samples_per_sec=totals.samples / seconds,
        data_wait_frac=totals.wait / seconds,
    )


def summary(speed: Speed, totals: Totals, train: Loading, val: Loading) -> str:
    """Return the rates and the bottleneck of a run as text.

    Args:
        speed: Rates of all processes, with the wait of the slowest.
        totals: Totals of this process.
        train: How training data are loaded.
        val: How validation data are loaded.

    >>> totals, loading = Totals(batches=20, samples=80, seconds=10.0), Loading(0, False, cores=4)
    >>> summary(mean_speed(totals), totals, loading, loading).split(";")[0]
    '2 batches/s, 8 samples/s'
    """
    if speed.data_wait_frac:
        totals = dataclasses.replace(totals, wait=speed.data_wait_frac * totals.seconds)
    text = f"{speed.batches_per_sec:.4g} batches/s"
    if speed.samples_per_sec:
        text += f", {speed.samples_per_sec:.4g} samples/s"
    return f"{text}; {bottleneck(totals, train, val)}"
