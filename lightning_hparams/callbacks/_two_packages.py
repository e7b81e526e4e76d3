"""Lightning comes as two packages, whose classes do not recognise each other."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer

__all__ = ["refuse_other_lightning"]

_OURS, _OTHER = "lightning", "pytorch_lightning"


def refuse_other_lightning(callback: Callback, trainer: Trainer, module: LightningModule) -> None:
    """Refuse a run in which something comes from ``pytorch_lightning``.

    ``pytorch_lightning`` is a second copy of the same code, so a Timer, a logger or a strategy of
    one package is unknown to the other: a schedule would miss what ends the run, and a monitor
    would find no logger.

    Args:
        callback: Who asks.
        trainer: The Trainer, whose loggers, callbacks, strategy and data are looked at too.
        module: The module.

    Raises:
        TypeError: If anything does, with its class and both packages.
    """
    parts = [trainer, module, trainer.strategy, getattr(trainer, "datamodule", None)]
    parts += [*trainer.callbacks, *trainer.loggers]  # type: ignore[attr-defined]
    for part in parts:
        if _package(part) == _OTHER:
            raise TypeError(
                f"{type(callback).__name__} is a callback for `{_OURS}`, and "
                f"{type(part).__name__} comes from `{_OTHER}`: two packages whose classes do not "
                f"recognise each other. Replace `import {_OTHER} as pl` by "
                f"`import {_OURS}.pytorch as pl` everywhere"
            )


def _package(part: object) -> str | None:
    """The one of the two packages that a class, or the nearest of its bases, comes from."""
    tops = (base.__module__.partition(".")[0] for base in type(part).__mro__)
    return next((top for top in tops if top in (_OURS, _OTHER)), None)
