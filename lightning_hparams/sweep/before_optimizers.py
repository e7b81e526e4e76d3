"""Do something just before a module makes its optimizers.

This is the only moment of a fit at which all of it is there: the setup of every callback and of the
module has run, layers made late exist, weights are on their device, and a checkpoint, if the fit
goes on from one, has been loaded.
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
    """Stands in the place of a module's ``configure_optimizers`` until that is called once.

    Args:
        module: Its attribute is set; :meth:`undo` puts it back.
    """

    def __init__(self, module: LightningModule) -> None:
        self._module = module
        self._own = vars(module).get(_NAME)  # of this object, as LightningCLI sets it
        self._acts: list[tuple[Callable[[], None], Callable[[Any], None]]] = []
        # Lightning asks by `__wrapped__` whether the method is overridden.
        functools.update_wrapper(self, module.configure_optimizers)
        vars(module)[_NAME] = self

    @classmethod
    def call(
        cls, module: LightningModule, before: Callable[[], None], after: Callable[[Any], None]
    ) -> BeforeOptimizers:
        """Have two functions called around ``configure_optimizers``.

        Args:
            module: One for all that ask.
            before: Called before it, in the order of asking.
            after: Called with what it returned.
        """
        present = vars(module).get(_NAME)
        found = present if isinstance(present, cls) else cls(module)
        found._acts.append((before, after))
        return found

    def undo(self) -> None:
        """Give the module its own method back."""
        if vars(self._module).get(_NAME) is not self:
            return
        if self._own is None:
            del vars(self._module)[_NAME]
        else:
            vars(self._module)[_NAME] = self._own

    def __call__(self) -> Any:
        """Run what comes before, make the optimizers, run what comes after."""
        self.undo()
        for before, _ in self._acts:
            before()
        made = self._module.configure_optimizers()
        for _, after in self._acts:
            after(made)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Of a module that is copied in the meantime, the method that it had."""
        return copy.deepcopy(self.__wrapped__ if self._own is None else self._own, memo)  # type: ignore[attr-defined]
