"""The name of the program, and the exit codes that commands share."""

from __future__ import annotations

__all__ = ["FAULT", "INTERRUPTED", "MISTAKE", "PROGRAM", "TERMINATED"]

PROGRAM = "lightning-hparams"
MISTAKE, FAULT = 2, 1
INTERRUPTED, TERMINATED = 128 + 2, 128 + 15  # the exit codes of shells for SIGINT and SIGTERM
