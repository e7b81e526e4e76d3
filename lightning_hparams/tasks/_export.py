"""Models as files that other programs run: ONNX, and torch's exported programs."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torchvision.ops import boxes

from .. import __version__
from ..checks import as_plain, require, whole_number
from ._normalisation import NormalisedInput

__all__ = ["ExportableTask"]

_SUFFIXES = (".onnx", ".pt2")
# Without it (torch before 2.9), a size at which a feature map has one pixel forbids all sizes.
_DEFERRED = "prefer_deferred_runtime_asserts_over_guards"
_MOST = 2**31 - 1  # images or pixels; torch 2.6 refuses attention for a batch without a bound
_COLOR = re.compile(r"\x1b\[\d*m")  # in torch's messages
_FACTS = "metadata.json"  # name of the text in a .pt2 file


class ExportableTask(NormalisedInput):
    """A task that can be written to a file for other programs."""

    exported_names: ClassVar[tuple[str, ...]] = ("output",)  # of what exported_output returns
    exports_objects: ClassVar[bool] = False  # whether these have a row for each object
    exports_any_size: bool = True  # unless export is told otherwise

    def exported_output(self, images: Tensor) -> Any:
        """Compute what an exported file does, from floating point images ``(N, I, H, W)``.

        Normalisation and all that follows the logits belong in it.
        """
        return self(images)

    def exported_facts(self) -> dict[str, object]:
        """Return what a reader of an exported file needs to know, as plain values."""
        facts = {name: getattr(self, name, None) for name in ("task", "class_names", "threshold")}
        return {name: value for name, value in facts.items() if value is not None}

    def export(
        self,
        path: str | PathLike[str],
        *,
        size: tuple[int, int] = (256, 256),
        any_size: bool | None = None,
    ) -> Path:
        """Write the model to a file that runs without this package.

        The file takes images in 0..1 as float32 ``(N, I, H, W)``, normalises them and returns
        ``probabilities``; ``values`` in their own unit for a regression; ``boxes`` ``(K, 4)`` in
        pixels, ``scores`` and ``labels`` from 0, after suppression, for a detection, which takes
        one image at a time, and whose ``.pt2`` file needs ``import torchvision`` first. It holds
        the names of the classes, mean and deviation, thresholds and versions: in ONNX as
        ``metadata_props``, with lists as JSON, in ``.pt2`` as the extra file ``metadata.json``.

        Args:
            path: Ends in ``.onnx`` (with the extra ``export`` installed) or ``.pt2``, which is not
                for Faster R-CNN.
            size: Height and width of the images, or of an example if the file takes any.
            any_size: Whether the file takes images of any size, and not only of ``size``. None for
                any, except for detections and for models with one size.

        Returns:
            The path.

        Raises:
            ValueError: If the model cannot be exported like that.
            ModuleNotFoundError: If the extra is not installed.
        """
        return _export(self, path, size, any_size)


class _Exported(nn.Module):
    """What a file computes: from images in 0..1 to what a task makes of its logits."""

    def __init__(self, task: ExportableTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Any:
        return self.task.exported_output(images)


def _export(
    task: ExportableTask, path: str | PathLike[str], size: tuple[int, int], any_size: bool | None
) -> Path:
    """Write a task to a file; see :meth:`ExportableTask.export`."""
    file = Path(path)
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"`path` must end in one of {list(_SUFFIXES)}, got {str(path)!r}")
    size = as_plain(size)
    if not isinstance(size, Sequence) or len(size) != 2:
        raise TypeError(f"`size` must be (height, width), got {size!r}")
    for side in size:
        whole_number("size", side, 1)
    if task.exports_objects and any_size:
        raise ValueError(
            "`any_size=True` is not for detections: their file takes one size; pass "
            "size=(height, width), and resize the images to it"
        )
    if any_size is None:
        any_size = task.exports_any_size and not task.exports_objects
    if file.suffix == ".onnx":
        for package in ("onnx", "onnxscript"):
            require(package, extra="export")
    # A copy is not compiled, and leaves the task on its device and in its mode.
    module = _Exported(copy.deepcopy(task).cpu().float()).eval()
    _check_weights(module)
    facts = _facts(task, None if any_size else size)
    file.parent.mkdir(parents=True, exist_ok=True)
    remedy = "pass any_size=False and size=(height, width)" if any_size else "see the cause"
    if task.exports_objects and file.suffix == ".pt2":
        remedy = "write an .onnx file"
    with _plain_tracing(remedy), torch.no_grad():
        if task.exports_objects and file.suffix == ".onnx":
            return _with_facts(_traced(module, size, file), facts, file)
        program = _program(module, size, any_size)
        if file.suffix == ".pt2":
            torch.export.save(program, file, extra_files={_FACTS: json.dumps(facts)})
            return file
    with _plain_tracing("write a .pt2 file, or install a newer onnxscript"), torch.no_grad():
        written = torch.onnx.export(
            program,
            (),
            input_names=["images"],
            output_names=list(task.exported_names),
            dynamo=True,
            verbose=False,
        )
    assert written is not None  # as with dynamo=True
    return _with_facts(written.model_proto, facts, file)


def _check_weights(module: nn.Module) -> None:
    """Check that a model can compute anything, which a diverged one cannot."""
    for name, value in module.named_parameters():
        if not bool(value.isfinite().all()):
            raise ValueError(
                f"this model cannot be exported: its weights hold NaN or infinity, as "
                f"{name.removeprefix('task.')!r} does; load a checkpoint from before training "
                "diverged"
            )


def _program(module: _Exported, size: tuple[int, int], any_size: bool) -> ExportedProgram:
    """Trace a task by torch.export."""
    alone = module.task.exports_objects  # one image at a time
    example = torch.rand(1 if alone else 2, module.task.mean.shape[0], *size)
    names = {0: "images", 2: "height", 3: "width"}
    shapes = {axis: Dim(name, min=1, max=_MOST) for axis, name in names.items()}
    dynamic = shapes if any_size else {} if alone else {0: shapes[0]}
    known = signature(torch.export.export).parameters
    deferred: dict[str, Any] = {_DEFERRED: True} if _DEFERRED in known else {}
    with _one_suppression():
        program = torch.export.export(
            module,
            (example,),
            dynamic_shapes={"images": dynamic},
            strict=False,
            **deferred,
        )
    _drop_assertions(program)
    if any_size:
        _check_sizes(module, program, size)
    return program


@contextlib.contextmanager
def _one_suppression() -> Iterator[None]:
    """Make torchvision suppress boxes by steps that do not depend on how many there are."""
    before = boxes.batched_nms
    boxes.batched_nms = _batched_nms
    try:
        yield
    finally:
        boxes.batched_nms = before


def _batched_nms(found: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes of each class: those of different ones are moved apart, as in torchvision."""
    farthest = torch.cat([found.flatten(), found.new_zeros(1)]).max() + 1
    apart = found + (idxs.to(found) * farthest)[:, None]
    kept: Tensor = boxes.nms(apart, scores, iou_threshold)
    return kept


def _traced(module: _Exported, size: tuple[int, int], file: Path) -> Any:
    """Trace a detection by torch's older exporter, which knows non-maximum suppression."""
    onnx = require("onnx", extra="export")
    names = list(module.task.exported_names)
    torch.onnx.export(
        module,
        (torch.rand(1, module.task.mean.shape[0], *size),),
        file,
        input_names=["images"],
        output_names=names,
        dynamic_axes={name: {0: "objects"} for name in names},
        dynamo=False,
    )
    return onnx.load(file)


def _with_facts(model: Any, facts: Mapping[str, object], file: Path) -> Path:
    """Write an ONNX model with its metadata."""
    onnx = require("onnx", extra="export")
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=text))
    onnx.save(model, file)
    return file


def _drop_assertions(program: ExportedProgram) -> None:
    """Remove assertions that hold at the example's size, such as that it needs no padding."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if str(node.target) == "aten._assert_scalar.default":
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _check_sizes(module: _Exported, program: ExportedProgram, size: tuple[int, int]) -> None:
    """Compare with the task at two other sizes, since the tracer may take one for a constant."""
    traced = program.module()
    for height, width in ((size[0] + 19, size[1] + 32), (size[0] + 64, size[1] + 7)):
        images = torch.rand(1, module.task.mean.shape[0], height, width)
        for ours, theirs in zip(_tensors(traced(images)), _tensors(module(images)), strict=True):
            if not torch.allclose(ours, theirs, rtol=0, atol=1e-4):
                raise ValueError(f"it depends on the size, here {height} x {width}")


def _tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def _facts(task: ExportableTask, size: tuple[int, int] | None) -> dict[str, object]:
    """Return everything that a reader of the file needs to know."""
    return {
        "input": "images, float32 (N, I, H, W) in 0..1, not normalised",
        "size": "any" if size is None else list(size),
        "channels": task.mean.shape[0],
        "mean": task.mean.flatten().tolist(),  # applied inside
        "std": task.std.flatten().tolist(),
        "versions": {"lightning-hparams": __version__, "torch": torch.__version__},
        **task.exported_facts(),
    }


@contextlib.contextmanager
def _plain_tracing(remedy: str) -> Iterator[None]:
    """Hide what exporters warn of their own code, and explain what they cannot trace."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = _COLOR.sub("", str(error)).strip().partition("\n")[0]
            raise ValueError(f"this model cannot be exported ({reason}); {remedy}") from error
