"""Saves range test results in checkpoints and loads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..range_test import ParamTestResult, RangeTestResult
from ..sweep import Result

__all__ = ["as_state", "from_state"]


def as_state(results: Mapping[int, Result], applied: Mapping[str, float]) -> dict[str, Any]:
    """Convert results by epoch and the values written to the module to plain types."""
    return {
        "results": {epoch: result.to_json() for epoch, result in results.items()},
        "applied": dict(applied),
    }


def from_state(state: Mapping[str, Any], param: str) -> tuple[dict[int, Result], dict[str, float]]:
    """Reverse :func:`as_state`.

    Raises:
        ValueError: If the state was not returned by :func:`as_state`.
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
