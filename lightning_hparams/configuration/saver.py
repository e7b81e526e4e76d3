"""Writes the configuration of a run to its folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger

from ..checks import writable_folder
from ..record import run_folder

__all__ = ["ConfigurationSaver"]

_NAME = "config.yaml"
_HEADER = (
    "# The configuration of this run: lightning-hparams fit --config config.yaml repeats it.\n"
)


class ConfigurationSaver(Callback):
    """Write the configuration to ``config.yaml`` in the folder of the run when a fit starts.

    That is the folder of the first logger, the same as for checkpoints, or ``default_root_dir``
    without a logger; MLflow gets the file as an artifact too. The file of an earlier part of the
    run, if it differs, is kept as ``config.1.yaml``, ``config.2.yaml``, ...; a file that was not
    written by this class is never replaced: then the name is ``config.run.yaml``.

    Args:
        text: The configuration as YAML, without secrets.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = _HEADER + text
        self.path: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file, on one process.

        Raises:
            PermissionError: If the folder cannot be written to.
        """
        # Loggers share their folder between processes on request, which all of them take part in.
        folder = run_folder(trainer)
        if stage != "fit" or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        if folder is not None:
            self.path = _write(writable_folder("the folder of the run", folder), self._text)
        for logger in trainer.loggers:
            if isinstance(logger, MLFlowLogger):
                _upload(logger, self._text)


def _write(folder: Path, text: str) -> Path:
    path = folder / _NAME
    if path.is_file():
        before = path.read_text(encoding="utf-8", errors="replace")
        if before == text:
            return path
        if before.startswith(_HEADER):
            path.rename(_free(folder))
        else:
            path = folder / "config.run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _free(folder: Path) -> Path:
    number = 1
    while (path := folder / f"config.{number}.yaml").exists():
        number += 1
    return path


def _upload(logger: MLFlowLogger, text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / _NAME
        path.write_text(text, encoding="utf-8")
        logger.experiment.log_artifact(logger.run_id, str(path))
