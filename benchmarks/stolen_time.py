"""What one sheet of pictures takes from the training that goes on beside it.

A sheet of 16 pictures of 256 x 256 is written at the first of 3000 tiny steps. The usual way hands
it to SummaryWriter.add_image, whose thread writes the file, but holds the interpreter while it
checksums in pure Python; ours encodes a JPEG and appends it to the file in the training thread.
Drawing is not part of either: see pictures.py.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from _timing import about, record, verdict
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from lightning_hparams.render import encode
from lightning_hparams.sinks import TensorBoardSink

STEPS, SIDE = 3000, 1034


def train() -> None:
    """Steps that take next to no time."""
    layer = torch.nn.Linear(32, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    batch = torch.ones(4, 32)
    for _ in range(STEPS):
        optimizer.zero_grad()
        layer(batch).sum().backward()
        optimizer.step()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    blobs = F.interpolate(torch.randn(1, 3, 48, 48), (SIDE, SIDE), mode="bicubic")[0].sigmoid()
    noisy = (blobs + 0.03 * torch.randn(3, SIDE, SIDE)).clamp(0, 1)
    drawn = (noisy * 255).to(torch.uint8)
    sheet = drawn.permute(1, 2, 0).contiguous().numpy()
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(Path(folder) / "usual")
        sink = TensorBoardSink(TensorBoardLogger(folder, name="ours"))
        sides: dict[str, Callable[[], object]] = {
            "no sheet": lambda: None,
            "SummaryWriter.add_image": lambda: writer.add_image("sheet", drawn, 0),
            "encode and TensorBoardSink.image": lambda: sink.image("sheet", encode(sheet), 0),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds + 1):
            for name, write in sides.items():
                start = time.perf_counter()
                write()
                train()
                if turn:
                    times[name].append((time.perf_counter() - start) * 1e3)
                writer.flush()
    print(__doc__)
    print(f"  {about('tensorboard', 'pillow')}, median of {rounds}")
    plain = times.pop("no sheet")
    print(f"  {statistics.median(plain):.0f} ms for {STEPS} steps without a sheet")
    stolen = {
        name: statistics.median(a - b for a, b in zip(values, plain, strict=True))
        for name, values in times.items()
    }
    usual, ours = stolen.values()
    for name, value in stolen.items():
        print(f"  {name:<36} {value:+8.1f} ms   {usual / value:6.1f} x")
    record("TensorBoardSink.image beside SummaryWriter.add_image", usual / ours)
    verdict("ms", ours, 40, at_most=True)
    verdict("MB", len(encode(sheet).data) / 1e6, 0.45, at_most=True)


if __name__ == "__main__":
    main()
