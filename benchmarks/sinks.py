"""What it costs to write numbers: six scalars to TensorBoard, ten to MLflow with SQLite.

The usual way is one `add_scalar` a value, or `log_metrics`, which waits for the database. Ours is
one `Summary`, or a thread that takes the values in batches. All sides write as many events, in
turn; the time is that of the thread that trains. What other threads still have to do after 100
events is told beside it: training does not wait for it, but shares the interpreter with it.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from _timing import about, interleaved_ms, print_ratios, verdict
from lightning.pytorch.loggers import TensorBoardLogger
from mlflow import flush_async_logging
from torch.utils.tensorboard import SummaryWriter

from lightning_hparams import mlflow_logger
from lightning_hparams.sinks import MLflowSink, TensorBoardSink


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    print(__doc__)
    print(f"  {about('tensorboard', 'mlflow')}, median of {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        tensorboard(Path(folder), rounds)
        mlflow(Path(folder), rounds)


def events(write: Callable[[int], object], count: int) -> Callable[[], None]:
    """A round of ``count`` logging events, each with its own step."""
    step = 0

    def run() -> None:
        nonlocal step
        for _ in range(count):
            write(step)
            step += 1

    return run


def tensorboard(folder: Path, rounds: int) -> None:
    """Six scalars; 500 events a round."""
    count = 500
    names = [f"metric/{index}/val" for index in range(6)]
    writer = SummaryWriter(folder / "usual")
    logger = TensorBoardLogger(folder, name="lightning")
    sink = TensorBoardSink(TensorBoardLogger(folder, name="ours"))

    def usual(step: int) -> None:
        for name in names:
            writer.add_scalar(name, step / 2, step)

    sides = {
        "six times add_scalar": usual,
        "Lightning's log_metrics": lambda step: logger.log_metrics(
            dict.fromkeys(names, step / 2), step
        ),
        "TensorBoardSink.scalars": lambda step: sink.scalars(dict.fromkeys(names, step / 2), step),
    }
    totals = interleaved_ms({name: events(write, count) for name, write in sides.items()}, rounds)
    medians = {name: total / count for name, total in totals.items()}
    print("\n  six scalars to TensorBoard, an event")
    print_ratios(medians, "six times add_scalar")
    verdict("us an event", medians["TensorBoardSink.scalars"] * 1e3, 75, at_most=True)


def mlflow(folder: Path, rounds: int) -> None:
    """Ten scalars; 100 events a round, 2 ms apart as steps of training are."""
    count = 100
    names = [f"metric/{index}/val" for index in range(10)]
    uri = f"sqlite:///{folder}/mlflow.db"
    waiting = mlflow_logger(uri, "waiting", synchronous=True)
    asynchronous = mlflow_logger(uri, "asynchronous")
    sink = MLflowSink(mlflow_logger(uri, "ours"))
    spent = dict.fromkeys(("waiting", "asynchronous", "ours"), 0.0)

    def timed(name: str, write: Callable[[dict[str, float], int], object]) -> Callable[[int], None]:
        def run(step: int) -> None:
            start = time.perf_counter()
            write(dict.fromkeys(names, step / 2), step)
            spent[name] += time.perf_counter() - start
            time.sleep(0.002)

        return run

    rounds_of = {
        "waiting": events(timed("waiting", waiting.log_metrics), count),
        "asynchronous": events(timed("asynchronous", asynchronous.log_metrics), count),
        "ours": events(timed("ours", sink.scalars), count),
    }
    pending = {
        "waiting": lambda: None,
        "asynchronous": flush_async_logging,
        "ours": lambda: sink.flush(wait=True),
    }
    times: dict[str, list[float]] = {name: [] for name in rounds_of}
    behind: dict[str, list[float]] = {name: [] for name in rounds_of}
    for turn in range(rounds + 1):
        for name, run in rounds_of.items():
            spent[name] = 0.0
            run()
            start = time.perf_counter()
            pending[name]()
            if turn:
                times[name].append(spent[name] * 1e3 / count)
                behind[name].append((time.perf_counter() - start) * 1e3)
    labels = {
        "waiting": "log_metrics",
        "asynchronous": "log_metrics, synchronous=False",
        "ours": "MLflowSink.scalars",
    }
    medians = {labels[name]: statistics.median(values) for name, values in times.items()}
    print("\n  ten scalars to MLflow, an event")
    print_ratios(medians, "log_metrics")
    for name in ("asynchronous", "ours"):
        left = statistics.median(behind[name])
        print(f"    behind after {count} events, {labels[name]}: {left:.0f} ms")
    verdict("ms an event", medians["MLflowSink.scalars"], 3, at_most=True)


if __name__ == "__main__":
    main()
