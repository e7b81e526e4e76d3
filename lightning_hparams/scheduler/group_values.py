"""Scheduled values of an optimizer's parameter groups, and hooks around its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ..optim import get_param, keep_initial, set_param
from ..schedules import Curve, Schedule, Span, curve_of

__all__ = ["Change", "GroupValues", "StepHooks"]

Group = dict[str, Any]


class Change(NamedTuple):
    """A scheduled value that something else has replaced."""

    param: str
    found: float
    ours: float


class GroupValues:
    """Sets the scheduled values of one optimizer's parameter groups, and restores replaced ones.

    Args:
        optimizer: The optimizer.
        shapes: Schedule of each parameter.
        spans: Function of a group and its index among the configured groups of all optimizers (None
            if it was added during training) that returns the low and high value of each parameter.
        first: Index of this optimizer's first group among those of all optimizers.
        configured: Number of its groups before training.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        shapes: Mapping[str, Schedule],
        spans: Callable[[Group, int | None], Mapping[str, Span]],
        first: int,
        configured: int,
    ) -> None:
        self._optimizer = optimizer
        self._shapes = shapes
        self._spans = spans
        self._first = first
        self._configured = configured
        self._groups: list[Group] | None = None
        self._members: list[Group] = []
        self._rows: list[_Row] = []
        self._others: list[_Row] = []  # not plain
        # Plain numbers of all rows in flat lists, which are faster to compare at every step.
        self._cells: list[tuple[int, str]] = []  # index of the group, and parameter
        self._numbers: list[float] = []
        self._at: tuple[int, int] | None = None
        self._total = 0  # for which the rows have their curves

    def lay_out(self) -> None:
        """Compute the low and high values of each group, and set those of the current step."""
        self._groups = groups = self._optimizer.param_groups
        self._members = list(groups)
        rows: dict[tuple[str, bool], _Row] = {}
        for number, group in enumerate(groups):
            index = self._first + number if number < self._configured else None
            for param, (low, high) in self._spans(group, index).items():
                keep_initial(group, param)
                plain = isinstance(group.get(param), (int, float))
                row = rows.setdefault((param, plain), _Row(param, plain, self._shapes[param]))
                row.members.append((group, low, high))
                row.indices.append(number)
        self._rows = list(rows.values())
        self._total = 0
        self._others = [row for row in self._rows if not row.plain]
        self._cells = [(i, row.param) for row in self._rows if row.plain for i in row.indices]
        if self._at is not None:
            self.set(*self._at)

    def set(self, step: int, total: int) -> None:
        """Set the values for a step."""
        self._at = step, total
        if total != self._total:
            self._total = total
            for row in self._rows:
                row.curve = curve_of(row.shape, total)
        self._numbers = numbers = []
        shape = None
        for row in self._rows:
            param = row.param
            if row.shape is not shape:
                shape = row.shape
                height = float(row.curve(step))
                depth = 1 - height
            if row.plain:
                for group, low, high in row.members:
                    group[param] = value = low * depth + high * height
                    numbers.append(value)
            else:
                row.values = [
                    _put(group, low * depth + high * height, param)
                    for group, low, high in row.members
                ]

    def hold(self) -> Change | None:
        """Restore values that something else has changed, and set those of added groups.

        Returns:
            One of the changes, or None. A tensor on a device is overwritten without being compared,
            which would synchronise with the device.
        """
        groups = self._optimizer.param_groups
        is_known = groups is self._groups and len(groups) == len(self._members)
        are_held = is_known and [groups[i][param] for i, param in self._cells] == self._numbers
        if are_held and not self._others:
            return None
        # A group may also have been replaced within the list; its next value will differ.
        if not is_known or not all(map(is_, groups, self._members)):
            self.lay_out()
            return None
        change = None
        if not are_held:
            for (index, param), value in zip(self._cells, self._numbers, strict=True):
                found = _hold(groups[index], param, value)
                change = change or found
        for row in self._others:
            for (group, _, _), value in zip(row.members, row.values, strict=True):
                found = _hold(group, row.param, value)
                change = change or found
        return change


class _Row:
    """Groups that have a parameter, with its low and high value in each."""

    __slots__ = ("curve", "indices", "members", "param", "plain", "shape", "values")

    def __init__(self, param: str, plain: bool, shape: Schedule) -> None:
        self.param = param
        self.plain = plain  # a number in the group, not a tensor or one of several betas
        self.shape = shape
        self.curve: Curve  # the shape for the current length of the run
        self.members: list[tuple[Group, float, float]] = []
        self.indices: list[int] = []  # of the groups
        self.values: list[float] = []  # the current ones, if not plain


def _put(group: Group, value: float, param: str) -> float:
    """Set a value, and return it as rounded by the tensor."""
    set_param(group, param, value)
    held = group.get(param)
    rounds = isinstance(held, Tensor) and held.device.type == "cpu"
    return get_param(group, param) if rounds else value


def _hold(group: Group, param: str, value: float) -> Change | None:
    """Restore a value that something else has changed."""
    now = group["betas"][0] if param == "momentum" and param not in group else group[param]
    if isinstance(now, Tensor) and now.device.type != "cpu":
        now.fill_(value)
    elif now != value:
        change = Change(param, get_param(group, param), value)
        set_param(group, param, value)
        return change
    return None


class StepHooks:
    """Calls functions around each step of an optimizer.

    Args:
        optimizer: The optimizer.
        name: Name of the calling callback, for errors.
        before: Called right before the update: after the closure if there is one, since the
            gradient hooks of the module and its callbacks run within the closure.
        after: Called after each step, except those that a gradient scaler skips.
        index: Argument for both.

    Raises:
        TypeError: If ``optimizer`` is not a ``torch.optim.Optimizer``, or lacks its step hooks.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        name: str,
        before: Callable[[int], None],
        after: Callable[[int], None],
        index: int,
    ) -> None:
        kind = type(optimizer).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{name} counts the steps of a torch.optim.Optimizer, and {kind} is not one; "
                "schedule it in configure_optimizers"
            )
        self._before_step = before
        self._after_step = after
        self._index = index
        self.depth = 0  # of nested steps; to be reset after one that ended in an error
        self._closure: Callable[[], object] = _nothing
        self._handles: list[RemovableHandle] = []
        try:
            self._handles.append(optimizer.register_step_pre_hook(self._before))
            self._handles.append(optimizer.register_step_post_hook(self._after))
        except AttributeError as error:
            self.remove()
            raise TypeError(
                f"{name} counts steps by the step hooks of torch.optim.Optimizer, which {kind} "
                f"lacks ({error}): {kind}.__init__ does not call super().__init__(). Add the call, "
                "or schedule it in configure_optimizers and omit the callback"
            ) from error

    def remove(self) -> None:
        """Remove the hooks from the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._closure = _nothing

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self.depth += 1
        if self.depth == 1:  # torch calls the hooks again if step() calls super().step()
            if callable(closure := kwargs.get("closure")):
                self._closure = closure
                return args, {**kwargs, "closure": self._then_before}
            if len(args) > 1 and callable(args[1]):
                self._closure = args[1]
                return (args[0], self._then_before, *args[2:]), kwargs
        self._before_step(self._index)
        return None

    def _then_before(self) -> object:
        result = self._closure()
        self._before_step(self._index)
        return result

    def _after(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        self.depth -= 1
        if self.depth > 0:
            return
        self._closure = _nothing  # which may hold the batch
        # A fused optimizer is called even if the scaler found infinities; it skips the step itself.
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None and found_inf.item():
            return
        self._after_step(self._index)


def _nothing() -> None:
    """Stand in for a closure between steps."""
