"""The scheduled values of an optimizer's parameter groups, and the steps at which they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from ..optim import get_param, keep_initial, set_param
from ..schedules import Schedule, Span

__all__ = ["Change", "GroupValues", "StepHooks"]

Group = dict[str, Any]


class Change(NamedTuple):
    """A value that something else has put in place of ours."""

    param: str
    found: float
    ours: float


class GroupValues:
    """Sets values of the parameter groups of one optimizer, and keeps them from being replaced.

    Args:
        optimizer: Whose groups they are.
        shapes: Schedule of each parameter.
        spans: Given a group and its index among the configured groups of all optimizers (None for
            one that was added in training), returns the values that each parameter moves between.
        first: Index of this optimizer's first group among those of all optimizers.
        configured: How many of its groups were there before training.
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
        self._size = 0
        self._rows: list[_Rows] = []
        self._at: tuple[int, int] | None = None

    def lay_out(self) -> None:
        """Find the values that each group moves between, and set those of the present step."""
        self._groups = groups = self._optimizer.param_groups
        self._size = len(groups)
        rows: dict[tuple[str, bool], _Rows] = {}
        for number, group in enumerate(groups):
            index = self._first + number if number < self._configured else None
            for param, (low, high) in self._spans(group, index).items():
                keep_initial(group, param)
                plain = isinstance(group.get(param), (int, float))
                row = rows.setdefault((param, plain), _Rows(param, plain, [], [], []))
                row.groups.append(group)
                row.spans.append((low, high))
        self._rows = list(rows.values())
        if self._at is not None:
            self.set(*self._at)

    def set(self, step: int, total: int) -> None:
        """Set the values of a step."""
        self._at = step, total
        for param, plain, groups, spans, values in self._rows:
            height = float(self._shapes[param](step, total))
            depth = 1 - height
            values[:] = [low * depth + high * height for low, high in spans]
            if plain:
                for group, value in zip(groups, values, strict=True):
                    group[param] = value
            else:
                values[:] = [_put(*pair, param) for pair in zip(groups, values, strict=True)]

    def hold(self) -> Change | None:
        """Set the values again where something else has changed them or added groups.

        Returns:
            A value that was changed, or None. A tensor on a device is set without being looked at,
            which would wait for the device.
        """
        groups = self._optimizer.param_groups
        if groups is not self._groups or len(groups) != self._size:
            self.lay_out()
            return None
        change = None
        for param, plain, members, _, values in self._rows:
            if plain and [group.get(param) for group in members] == values:
                continue
            for group, value in zip(members, values, strict=True):
                now = group[param] if param in group or plain else group["betas"][0]
                if isinstance(now, Tensor) and now.device.type != "cpu":
                    now.fill_(value)
                elif now != value:
                    change = change or Change(param, get_param(group, param), value)
                    set_param(group, param, value)
        return change


class _Rows(NamedTuple):
    """The groups that have a parameter, what it moves between in each, and its present values."""

    param: str
    plain: bool  # a number in the group, not a tensor or one of several betas
    groups: list[Group]
    spans: list[Span]
    values: list[float]


def _put(group: Group, value: float, param: str) -> float:
    """Set a value, and return it as it was rounded."""
    set_param(group, param, value)
    held = group.get(param)
    rounds = isinstance(held, Tensor) and held.device.type == "cpu"
    return get_param(group, param) if rounds else value


class StepHooks:
    """Calls functions around each step that an optimizer takes.

    Args:
        optimizer: Whose steps they are.
        name: Of the callback that asks, for errors.
        before: Called before the step, and between the closure and the update: the hooks that a
            module and its callbacks have for gradients run within the closure.
        after: Called after a step that was taken; one that a gradient scaler skips is not.

    Raises:
        TypeError: If it is not torch's, or does not have the hooks of torch's optimizers.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        name: str,
        before: Callable[[], None],
        after: Callable[[], None],
    ) -> None:
        kind = type(optimizer).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{name} counts the steps of a torch.optim.Optimizer, and {kind} is none; "
                "schedule it in configure_optimizers"
            )
        self._before_step = before
        self._after_step = after
        self._depth = 0
        self._handles: list[Any] = []
        try:
            self._handles.append(optimizer.register_step_pre_hook(self._before))
            self._handles.append(optimizer.register_step_post_hook(self._after))
        except AttributeError as error:
            self.remove()
            raise TypeError(
                f"{name} counts steps by the step hooks of torch.optim.Optimizer, which {kind} "
                f"does not have ({error}): {kind}.__init__ does not call super().__init__(). Add "
                "the call, or schedule it in configure_optimizers and leave out the callback"
            ) from error

    def reset(self) -> None:
        """Forget a step that ended in an error."""
        self._depth = 0

    def remove(self) -> None:
        """Let go of the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._depth += 1
        self._before_step()
        if self._depth > 1:
            return None  # torch calls the hooks again for a step that calls that of its parent
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._then_before(kwargs["closure"])}
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._then_before(args[1]), *args[2:]), kwargs
        return None

    def _then_before(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(closure)
        def held() -> Any:
            result = closure()
            self._before_step()
            return result

        return held

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        # A fused optimizer is called even if the scaler found infinities, and skips by itself.
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None and found_inf.item():
            return
        self._after_step()
