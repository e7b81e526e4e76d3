"""What a worker needs to know of a study, kept in its folder and its database."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from ..configuration import Configuration
from ..provenance import flatten, redact
from .folders import read_json, write_json
from .settings import SearchSettings
from .study import load_study, open_study

if TYPE_CHECKING:
    from .study import SearchStudy

__all__ = ["enter", "keep", "kept_settings", "open_from"]

_FILE = "search.json"
_ATTRIBUTE = "configuration"
# What a trial displays and where, without effect on its result.
_SHOWN = ("logger", "default_root_dir", "enable_progress_bar", "enable_model_summary")


def keep(study: SearchStudy, base: Configuration) -> None:
    """Keep settings and configuration for workers.

    The file in the folder, which only the user may read, is complete; what is kept in the database
    is without secrets, for workers on machines that do not see the folder.

    Raises:
        ValueError: If trials have ended that had another configuration.
    """
    settings = study.settings
    text = json.dumps(redact(base.given, os.environ), sort_keys=True)
    stored = study.user_attrs.get(_ATTRIBUTE)
    if stored is not None and _has_results(study):
        _check_same(settings.name, json.loads(stored), json.loads(text))
    content = {
        "settings": settings.to_mapping(),
        "configuration": base.given,
        "directory": os.getcwd(),
    }
    write_json(Path(settings.folder) / _FILE, content, private=True)
    if stored != text:
        study.set_user_attr(_ATTRIBUTE, text)


def _has_results(study: SearchStudy) -> bool:
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return any(trial.state in ended for trial in study.get_trials(deepcopy=False))


def _check_same(name: str, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse a configuration whose trials could not be compared with earlier ones."""
    before, now = (flatten(_trained(each)) for each in (stored, given))
    changed = [
        f"{key}: {before.get(key, 'not set')} before, {now.get(key, 'not set')} now"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ValueError(
            f"study {name!r} has trials of another configuration; give the new one another `name`, "
            "or take back the change:\n" + "\n".join(changed)
        )


def _trained(configuration: dict[str, Any]) -> dict[str, Any]:
    trainer = configuration.get("trainer") or {}
    kept = {key: value for key, value in trainer.items() if key not in _SHOWN}
    return {**configuration, "trainer": kept}


def open_from(where: str | Path, name: str | None = None) -> tuple[SearchStudy, Configuration]:
    """Open a study and its configuration.

    Args:
        where: Folder of the study, or address of its database.
        name: Name of the study in the database; None if it is the only one.

    Raises:
        FileNotFoundError: If the folder has no study.
        KeyError: If the database has no such study.
    """
    if "://" not in str(where):
        settings = kept_settings(Path(where))
        if settings is None:
            raise FileNotFoundError(
                f"{where} must be the folder of a study, but has no {_FILE}; start the search first"
            )
        content = read_json(Path(where) / _FILE, "configuration")
        return open_study(settings, create=False), Configuration.load(content["configuration"])
    study = load_study(str(where), name or _only_study(str(where)))
    return study, Configuration.load(json.loads(study.user_attrs[_ATTRIBUTE]))


def enter(folder: str | Path) -> Path:
    """Go to the directory that the search of a study was started in, if this machine has it.

    Modules of the user and paths in the configuration may be relative to it.

    Args:
        folder: Folder of the study.

    Returns:
        A path of the folder from there.
    """
    path = Path(folder) / _FILE
    directory = read_json(path).get("directory") if path.is_file() else None
    if directory is None or directory == os.getcwd():
        return Path(folder)
    absolute = Path(folder).absolute()
    with suppress(OSError):  # moved, or another machine
        os.chdir(directory)
        sys.path.insert(0, directory)
    return absolute


def kept_settings(folder: Path) -> SearchSettings | None:
    """Return the settings of the study in a folder, with its database; None if it has none."""
    path = folder / _FILE
    if not path.is_file():
        return None
    return SearchSettings.from_mapping(
        {**read_json(path, "settings")["settings"], "folder": folder}
    )


def _only_study(url: str) -> str:
    import optuna

    names = optuna.get_all_study_names(url)
    if len(names) != 1:
        raise KeyError(f"the database has the studies {names}; give the `name` of one")
    return names[0]
