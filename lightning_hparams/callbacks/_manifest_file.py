"""The file ``manifest.json`` of a run: where it lies, and what an earlier part left in it."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from ..provenance import load_manifest, shortened_parts, to_json, to_markdown
from ..sinks import Sinks

__all__ = ["has_manifest", "kept_manifest", "without_earlier", "write_manifest"]

_NAME = "manifest.json"


def write_manifest(
    manifest: Mapping[str, Any],
    earlier: Sequence[Mapping[str, Any]],
    trainer: Trainer,
    sinks: Sinks,
) -> dict[str, Any]:
    """Write a manifest to all sinks; if none has room for it, to where checkpoints go.

    Args:
        manifest: Of this part of the run.
        earlier: Whole ones of the parts before it.
        trainer: Which is at the step of the text.
        sinks: Of its loggers.

    Returns:
        As it was written.
    """
    written: dict[str, Any] = json.loads(to_json(without_earlier(manifest)))
    if earlier:
        written["earlier"] = shortened_parts(earlier, written)
    sinks.text("manifest", to_markdown(written), trainer.global_step)
    with ExitStack() as stack:
        path = _temporary(stack, to_json(written) + "\n", trainer.default_root_dir)
        sinks.artifact(path)
        if not sinks.keeps_artifacts:
            _copy_to_checkpoints(trainer, path)
    sinks.flush()
    return written


def _temporary(stack: ExitStack, text: str, root: str) -> Path:
    """A file in a folder of its own; in the run's root where temporary files find no room."""
    try:
        return _written(stack, text, None)
    except OSError:
        return _written(stack, text, root)


def _written(stack: ExitStack, text: str, parent: str | None) -> Path:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent))) / _NAME
    path.write_text(text, encoding="utf-8")
    return path


def without_earlier(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a run by itself."""
    return {name: value for name, value in manifest.items() if name != "earlier"}


def _copy_to_checkpoints(trainer: Trainer, path: Path) -> None:
    if folder := _folder(trainer, trainer.loggers[0]):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def kept_manifest(trainer: Trainer, *, resumed: bool) -> dict[str, Any] | None:
    """The one that is about to be written over.

    A file of that name that is damaged, or of another program, is moved beside it, with a warning.

    Args:
        trainer: With its loggers where they will write.
        resumed: Whether to ask MLflow, too, and to look where another run's may lie.
    """
    found: dict[str, Any] | None = None
    for logger in trainer.loggers:
        with tempfile.TemporaryDirectory() as temporary:
            path = _kept(trainer, logger, Path(temporary), resumed=resumed)
            if path is not None and path.is_file():
                manifest, reason = load_manifest(path)
                if manifest is None:
                    _move_aside(path, reason, logger)
                found = found or manifest
    return found


def has_manifest(trainer: Trainer) -> bool:
    """Whether a fit has left its manifest where the loggers write."""
    with tempfile.TemporaryDirectory() as temporary:
        paths = (
            _kept(trainer, logger, Path(temporary), resumed=True) for logger in trainer.loggers
        )
        return any(load_manifest(path)[0] is not None for path in paths if path is not None)


def _kept(trainer: Trainer, logger: Logger, temporary: Path, *, resumed: bool) -> Path | None:
    """Where the manifest of an earlier part would lie, or was fetched to."""
    if isinstance(logger, MLFlowLogger):
        if not resumed:
            return None
        with suppress(Exception):  # what cannot be fetched is not there
            logger.experiment.download_artifacts(logger.run_id, _NAME, str(temporary))
        return temporary / _NAME
    # Where a folder's name is not known to be the run's own, another run's lies there.
    if not resumed and not isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return None
    folder = _folder(trainer, logger)
    return None if folder is None else folder / _NAME


def _move_aside(path: Path, reason: str, logger: Logger) -> None:
    """Give a file that is not a manifest another name."""
    number = 1
    while (beside := path.with_name(f"manifest.other{number}.json")).exists():
        number += 1
    kept = f"it is kept as {beside.name}"
    try:
        path.rename(beside)
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(beside))
    except Exception as error:
        kept = f"it could not be kept: {error}"
    warnings.warn(
        f"RunRecorder: the earlier part of the run is not known: {reason}; {kept}", stacklevel=2
    )


def _folder(trainer: Trainer, logger: Logger) -> Path | None:
    """Of a run; None if it is not of this machine."""
    if isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return None if "://" in logger.log_dir else Path(logger.log_dir)
    root = logger.save_dir or trainer.default_root_dir
    version = logger.version  # as ModelCheckpoint names its folder
    named = version if version is None or isinstance(version, str) else f"version_{version}"
    names = [str(name) for name in (logger.name, named) if name is not None]
    return None if "://" in str(root) else Path(root, *names)
