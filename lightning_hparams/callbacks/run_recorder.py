"""The row of a run in the table of hyperparameters, and the manifest that repeats it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ..checks import nearest, one_of
from ..internals import log_step
from ..isolation import evaluation_mode, random_state_kept
from ..provenance import (
    fingerprint,
    flatten,
    plain,
    redact,
    take,
    to_json,
    to_markdown,
    without_secrets,
)
from ..sinks import Domain, RunStatus, input_for, is_rehearsal, open_sinks, register_model
from ..tags import BestValues, Direction, Tag, best_tag
from ._log_step import resume_sinks
from ._monitor import Monitor
from ._run_facts import checkpoints, configuration, datasets, keep_manifest, kept_manifest
from ._two_packages import refuse_other_lightning

__all__ = ["RunRecorder"]

_Flat: TypeAlias = dict[str, bool | int | float | str]


class RunRecorder(Monitor):
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

    ``manifest.json`` goes into the folder of the run and to MLflow, at its start and its end; with
    loggers that have no room for it, to where checkpoints go. A resumed run keeps those of its
    earlier parts under ``earlier``. :func:`lightning_hparams.provenance.compare` tells what differs
    between two. Secrets are left out (:func:`lightning_hparams.provenance.redact`).

    Args:
        metrics: ``"auto"`` for what the validation logs and what other callbacks monitor; or names
            of logged metrics, or a dict of them to ``"min"`` or ``"max"``. By name, a loss or an
            error falls and a score rises; where the name does not tell, there is no best value.
            What a checkpoint callback monitors goes its way. Metrics of the training count at the
            end of each epoch.
        domains: Values that a hyperparameter may take: a tuple ``(low, high)``, or a list.
        group: ``"run"`` for a row of each run; ``"config"`` for one of all runs whose
            hyperparameters are the same, whose metrics TensorBoard then averages.
        hparams: More hyperparameters than the module and the data module have saved.
        register: Name to register the model by in MLflow when training ends, as it is then, with
            its signature; it takes the module's ``example_input_array``, which is passed through it
            once before training.

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
        self._known: dict[str, str | None] = {}
        self._running = False
        self._has_columns = False
        self._before: dict[str, float] = {}
        self._brought: set[str] = set()  # metrics that validations brought
        self._validated = False
        self._owes_epoch = False
        self._has_checked_metrics = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, before Lightning writes hyperparameters to them."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage != "fit":
            return
        if self.register is not None:
            _check_registrable(trainer, pl_module)
        so_far = self._best.values if trainer.global_step else {}  # the same Trainer goes on
        self._best = BestValues({**_monitored(trainer), **self._directions})
        self._best.values = so_far
        self._last = self._last if trainer.global_step else {}
        self._known, self._brought = {}, set()
        self._validated = self._owes_epoch = self._has_checked_metrics = False
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._sinks.own_hparams()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the row."""
        self._values = self._hyperparameters(trainer, pl_module, _without_secrets)
        for name in self.domains:
            if name not in self._values:
                raise ValueError(
                    f"`domains` has {name!r}, which is no hyperparameter of this run"
                    f"{nearest(name, self._values)}; it has {sorted(self._values)}"
                )
        if self.register is not None:
            _check_forward(pl_module)
        if not self._sinks:
            return
        self._sinks.adopt_all(self._known)
        self._running, self._has_columns = True, False
        group = self._group(self._hyperparameters(trainer, pl_module, flatten))
        self._sinks.hparams(self._values, group=group)
        if self.metrics != "auto":
            self._choose_columns(list(self.metrics))
        self.manifest = take(configuration(trainer, pl_module, self._values))
        resumed = bool(self._known) or trainer.global_step > 0
        if kept := kept_manifest(trainer, resumed=resumed):
            self.manifest["earlier"] = [*kept.pop("earlier", []), kept]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the data, which Lightning has loaded by now."""
        if not self._sinks:
            return
        resume_sinks(trainer, self._sinks)
        config = configuration(trainer, pl_module, self._values)
        data: Any = {name: fingerprint(dataset) for name, dataset in datasets(trainer).items()}
        self.manifest |= {
            "config": redact(plain(config), os.environ),
            "data": redact(data, os.environ),
            "first_step": trainer.global_step,
        }
        self._write_manifest(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the epoch before: now all that it logged is there."""
        self._take_in_epoch(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what there is, to tell what the validation brings."""
        if _counts(trainer):
            self._before = _values(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the scores."""
        if _counts(trainer):
            found = _values(trainer)
            self._brought |= {
                tag
                for tag, value in found.items()
                if str(self._before.get(tag)) != str(value)  # NaN is not equal to itself
            }
            self._validated = True
            self._take_in(trainer, found, log_step(trainer), of_validation=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know the epoch's best before checkpoints are written; the rest of it may come later."""
        self._owes_epoch = True
        found = _values(trainer)  # on all ranks, for it may gather metrics
        if self._running:
            self._update(self._of(found, trainer, of_validation=False))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say how it ended."""
        ended = isinstance(exception, (KeyboardInterrupt, SystemExit, SIGTERMException))
        self._finish(trainer, "killed" if ended else "failed")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that it ended well."""
        self._take_in_epoch(trainer)
        if self.register is not None and self._running:
            self._register(trainer, pl_module, self.register)
        self._finish(trainer, "finished")

    def state_dict(self) -> dict[str, Any]:
        """The best values, and what the loggers find the run by."""
        return {
            "best": dict(self._best.values),
            "identities": self._sinks.identities(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._best.values = dict(state_dict["best"])
        known = state_dict["identities"]
        self._known = dict(known) if isinstance(known, Mapping) else {}

    def _hyperparameters(
        self, trainer: Trainer, module: LightningModule, flat: Callable[[Mapping[str, Any]], _Flat]
    ) -> _Flat:
        """As they are now: a range test may have changed the rate that was saved."""
        own = flat(module.hparams)
        datamodule = getattr(trainer, "datamodule", None)
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

    def _take_in_epoch(self, trainer: Trainer) -> None:
        """What the training logged in the epoch that is over."""
        if not self._owes_epoch:
            return
        self._owes_epoch = False
        found = _values(trainer)  # on all ranks, for it may gather metrics
        step = log_step(trainer) - 1  # it has moved on
        self._take_in(trainer, found, step, of_validation=False)

    def _take_in(
        self, trainer: Trainer, found: Mapping[str, float], step: int, *, of_validation: bool
    ) -> None:
        """Last and best values of the metrics."""
        if not self._running:
            return
        if self._validated or not _validates(trainer):
            if self.domains and not self._has_columns:
                self._choose_columns(self._wanted(found, trainer))
            self._tell_missing(found, trainer, of_validation=of_validation)
        values = self._of(found, trainer, of_validation=of_validation)
        if not values:
            return
        best = self._update(values)
        written = {tag: v for tag, v in values.items() if tag not in trainer.logged_metrics}
        written |= {best_tag(tag): value for tag, value in best.items()}
        self._sinks.scalars(written, step)
        self._sinks.flush()

    def _of(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> dict[str, float]:
        """The metrics that a validation brought, or those that an epoch of training did."""
        return {
            tag: found[tag]
            for tag in self._wanted(found, trainer)
            if tag in found and (tag in self._brought) == of_validation
        }

    def _wanted(self, found: Iterable[str], trainer: Trainer) -> list[str]:
        """Without a list those of a validation as a whole, and what other callbacks watch."""
        if self.metrics != "auto":
            return list(self.metrics)
        if _validates(trainer):
            named = {tag: Tag.parse(tag) for tag in found}
            chosen = [
                tag
                for tag, parsed in named.items()
                if parsed.is_validation or (tag in self._brought and parsed.is_whole)
            ]
        else:
            chosen = [tag for tag in found if Tag.parse(tag).is_whole]
        watched = (tag for tag in _monitored(trainer) if tag not in (*chosen, "epoch", "step"))
        return [*chosen, *watched]

    def _update(self, values: Mapping[str, float]) -> dict[str, float]:
        self._last |= values
        return self._best.update(values)

    def _tell_missing(
        self, found: Mapping[str, float], trainer: Trainer, *, of_validation: bool
    ) -> None:
        """Once: after a validation, or, with a list, after a whole epoch."""
        if self._has_checked_metrics or (of_validation and self.metrics != "auto"):
            return
        self._has_checked_metrics = True
        wanted = self._wanted(found, trainer)
        missing = [tag for tag in wanted if tag not in found]
        so_far = f"logged so far: {', '.join(sorted(found)) or 'nothing'}"
        if self.metrics != "auto" and missing:
            near = nearest(missing[0], found)
            rank_zero_warn(f"metric {missing[0]!r} is not logged{near}; {so_far}")
        elif not wanted and _validates(trainer):
            rank_zero_warn(
                "RunRecorder has no metric to keep the best of, for the validation logs none; "
                f"call self.log in `validation_step`, or pass a list of `metrics`; {so_far}"
            )

    def _choose_columns(self, tags: Sequence[str]) -> None:
        self._has_columns = True
        domains: dict[str, Domain | None] = dict(self.domains)
        domains |= {name: None for name in self._values if name not in domains}
        metrics = {name: name for tag in tags for name in (best_tag(tag), tag)}
        self._sinks.columns(domains, metrics)

    def _finish(self, trainer: Trainer, status: RunStatus) -> None:
        if not self._running:
            return
        self._running = False
        self.manifest |= {
            "status": status,
            "last_step": trainer.global_step,
            "metrics": {"last": dict(self._last), "best": dict(self._best.values)},
            "checkpoints": checkpoints(trainer),
        }
        self._write_manifest(trainer)
        self._sinks.finish(status)

    def _register(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MLFlowLogger):
                try:
                    register_model(logger, module, name)
                except Exception as error:  # the training itself is done
                    rank_zero_warn(
                        f"the model was not registered as {name!r}: {error}; it is as it was "
                        "trained: call lightning_hparams.sinks.register_model(logger, module, name)"
                    )

    def _write_manifest(self, trainer: Trainer) -> None:
        text = to_json(self.manifest)
        self.manifest = json.loads(text)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest.json"
            path.write_text(text + "\n", encoding="utf-8")
            self._sinks.artifact(path)
            self._sinks.text("manifest", to_markdown(self.manifest), trainer.global_step)
            if not self._sinks.keeps_artifacts:
                keep_manifest(trainer, path)
            self._sinks.flush()


def _without_secrets(values: Mapping[str, Any]) -> _Flat:
    return without_secrets(values, os.environ)


def _check_domain(name: str, domain: Any) -> None:
    """That each logger can write it: else the run would end at its first validation."""
    if isinstance(domain, tuple):
        numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in domain)
        if numbers and len(domain) == 2 and domain[0] < domain[1]:
            return
        remedy = "" if numbers else f"; pass a list: {list(domain)!r}"
    else:
        listed = isinstance(domain, Sequence) and not isinstance(domain, str)
        known = [value for value in domain if value is not None] if listed else []
        if known and all(isinstance(value, (str, Real, list, tuple)) for value in known):
            return
        remedy = ""
    raise ValueError(
        f"the domain of {name!r} must be a tuple (low, high) of numbers with low < high, or a list "
        f"of values, got {domain!r}{remedy}"
    )


def _check_registrable(trainer: Trainer, module: LightningModule) -> None:
    has_mlflow = any(isinstance(logger, MLFlowLogger) for logger in trainer.loggers)
    if not has_mlflow and not is_rehearsal(trainer):  # which has a logger of its own
        raise ValueError(
            "`register` needs MLflow, and the Trainer has no MLFlowLogger; pass "
            "Trainer(logger=lightning_hparams.mlflow_logger())"
        )
    if not isinstance(module.example_input_array, Tensor):
        raise ValueError(
            f"`register` needs a batch to find the model's signature by; set "
            f"{type(module).__name__}.example_input_array to a tensor that `forward` takes"
        )


def _check_forward(module: LightningModule) -> None:
    """Once as registering will do it, before the training that would end with an error."""
    batch = module.example_input_array
    assert isinstance(batch, Tensor)
    try:
        with random_state_kept(), evaluation_mode(module), torch.no_grad():
            module(input_for(module, batch))
    except Exception as error:
        raise ValueError(
            f"`register` needs a batch that `forward` takes, and that of "
            f"{type(module).__name__} refused its example_input_array of shape "
            f"{tuple(batch.shape)}: {error}; set another one"
        ) from error


def _monitored(trainer: Trainer) -> dict[str, Direction]:
    """Which way the metrics go that the Trainer's callbacks watch."""
    found: dict[str, Direction] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            found[monitor] = mode
    return found


def _values(trainer: Trainer) -> dict[str, float]:
    return {tag: float(value) for tag, value in trainer.callback_metrics.items()}


def _counts(trainer: Trainer) -> bool:
    """Whether this is a validation of the training."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _validates(trainer: Trainer) -> bool:
    return trainer.enable_validation and sum(trainer.num_val_batches) > 0
