"""The process of a worker: its command, its start, and what it wrote before it died."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["TELL", "WAIT", "death_message", "import_path", "start_worker", "worker_command"]

TELL = 1.0  # seconds between two looks at the trials
WAIT = 6.0  # seconds that a worker has to stop before it is killed
_LINES = 20


def worker_command(folder: Path, index: int, since: float, deadline: float | None) -> list[str]:
    """Return the command of a worker that stops when the process that started it is gone.

    Args:
        folder: Folder of the study.
        index: Index of the worker.
        since: When the search was started, in seconds since the epoch.
        deadline: When its wall time is over, in seconds since the epoch; None for no limit.
    """
    command = [sys.executable, "-m", "lightning_hparams.search.worker", str(folder)]
    command += ["--index", str(index), "--since", str(since), "--parent"]
    return command if deadline is None else [*command, "--deadline", str(deadline)]


def import_path() -> str:
    """Return a ``PYTHONPATH`` with which a worker imports what this process can import."""
    paths = [str(Path(one).absolute()) for one in sys.path if one not in ("", ".")]
    return os.pathsep.join([os.getcwd(), *paths])


def start_worker(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a worker.

    Args:
        command: Its command.
        environment: Variables beside those of this process.
        log: File that its output is appended to.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # which the worker sees closed when this process has gone
            stdout=file,
            stderr=file,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
        )


def death_message(code: int, log: Path) -> str:
    """Return the message for workers that keep dying, with the last lines of a log."""
    try:
        lines = log.read_text("utf-8", errors="replace").splitlines()[-_LINES:]
    except OSError:
        lines = []
    return f"the workers end with exit code {code}; the last lines of {log}:\n" + "\n".join(lines)
