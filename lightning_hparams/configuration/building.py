"""Make data, module and Trainer from a configuration that was checked."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from ..tasks import VisionTask
from .classes import accepted_arguments, class_of
from .errors import ConfigurationError
from .keys import class_name
from .links import linked
from .parsing import ConfigurationCLI, parse, parser, plain, without_deprecations

__all__ = ["Built", "Stage", "build", "takes_from_data"]

Stage = Literal["fit", "validate", "test", "predict"]


@dataclass(frozen=True)
class Built:
    """What a configuration describes.

    Args:
        trainer: The Trainer.
        module: The LightningModule.
        data: The data module, if there is one.
        seed: The seed that everything was seeded with before; None if it was not.
    """

    trainer: Trainer
    module: LightningModule
    data: LightningDataModule | None
    seed: int | None


class _Builder(ConfigurationCLI):
    """LightningCLI for what was parsed before, which takes arguments of a task from its data."""

    def __init__(
        self,
        config: Namespace,
        given: Mapping[str, Any],
        options: Mapping[str, Any],
        callbacks: Sequence[Callback],
        stage: Stage,
    ) -> None:
        self.given, self.options, self.callbacks, self.stage = given, options, callbacks, stage
        self.config = config
        super().__init__(run=False, args=[])

    def setup_parser(self, *args: object) -> None:
        self.parser = parser()

    def parse_arguments(self, parser: LightningArgumentParser, args: object) -> None:
        pass

    def instantiate_classes(self) -> None:
        self.config_dump = plain(self.config)  # what checkpoints hold of it
        if self.config.get("data") is not None:
            made = self.parser.instantiate_classes(
                Namespace(data=self.config["data"])  # type: ignore[no-untyped-call]
            )
            self.config["data"] = made["data"]
            self._link(made["data"])
        for name in self.options:  # replaced; making a logger may create a database
            self.config["trainer"][name] = None
        super().instantiate_classes()

    def _link(self, data: LightningDataModule) -> None:
        model = self.config_dump["model"]
        if not takes_from_data(model):
            return
        found = linked(
            _attribute(data, self.stage),
            accepted_arguments(model["class_path"]),
            self.given["model"].get("init_args", {}),
            names=(type(data).__name__, class_name(model)),
        )
        _check_fit(model["class_path"], found, type(data).__name__)
        model["init_args"].update(found)
        for name, value in found.items():
            self.config["model"]["init_args"][name] = value

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        callbacks = [*(self.config_init["trainer"].get("callbacks") or []), *self.callbacks]
        trainer: Trainer = super().instantiate_trainer(
            **{**self.options, **kwargs, "callbacks": callbacks}
        )
        return trainer


def _check_fit(class_path: str, found: Mapping[str, Any], data: str) -> None:
    """Check that a task takes what its data have."""
    try:
        parse({"model": {"class_path": class_path, "init_args": dict(found)}}, complete=False)
    except ConfigurationError as error:
        raise ConfigurationError(f"the task does not fit {data}: {error}") from error


def _original(error: Exception) -> Exception:
    """The error of the class itself, which jsonargparse raises again as one of its own."""
    while isinstance(error.__cause__, Exception):
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not str(frame.f_globals.get("__name__", "")).startswith("jsonargparse."):
            break
        error = error.__cause__
    return error


def takes_from_data(model: Mapping[str, Any]) -> bool:
    """Whether a module, as a configuration describes it, is a task of this package."""
    kind = class_of(model["class_path"])
    return isinstance(kind, type) and issubclass(kind, VisionTask)


def _attribute(data: LightningDataModule, stage: Stage) -> Callable[[str], object]:
    def attribute(name: str) -> object:
        try:
            return getattr(data, name, None)
        except Exception:
            if stage == "predict":  # images alone do not show their classes
                return None
            raise

    return attribute


def build(
    config: Namespace,
    given: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    callbacks: Sequence[Callback],
    stage: Stage,
) -> Built:
    """Seed everything, and make what a complete configuration describes.

    Args:
        config: All values.
        given: Those that were set.
        options: Arguments of the Trainer that replace those of the configuration.
        callbacks: Added to those of the configuration.
        stage: What is to be done.
    """
    try:
        with without_deprecations():
            made = _Builder(config.clone(), given, options, callbacks, stage)
    except Exception as error:
        cause = _original(error)
        raise cause from cause.__cause__
    seed = made.config.get("seed_everything")
    return Built(made.trainer, made.model, made.datamodule, None if seed is False else seed)
