"""The results of range tests in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..range_test import ParamTestResult, RangeTestResult
from ..sweep import Result

__all__ = ["as_state", "from_state"]


def as_state(results: Mapping[int, Result], applied: Mapping[str, float]) -> dict[str, Any]:
    """Return results by epoch, and what was written to the module, as plain values."""
    return {
        "results": {epoch: result.to_json() for epoch, result in results.items()},
        "applied": dict(applied),
    }


def from_state(state: Mapping[str, Any], param: str) -> tuple[dict[int, Result], dict[str, float]]:
    """Return the arguments of :func:`as_state`.

    Raises:
        ValueError: If this is not what :func:`as_state` returned.
    """
    kind = RangeTestResult if param == "lr" else ParamTestResult
    try:
        results: dict[int, Result] = {
            int(epoch): kind.from_json(text) for epoch, text in state["results"].items()
        }
        return results, dict(state["applied"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            "the checkpoint must hold what LRRangeTest.state_dict() returned, got "
            f"{str(state)[:200]} ({type(error).__name__}: {error}); "
            "leave out the callback, or start a new run from the checkpoint's weights"
        ) from error
