"""Whether an optimizer steps as often as its schedule expects."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Frequency", "frequency_warning"]

_ROUGH = 10  # first steps, most of which a gradient scaler may skip while it searches for its scale


@dataclass(frozen=True)
class Frequency:
    """Steps of one optimizer since the start of a fit.

    Args:
        index: Index of the optimizer.
        kind: Its class.
        taken: Steps it has counted.
        stepped: Steps that the Trainer has counted, of all optimizers.
        batches: Batches so far.
        total: Steps in its schedule.
    """

    index: int
    kind: str
    taken: int
    stepped: int
    batches: int
    total: int


def frequency_warning(
    found: Frequency, *, is_only: bool, is_manual: bool, is_given: bool, is_scaled: bool
) -> str | None:
    """Return a warning if the schedule does not fit the steps, with the remedy.

    Args:
        found: The steps.
        is_only: Whether there is no other optimizer.
        is_manual: Whether the module optimizes manually.
        is_given: Whether the user has given the number of steps.
        is_scaled: Whether a gradient scaler may skip steps.
    """
    kind, taken, stepped = found.kind, found.taken, found.stepped
    if taken == 0 and is_only and stepped > (_ROUGH if is_scaled else 0):
        return (
            f"none of the {stepped} steps of {kind} was counted, so the schedule does not "
            "advance: its step() does not run the step hooks of torch.optim.Optimizer, as "
            "in some wrappers; schedule it in configure_optimizers"
        )
    if is_given:
        return None
    if is_manual and not _half_to_once(taken, found.batches):
        return (
            f"optimizer {found.index} took {taken} steps in {found.batches} batches, but the "
            f"schedule expects one per batch, {found.total} in all; pass total_steps=[...] with "
            "the steps of each optimizer"
        )
    if not is_manual and taken >= 2 * stepped > 0:
        return (
            f"{kind} took {taken} steps where the Trainer counts {stepped}, so the "
            f"schedule ends before the run; pass total_steps=... with the steps of {kind}"
        )
    return None


def _half_to_once(taken: int, batches: int) -> bool:
    # A gradient scaler skips a few steps; a step every second batch is a different plan.
    return batches < 2 * taken <= 2 * batches
