"""The trials that a study begins with: presets, priors and values near them, or a grid."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .. import presets as literature
from .seeds import derived_seed

if TYPE_CHECKING:
    from .settings import SearchSettings
    from .space import Space

__all__ = ["first_trials", "literature_values"]

_NEAR = 4  # trials near the priors, of the 10 that samplers begin with
_SECTIONS = {"task": "model.init_args", "data": "data.init_args", "trainer": "trainer"}


def first_trials(
    settings: SearchSettings, batch_size: int | None = None
) -> dict[str, dict[str, object]]:
    """Return the values of the first trials by their origin, such as ``"preset 0"``.

    Args:
        settings: What the search does.
        batch_size: Batch size of the configuration, which presets of the literature are scaled to.

    Raises:
        ValueError: If a preset does not fit the space.
    """
    space = settings.space
    presets = [
        literature_values(preset, space, batch_size) if isinstance(preset, str) else dict(preset)
        for preset in settings.presets
    ]
    if settings.sampler["name"] == "grid":
        return {f"grid {index}": point for index, point in enumerate(_ordered(space, presets))}
    firsts = {f"preset {index}": values for index, values in enumerate(presets)}
    priors = space.priors()
    room = None if settings.trials is None else settings.trials - len(presets)
    if priors and (room is None or room > 0):
        if priors not in presets:
            firsts["prior"] = priors
        uniform = random.Random(derived_seed("priors", settings.seed))
        for index in range(_NEAR if room is None else min(_NEAR, room // 4)):
            firsts[f"near prior {index}"] = space.around_priors(uniform)
    return firsts


def literature_values(name: str, space: Space, batch_size: int | None) -> dict[str, object]:
    """Return the values of a published preset for the keys of a space.

    Args:
        name: Its name, such as ``"classification/resnet-imagenet"``.
        space: The space.
        batch_size: Batch size to scale the learning rate to, unless the space varies it.

    Raises:
        ValueError: If the name is unknown, the preset has no value for the space, or one that
            the space does not allow.
    """
    preset = literature.get(name)
    if batch_size is not None and not {"data.init_args.batch_size", "data.batch_size"} & {*space}:
        preset = preset.at_batch_size(batch_size)
    published = dict(_flat({key: chosen.value for key, chosen in preset.values.items()}))
    short = {key.replace(".init_args.", "."): value for key, value in published.items()}
    values = {key: {**short, **published}[key] for key in space if key in {*short, *published}}
    if not values:
        raise ValueError(
            f"the preset {name!r} has no value for the space; it has {list(published)}"
        )
    active = space.active(values)
    space.check_point(active, name=f"the preset {name!r}")
    return active


def _flat(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        section, _, rest = key.partition(".")
        path = f"{_SECTIONS[section]}.{rest}"
        yield path, value
        if isinstance(value, Mapping):
            yield from ((f"{path}.{name}", each) for name, each in value.items())


def _ordered(space: Space, presets: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the points of the grid, those of presets and priors first."""
    wanted = [*presets, *([priors] if (priors := space.priors()) else [])]

    def rank(point: Mapping[str, object]) -> int:
        matches = (i for i, each in enumerate(wanted) if each.items() <= point.items())
        return next(matches, len(wanted))

    return sorted(space.grid(), key=rank)
