"""The contract of sinks: what monitors may call, and what must be readable afterwards."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..render import encode
from ..sinks import PRCounts, Sink
from ._no_trace import no_trace

__all__ = ["SinkContract"]


class SinkContract(ABC):
    """Tests of a :class:`~lightning_hparams.sinks.Sink`.

    Name the subclass ``Test...`` for pytest to find it. Tests receive pytest's ``tmp_path``.
    """

    @abstractmethod
    def make_sink(self, folder: Path) -> Sink:
        """Return a new sink that stores everything in this folder.

        Called again with the same folder, it continues the same run, as after a crash.
        """

    @abstractmethod
    def read_scalars(self, folder: Path) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Return the steps and values of each tag in the folder, in the order they were written.

        Called after ``flush(wait=True)``.
        """

    def test_values_are_stored_with_their_steps(self, tmp_path: Path) -> None:
        """Also values that are not finite, and tags that appear late."""
        sink = self.make_sink(tmp_path)
        sink.scalars({"loss/train": 0.5, "metric/iou/val": math.nan}, 0)
        sink.scalars({"loss/train": math.inf, "late": -1.0}, 7)
        found = self._read(sink, tmp_path)
        assert set(found) == {"loss/train", "metric/iou/val", "late"}, f"tags: {sorted(found)}"
        assert _same(found["loss/train"], [(0, 0.5), (7, math.inf)]), found["loss/train"]
        assert _same(found["metric/iou/val"], [(0, math.nan)]), found["metric/iou/val"]
        assert _same(found["late"], [(7, -1.0)]), found["late"]

    def test_a_value_written_by_two_monitors_is_stored_once(self, tmp_path: Path) -> None:
        """Monitors do not know of each other."""
        sink = self.make_sink(tmp_path)
        for _ in range(2):
            sink.scalars({"lr": 0.1, "norm": math.nan}, 3)
        sink.scalars({"lr": 0.1}, 4)
        found = self._read(sink, tmp_path)
        assert _same(found["lr"], [(3, 0.1), (4, 0.1)]), found["lr"]
        assert _same(found["norm"], [(3, math.nan)]), found["norm"]

    def test_a_resumed_run_repeats_no_step(self, tmp_path: Path) -> None:
        """What was written after the step of the checkpoint is replaced by the resumed run."""
        sink = self.make_sink(tmp_path)
        for step in range(6):
            sink.scalars({"loss": float(step)}, step)
        sink.flush(wait=True)
        sink = self.make_sink(tmp_path)  # in a new process
        sink.begin_fit()
        sink.resume(2)
        for step in (3, 4):
            sink.scalars({"loss": 10.0 + step}, step)
            sink.resume(2)  # from another monitor; must not discard what was written since
        found = self._read(sink, tmp_path)
        expected = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]
        assert _same(found["loss"], expected), found["loss"]

    def test_every_call_of_a_monitor_is_accepted(self, tmp_path: Path) -> None:
        """Twice, and after the end of a run too, since a Trainer may fit again."""
        sink = self.make_sink(tmp_path / "run")
        for round_ in range(2):
            _call_everything(sink, tmp_path, step=10 * round_)
            assert isinstance(sink.tags(), set), "tags() must return a set"
            assert sink.identity() is None or isinstance(sink.identity(), str)
        sink.flush(wait=True)

    def test_writing_leaves_arguments_and_random_generators_alone(self, tmp_path: Path) -> None:
        """A monitor that writes must not change training."""
        sink = self.make_sink(tmp_path / "run")
        values, counts, edges = {"loss": 1.0}, np.array([1.0, 2.0]), np.array([0.0, 1.0, 2.0])
        columns: dict[str, list[float]] = {"step": [0, 1], "loss": [0.5, 0.25]}
        with no_trace("a sink", values, counts, edges, columns):
            sink.scalars(values, 0)
            sink.histogram("weights", counts, edges, 0)
            sink.table("losses", columns, 0)
            sink.flush(wait=True)

    def test_a_stored_file_may_be_removed(self, tmp_path: Path) -> None:
        """``artifact`` stores a copy."""
        sink = self.make_sink(tmp_path / "run")
        path = tmp_path / "manifest.json"
        path.write_text("{}", encoding="utf-8")
        sink.artifact(path)
        sink.flush(wait=True)
        path.unlink()
        sink.flush(wait=True)
        sink.finish("finished")

    def _read(self, sink: Sink, folder: Path) -> Mapping[str, Sequence[tuple[int, float]]]:
        sink.flush(wait=True)
        return self.read_scalars(folder)


def _same(found: Sequence[tuple[int, float]], expected: Sequence[tuple[int, float]]) -> bool:
    """Whether steps and values agree, the values as float32, which is what TensorBoard keeps."""
    steps, values = zip(*found, strict=True) if found else ((), ())
    return [*steps] == [step for step, _ in expected] and np.allclose(
        values, [value for _, value in expected], rtol=1e-6, atol=0, equal_nan=True
    )


def _call_everything(sink: Sink, folder: Path, step: int) -> None:
    path = folder / "notes.txt"
    path.write_text("notes", encoding="utf-8")
    sink.begin_fit()
    sink.own_hparams()
    sink.hparams({"lr": 0.1, "arch": "unet", "freeze": False, "seed": 1}, group=None)
    sink.columns({"lr": (0.0, 1.0), "arch": ["unet", "fpn"]}, {"loss/val": "loss"}, first=["lr"])
    sink.layout({"losses": {"loss": ["loss/train", "loss/val"]}})
    sink.scalars({"loss/train": 0.5}, step)
    sink.image("val_pred/00", encode(np.zeros((4, 6, 3), np.uint8)), step)
    sink.histogram("weights", [3, 1], [0.0, 0.5, 1.0], step)
    sink.pr_curve("pr/road", PRCounts([2, 1], [3, 0], [0, 3], [0, 1]), step)
    sink.text("notes", "# Markdown", step)
    sink.table("values", {"rate": [0.1, 0.2], "name": ["a", "b"]}, step)
    sink.artifact(path)
    sink.flush()
    sink.finish("finished")
