"""Row of a run in the hyperparameter table, and a manifest for repeating it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..checks import mapping_in, one_of
from ..internals import log_step
from ..notices import warn_user
from ..provenance import (
    fingerprint,
    plain,
    redact,
    take,
    whole_parts,
)
from ..record import (
    Row,
    RunMetrics,
    check_domain,
    check_forward,
    check_registrable,
    checkpoints,
    configuration,
    datasets,
    group_of,
    has_manifest,
    hyperparameters,
    kept_manifest,
    logged_values,
    register,
    validates,
    without_earlier,
    write_manifest,
)
from ..sinks import Domain, RunStatus, Scalar, Sinks, open_sinks
from ..tags import Direction, best_tag, writable
from ._monitor import Monitor
from ._two_packages import refuse_other_lightning

__all__ = ["RunRecorder"]


class RunRecorder(Monitor):
    """Make a run repeatable and comparable with others.

    TensorBoard's HParams tab gets a row for each run as soon as it starts, with its final status,
    also if it crashed or was resumed later; MLflow gets params. A validation, test or prediction
    adds a row too, unless a fit has one. It includes what ``logger.log_hyperparams`` got and the
    seed, as ``seed_everything``. Lightning's ``hp_metric``, which would hide the rest, is disabled.

    Without ``domains`` or a list of ``metrics``, TensorBoard creates a column for every value that
    any run has. It sorts them itself, those that differ between runs first, then by name, and
    initially shows five, and five metrics, best values among them. With either, only the chosen
    columns exist, and TensorBoard takes them from any one of the runs: choose the same in all of
    them. Those with a domain then come first, or else learning rate, optimizer and batch size.

    | tag | meaning | unit |
    |---|---|---|
    | `best/{metric}` | best value so far of each validation metric, without classes and terms | |
    | `{metric}` | its last value, unless the module logs it to its loggers | |
    | `manifest` | git commit and changes, command, configuration, seeds, versions, data | text |

    ``manifest.json`` is written at the start and at the end, to the folder of the run and to
    MLflow, or to the checkpoint folder if no logger stores files. A resumed run keeps the manifests
    of its earlier parts under ``earlier``, without the sections that equal those of the next part.
    :func:`lightning_hparams.provenance.compare` lists the differences between two runs. Secrets are
    removed (:func:`lightning_hparams.provenance.redact`), also from what Lightning writes.

    Args:
        metrics: ``"auto"`` for everything the validation logs or other callbacks monitor; or names
            of logged metrics, or a dict from name to ``"min"`` or ``"max"``. By name, losses and
            errors fall and scores rise; if the name does not decide, there is no best value. A
            monitored metric uses the mode of the callback that monitors it. Training metrics are
            read at the end of each epoch.
        domains: Allowed values of hyperparameters: a tuple ``(low, high)``, or a list.
        group: ``"run"`` for one row per run; ``"config"`` for one row for all runs with the same
            hyperparameters, whose metrics TensorBoard then averages.
        hparams: Hyperparameters in addition to those saved by the module and the data module.
        register: Name for registering the final model in MLflow, with its signature. Needs the
            module's ``example_input_array``, which is passed through it once before training.
            A server that does not answer a request within the logger's ``timeout``, or accepts no
            more of the upload for that long, is skipped with a warning.

    Attributes:
        manifest: The manifest as last written, on rank zero.

    Raises:
        ValueError: If an argument is invalid; when fitting, also if a domain names an unknown
            hyperparameter, or the model cannot be registered.
    """

    def __init__(
        self,
        metrics: Literal["auto"] | Sequence[str] | Mapping[str, Direction] = "auto",
        domains: Mapping[str, Domain] | None = None,
        *,
        group: Literal["run", "config"] = "run",
        hparams: Mapping[str, object] | None = None,
        register: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(metrics, str):
            one_of("metrics", metrics, ("auto",))
        one_of("group", group, ("run", "config"))
        domains = mapping_in("domains", domains)
        for name, domain in domains.items():
            check_domain(name, domain)
        self.metrics, self.domains = metrics, domains
        self.group = group
        self.hparams = mapping_in("hparams", hparams)
        self.register = register
        self.manifest: dict[str, Any] = {}
        self._facts: Callable[[dict[str, object]], dict[str, Any]] = take  # of the beginning
        self._metrics = RunMetrics(metrics)
        self._row = Row(self.domains)
        self._earlier: list[dict[str, Any]] = []
        self._known: dict[str, str | None] = {}
        self._recorded = Sinks()  # those with the row of a fit
        self._running: Literal["fit", "evaluation"] | None = None
        self._owes_epoch = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, before Lightning writes hyperparameters to them."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage == "fit" and self.register is not None:
            check_registrable(trainer, pl_module)
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._sinks.own_hparams()
        self._running = None
        if stage == "fit":
            self._notices.clear()
            self._metrics.begin(trainer)
            self._known, self._owes_epoch = {}, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the row of the run."""
        self._row.values = self._hyperparameters(trainer, pl_module)
        self._row.check_domains()
        if self.register is not None:
            check_forward(pl_module)
        if not self._sinks:
            return
        self._sinks.adopt_all(self._known)
        self._recorded = self._sinks
        self._begin_row(trainer, pl_module)
        self._running = "fit"
        self.manifest = self._facts(_configuration(trainer, pl_module, self.hparams))
        resumed = bool(self._known) or trainer.global_step > 0
        kept = kept_manifest(trainer, resumed=resumed)
        self._earlier = [] if kept is None else [*whole_parts(kept), without_earlier(kept)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the data to the manifest, now that Lightning has loaded it."""
        if not self._sinks:
            return
        self._go_on(trainer)
        config = _configuration(trainer, pl_module, self.hparams)
        data = {name: fingerprint(dataset) for name, dataset in datasets(trainer).items()}
        self.manifest |= {
            "config": redact(plain(config), os.environ),
            "data": redact(plain(data), os.environ),
            "first_step": trainer.global_step,
        }
        self.manifest = write_manifest(self.manifest, self._earlier, trainer, self._sinks)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the previous epoch, whose values are complete only now."""
        self._take_in_epoch(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the current values, to recognise those of the validation."""
        if trainer.state.fn == "validate":
            self._begin_evaluation(trainer, pl_module)
        elif _counts(trainer):
            self._metrics.before_validation(logged_values(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the scores of the validation."""
        if _counts(trainer):
            found = logged_values(trainer)
            self._metrics.after_validation(found)
            self._take_in(trainer, found, log_step(trainer), of_validation=True)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a row unless a fit has one: Lightning writes hyperparameters here too."""
        self._begin_evaluation(trainer, pl_module)

    on_predict_start = on_test_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the best values before checkpoints are written; the epoch may log more later."""
        self._owes_epoch = True
        found = logged_values(trainer)  # on all ranks, since it may gather metrics
        if self._running:
            self._metrics.update(self._metrics.of(found, trainer, of_validation=False))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Record the status of the run."""
        ended = isinstance(exception, (KeyboardInterrupt, SystemExit, SIGTERMException))
        self._finish(trainer, "killed" if ended else "failed")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the last epoch and the success, and register the model."""
        self._take_in_epoch(trainer)
        if self.register is not None and self._running:
            register(self._sinks, pl_module, self.register)
        self._finish(trainer, "finished")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record the success of an evaluation without a fit."""
        if self._running == "evaluation":
            self._finish(trainer, "finished")

    def state_dict(self) -> dict[str, Any]:
        """Best values, and the identifiers of the run in the loggers."""
        return {
            "best": dict(self._metrics.best.values),
            "identities": self._sinks.identities(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best values and identifiers."""
        self._metrics.best.values = dict(state_dict["best"])
        known = state_dict["identities"]
        self._known = dict(known) if isinstance(known, Mapping) else {}

    # -- the row

    def _hyperparameters(
        self, trainer: Trainer, module: LightningModule, *, hidden: bool = True
    ) -> dict[str, Scalar]:
        """Return the values of the row."""
        return hyperparameters(trainer, module, self.hparams, hidden=hidden)

    def _begin_row(self, trainer: Trainer, module: LightningModule) -> None:
        everything = self._hyperparameters(trainer, module, hidden=False)
        group = group_of(everything) if self.group == "config" else None
        tags = None if self.metrics == "auto" else list(self.metrics)
        self._row.begin(self._sinks, group, tags)

    def _begin_evaluation(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._sinks or list(self._recorded) == list(self._sinks) or has_manifest(trainer):
            return  # keep the row of the fit
        self._row.values = self._hyperparameters(trainer, module)
        self._begin_row(trainer, module)
        self._running = "evaluation"

    def _take_in_epoch(self, trainer: Trainer) -> None:
        """Record the training metrics of the epoch that ended."""
        if not self._owes_epoch:
            return
        self._owes_epoch = False
        found = logged_values(trainer)  # on all ranks, since it may gather metrics
        step = log_step(trainer) - 1  # it has advanced
        self._take_in(trainer, found, step, of_validation=False)

    def _take_in(
        self, trainer: Trainer, found: Mapping[str, float], step: int, *, of_validation: bool
    ) -> None:
        """Write the last and best values of the metrics."""
        if not self._running:
            return
        if self._metrics.validated or not validates(trainer):
            if self.domains and not self._row.has_columns:
                self._row.choose_columns(self._metrics.wanted(found, trainer))
            if message := self._metrics.missing(found, trainer, of_validation=of_validation):
                warn_user(message)
        values = self._metrics.of(found, trainer, of_validation=of_validation)
        if not values:
            return
        best = self._metrics.update(values)
        written = {tag: v for tag, v in values.items() if tag not in trainer.logged_metrics}
        written |= {best_tag(tag): value for tag, value in best.items()}
        self._sinks.scalars({writable(tag): value for tag, value in written.items()}, step)
        self._sinks.flush()

    def _finish(self, trainer: Trainer, status: RunStatus) -> None:
        running, self._running = self._running, None
        if running == "fit":
            self.manifest |= {
                "status": status,
                "last_step": trainer.global_step,
                "metrics": self._metrics.values(),
            }
            with self._notices.instead_of_errors("hash the checkpoints"):
                self.manifest["checkpoints"] = checkpoints(trainer)
            with self._notices.instead_of_errors("write the manifest"):
                self.manifest = write_manifest(self.manifest, self._earlier, trainer, self._sinks)
        if running:
            self._sinks.finish(status)


def _counts(trainer: Trainer) -> bool:
    """Whether this validation is part of training."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _configuration(
    trainer: Trainer, module: LightningModule, more: Mapping[str, object]
) -> dict[str, object]:
    return configuration(trainer, module, hyperparameters(trainer, module, more))
