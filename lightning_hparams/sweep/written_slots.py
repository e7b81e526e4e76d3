"""The hyperparameters that a range test sets, and the objects that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..hparam_slots import Slot, alike_names, find_slots, is_number
from ..notices import warn_user
from .place import Place

__all__ = ["WrittenSlots", "restore"]


def names_tested(param: str, attr: str | None) -> tuple[str, ...]:
    """Names of the hyperparameters that a test of ``param`` may set."""
    if attr is not None:
        return (attr,)
    return ("lr", "learning_rate") if param == "lr" else (param,)


@dataclass(frozen=True)
class WrittenSlots:
    """Slots by name in module and data module, and in the copies that loggers record."""

    slots: Mapping[str, Sequence[Slot]]
    records: Mapping[str, Sequence[Slot]]

    @classmethod
    def of(cls, place: Place, param: str, attr: str | None) -> WrittenSlots:
        """Find the slots and check them before anything runs; the result may be empty.

        Raises:
            AttributeError: If a required slot is missing: ``attr`` was given, ``param`` is
                ``"batch_size"``, or the fit is not running, so the optimizers cannot be scaled.
            ValueError: If slots have different values, or a learning rate is not positive.
            TypeError: If a slot cannot be written.
        """
        names = names_tested(param, attr)
        found = cls(_by_name(place.owners, names), _by_name(place.records, names))
        # In a fit, the optimizers are scaled if no slot exists.
        needed = attr is not None or param == "batch_size" or not place.launched
        if not needed:
            found = cls(_without_several(found.slots), found.records)
        if needed and not found.slots:
            raise AttributeError(_missing(place, names))
        found._check_values(type(place.module).__name__, param)
        found._check_writable()
        return found

    def write(self, value_for: Callable[[float], float]) -> dict[str, float]:
        """Write new values computed from the current ones.

        Returns:
            The written values by name, for the checkpoint.
        """
        written: dict[str, float] = {}
        for name, slots in self.slots.items():
            values = [value_for(float(slot.read())) for slot in slots]
            for slot, value in zip(slots, values, strict=True):
                slot.write(value)
            # Saved hyperparameters come last, and loggers record those.
            for record in self.records.get(name, ()):
                record.write(values[-1])
            written[name] = values[0]
        return written

    def _check_values(self, owner: str, param: str) -> None:
        values = {name: slots[0].read() for name, slots in self.slots.items()}
        if not values:
            return
        first_name, first = next(iter(values.items()))
        if any(value != first for value in values.values()):
            found = " and ".join(f"{name}={value!r}" for name, value in values.items())
            raise ValueError(
                f"{owner} has {found}; say by `attr` which of them the optimizers are made of"
            )
        for slot in self.slots[first_name]:
            value = slot.read()
            if param == "lr" and not (is_number(value) and value > 0):
                raise ValueError(
                    f"`{first_name}` must be a number above 0 for the suggestion to scale, "
                    f"got {value!r}; name another attribute by `attr`, or pass apply=False"
                )

    def _check_writable(self) -> None:
        for slot in (slot for slots in self.slots.values() for slot in slots):
            obstacle = slot.obstacle()
            if obstacle is not None:
                raise TypeError(
                    f"the range test could not write what it finds to {slot.path} ({obstacle}); "
                    "make it a plain number that can be set, name another attribute by `attr`, "
                    "or pass apply=False"
                )


def _missing(place: Place, names: Sequence[str]) -> str:
    """Error message for missing attributes, with every remedy."""
    alike = alike_names(place.owners, "lr", "rate")
    has = f" (it has {', '.join(alike)})" if alike else ""
    return (
        f"{type(place.module).__name__} has no attribute {' or '.join(map(repr, names))} to "
        f"write the suggestion to{has}; name one by `attr`, dotted inside another "
        "(attr='optimizer.lr'), or pass apply=False; LRRangeTest in a Trainer scales the "
        "optimizers where there is none and `attr` is left out"
    )


def restore(place: Place, applied: Mapping[str, object], param: str, attr: str | None) -> None:
    """Write the values found by a range test, as saved in a checkpoint.

    A checkpoint may be untrusted, so only valid numbers are written, and only to hyperparameters
    of this test; a warning lists the rest.
    """
    refused = []
    for name, value in applied.items():
        slots = _by_name(place.owners, [name]).get(name, [])
        numbers = [slot for slot in slots if is_number(slot.read()) and slot.obstacle() is None]
        if name not in names_tested(param, attr) or not numbers or not _in_range(value, param):
            refused.append(f"{name}={value!r}")
            continue
        for slot in (*numbers, *_by_name(place.records, [name]).get(name, [])):
            slot.write(value)
    if refused:
        warn_user(
            f"the checkpoint would have LRRangeTest set {' and '.join(refused)}, which a range "
            f"test of {' or '.join(map(repr, names_tested(param, attr)))} does not do here: it is "
            "left as it is; pass the `attr` that the checkpoint was made with"
        )


def _in_range(value: object, param: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value >= 0 if param in ("weight_decay", "momentum") else value > 0


def _by_name(owners: Sequence[object], names: Sequence[str]) -> dict[str, list[Slot]]:
    found = {name: find_slots(owners, name) for name in names}
    return {name: slots for name, slots in found.items() if slots}


def _without_several(found: Mapping[str, Sequence[Slot]]) -> dict[str, Sequence[Slot]]:
    """Leave out names that stand for several rates, one per group, or for a function of them."""
    return {
        name: slots
        for name, slots in found.items()
        if not any(_is_several(slot.read()) for slot in slots)
    }


def _is_several(value: object) -> bool:
    is_listed = isinstance(value, (Sequence, Mapping)) and not isinstance(value, str)
    return is_listed or callable(value)
