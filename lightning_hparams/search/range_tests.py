"""Learning rates of trials from an LR range test, run once for all trials that may share it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..callbacks import lr_range_test
from ..configuration import Configuration, class_name
from .folders import read_json, write_json
from .seeds import derived_seed
from .space import Float

if TYPE_CHECKING:
    from .settings import SearchSettings

__all__ = ["Rate", "rate_key", "unused_test", "with_rate", "without_test"]

_NAMES = ("lr", "learning_rate")
_TEST = "LRRangeTest"
# Not arguments of a test before training.
_LEFT_OUT = ("apply", "at_epochs", "callbacks", "on_fail")


@dataclass(frozen=True)
class Rate:
    """The learning rate of a trial.

    Args:
        lr: As written to the configuration; None if the trial has none of its own.
        suggestion: What the range test suggested; None without one.
        status: Status of the range test.
    """

    lr: float | None = None
    suggestion: float | None = None
    status: str = ""


def rate_key(configuration: Configuration) -> str | None:
    """Return the key of the module's learning rate; None if it has no such argument."""
    arguments = configuration.data["model"].get("init_args") or {}
    found = [name for name in _NAMES if name in arguments]
    return f"model.init_args.{found[0]}" if found else None


def with_rate(
    base: Configuration,
    params: Mapping[str, object],
    settings: SearchSettings,
) -> tuple[Configuration, Rate]:
    """Return the configuration of a trial, in which the learning rate is a number.

    What is written to the configuration is what the optimizer starts from: there is no range test
    left in it that would replace the rate.

    Args:
        base: The configuration that is varied.
        params: Values of the trial by key.
        settings: How the search uses the range test.

    Raises:
        ValueError: If the module takes no learning rate.
    """
    configuration = base.with_values(params)
    key = rate_key(configuration)
    has_test = _options(base) is not None
    sampled = key is not None and _sampled(key, params) is not None
    use = settings.lr_range_test
    if use is None:
        use = "suggestion" if has_test and not sampled else "off"
    if use == "off":
        lr = configuration.value(key) if key is not None else None
        return without_test(configuration), Rate(lr if isinstance(lr, float) else None)
    if key is None:
        raise ValueError(
            f"`lr_range_test={use}` needs a module with an argument `lr` or `learning_rate`, got "
            f"{configuration.data['model']['class_path']}; add one, or set lr_range_test=off"
        )
    found = _cached(base, params, settings, key)
    if found["lr"] is None:
        return without_test(configuration), Rate(None, None, found["status"])
    factor = _sampled(key, params) if use == "factor" else None
    lr = found["lr"] * (1.0 if factor is None else float(str(factor)))
    rate = Rate(lr, found["suggestion"], found["status"])
    return without_test(configuration).with_values({key: lr}), rate


def unused_test(base: Configuration, settings: SearchSettings) -> str:
    """Say that the configuration's range test is off, if that was not asked for; else ""."""
    key = rate_key(base)
    if settings.lr_range_test is not None or key is None or _options(base) is None:
        return ""
    sampled = dict.fromkeys(settings.space, True)
    if _sampled(key, sampled) is None:
        return ""
    return (
        f"LRRangeTest of the configuration is off, since the space has {key}; lr_range_test: "
        "factor multiplies the value with what the test suggests, and off hides this line"
    )


def _sampled(key: str, params: Mapping[str, object]) -> object:
    short = key.replace(".init_args.", ".")
    return params.get(key, params.get(short))


def _is_test(callback: Mapping[str, Any]) -> bool:
    """Whether a callback of the configuration is a range test of the learning rate."""
    is_test = class_name(callback) == _TEST
    return is_test and (callback.get("init_args") or {}).get("param", "lr") == "lr"


def _callbacks(configuration: Configuration) -> list[dict[str, Any]]:
    return (configuration.given.get("trainer") or {}).get("callbacks") or []


def _options(configuration: Configuration) -> dict[str, Any] | None:
    """Return the arguments of the configuration's range test; None if it has none."""
    for callback in filter(_is_test, _callbacks(configuration)):
        given = callback.get("init_args") or {}
        return {name: value for name, value in given.items() if name not in _LEFT_OUT}
    return None


def without_test(configuration: Configuration) -> Configuration:
    """Return a configuration without its range test of the learning rate."""
    kept = [one for one in _callbacks(configuration) if not _is_test(one)]
    if len(kept) == len(_callbacks(configuration)):
        return configuration
    return configuration.with_values({"trainer.callbacks": kept})


def _cached(
    base: Configuration, params: Mapping[str, object], settings: SearchSettings, key: str
) -> dict[str, Any]:
    """Return the result for this model, batch and optimizer.

    Numbers from a range have their base value in the test: another one for each trial would need a
    test for each trial.
    """
    shared = {
        name: value
        for name, value in params.items()
        if not isinstance(settings.space.get(name), Float)
    }
    configuration = without_test(base.with_values(shared))
    options = _options(base) or {}
    data = configuration.data
    parts = {"model": data["model"], "data": data.get("data"), "options": options}
    parts["trainer"] = {
        name: data["trainer"].get(name)
        for name in ("precision", "accumulate_grad_batches", "gradient_clip_val")
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(settings.folder) / "range_tests" / f"{digest}.json"
    if path.is_file():
        return read_json(path)
    seed = derived_seed("range test", settings.seed, int(digest[:8], 16))
    found = _measured(configuration.with_values({"seed_everything": seed}), options, key)
    write_json(path, found)
    return found


def _measured(configuration: Configuration, options: dict[str, Any], key: str) -> dict[str, Any]:
    name = key.rpartition(".")[2]
    with tempfile.TemporaryDirectory() as folder:
        built = configuration.build(
            root=Path(folder), logger=False, trainer={"enable_model_summary": False}
        )
        result = lr_range_test(built.module, built.data, built.trainer, **options)
    module: Any = built.module
    lr = None
    if result.applies:
        # What a module takes need not be the peak, of which its groups have multiples.
        lr = float(module.hparams[name] if name in module.hparams else getattr(module, name))
    return {
        "lr": lr,
        "suggestion": getattr(result, "suggestion", None),
        "status": str(result.status),
        "result": json.loads(result.to_json()),
    }
