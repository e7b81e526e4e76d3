"""The built-in kinds of task, and the only lookup of a kind by ``output["kind"]``."""

from __future__ import annotations

from typing import cast

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


def kind_of(kind: object) -> Kind:
    """Resolve ``output["kind"]``, a name or an instance, to a kind.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(kind, Kind):
        return kind
    name = cast("str", kind)  # other types are refused with the unknown names
    one_of("kind", name, _KINDS, otherwise="or an instance of lightning_hparams.samples.Kind")
    return _KINDS[name]
