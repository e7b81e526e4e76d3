"""LightningCLI with one command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..configuration import (
    PARTS,
    Built,
    Configuration,
    ConfigurationCLI,
    ConfigurationError,
    Stage,
    plain,
)
from .children import Children

__all__ = ["OneCommand"]

_LOADERS = {"fit": "train", "validate": "val"}


class OneCommand(ConfigurationCLI):
    """LightningCLI with a single command, so that only its parser is made.

    Args:
        command: Name of the command, and of the method of the Trainer or of this class.
        args: Its arguments.
        options: Arguments of LightningCLI.

    Attributes:
        code: The exit code.
        given: The arguments that were given, without defaults.
        children: The processes that the Trainer starts, if it does.
    """

    stage: Stage = "fit"
    skipped: ClassVar[set[str]] = set()  # arguments of the method that the command does not take

    def __init__(self, command: str, args: Sequence[str], **options: Any) -> None:
        self.command = command
        self.code = 0
        self.children = Children()
        with ExitStack() as self._while_running:
            super().__init__(args=[command, *_of_checkpoint(args), *args], **options)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # the one wanted
        """Return the command with the arguments of its method that it does not take."""
        return {self.command: super().subcommands().get(self.command, self.skipped)}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the command line, with and without defaults."""
        super().parse_arguments(parser, args)
        self.given = self.parsed(args, defaults=False)[self.command]
        # Lightning would let the arguments in a checkpoint replace those that are given.
        self.ckpt_path = self.config[self.command].pop("ckpt_path", None)
        # What is made below is seeded, and LightningCLI would do and say it once more.
        self.seed = self.config[self.command]["seed_everything"]
        self.config[self.command]["seed_everything"] = False

    def instantiate_classes(self) -> None:
        """Make what the configuration describes."""
        settings = self.config[self.command]
        settings["ckpt_path"] = self.ckpt_path
        given = self.given.clone()
        for name in set(vars(given)) - set(PARTS):
            delattr(given, name)
        built = self.built(Configuration({**plain(given), "seed_everything": self.seed}))
        loader = f"{_LOADERS.get(self.stage, self.stage)}_dataloader"
        if built.data is None and not is_overridden(loader, built.module):
            raise ConfigurationError(
                f"`--data` must be given, or a configuration with `data`: "
                f"{type(built.module).__name__} has no {loader} of its own"
            )
        self.model, self.datamodule, self.trainer = built.module, built.data, built.trainer
        self.config_init = self.config

    def after_instantiate_classes(self) -> None:
        """Let signals reach the processes that the Trainer will start."""
        self._while_running.enter_context(self.children.passing_on(self.trainer))

    def built(self, configuration: Configuration, callbacks: Sequence[Callback] = ()) -> Built:
        """Make module, data and Trainer."""
        return configuration.build(callbacks=callbacks, stage=self.stage)


def _of_checkpoint(args: Sequence[str]) -> list[str]:
    """Arguments for the module that a checkpoint holds, if it is from a run of LightningCLI.

    Raises:
        ConfigurationError: If the checkpoint cannot be read.
    """
    paths = [
        value if not equals else attached
        for option, value in zip(args, [*args, ""][1:], strict=True)
        for name, equals, attached in [option.partition("=")]
        if name == "--ckpt_path"
    ]
    if not paths or paths[-1] in ("best", "last", "hpc", "registry", "null", ""):
        return []
    path = paths[-1]
    if "://" in path or path.startswith("registry"):
        return []
    if not Path(path).exists():
        raise ConfigurationError(f"`--ckpt_path` must be a checkpoint, but {path} does not exist")
    if Path(path).is_dir():  # of a strategy that writes several files
        return []
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        given = dict(checkpoint.get("hyper_parameters", {}))
        json.dumps(given)
    except (TypeError, ValueError):  # arguments that no configuration holds
        return []
    except Exception as error:
        raise ConfigurationError(
            f"`--ckpt_path` must be a checkpoint of Lightning, which {path} is not"
        ) from error
    class_path = given.pop("_class_path", None)
    init_args = {name: value for name, value in given.items() if not name.startswith("_")}
    if class_path is None:
        return []
    return ["--model", json.dumps({"class_path": class_path, "init_args": init_args})]
