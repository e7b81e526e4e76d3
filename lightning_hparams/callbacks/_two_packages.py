"""Lightning is published as two packages, whose classes do not recognise each other."""

from __future__ import annotations

from collections.abc import Iterable

from lightning import Callback, LightningModule, Trainer

__all__ = ["refuse_other_lightning", "refuse_other_parts"]

_OURS, _OTHER = "lightning", "pytorch_lightning"


def refuse_other_lightning(callback: Callback, trainer: Trainer, module: LightningModule) -> None:
    """Refuse a run in which something comes from ``pytorch_lightning``.

    ``pytorch_lightning`` is a second copy of the same code, so neither package recognises the
    other's Timer, logger or strategy: a schedule would miss the time limit, and a monitor would not
    find the logger.

    Args:
        callback: The callback that checks.
        trainer: The Trainer, whose loggers, callbacks, strategy and data are checked, too.
        module: The module.

    Raises:
        TypeError: If anything does; names its class and both packages.
    """
    parts = [trainer, module, trainer.strategy, getattr(trainer, "datamodule", None)]
    parts += [*trainer.callbacks, *trainer.loggers]  # type: ignore[attr-defined]
    refuse_other_parts(f"{type(callback).__name__} is a callback", parts)


def refuse_other_parts(user: str, parts: Iterable[object]) -> None:
    """Refuse objects that come from ``pytorch_lightning``.

    Args:
        user: Who needs them from ``lightning``, and a verb.
        parts: The objects.

    Raises:
        TypeError: For the first of them; names its class and both packages.
    """
    for part in parts:
        if _package(part) == _OTHER:
            raise TypeError(
                f"{user} for `{_OURS}`, and {type(part).__name__} comes from `{_OTHER}`: two "
                f"packages whose classes do not recognise each other. Replace `import {_OTHER} as "
                f"pl` by `import {_OURS}.pytorch as pl` everywhere"
            )


def _package(part: object) -> str | None:
    """Which of the two packages an object's class, or its nearest base, comes from."""
    tops = (base.__module__.partition(".")[0] for base in type(part).__mro__)
    return next((top for top in tops if top in (_OURS, _OTHER)), None)
