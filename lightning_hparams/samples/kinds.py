"""The kinds of task that the package knows, found by the ``kind`` of an output: here alone."""

from __future__ import annotations

from typing import Any

from ..checks import one_of
from .classification import Classification
from .detection import Detection
from .kind import Kind
from .regression import Regression
from .segmentation import Binary, Multiclass, Multilabel

__all__ = ["kind_of"]

_KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Multiclass(), Binary(), Multilabel(), Classification(), Detection(), Regression()
    )
}  # fmt: skip


def kind_of(kind: Any) -> Kind:
    """The kind that ``output["kind"]`` names, or is.

    Raises:
        ValueError: If there is none of that name.
    """
    if isinstance(kind, Kind):
        return kind
    one_of("kind", kind, _KINDS, otherwise="or an instance of lightning_hparams.samples.Kind")
    return _KINDS[kind]
