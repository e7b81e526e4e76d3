"""Runs functions just before and after a module's ``configure_optimizers``.

Only at this point of a fit is everything in place: callbacks and module have been set up, layers
created late exist, weights are on their device, and a checkpoint to resume from has been loaded.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from lightning import LightningModule

__all__ = ["BeforeOptimizers"]

_NAME = "configure_optimizers"


class BeforeOptimizers:
    """Replaces a module's ``configure_optimizers`` until its first call.

    Args:
        module: The module to patch; :meth:`undo` restores it.
    """

    def __init__(self, module: LightningModule) -> None:
        self._module = module
        self._own = vars(module).get(_NAME)  # set on the instance, as LightningCLI does
        self._acts: list[tuple[Callable[[], None], Callable[[Any], None]]] = []
        # Lightning checks `__wrapped__` to see whether the method is overridden.
        functools.update_wrapper(self, module.configure_optimizers)
        vars(module)[_NAME] = self

    @classmethod
    def call(
        cls, module: LightningModule, before: Callable[[], None], after: Callable[[Any], None]
    ) -> BeforeOptimizers:
        """Call two functions around ``configure_optimizers``.

        Args:
            module: The module to patch; repeated calls share one patch.
            before: Called before it, in the order of registration.
            after: Called with its return value.
        """
        present = vars(module).get(_NAME)
        found = present if isinstance(present, cls) else cls(module)
        found._acts.append((before, after))
        return found

    def undo(self) -> None:
        """Restore the module's own method."""
        if vars(self._module).get(_NAME) is not self:
            return
        if self._own is None:
            del vars(self._module)[_NAME]
        else:
            vars(self._module)[_NAME] = self._own

    def __call__(self) -> Any:
        """Run the ``before`` functions, create the optimizers, run the ``after`` functions."""
        self.undo()
        for before, _ in self._acts:
            before()
        made = self._module.configure_optimizers()
        for _, after in self._acts:
            after(made)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy the original method, so that a copied module is not patched."""
        return copy.deepcopy(self.__wrapped__ if self._own is None else self._own, memo)  # type: ignore[attr-defined]
