"""The file ``manifest.json`` of a run: its location, and the manifest of an earlier part."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from ..notices import warn_user
from ..provenance import load_manifest, shortened_parts, to_json, to_markdown
from ..sinks import Sinks

__all__ = ["has_manifest", "kept_manifest", "run_folder", "without_earlier", "write_manifest"]

_NAME = "manifest.json"


def write_manifest(
    manifest: Mapping[str, object],
    earlier: Sequence[Mapping[str, object]],
    trainer: Trainer,
    sinks: Sinks,
) -> dict[str, Any]:
    """Write a manifest to all sinks; if none stores files, to the checkpoint folder.

    Args:
        manifest: Manifest of this part of the run.
        earlier: Complete manifests of the earlier parts.
        trainer: The Trainer, whose current step is logged with the text.
        sinks: Sinks of its loggers.

    Returns:
        The manifest as written.
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
    """A file in a folder of its own; under ``root`` if there is no space for temporary files."""
    try:
        return _written(stack, text, None)
    except OSError:
        return _written(stack, text, root)


def _written(stack: ExitStack, text: str, parent: str | None) -> Path:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent))) / _NAME
    path.write_text(text, encoding="utf-8")
    return path


def without_earlier(manifest: Mapping[str, object]) -> dict[str, object]:
    """The manifest without those of earlier parts."""
    return {name: value for name, value in manifest.items() if name != "earlier"}


def _copy_to_checkpoints(trainer: Trainer, path: Path) -> None:
    if folder := _folder(trainer, trainer.loggers[0]):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def kept_manifest(trainer: Trainer, *, resumed: bool) -> dict[str, Any] | None:
    """The manifest that is about to be overwritten.

    A file with that name that is damaged or belongs to another program is renamed, with a warning.

    Args:
        trainer: The Trainer, with its loggers set up.
        resumed: Whether to look in MLflow too, and in folders that other runs may share.
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
    """Whether the loggers' folders contain the manifest of a fit."""
    with tempfile.TemporaryDirectory() as temporary:
        paths = (
            _kept(trainer, logger, Path(temporary), resumed=True) for logger in trainer.loggers
        )
        return any(load_manifest(path)[0] is not None for path in paths if path is not None)


def _kept(trainer: Trainer, logger: Logger, temporary: Path, *, resumed: bool) -> Path | None:
    """Path where the manifest of an earlier part would be, downloaded if necessary."""
    if isinstance(logger, MLFlowLogger):
        if not resumed:
            return None
        with suppress(Exception):  # whatever fails, it is missing
            logger.experiment.download_artifacts(logger.run_id, _NAME, str(temporary))
        return temporary / _NAME
    # A folder not known to belong to this run alone may contain the manifest of another.
    if not resumed and not isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return None
    folder = _folder(trainer, logger)
    return None if folder is None else folder / _NAME


def _move_aside(path: Path, reason: str, logger: Logger) -> None:
    """Rename a file that is not a manifest."""
    number = 1
    while (renamed := path.with_name(f"manifest.other{number}.json")).exists():
        number += 1
    kept = f"it was renamed to {renamed.name}"
    try:
        path.rename(renamed)
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(renamed))
    except Exception as error:
        kept = f"it could not be renamed: {error}"
    warn_user(f"RunRecorder: the earlier part of the run is unknown: {reason}; {kept}")


def run_folder(trainer: Trainer) -> Path | None:
    """Folder of a run: that of its first logger; None if it is not on this machine."""
    if trainer.loggers:
        return _folder(trainer, trainer.loggers[0])
    root = str(trainer.default_root_dir)
    return None if "://" in root else Path(root)


def _folder(trainer: Trainer, logger: Logger) -> Path | None:
    """Folder of the run; None if it is not on this machine."""
    if isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return None if "://" in logger.log_dir else Path(logger.log_dir)
    root = logger.save_dir or trainer.default_root_dir
    version = logger.version  # named as by ModelCheckpoint
    named = version if version is None or isinstance(version, str) else f"version_{version}"
    names = [str(name) for name in (logger.name, named) if name is not None]
    return None if "://" in str(root) else Path(root, *names)
