"""The process of a worker: its command, its start, and what it wrote before it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["TELL", "WAIT", "death_message", "import_path", "start_worker", "worker_command"]

TELL = 1.0  # seconds between two looks at the trials
WAIT = 6.0  # seconds that a worker has to stop before it is killed
_LINES = 12  # of a log that are shown
_TAIL = 64 * 1024  # bytes of a log that are read


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
    """Return the message for workers that keep dying, and the last lines of a log below it.

    Args:
        code: Exit code of the last one.
        log: File with its output.
    """
    lines = _last_lines(log)
    how = f"exit code {code}" if code >= 0 else _signal_name(-code)
    # A traceback ends with its class and message, the only line of it without indentation.
    why = f": {lines[-1].strip()}" if code > 0 and lines else ""
    if not lines:
        return f"the workers end with {how}{why}; they have written nothing to {log}"
    shown = [f"  {line}" for line in lines]
    return "\n".join([f"the workers end with {how}{why}; the last lines of {log}:", *shown])


def _last_lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_LINES:]


def _signal_name(number: int) -> str:
    try:
        return f"the signal {signal.Signals(number).name}"
    except ValueError:
        return f"the signal {number}"
