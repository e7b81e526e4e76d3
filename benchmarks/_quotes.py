"""Figures that the README quotes, and whether a table of ``make bench`` agrees with them.

A ratio agrees if it lies within the noise of its benchmark: by default between two thirds and one
and a half times the quoted one, which is what repeated runs on an idle machine stay within.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


@dataclass(frozen=True)
class Quote:
    """A figure in a row of a table of the README.

    Args:
        row: How the row begins.
        pattern: Expression with a group for the number, within the row.
        figure: Benchmark and name of what is quoted.
        noise: Factor that measurements stay within.
        apart: For figures near zero, such as percentages: how far apart they may be instead.
    """

    row: str
    pattern: str
    figure: tuple[str, str]
    noise: float = 1.5
    apart: float | None = None

    def quoted(self, text: str) -> float:
        """Return the number in the README.

        Raises:
            ValueError: If the README has no such row or number, or several.
        """
        rows = [line for line in text.splitlines() if line.startswith(f"| {self.row}")]
        found = [match for line in rows for match in re.findall(self.pattern, line)]
        if len(found) != 1:
            raise ValueError(f"the README needs one figure {self.pattern!r} in row {self.row!r}")
        return float(found[0])


_RATIO = r"\| (?:1/)?([\d.]+) x"
QUOTES = (
    Quote("Dice, forward", _RATIO, ("losses", "dice_loss, times as fast as smp")),
    Quote("metric update", _RATIO, ("metrics", "ConfusionCounts beside torchmetrics MeanIoU"), 2),
    Quote(
        "range test of 100",
        r"\| (\d+) % more",
        ("range_test_cost", "lr_range_test of a small net, % more than Trainer.fit"),
        apart=6,
    ),
    Quote("six scalars", _RATIO, ("sinks", "TensorBoardSink.scalars beside six times add_scalar")),
    Quote("all monitors", _RATIO, ("monitors", "four monitors beside Lightning's three")),
    Quote(
        "throughput alone",
        _RATIO,
        ("monitors", "SpeedMonitor beside ThroughputMonitor, log every 10"),
    ),
    Quote(
        "sheet of 16 x 256",
        _RATIO,
        ("pictures", "masks: ours beside masks: draw_segmentation_masks + add_image"),
    ),
    Quote(
        "sheet of 16 classified",
        _RATIO,
        ("pictures", "classes: ours beside classes: matplotlib + add_figure"),
    ),
    Quote(
        "sheet of 16 images of 20",
        _RATIO,
        (
            "pictures",
            "boxes: ours, beside the true ones beside boxes: draw_bounding_boxes + add_image",
        ),
    ),
    Quote(
        "confusion matrix of 10",
        _RATIO,
        ("pictures", "confusion matrix: ours beside confusion matrix: matplotlib + add_figure"),
        2,
    ),
    Quote(
        "what a sheet of 1034",
        _RATIO,
        ("stolen_time", "TensorBoardSink.image beside SummaryWriter.add_image"),
        2.5,  # a difference of times
    ),
)  # fmt: skip


def disagreements(text: str, figures: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each quoted figure that was measured and is another."""
    measured = {(each["benchmark"], each["what"]): float(each["value"]) for each in figures}
    found = []
    for quote in QUOTES:
        value, quoted = measured.get(quote.figure), quote.quoted(text)
        if value is None:
            continue
        if quote.apart is not None:
            agrees = abs(value - quoted) <= quote.apart
        else:
            agrees = quoted / quote.noise <= value <= quoted * quote.noise
        if not agrees:
            found.append(f"{quote.row}: the README says {quoted:g}, measured is {value:.3g}")
    return found


def main() -> int:
    """Print what differs; 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="bench.json")
    content = json.loads(parser.parse_args().table.read_text(encoding="utf-8"))
    found = disagreements(README.read_text(encoding="utf-8"), content["figures"])
    print("\n".join(found) or "the README agrees with what was measured")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
