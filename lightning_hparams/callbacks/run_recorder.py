"""The row of a run in the table of hyperparameters, and the manifest that repeats it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ..best import BestValues, Direction
from ..checks import nearest, one_of
from ..fingerprint import fingerprint
from ..manifest import file_hash, flatten, plain, take, to_markdown, without_secrets
from ..redaction import redact
from ..sinks import Domain, Sink, Status, open_sinks, register_model
from ._idle_hooks import skip_idle_hooks
from ._log_step import log_step, resume_sinks

__all__ = ["RunRecorder"]

_Flat: TypeAlias = dict[str, bool | int | float | str]

_STAGE = re.compile(r"(^|[^a-z])(val|valid|validation)([^a-z]|$)")


class RunRecorder(Callback):
    """Make a run comparable with others and repeatable.

    TensorBoard's HParams tab gets a row for each run, from its start on and with its true status at
    the end, also of a run that crashed or went on later; MLflow gets params, of which one may
    change. Lightning's own ``hp_metric``, which would hide all other metrics, is switched off.

    Without ``domains`` or a list of ``metrics`` TensorBoard makes the columns by itself, of
    everything that any of the runs has; five metrics are shown at first, those of the best values
    among them. With either, the columns are the chosen ones, and TensorBoard takes them from any
    one of the runs: choose the same in all.

    | tag | meaning | unit |
    |---|---|---|
    | `best/{metric}` | best value so far of each validation metric, classes and terms aside | |
    | `{metric}` | its last value, where the module does not log it to its loggers | |
    | `manifest` | git commit and changes, command, configuration, seeds, versions, data | text |

    ``manifest.json`` goes into the folder of the run and to MLflow, at the start and at the end.
    :func:`lightning_hparams.manifest.compare` says what differs between two. Values of environment
    variables that look like secrets never go into it.

    Args:
        metrics: ``"auto"`` for the validation metrics; or names of logged metrics, or a dict of
            them to ``"min"`` or ``"max"``. By name, a loss or an error falls and a score rises;
            where the name does not tell, there is no best value. What a checkpoint callback
            monitors goes its way.
        domains: Values that a hyperparameter may take: a tuple ``(low, high)``, or a list.
        group: ``"run"`` for a row of each run; ``"config"`` for one of all runs whose
            hyperparameters are the same, whose metrics TensorBoard then averages.
        hparams: More hyperparameters than the module and the data module have saved.
        register: Name to register the model by in MLflow when training ends, as it is then, with
            its signature; it takes the module's ``example_input_array``.

    Attributes:
        manifest: As it was last written, on rank zero.

    Raises:
        ValueError: If an argument is out of its range; when fitting, if a domain is of no
            hyperparameter, or there is nothing to register the model with.
    """

    def __init__(
        self,
        metrics: Literal["auto"] | Sequence[str] | Mapping[str, Direction] = "auto",
        domains: Mapping[str, Domain] | None = None,
        *,
        group: Literal["run", "config"] = "run",
        hparams: Mapping[str, Any] | None = None,
        register: str | None = None,
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        if isinstance(metrics, str):
            one_of("metrics", metrics, ("auto",))
        one_of("group", group, ("run", "config"))
        for name, domain in (domains or {}).items():
            _check_domain(name, domain)
        self.metrics = metrics
        self.domains = dict(domains or {})
        self.group = group
        self.hparams = dict(hparams or {})
        self.register = register
        self.manifest: dict[str, Any] = {}
        self._directions = dict(metrics) if isinstance(metrics, Mapping) else {}
        self._best = BestValues(self._directions)
        self._last: dict[str, float] = {}
        self._values: _Flat = {}
        self._identities: list[str | None] = []
        self._sinks: list[Sink] = []
        self._running = False
        self._has_columns = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, before Lightning writes hyperparameters to them."""
        if stage != "fit":
            return
        if self.register is not None:
            _check_registrable(trainer, pl_module)
        self._best = BestValues({**_monitored(trainer), **self._directions})
        self._last, self._identities = {}, []
        self._sinks = open_sinks(trainer, type(self).__name__)
        for sink in self._sinks:
            sink.own_hparams()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the row."""
        self._values = self._hyperparameters(trainer, pl_module, _without_secrets)
        for name in self.domains:
            if name not in self._values:
                raise ValueError(
                    f"`domains` has {name!r}, which is no hyperparameter of this run"
                    f"{nearest(name, self._values)}; it has {sorted(self._values)}"
                )
        if not self._sinks:
            return
        for sink, identity in zip(self._sinks, self._identities, strict=False):
            if identity is not None:
                sink.adopt(identity)
        self._running, self._has_columns = True, False
        group = self._group(self._hyperparameters(trainer, pl_module, flatten))
        for sink in self._sinks:
            sink.hparams(self._values, group=group)
        if self.metrics != "auto":
            self._choose_columns(list(self.metrics))
        self.manifest = take(_config(trainer, pl_module, self._values))
        self._write_manifest(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the data, which Lightning has loaded by now."""
        if not self._sinks:
            return
        resume_sinks(trainer, self._sinks)
        config = _config(trainer, pl_module, self._values)
        data = {name: fingerprint(dataset) for name, dataset in _datasets(trainer).items()}
        known = {"config": config, "data": data, "first_step": trainer.global_step}
        self.manifest |= {name: redact(plain(v), os.environ) for name, v in known.items()}
        self._write_manifest(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without a validation, take in the epoch before."""
        if trainer.current_epoch and not _validates(trainer):
            self._take_in(trainer, log_step(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the scores."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._take_in(trainer, log_step(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say how it ended."""
        ended = isinstance(exception, (KeyboardInterrupt, SystemExit, SIGTERMException))
        self._finish(trainer, "killed" if ended else "failed")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that it ended well."""
        if not _validates(trainer):
            self._take_in(trainer, log_step(trainer) - 1)  # it has moved on
        if self.register is not None and self._running:
            for logger in trainer.loggers:
                if isinstance(logger, MLFlowLogger):
                    register_model(logger, pl_module, self.register)
        self._finish(trainer, "finished")

    def state_dict(self) -> dict[str, Any]:
        """The best values, and what the loggers find the run by."""
        return {
            "best": dict(self._best.values),
            "identities": [sink.identity() for sink in self._sinks],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._best.values = dict(state_dict["best"])
        self._identities = list(state_dict["identities"])

    def _hyperparameters(
        self, trainer: Trainer, module: LightningModule, flat: Callable[[Mapping[str, Any]], _Flat]
    ) -> _Flat:
        """As they are now: a range test may have changed the rate that was saved."""
        own = flat(module.hparams)
        datamodule = _datamodule(trainer)
        data = {} if datamodule is None else flat(datamodule.hparams)
        for name, value in data.items():
            own[f"data.{name}" if own.get(name, value) != value else name] = value
        return own | flat(self.hparams)

    def _group(self, values: _Flat) -> str | None:
        """Of all values, those too that are hidden: runs that differ in them are not the same."""
        if self.group == "run":
            return None
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _take_in(self, trainer: Trainer, step: int) -> None:
        """Last and best values of the metrics."""
        if not self._running:
            return
        found = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        if self.metrics != "auto":
            wanted = list(self.metrics)
            if not self._last and (missing := [tag for tag in wanted if tag not in found]):
                rank_zero_warn(
                    f"metric {missing[0]!r} is not logged{nearest(missing[0], found)}; logged so "
                    f"far: {', '.join(sorted(found)) or 'nothing'}"
                )
        else:
            wanted = _chosen(found, validates=_validates(trainer))
        values = {tag: found[tag] for tag in wanted if tag in found}
        self._last |= values
        best = self._best.update(values)
        written = {tag: v for tag, v in values.items() if tag not in trainer.logged_metrics}
        written |= {f"best/{tag}": value for tag, value in best.items()}
        for sink in self._sinks:
            if written:
                sink.scalars(written, step)
            sink.flush()
        if self.domains and not self._has_columns:
            self._choose_columns(wanted)

    def _choose_columns(self, tags: Sequence[str]) -> None:
        self._has_columns = True
        domains: dict[str, Domain | None] = dict(self.domains)
        domains |= {name: None for name in self._values if name not in domains}
        metrics = {name: name for tag in tags for name in (f"best/{tag}", tag)}
        for sink in self._sinks:
            sink.columns(domains, metrics)

    def _finish(self, trainer: Trainer, status: Status) -> None:
        if not self._running:
            return
        self._running = False
        self.manifest |= {
            "status": status,
            "last_step": trainer.global_step,
            "metrics": {"last": dict(self._last), "best": dict(self._best.values)},
            "checkpoints": _checkpoints(trainer),
        }
        self._write_manifest(trainer)
        for sink in self._sinks:
            sink.finish(status)

    def _write_manifest(self, trainer: Trainer) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest.json"
            path.write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")
            for sink in self._sinks:
                sink.artifact(path)
                sink.text("manifest", to_markdown(self.manifest), trainer.global_step)
            for sink in self._sinks:
                sink.flush()  # before the file is gone


def _without_secrets(values: Mapping[str, Any]) -> _Flat:
    return without_secrets(values, os.environ)


def _check_domain(name: str, domain: Any) -> None:
    if isinstance(domain, tuple):
        if len(domain) == 2 and domain[0] < domain[1]:
            return
    elif isinstance(domain, Sequence) and not isinstance(domain, str) and len(domain) > 0:
        return
    raise ValueError(
        f"the domain of {name!r} must be a tuple (low, high) with low < high, or a list of "
        f"values, got {domain!r}"
    )


def _check_registrable(trainer: Trainer, module: LightningModule) -> None:
    if not any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers):
        raise ValueError(
            "`register` needs MLflow, and the Trainer has no MLFlowLogger; pass "
            "Trainer(logger=lightning_hparams.mlflow_logger())"
        )
    if not isinstance(module.example_input_array, Tensor):
        raise ValueError(
            f"`register` needs a batch to find the model's signature by; set "
            f"{type(module).__name__}.example_input_array to a tensor that `forward` takes"
        )


def _monitored(trainer: Trainer) -> dict[str, Direction]:
    """Which way the metrics go that the Trainer's callbacks watch."""
    found: dict[str, Direction] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            found[monitor] = mode
    return found


def _chosen(tags: Iterable[str], *, validates: bool) -> list[str]:
    """Metrics of a validation as a whole; without one, all but those of a step."""
    if validates:
        return [
            tag
            for tag in tags
            if _STAGE.search(tag.lower()) and not tag.startswith(("class/", "loss/val/"))
        ]
    return [tag for tag in tags if not tag.endswith("_step")]


def _validates(trainer: Trainer) -> bool:
    return trainer.enable_validation and sum(trainer.num_val_batches) > 0


def _datamodule(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


def _config(trainer: Trainer, module: LightningModule, values: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the run was told, as far as the objects remember it."""
    datamodule = _datamodule(trainer)
    return {
        "module": type(module),
        "data": None if datamodule is None else type(datamodule),
        "hparams": dict(values),
        "parameters": sum(p.numel() for p in module.parameters()),
        "trainable": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "optimizers": [
            {
                "class": type(optimizer),
                "groups": [_without_params(g) for g in optimizer.param_groups],
            }
            for optimizer in trainer.optimizers
        ],
        "lr_schedulers": [type(config.scheduler) for config in trainer.lr_scheduler_configs],
        "trainer": {
            name: getattr(trainer, name, None)
            for name in (
                *("max_epochs", "min_epochs", "max_steps", "min_steps", "precision"),
                *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
                *("num_devices", "num_nodes", "world_size", "check_val_every_n_epoch"),
                *("val_check_interval", "limit_train_batches", "limit_val_batches"),
            )
        },
        "strategy": type(trainer.strategy),
        "accelerator": type(trainer.accelerator),
        "callbacks": {type(c).__name__: _settings(c) for c in trainer.callbacks},  # type: ignore[attr-defined]
    }


def _without_params(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _settings(callback: Callback) -> dict[str, Any]:
    """What a callback was made with, as far as it keeps it under a public name."""
    return {
        name: value
        for name, value in vars(callback).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str, list, tuple))
    }


def _datasets(trainer: Trainer) -> dict[str, Any]:
    """The data behind each loader of the fit."""
    found: dict[str, Any] = {}
    for name, loaders in (
        ("training", trainer.train_dataloader),
        ("validation", trainer.val_dataloaders),
    ):
        for place, loader in _named(loaders):
            found[f"{name} {place}".strip()] = getattr(loader, "dataset", loader)
    return found


def _named(loaders: Any) -> list[tuple[str, Any]]:
    if isinstance(loaders, Mapping):
        return [(str(name), loader) for name, loader in loaders.items()]
    if isinstance(loaders, (list, tuple)):
        return [(str(i) if len(loaders) > 1 else "", loader) for i, loader in enumerate(loaders)]
    return [] if loaders is None else [("", loaders)]


def _checkpoints(trainer: Trainer) -> dict[str, dict[str, str]]:
    """Name and hash of what the checkpoint callbacks have kept."""
    found = {}
    for callback in trainer.checkpoint_callbacks:
        for kind in ("best", "last"):
            path = getattr(callback, f"{kind}_model_path", "")
            if path and os.path.isfile(path):
                found[kind] = {"file": Path(path).name, "sha256": file_hash(path)}
    return found
