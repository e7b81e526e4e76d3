"""Studies: their creation, their queue of trials, and the creation of the next trial."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from ..checks import counted
from .first_trials import first_trials
from .folders import trial_numbers
from .pruners import make_pruner
from .samplers import make_sampler
from .seeds import root_number, sampler_seed
from .settings import SearchSettings
from .storage import Database, has_no_study, open_storage

__all__ = ["Asked", "SearchStudy", "load_study", "next_trial", "open_study"]

SETTINGS = "settings"  # attribute of a study
ORIGIN = "origin"  # attribute of an enqueued trial: "prior", "preset 0", "grid 12"


class Asked(NamedTuple):
    """A trial to run."""

    trial: Trial
    params: dict[str, object]


class SearchStudy(optuna.Study):
    """A study with its settings and database."""

    def __init__(self, settings: SearchSettings, database: Database) -> None:
        # The storage around the database reads finished trials once.
        super().__init__(settings.name, optuna.storages.get_storage(database))
        self.settings = settings
        self.database = database
        self.pruner = make_pruner(settings.pruner)
        self.sampler = make_sampler(settings.sampler, settings.space, seed=settings.seed)

    def database_id(self, trial: Trial | FrozenTrial) -> int:
        """Return the number of a trial in the database, which holds several studies."""
        study = self.database.get_study_id_from_name(self.study_name)
        return self.database.get_trial_id_from_study_id_trial_number(study, trial.number)


def open_study(
    settings: SearchSettings, *, create: bool = True, batch_size: int | None = None
) -> SearchStudy:
    """Open a study; a new one begins with its presets, priors or grid points, each once.

    Args:
        settings: What the search does.
        create: Whether to create the study if it does not exist, and to enqueue what is missing.
        batch_size: Batch size of the configuration, which presets of the literature are scaled to.

    Raises:
        ValueError: If it exists with another space, metric, mode, seed or use of the range test,
            its folder has trials that its database does not know, or presets do not fit the space.
        KeyError: If it does not exist and ``create`` is False.
    """
    firsts = first_trials(settings, batch_size) if create else {}
    # Before the database is read, in which each trial is begun before it has a folder.
    begun = trial_numbers(Path(settings.folder)) if create else []
    if begun and has_no_study(settings.storage_url):
        raise _unknown(settings, begun)
    database = open_storage(settings.storage_url)
    with database.transaction():
        if create:
            _create(settings, database)
        study = SearchStudy(settings, database)
        _check_known(study, begun)
        _settle(study)
        known = {trial.user_attrs.get(ORIGIN) for trial in study.get_trials(deepcopy=False)}
        for origin, values in firsts.items():
            if origin not in known:
                _enqueue(study, values, origin)
    return study


def load_study(url: str, name: str, *, reading: bool = False) -> SearchStudy:
    """Open an existing study with the settings that are stored in it.

    Args:
        url: Address of its database.
        name: Its name.
        reading: Whether this process only reads.

    Raises:
        KeyError: If it does not exist.
    """
    database = open_storage(url, reading=reading)
    stored = database.get_study_user_attrs(database.get_study_id_from_name(name))
    settings = _stored_settings(name, stored.get(SETTINGS))
    return SearchStudy(replace(settings, storage=url), database)


def next_trial(study: SearchStudy) -> Asked | None:
    """Start the next trial, or return None if the study has no more.

    Creation, values and first sign of life are one transaction: a process that dies in it leaves
    nothing behind, and parallel processes neither exceed ``trials`` nor run a point twice.

    Args:
        study: The study, opened for writing.
    """
    settings = study.settings
    with study.database.transaction():
        trials = study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        if not waiting and not _may_create(settings, trials):
            return None
        number = min([*waiting, len(trials)])
        study.sampler = make_sampler(
            settings.sampler,
            settings.space,
            seed=sampler_seed(settings.seed, 0, number),
            sequence=settings.seed,
        )
        with warnings.catch_warnings():
            # The heartbeat begins below, in the same transaction.
            warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
            trial = study.ask()
        params = settings.space.suggest(trial)
        study.database.record_heartbeat(study.database_id(trial))
    return Asked(trial, params)


def _create(settings: SearchSettings, database: Database) -> None:
    direction = StudyDirection.MINIMIZE if settings.mode == "min" else StudyDirection.MAXIMIZE
    try:
        database.get_study_id_from_name(settings.name)
    except KeyError:
        database.create_new_study([direction], settings.name)


def _check_known(study: SearchStudy, begun: Sequence[int]) -> None:
    """Refuse a folder whose trials would be replaced by others of the same numbers."""
    known = {root_number(trial) for trial in study.get_trials(deepcopy=False)}
    if strangers := [number for number in begun if number not in known]:
        raise _unknown(study.settings, strangers)


def _unknown(settings: SearchSettings, numbers: Sequence[int]) -> ValueError:
    trials = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return ValueError(
        f"{settings.folder} has files of {counted(len(numbers), 'trial')} ({trials}) that the "
        f"database of study {settings.name!r} does not know, and that new trials would replace; "
        f"restore the database from a copy, give another `folder`, or move "
        f"{Path(settings.folder) / 'trials'} away"
    )


def _settle(study: SearchStudy) -> None:
    """Compare the settings with the stored ones, and store them."""
    text = study.user_attrs.get(SETTINGS)
    settings = study.settings
    if text is not None:
        _check_same(_stored_settings(settings.name, text), settings)
    data = {**settings.to_mapping(), "storage": None}  # it may contain a password
    written = json.dumps(data, sort_keys=True)
    if written != text:
        study.set_user_attr(SETTINGS, written)


def _stored_settings(name: str, text: str | None) -> SearchSettings:
    """Read the settings of a study in a database, which another program may have written."""
    if text is None:
        raise ValueError(f"study {name!r} was not created by a search, and has no settings")
    try:
        return SearchSettings.from_mapping(json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the stored settings of study {name!r} cannot be read: {error}; they may be of "
            "another version of lightning-hparams"
        ) from error


def _check_same(stored: SearchSettings, settings: SearchSettings) -> None:
    name = settings.name
    if difference := stored.space.difference(settings.space):
        raise ValueError(
            f"study {name!r} was created with another space; give the new one another `name`, or "
            f"take back the change:\n{difference}"
        )
    for setting in ("metric", "mode", "seed", "lr_range_test"):
        old, new = getattr(stored, setting), getattr(settings, setting)
        if old != new:
            raise ValueError(
                f"study {name!r} was created with {setting}={old!r}, got {new!r}; give the new "
                "study another `name`"
            )
    if "grid" in (names := {stored.sampler["name"], settings.sampler["name"]}) and len(names) > 1:
        raise ValueError(
            f"study {name!r} was created with the sampler {stored.sampler['name']!r}, got "
            f"{settings.sampler['name']!r}; a grid needs a study of its own: another `name`"
        )


def _enqueue(study: SearchStudy, values: Mapping[str, object], origin: str) -> None:
    space = study.settings.space
    codes = {key: space[key].code(value) for key, value in values.items()}
    study.enqueue_trial(codes, user_attrs={ORIGIN: origin})


def _may_create(settings: SearchSettings, trials: Sequence[FrozenTrial]) -> bool:
    if settings.sampler["name"] == "grid":
        return False  # all its points are enqueued
    if settings.trials is None:
        return True
    return len({root_number(trial) for trial in trials}) < settings.trials
