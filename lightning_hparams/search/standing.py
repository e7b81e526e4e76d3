"""Where a search stands, from any process."""

from __future__ import annotations

import io
import shutil
from datetime import datetime
from pathlib import Path

from rich.console import Console

from ..checks import nearest
from .files import kept_settings
from .storage import open_storage
from .study import SearchStudy, load_study
from .table import best_row, rich_table, rows, summarize, trials_of

__all__ = ["find_study", "status"]


def find_study(place: str | Path, name: str | None = None) -> SearchStudy:
    """Open the study in a folder or a database, for reading.

    Args:
        place: Folder of a study, or URL of a database.
        name: Name of the study; None if the database has only one.

    Raises:
        FileNotFoundError: If the folder has no study.
        ValueError: If the database has none, or several and no name is given.
    """
    url = str(place)
    if "://" not in url:
        file = Path(place) / "study.db"
        settings = None if file.is_file() else kept_settings(Path(place))
        if settings is not None:  # whose database is elsewhere
            return load_study(settings.storage_url, name or settings.name, reading=True)
        if not file.is_file():
            raise FileNotFoundError(
                f"{place} has no study.db; pass the folder of a study, or the URL of its database"
            )
        url = f"sqlite:///{file}"
    database = open_storage(url, reading=True)
    names = sorted(study.study_name for study in database.get_all_studies())
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        shown = database.engine.url.render_as_string(hide_password=True)
        if not names:
            raise ValueError(f"{shown} has no study yet")
        got = "name one of them" if name is None else f"not {name!r}{nearest(name, names)}"
        raise ValueError(f"{shown} has the studies {names}; {got}")
    return load_study(url, name, reading=True)


def status(
    place: str | Path, name: str | None = None, *, latest: int = 20, width: int | None = None
) -> str:
    """Return where a search stands, as text: a summary, and its latest trials as a table.

    Args:
        place: Folder of a study, or URL of a database.
        name: Name of the study; None if the database has only one.
        latest: Number of trials in the table.
        width: Characters per line; None for those of the terminal.
    """
    study = find_study(place, name)
    settings = study.settings
    trials = study.get_trials(deepcopy=False)
    found = rows(trials)
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    runs = any(row.state == "running" for row in found)
    until = datetime.now() if runs or not ended else max(ended)
    summary = summarize(
        found,
        settings.mode,
        total=trials_of(settings),
        workers=settings.workers,
        elapsed=(until - min(begun)).total_seconds() if begun else 0.0,
        ended=not runs,
    )
    width = width or shutil.get_terminal_size((120, 24)).columns
    console = Console(file=io.StringIO(), width=width, color_system=None)
    shown = [row for row in found if row.state != "waiting"][-latest:]
    console.print(rich_table(shown, settings.metric, best_row(found, settings.mode)))
    assert isinstance(console.file, io.StringIO)
    table = console.file.getvalue() if shown else ""
    return f"{settings.name}: {summary.line()}\n{table}".rstrip()
