"""Values of a configuration that replace sampled ones, of which the sampler would not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..configuration import class_name

if TYPE_CHECKING:
    from .settings import SearchSettings

__all__ = ["check_overriding"]

_RATES = ("lr", "learning_rate")
_OF_THE_STUDY = {
    "seed_everything": "it follows from the study's seed and the trial's number; set `seed`",
    "trainer.default_root_dir": "each trial has a folder in that of the study; set `folder`",
    "trainer.logger": "each trial has a logger of its own",
    "trainer.fast_dev_run": "a trial without its whole run cannot be compared",
}
_CYCLES = ("OneCycle", "Cyclic")
_BOUNDS = ("max_lr", "base_lr")


class _Callback(NamedTuple):
    name: str
    arguments: Mapping[str, Any]


def check_overriding(settings: SearchSettings, data: Mapping[str, Any]) -> None:
    """Check that each sampled value is the one that is trained with.

    Args:
        settings: What the search does.
        data: The configuration, as plain data.

    Raises:
        ValueError: If the study, a range test, a schedule or a tuner would set it again.
    """
    keys = list(settings.space)
    for key in keys:
        for prefix, reason in _OF_THE_STUDY.items():
            if key == prefix or key.startswith(f"{prefix}."):
                raise ValueError(f"`space` cannot vary {key!r}: {reason}")
    rates = _named(keys, _RATES)
    _check_use(settings, rates)
    callbacks = list(_callbacks(data))
    fixed = [callback for callback in callbacks if callback.name in _CYCLES]
    for callback in fixed:
        _check_rates(callback, rates or _tested(settings), keys)
        _check_momentum(callback, keys)
    for callback in callbacks:
        _check_tuners(callback, settings, keys)


def _check_use(settings: SearchSettings, rates: list[str]) -> None:
    use = settings.lr_range_test
    if use == "suggestion" and rates:
        raise ValueError(
            f"`lr_range_test=suggestion` would replace the sampled {rates[0]!r}; set it to "
            "'factor', to multiply the two, or 'off', or take the rate out of `space`"
        )
    if use == "factor" and not rates:
        raise ValueError(
            "`lr_range_test=factor` must have a learning rate in `space`, which its suggestion is "
            "multiplied by; 'model.init_args.lr: {type: float, low: 0.1, high: 3, log: true}' is "
            "one"
        )


def _check_rates(callback: _Callback, rates: list[str], keys: list[str]) -> None:
    """A cycle with bounds of its own does not start from the optimizer's rate."""
    sampled = _of_callback(keys, callback.name, _BOUNDS)
    given = [name for name in _BOUNDS if callback.arguments.get(name) is not None]
    if rates and (sampled or given):
        bound = sampled[0] if sampled else f"trainer.callbacks.{callback.name}.{given[0]}"
        raise ValueError(
            f"{bound!r} would replace {rates[0]!r}; leave out one of them: without `{_BOUNDS[0]}`, "
            f"{callback.name} peaks at the optimizer's rate"
        )


def _check_momentum(callback: _Callback, keys: list[str]) -> None:
    cycles = callback.arguments.get("cycle_momentum", "auto")
    momenta = _named(keys, ("momentum", "betas") if cycles is True else ("momentum",))
    if cycles and momenta and not _of_callback(keys, callback.name, ("cycle_momentum",)):
        raise ValueError(
            f"{callback.name} cycles the momentum, which would replace the sampled {momenta[0]!r}; "
            f"set its `cycle_momentum` to false, or vary its `base_momentum`"
        )
    idle = _of_callback(keys, callback.name, ("base_momentum", "max_momentum"))
    if not cycles and idle:
        raise ValueError(
            f"{idle[0]!r} has no effect, as `cycle_momentum` of {callback.name} is false; "
            "set it to 'auto'"
        )


def _check_tuners(callback: _Callback, settings: SearchSettings, keys: list[str]) -> None:
    if callback.name == "LRRangeTest":
        param = str(callback.arguments.get("param", "lr"))
        attr = str(callback.arguments.get("attr") or param).rpartition(".")[2]
        # `lr_range_test` governs the learning rate; by default the sampled one stays.
        idle = param == "lr" or callback.arguments.get("apply") is False
        owned: tuple[str, ...] = () if idle else (param, attr)
    elif callback.name in ("LearningRateFinder", "BatchSizeFinder"):
        owned = _RATES if callback.name == "LearningRateFinder" else ("batch_size",)
    else:
        return
    if replaced := _named(keys, owned):
        raise ValueError(
            f"{callback.name} would replace the sampled {replaced[0]!r}; leave out one of them"
        )


def _tested(settings: SearchSettings) -> list[str]:
    test = settings.lr_range_test in ("suggestion", "factor")
    return ["the suggestion of the LR range test"] if test else []


def _named(keys: Iterable[str], names: tuple[str, ...]) -> list[str]:
    """Return the keys of module, data and optimizer that end in one of the names."""
    return [
        key
        for key in keys
        if key.rpartition(".")[2] in names and not key.startswith("trainer.callbacks.")
    ]


def _of_callback(keys: Iterable[str], callback: str, names: tuple[str, ...]) -> list[str]:
    return [
        key
        for key in keys
        if key.startswith(f"trainer.callbacks.{callback}.") and key.rpartition(".")[2] in names
    ]


def _callbacks(data: Mapping[str, Any]) -> Iterator[_Callback]:
    for callback in (data.get("trainer") or {}).get("callbacks") or []:
        yield _Callback(class_name(callback), callback.get("init_args") or {})
