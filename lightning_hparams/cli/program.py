"""The name of the program, and the exit codes that commands share."""

from __future__ import annotations

__all__ = ["FAULT", "INTERRUPTED", "MISTAKE", "PROGRAM"]

PROGRAM = "lightning-hparams"
MISTAKE, FAULT, INTERRUPTED = 2, 1, 130
